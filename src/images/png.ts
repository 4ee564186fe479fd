import { inflateSync } from 'node:zlib';
import { PNG } from 'pngjs';
import { InputError } from '../errors.ts';
import { checkImage, type Image8 } from './image.ts';

export interface DecodeOptions {
  /** Largest number of pixels (width times height) that is decoded; default 64 million. */
  maxPixels?: number;
  /** Decode images with transparent pixels by leaving the alpha channel out; otherwise they are refused. */
  dropAlpha?: boolean;
}

export const DEFAULT_MAX_PIXELS = 64_000_000;

const SIGNATURE = [0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a];
const IHDR_BYTES = 13;
/** Length, type and CRC around a chunk's data. */
const CHUNK_OVERHEAD = 12;
const CRITICAL_CHUNKS = ['IHDR', 'PLTE', 'IDAT', 'IEND'];
const SAMPLES_PER_PIXEL: Record<number, number> = { 0: 1, 2: 3, 3: 1, 4: 2, 6: 4 };
const PALETTE = 3;
const RGB = 2;
const GRAYSCALE = 0;

/** Whether bytes begin like a PNG file. */
export function isPng(bytes: Uint8Array): boolean {
  return SIGNATURE.every((byte, i) => bytes[i] === byte);
}

/**
 * Decodes a PNG file: grayscale to 1 channel, RGB and palette to 3, 1, 2 and 4 bits scaled to 0–255. An alpha channel that
 * is opaque everywhere is left out. Levels are those in the file: no gamma or colour profile is applied. Bytes after the end
 * marker are ignored.
 *
 * @throws InputError if it is not a PNG file, is truncated or damaged, is animated or 16-bit, has more pixels than allowed
 * (told from the header before anything is decoded), or has transparent pixels that `dropAlpha` does not allow.
 */
export function decodePng(bytes: Uint8Array, fileName: string, options: DecodeOptions = {}): Image8 {
  const fail = (what: string, cure: string): never => {
    throw new InputError(`${fileName}: ${what}; ${cure}`);
  };
  const damaged = (what: string): never => fail(`damaged PNG: ${what}`, 'save it again or remove it');
  if (!isPng(bytes)) fail('not a PNG file', 'convert it to PNG or remove it');
  const chunks = readChunks(bytes, damaged);
  const header = readHeader(chunks, damaged);
  const { width, height, depth, colorType } = header;
  const maxPixels = options.maxPixels ?? DEFAULT_MAX_PIXELS;
  if (width * height > maxPixels) {
    fail(`${width}x${height} is more than ${maxPixels} pixels`, 'scale it down or raise the limit');
  }
  if (depth === 16) fail('16 bits per channel', 'convert it to 8 bits');
  if (chunks.some(({ type }) => type === 'acTL')) fail('animated PNG', 'save a single frame');
  checkPixelData(chunks, header, damaged);

  // A colour declared transparent would be decoded to transparent black: without its declaration the colour stays.
  const kept = options.dropAlpha ? chunks.filter(({ type }) => type !== 'tRNS') : chunks;
  const file = Buffer.concat([bytes.subarray(0, SIGNATURE.length), ...kept.map(({ whole }) => whole)]);
  let rgba: Uint8Array;
  try {
    rgba = PNG.sync.read(file, { checkCRC: false }).data;
  } catch (error) {
    return damaged((error as Error).message);
  }
  if (!options.dropAlpha) {
    for (let i = 3; i < rgba.length; i += 4) {
      if (rgba[i] !== 255)
        fail('it has transparent pixels', 'flatten it on a background, or allow alpha to be dropped');
    }
  }

  const channels = colorType === RGB || colorType === PALETTE || colorType === 6 ? 3 : 1;
  const data = new Uint8Array(width * height * channels);
  for (let i = 0, from = 0; i < data.length; i += channels, from += 4) {
    for (let c = 0; c < channels; c++) data[i + c] = rgba[from + c];
  }
  return { width, height, channels, data };
}

