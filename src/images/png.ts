import { crc32 } from '../formats/crc32.ts';
import type { Damaged, ImageHeader } from './decode.ts';
import { exifOrientation } from './exif.ts';

const SIGNATURE = [0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a];
const IHDR_BYTES = 13;
/** Length, type and CRC around a chunk's data. */
const CHUNK_OVERHEAD = 12;
const CRITICAL_CHUNKS = ['IHDR', 'PLTE', 'IDAT', 'IEND'];
const GRAYSCALE = 0;
const PALETTE = 3;
const GRAYSCALE_ALPHA = 4;
const COLOR_TYPES = [GRAYSCALE, 2, PALETTE, GRAYSCALE_ALPHA, 6];

/** Whether bytes begin like a PNG file. */
export function isPng(bytes: Uint8Array): boolean {
  return SIGNATURE.every((byte, i) => bytes[i] === byte);
}

/**
 * Reads a PNG file from chunk to chunk up to its end marker, without unpacking: size, kind of pixels, EXIF orientation. Bytes
 * after that are ignored. `damaged` is called where the end marker, a checksum or the header is wrong.
 */
export function readPngHeader(bytes: Uint8Array, damaged: Damaged): ImageHeader {
  const chunks = readChunks(bytes, damaged);
  const { width, height, depth, colorType } = readHeader(chunks, damaged);
  const exif = chunks.find(({ type }) => type === 'eXIf');
  return {
    width,
    height,
    channels: colorType === GRAYSCALE || colorType === GRAYSCALE_ALPHA ? 1 : 3,
    opacity: colorType >= GRAYSCALE_ALPHA || chunks.some(({ type }) => type === 'tRNS'),
    orientation: exif ? exifOrientation(exif.data) : 1,
    ...(depth === 16 && { unusual: '16-bit' as const }),
    ...(chunks.some(({ type }) => type === 'acTL') && { unusual: 'animated' as const }),
  };
}

interface Chunk {
  readonly type: string;
  readonly data: Uint8Array;
}

/**
 * The chunks up to the end marker, which must be there. Checksums and unknown chunks are looked at here because the decoder
 * reports neither by name.
 */
function readChunks(bytes: Uint8Array, damaged: Damaged): Chunk[] {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const chunks: Chunk[] = [];
  let offset = SIGNATURE.length;
  while (offset + CHUNK_OVERHEAD <= bytes.length) {
    const length = view.getUint32(offset);
    const end = offset + CHUNK_OVERHEAD + length;
    if (end > bytes.length) break;
    const type = String.fromCharCode(...bytes.subarray(offset + 4, offset + 8));
    const data = bytes.subarray(offset + 8, offset + 8 + length);
    if (view.getUint32(end - 4) !== crc32(bytes.subarray(offset + 4, end - 4))) damaged('wrong checksum of a chunk');
    const critical = (bytes[offset + 4] & 0x20) === 0;
    if (critical && !CRITICAL_CHUNKS.includes(type)) damaged('a chunk that no PNG decoder knows');
    chunks.push({ type, data });
    if (type === 'IEND') return chunks;
    offset = end;
  }
  return damaged(`truncated: no end marker in its ${bytes.length} bytes`);
}

interface Header {
  width: number;
  height: number;
  /** Bits per sample. */
  depth: number;
  colorType: number;
}

function readHeader(chunks: readonly Chunk[], damaged: Damaged): Header {
  const { type, data } = chunks[0];
  if (type !== 'IHDR' || data.length !== IHDR_BYTES) return damaged('it does not begin with its header');
  if (chunks.some((chunk, i) => i > 0 && chunk.type === 'IHDR')) return damaged('it has two headers');
  const view = new DataView(data.buffer, data.byteOffset, IHDR_BYTES);
  const width = view.getUint32(0);
  const height = view.getUint32(4);
  const depth = data[8];
  const colorType = data[9];
  const interlace = data[12];
  if (width === 0 || height === 0) damaged(`its size is ${width}x${height}`);
  const depths = colorType === GRAYSCALE ? [1, 2, 4, 8, 16] : colorType === PALETTE ? [1, 2, 4, 8] : [8, 16];
  if (!COLOR_TYPES.includes(colorType) || !depths.includes(depth)) {
    damaged(`colour type ${colorType} with ${depth} bits does not exist`);
  }
  if (interlace > 1) damaged(`interlace method ${interlace} does not exist`);
  return { width, height, depth, colorType };
}
