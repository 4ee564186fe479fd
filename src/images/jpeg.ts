import type { Damaged, ImageHeader } from './decode.ts';
import { exifOrientation } from './exif.ts';

const SOI = 0xd8;
const EOI = 0xd9;
const SOS = 0xda;
const APP1 = 0xe1;
const EXIF = 'Exif\0\0';

/**
 * Reads a JPEG file from marker to marker up to its end, without decoding: size, number of components, EXIF orientation.
 * `damaged` is called where the markers lead beyond the file or the end marker is missing; bytes after that are ignored, as
 * cameras put previews there.
 */
export function readJpegHeader(bytes: Uint8Array, damaged: Damaged): ImageHeader {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const truncated = (): never => damaged(`truncated: no end marker in its ${bytes.length} bytes`);
  let frame: { bits: number; height: number; width: number; components: number } | undefined;
  let orientation: ImageHeader['orientation'] | undefined;
  let scans = 0;
  for (let at = 0; ; ) {
    if (at + 2 > bytes.length) return truncated();
    if (bytes[at] !== 0xff) return damaged(`no marker at byte ${at}`);
    const marker = bytes[at + 1];
    if (marker === 0xff) {
      at++;
      continue;
    }
    at += 2;
    if (marker === EOI) break;
    if (marker === SOI || marker === 0x01) continue;
    if (at + 2 > bytes.length) return truncated();
    const end = at + view.getUint16(at);
    if (end > bytes.length) return truncated();
    if (end < at + 2) return damaged('a segment of no length');
    const segment = bytes.subarray(at + 2, end);
    if (isStartOfFrame(marker)) {
      if (frame) return damaged('two frames');
      if (segment.length < 6) return damaged('a frame header cut short');
      const bits = segment[0];
      frame = { bits, height: view.getUint16(at + 3), width: view.getUint16(at + 5), components: segment[5] };
    } else if (marker === APP1 && EXIF === String.fromCharCode(...segment.subarray(0, 6))) {
      orientation ??= exifOrientation(segment.subarray(6));
    }
    at = end;
    if (marker === SOS) {
      scans++;
      at = endOfScan(bytes, at);
      if (at < 0) return truncated();
    }
  }
  if (!frame || scans === 0) return damaged('no picture in it');
  const { bits, width, height, components } = frame;
  return {
    width,
    height,
    channels: components === 1 ? 1 : 3,
    orientation: orientation ?? 1,
    ...(components === 4 && { unusual: 'CMYK' as const }),
    ...(bits > 8 && { unusual: '16-bit' as const }),
  };
}

/** SOF0 to SOF15 without DHT (C4), JPG (C8) and DAC (CC). */
const isStartOfFrame = (marker: number): boolean =>
  marker >= 0xc0 && marker <= 0xcf && marker !== 0xc4 && marker !== 0xc8 && marker !== 0xcc;

/** Where the next marker stands that ends compressed data: not FF 00, which is data, nor a restart. −1 where there is none. */
function endOfScan(bytes: Uint8Array, from: number): number {
  for (let at = bytes.indexOf(0xff, from); at >= 0 && at + 1 < bytes.length; at = bytes.indexOf(0xff, at)) {
    const next = bytes[at + 1];
    if (next === 0xff) at++;
    else if (next === 0 || (next >= 0xd0 && next <= 0xd7)) at += 2;
    else return at;
  }
  return -1;
}
