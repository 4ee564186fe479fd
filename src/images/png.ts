import { crc32 } from '../formats/crc32.ts';
import { concatBytes } from '../formats/gzip.ts';
import { exifOrientation } from './exif.ts';
import { ACCEPTED, type ImageHeader, type Refuse } from './header.ts';

const SIGNATURE = Uint8Array.of(0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a);
const IHDR_BYTES = 13;
/** Length, type and CRC around a chunk's data. */
const CHUNK_OVERHEAD = 12;
/** Far more than pictures have: chunks of 8 KiB, as many encoders write, hold half a gigabyte then. */
const MOST_CHUNKS = 65_536;
const CRITICAL_CHUNKS = ['IHDR', 'PLTE', 'IDAT', 'IEND'];
/** Chunks that decide the pixels. */
const PICTURE_CHUNKS = [...CRITICAL_CHUNKS, 'tRNS'];
/** Chunks that say something beside the picture, whatever kind of pixels it has. */
const KEPT_CHUNKS = [
  ...['iCCP', 'sRGB', 'gAMA', 'cHRM', 'cICP', 'mDCV', 'cLLI', 'pHYs'],
  ...['eXIf', 'tEXt', 'zTXt', 'iTXt', 'tIME'],
];
export const GRAYSCALE = 0;
export const PALETTE = 3;
export const GRAYSCALE_ALPHA = 4;
const SAMPLES_PER_PIXEL: Record<number, number> = { [GRAYSCALE]: 1, 2: 3, [PALETTE]: 1, [GRAYSCALE_ALPHA]: 2, 6: 4 };

export interface PngChunk {
  readonly type: string;
  readonly data: Uint8Array;
}

/** A PNG file's header. */
export interface PngFrame {
  readonly width: number;
  readonly height: number;
  /** Bits per sample. */
  readonly depth: number;
  readonly colorType: number;
  /** By the colour type; a palette's index is one. */
  readonly samplesPerPixel: number;
  readonly interlaced: boolean;
}

/** Whether bytes begin like a PNG file. */
export function isPng(bytes: Uint8Array): boolean {
  return SIGNATURE.every((byte, i) => bytes[i] === byte);
}

/**
 * Reads a PNG file from chunk to chunk up to its end marker, without unpacking: size, kind of pixels, EXIF orientation. Bytes
 * after that are ignored. Refused as damaged where the end marker, a checksum or the header is wrong.
 */
export function readPngHeader(bytes: Uint8Array, refuse: Refuse): ImageHeader {
  const chunks = readPngChunks(bytes, refuse);
  const { width, height, depth, colorType } = readPngFrame(chunks, refuse);
  const exif = chunks.find(({ type }) => type === 'eXIf');
  return {
    format: 'PNG',
    width,
    height,
    channels: colorType === GRAYSCALE || colorType === GRAYSCALE_ALPHA ? 1 : 3,
    opacity: colorType >= GRAYSCALE_ALPHA || chunks.some(({ type }) => type === 'tRNS'),
    orientation: exif ? exifOrientation(exif.data) : 1,
    ...(depth === 16 && { unusual: '16-bit' as const }),
    ...(countFrames(chunks) > 1 && { unusual: 'animated' as const }),
  };
}

/** The PNG file with only what decides its pixels, of a file that `readPngHeader` has accepted. */
export function pngPicture(bytes: Uint8Array): Uint8Array {
  return pngFile(readPngChunks(bytes).filter(({ type }) => PICTURE_CHUNKS.includes(type)));
}

/**
 * An encoded picture with what the original says beside its own, byte for byte and in its place: colours, resolution, EXIF, texts. What
 * the encoder says beside the picture is left out, and so are C2PA manifests, which are bound to the original's bytes.
 */
export function withPngMetadata(encoded: Uint8Array, original: Uint8Array): Uint8Array {
  const chunks = readPngChunks(original);
  const pixels = chunks.findIndex(({ type }) => type === 'IDAT');
  const kept = (from: number, to?: number): PngChunk[] =>
    chunks.slice(from, to).filter(({ type }) => KEPT_CHUNKS.includes(type));
  const [header, ...rest] = readPngChunks(encoded).filter(({ type }) => PICTURE_CHUNKS.includes(type));
  return pngFile([header, ...kept(0, pixels), ...rest.slice(0, -1), ...kept(pixels), rest.at(-1)!]);
}

