import { concatBytes } from '../formats/gzip.ts';
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
