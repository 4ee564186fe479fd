import { concatBytes } from '../formats/gzip.ts';
import type { WebpEncoding } from './codec.ts';
import { exifOrientation } from './exif.ts';
import { ACCEPTED, type ImageHeader, type Refuse } from './header.ts';

const RIFF_BYTES = 12;
const CHUNK_BYTES = 8;
/** Flag of an extended file (VP8X): it has frames in chunks of their own. */
const ANIMATION = 0x02;
/** Flag of an extended file: it may have transparent pixels. */
const ALPHA = 0x10;
/** Bytes of an animation's frame before its chunks. */
const FRAME_HEADER_BYTES = 16;

interface WebpChunk {
  readonly type: string;
  readonly data: Uint8Array;
}

/** The first frame of an animation as a file of its own, and where it stands on the canvas, in pixels. */
export interface WebpStill {
  readonly bytes: Uint8Array;
  readonly left: number;
  readonly top: number;
}

/** Reads a WebP file from chunk to chunk, without decoding: size, EXIF orientation, whether it is animated. */
export function readWebpHeader(bytes: Uint8Array, refuse: Refuse): ImageHeader {
  const chunks = readChunks(bytes, refuse);
  const extended = chunks.find(({ type, data }) => type === 'VP8X' && data.length >= 10)?.data;
  const animated = extended !== undefined && (extended[0] & ANIMATION) !== 0;
  const picture = chunks.find(isPicture);
  const size = extended ? { width: 1 + read24(extended, 4), height: 1 + read24(extended, 7) } : sizeOf(picture);
  if (!size || (!picture && !animated)) return refuse.damaged('no picture in it');
  const exif = chunks.findLast(({ type }) => type === 'EXIF')?.data;
  return {
    format: 'WebP',
    ...size,
    channels: 3,
    // Some writers keep the name that EXIF data has inside JPEG files.
    orientation: exif ? exifOrientation(exif[0] === 0x45 ? exif.subarray(6) : exif) : 1,
    ...(animated && chunks.filter(({ type }) => type === 'ANMF').length > 1 && { unusual: 'animated' as const }),
  };
}

/** The first frame of a file that `readWebpHeader` has accepted; undefined where it has no frames but one picture. */
export function webpStill(bytes: Uint8Array): WebpStill | undefined {
  const chunks = readChunks(bytes, ACCEPTED);
  if (chunks.some(isPicture)) return undefined;
  const frame = chunks.find(({ type, data }) => type === 'ANMF' && data.length >= FRAME_HEADER_BYTES)?.data;
  if (!frame) throw new Error('no frame');
  const parts = subchunks(frame.subarray(FRAME_HEADER_BYTES), ACCEPTED).filter(
    (chunk) => chunk.type === 'ALPH' || isPicture(chunk),
  );
  // Width and height less one, as both kinds of header have them.
  const extended = Uint8Array.of(ALPHA, 0, 0, 0, ...frame.subarray(6, 12));
  return {
    bytes: riff([{ type: 'VP8X', data: extended }, ...parts]),
    left: 2 * read24(frame, 0),
    top: 2 * read24(frame, 3),
  };
}

/**
 * How a file that `readWebpHeader` has accepted was encoded, as near as can be told: lossless, or by the quality for which libwebp
 * would take its quantiser, the mean of its segments', rounded up. An animation counts by its first frame.
 */
export function webpEncoding(bytes: Uint8Array): WebpEncoding {
  const picture = readChunks(webpStill(bytes)?.bytes ?? bytes, ACCEPTED).find(isPicture)!;
  if (picture.type === 'VP8L') return { format: 'WebP', quality: 'lossless' };
  // libwebp: QualityToCompression and VP8SetSegmentParams in quant_enc.c, the other way round.
  const linear = (1 - meanQuantiser(picture.data) / 127) ** 3;
  const quality = 100 * (linear < 0.5 ? 1.5 * linear : (linear + 1) / 2);
  return { format: 'WebP', quality: Math.min(100, Math.max(1, Math.ceil(quality - 1e-6))) };
}

/** Mean index of the quantisers of a lossy picture's segments, 0 to 127 (RFC 6386, 9.3, 9.6 and 19.2). */
function meanQuantiser(data: Uint8Array): number {
  const read = boolReader(data.subarray(10));
  const flag = (): boolean => read(1) === 1;
  const signed = (bits: number): number => {
    const value = read(bits);
    return flag() ? -value : value;
  };
  // Colour space and clamping.
  read(2);
  let absolute = false;
  const segments = [0, 0, 0, 0];
  const segmented = flag();
  if (segmented) {
    const [map, values] = [flag(), flag()];
    if (values) {
      absolute = flag();
      for (let i = 0; i < 4; i++) segments[i] = flag() ? signed(7) : 0;
      for (let i = 0; i < 4; i++) if (flag()) signed(6);
    }
    if (map) for (let i = 0; i < 3; i++) if (flag()) read(8);
  }
  // The loop filter: type, level, sharpness, changes.
  read(10);
  const hasChanges = flag();
  const changesNow = hasChanges && flag();
  for (let i = 0; changesNow && i < 8; i++) if (flag()) signed(6);
  read(2);
  const base = read(7);
  if (!segmented) return base;
  const clipped = segments.map((value) => Math.min(127, Math.max(0, absolute ? value : base + value)));
  return clipped.reduce((total, value) => total + value, 0) / clipped.length;
}

