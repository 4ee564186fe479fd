import type { Damaged, ImageHeader } from './decode.ts';
import { exifOrientation } from './exif.ts';

const RIFF_BYTES = 12;
const CHUNK_BYTES = 8;
/** Flag of an extended file (VP8X): it has more than one frame. */
const ANIMATION = 0x02;

/** Reads a WebP file from chunk to chunk, without decoding: size, EXIF orientation, whether it is animated. */
export function readWebpHeader(bytes: Uint8Array, damaged: Damaged): ImageHeader {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const declared = bytes.length < RIFF_BYTES ? Infinity : view.getUint32(4, true) + CHUNK_BYTES;
  if (declared > bytes.length) return damaged(`truncated: ${bytes.length} bytes of the ${declared} it should have`);
  let size: { width: number; height: number } | undefined;
  let picture = false;
  let animated = false;
  let orientation: ImageHeader['orientation'] = 1;
  for (let at = RIFF_BYTES; at + CHUNK_BYTES <= declared; ) {
    const type = String.fromCharCode(...bytes.subarray(at, at + 4));
    const start = at + CHUNK_BYTES;
    const length = view.getUint32(at + 4, true);
    if (start + length > declared) return damaged('truncated: a chunk leads beyond the end');
    if (type === 'VP8X' && length >= 10) {
      animated = (bytes[start] & ANIMATION) !== 0;
      const read24 = (offset: number): number => view.getUint16(offset, true) + 65536 * bytes[offset + 2];
      size = { width: 1 + read24(start + 4), height: 1 + read24(start + 7) };
    } else if (type === 'VP8 ' && length >= 10) {
      picture = true;
      size ??= { width: view.getUint16(start + 6, true) & 0x3fff, height: view.getUint16(start + 8, true) & 0x3fff };
    } else if (type === 'VP8L' && length >= 5) {
      picture = true;
      const packed = view.getUint32(start + 1, true);
      size ??= { width: 1 + (packed & 0x3fff), height: 1 + ((packed >>> 14) & 0x3fff) };
    } else if (type === 'EXIF') {
      const exif = bytes.subarray(start, start + length);
      // Some writers keep the name that EXIF data has inside JPEG files.
      orientation = exifOrientation(exif[0] === 0x45 ? exif.subarray(6) : exif);
    }
    at = start + length + (length % 2);
  }
  if (!size || (!picture && !animated)) return damaged('no picture in it');
  return { ...size, channels: 3, orientation, ...(animated && { unusual: 'animated' as const }) };
}