/** A PNG file with other chunks before its picture, and nothing that its encoder says beside it. */
export const withPngChunks = (encoded: Uint8Array, chunks: readonly PngChunk[]): Uint8Array => {
  const [header, ...rest] = readPngChunks(encoded).filter(({ type }) => PICTURE_CHUNKS.includes(type));
  return pngFile([header, ...chunks, ...rest]);
};

/** A PNG file of these chunks. */
export function pngFile(chunks: readonly PngChunk[]): Uint8Array {
  const parts = [SIGNATURE];
  for (const { type, data } of chunks) {
    const chunk = new Uint8Array(CHUNK_OVERHEAD + data.length);
    const view = new DataView(chunk.buffer);
    view.setUint32(0, data.length);
    for (let i = 0; i < type.length; i++) chunk[4 + i] = type.charCodeAt(i);
    chunk.set(data, 8);
    view.setUint32(8 + data.length, crc32(chunk.subarray(4, 8 + data.length)));
    parts.push(chunk);
  }
  return concatBytes(parts);
}

/** Pictures that a viewer shows: an animation's frames, and the still one where that is none of them (PNG 3, 11.3.6). */
function countFrames(chunks: readonly PngChunk[]): number {
  const animation = chunks.find(({ type, data }) => type === 'acTL' && data.length >= 4);
  if (!animation) return 1;
  const { buffer, byteOffset } = animation.data;
  const frames = new DataView(buffer, byteOffset, 4).getUint32(0);
  const first = chunks.findIndex(({ type }) => type === 'IDAT');
  const stillIsFirst = chunks.slice(0, first).some(({ type }) => type === 'fcTL');
  return frames + (stillIsFirst ? 0 : 1);
}

/**
 * The chunks up to the end marker, which must be there. Checksums and unknown chunks are looked at here because decoders report
 * neither by name.
 */
export function readPngChunks(bytes: Uint8Array, refuse: Refuse = ACCEPTED): PngChunk[] {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const chunks: PngChunk[] = [];
  let offset = SIGNATURE.length;
  while (offset + CHUNK_OVERHEAD <= bytes.length) {
    const length = view.getUint32(offset);
    const end = offset + CHUNK_OVERHEAD + length;
    if (end > bytes.length) break;
    const type = String.fromCharCode(...bytes.subarray(offset + 4, offset + 8));
    const data = bytes.subarray(offset + 8, offset + 8 + length);
    if (view.getUint32(end - 4) !== crc32(bytes.subarray(offset + 4, end - 4)))
      refuse.damaged('wrong checksum of a chunk');
    const critical = (bytes[offset + 4] & 0x20) === 0;
    if (critical && !CRITICAL_CHUNKS.includes(type)) refuse.damaged('a chunk that no PNG decoder knows');
    if (chunks.length === MOST_CHUNKS) refuse.unread(`a PNG of more than ${MOST_CHUNKS} chunks`, 'save it again');
    chunks.push({ type, data });
    if (type === 'IEND') return chunks;
    offset = end;
  }
  return refuse.damaged(`truncated: no end marker in its ${bytes.length} bytes`);
}

export function readPngFrame(chunks: readonly PngChunk[], refuse: Refuse = ACCEPTED): PngFrame {
  const { type, data } = chunks[0];
  if (type !== 'IHDR' || data.length !== IHDR_BYTES) return refuse.damaged('it does not begin with its header');
  if (chunks.some((chunk, i) => i > 0 && chunk.type === 'IHDR')) return refuse.damaged('it has two headers');
  const view = new DataView(data.buffer, data.byteOffset, IHDR_BYTES);
  const width = view.getUint32(0);
  const height = view.getUint32(4);
  const [depth, colorType, , , interlace] = data.subarray(8);
  if (width === 0 || height === 0) refuse.damaged(`its size is ${width}x${height}`);
  const depths = colorType === GRAYSCALE ? [1, 2, 4, 8, 16] : colorType === PALETTE ? [1, 2, 4, 8] : [8, 16];
  const samplesPerPixel = SAMPLES_PER_PIXEL[colorType];
  if (samplesPerPixel === undefined || !depths.includes(depth)) {
    return refuse.damaged(`colour type ${colorType} with ${depth} bits does not exist`);
  }
  if (interlace > 1) refuse.damaged(`interlace method ${interlace} does not exist`);
  return { width, height, depth, colorType, samplesPerPixel, interlaced: interlace === 1 };
}