/** Reads numbers of some bits, each as probable 0 as 1, from what VP8's coder has packed (RFC 6386, 7.3). */
function boolReader(data: Uint8Array): (bits: number) => number {
  let at = 2;
  let value = 256 * data[0] + data[1];
  let range = 255;
  let shifted = 0;
  const bit = (): number => {
    const split = 1 + (((range - 1) * 128) >> 8);
    const one = value >= split << 8;
    if (one) {
      range -= split;
      value -= split << 8;
    } else range = split;
    while (range < 128) {
      value <<= 1;
      range <<= 1;
      if (++shifted === 8) {
        shifted = 0;
        value |= data[at++] ?? 0;
      }
    }
    return one ? 1 : 0;
  };
  return (bits) => {
    let number = 0;
    for (let i = 0; i < bits; i++) number = 2 * number + bit();
    return number;
  };
}

/** What a file that `readWebpHeader` has accepted says beside its picture; each as its chunk has it. */
export function webpMetadata(bytes: Uint8Array): { icc?: Uint8Array; exif?: Uint8Array; xmp?: Uint8Array } {
  const chunks = readChunks(bytes, ACCEPTED);
  const found = (name: string): Uint8Array | undefined => chunks.find(({ type }) => type === name)?.data;
  const [icc, exif, xmp] = [found('ICCP'), found('EXIF'), found('XMP ')];
  return { ...(icc && { icc }), ...(exif && { exif }), ...(xmp && { xmp }) };
}

/**
 * An encoded picture with the colour profile, EXIF and XMP of the original, byte for byte. Other chunks of the original are left out:
 * C2PA manifests, which are bound to its bytes, and those that nobody knows.
 */
export function withWebpMetadata(encoded: Uint8Array, original: Uint8Array): Uint8Array {
  const { icc, exif, xmp } = webpMetadata(original);
  const chunks = readChunks(encoded, ACCEPTED);
  const picture = chunks.filter((chunk) => chunk.type === 'ALPH' || isPicture(chunk));
  if (!icc && !exif && !xmp) return riff(chunks.filter(({ type }) => type === 'VP8X').concat(picture));
  const extended = chunks.find(({ type }) => type === 'VP8X')?.data;
  const lossless = picture.find(({ type }) => type === 'VP8L')?.data;
  const { width, height } = sizeOf(picture.find(isPicture))!;
  const hasAlpha = extended ? (extended[0] & ALPHA) !== 0 : lossless !== undefined && (lossless[4] & 0x10) !== 0;
  const flags = (icc ? 0x20 : 0) | (hasAlpha ? ALPHA : 0) | (exif ? 0x08 : 0) | (xmp ? 0x04 : 0);
  const size = [width - 1, height - 1].flatMap((side) => [side & 255, (side >> 8) & 255, side >> 16]);
  return riff([
    { type: 'VP8X', data: Uint8Array.of(flags, 0, 0, 0, ...size) },
    ...(icc ? [{ type: 'ICCP', data: icc }] : []),
    ...picture,
    ...(exif ? [{ type: 'EXIF', data: exif }] : []),
    ...(xmp ? [{ type: 'XMP ', data: xmp }] : []),
  ]);
}

function readChunks(bytes: Uint8Array, refuse: Refuse): WebpChunk[] {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const declared = bytes.length < RIFF_BYTES ? Infinity : view.getUint32(4, true) + CHUNK_BYTES;
  if (declared > bytes.length)
    return refuse.damaged(`truncated: ${bytes.length} bytes of the ${declared} it should have`);
  return subchunks(bytes.subarray(RIFF_BYTES, declared), refuse);
}

function subchunks(bytes: Uint8Array, refuse: Refuse): WebpChunk[] {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const chunks: WebpChunk[] = [];
  for (let at = 0; at + CHUNK_BYTES <= bytes.length; ) {
    const type = String.fromCharCode(...bytes.subarray(at, at + 4));
    const start = at + CHUNK_BYTES;
    const length = view.getUint32(at + 4, true);
    if (start + length > bytes.length) return refuse.damaged('truncated: a chunk leads beyond the end');
    chunks.push({ type, data: bytes.subarray(start, start + length) });
    at = start + length + (length % 2);
  }
  return chunks;
}

/** A WebP file of these chunks. */
function riff(chunks: readonly WebpChunk[]): Uint8Array {
  const parts = chunks.flatMap(({ type, data }) => [
    fourBytes(type),
    littleEndian(data.length),
    data,
    new Uint8Array(data.length % 2),
  ]);
  const content = concatBytes([fourBytes('WEBP'), ...parts]);
  return concatBytes([fourBytes('RIFF'), littleEndian(content.length), content]);
}

const fourBytes = (type: string): Uint8Array => Uint8Array.from({ length: 4 }, (_, i) => type.charCodeAt(i));

const littleEndian = (value: number): Uint8Array =>
  Uint8Array.of(value & 255, (value >> 8) & 255, (value >> 16) & 255, value >>> 24);

const read24 = (data: Uint8Array, at: number): number => data[at] + 256 * data[at + 1] + 65536 * data[at + 2];

const isPicture = ({ type, data }: WebpChunk): boolean =>
  (type === 'VP8 ' && data.length >= 10) || (type === 'VP8L' && data.length >= 5);

/** Pixels of a lossy or lossless picture by its first bytes. */
function sizeOf(picture: WebpChunk | undefined): { width: number; height: number } | undefined {
  if (!picture) return undefined;
  const { type, data } = picture;
  if (type === 'VP8 ')
    return { width: (data[6] | (data[7] << 8)) & 0x3fff, height: (data[8] | (data[9] << 8)) & 0x3fff };
  const packed = data[1] | (data[2] << 8) | (data[3] << 16) | (data[4] << 24);
  return { width: 1 + (packed & 0x3fff), height: 1 + ((packed >>> 14) & 0x3fff) };
}