/**
 * Encodes an image as a PNG file, lossless: 8-bit grayscale or RGB, without any metadata. The same image gives the same
 * bytes under the same version of Node.
 *
 * @throws InputError if `image` is not one (see `checkImage`).
 */
export function encodePng(image: Image8): Uint8Array {
  checkImage(image, 'png');
  const { width, height, channels, data } = image;
  const colorType = channels === 1 ? GRAYSCALE : RGB;
  const png = { width, height, data: Buffer.from(data.buffer, data.byteOffset, data.byteLength) } as PNG;
  return new Uint8Array(
    PNG.sync.write(png, { colorType, inputColorType: colorType, inputHasAlpha: false, bitDepth: 8 }),
  );
}

interface Chunk {
  readonly type: string;
  readonly data: Uint8Array;
  /** Length, type, data and CRC. */
  readonly whole: Uint8Array;
}

type Fail = (what: string) => never;

/**
 * The chunks up to the end marker, which must be there. Checksums and unknown chunks are looked at here because the decoder
 * reports neither by name.
 */
function readChunks(bytes: Uint8Array, damaged: Fail): Chunk[] {
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
    chunks.push({ type, data, whole: bytes.subarray(offset, end) });
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
  interlaced: boolean;
}

function readHeader(chunks: readonly Chunk[], damaged: Fail): Header {
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
  if (!(colorType in SAMPLES_PER_PIXEL) || !depths.includes(depth)) {
    damaged(`colour type ${colorType} with ${depth} bits does not exist`);
  }
  if (interlace > 1) damaged(`interlace method ${interlace} does not exist`);
  return { width, height, depth, colorType, interlaced: interlace === 1 };
}

/**
 * Checks that the compressed pixels unpack to exactly the size that the header needs and agree with their checksum, never
 * unpacking more than that: the decoder itself sets no limit for interlaced images and overlooks a missing checksum.
 */
function checkPixelData(chunks: readonly Chunk[], header: Header, damaged: Fail): void {
  const expected = filteredBytes(header);
  const packed = Buffer.concat(chunks.filter(({ type }) => type === 'IDAT').map(({ data }) => data));
  let actual = 0;
  try {
    actual = inflateSync(packed, { maxOutputLength: expected }).length;
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException;
    damaged(code === 'ERR_BUFFER_TOO_LARGE' ? `more pixel data than ${header.width}x${header.height} needs` : message);
  }
  if (actual !== expected) damaged(`${actual} bytes of pixel data, ${header.width}x${header.height} needs ${expected}`);
}

/** Bytes of an image before compression: every row of every pass with one byte for its filter. */
function filteredBytes({ width, height, depth, colorType, interlaced }: Header): number {
  const bitsPerPixel = depth * SAMPLES_PER_PIXEL[colorType];
  const bytes = (w: number, h: number) => (w === 0 || h === 0 ? 0 : h * (1 + Math.ceil((w * bitsPerPixel) / 8)));
  if (!interlaced) return bytes(width, height);
  const passes = [
    [0, 0, 8, 8],
    [4, 0, 8, 8],
    [0, 4, 4, 8],
    [2, 0, 4, 4],
    [0, 2, 2, 4],
    [1, 0, 2, 2],
    [0, 1, 1, 2],
  ];
  const steps = (size: number, first: number, step: number) => Math.ceil(Math.max(0, size - first) / step);
  return passes.reduce((sum, [x, y, dx, dy]) => sum + bytes(steps(width, x, dx), steps(height, y, dy)), 0);
}

const CRC_TABLE = Uint32Array.from({ length: 256 }, (_, byte) => {
  let crc = byte;
  for (let bit = 0; bit < 8; bit++) crc = crc & 1 ? (crc >>> 1) ^ 0xedb88320 : crc >>> 1;
  return crc;
});

/** The checksum of PNG (ISO 3309); node:zlib has it only from Node 20.15 on. */
function crc32(bytes: Uint8Array): number {
  let crc = 0xffffffff;
  for (const byte of bytes) crc = CRC_TABLE[(crc ^ byte) & 0xff] ^ (crc >>> 8);
  return ~crc >>> 0;
}
