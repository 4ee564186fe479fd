import type { PNG as Png } from 'pngjs';
import { concatBytes } from '../formats/gzip.ts';
import type { Decoded } from './codec.ts';
import type { ImageHeader } from './header.ts';
import type { Image8 } from './image.ts';
import { GRAYSCALE, PALETTE, type PngChunk, type PngFrame, pngFile, readPngChunks, readPngFrame } from './png.ts';

/** Compression as `sharpCodec` has it; zlib's default strategy. */
const PNG_OPTIONS = { deflateLevel: 6, deflateStrategy: 0 } as const;
const GRAYSCALE_ALPHA = 4;
const RGB = 2;
const RGB_ALPHA = 6;
/** No compressed byte of deflate gives more than this many. */
const MOST_INFLATED = 1032;
/** x and y of the first pixel of each pass of an interlaced file, and the steps to the next (PNG 3, 8.2). */
const PASSES = [
  [0, 0, 8, 8],
  [4, 0, 8, 8],
  [0, 4, 4, 8],
  [2, 0, 4, 4],
  [0, 2, 2, 4],
  [1, 0, 2, 2],
  [0, 1, 1, 2],
] as const;

/**
 * Decodes the pixels of a PNG file by pngjs, as libpng does where the two differ: what is packed behind the last row is ignored and
 * not unpacked, an index beyond the palette is black, and a colour that is declared transparent keeps its levels.
 */
export async function decodePng(bytes: Uint8Array, { width, height }: ImageHeader): Promise<Decoded> {
  const chunks = readPngChunks(bytes);
  const frame = readPngFrame(chunks);
  const rows = await unpack(chunks, rowBytes(frame));
  const PNG = await loadPngjs();
  const png = PNG.sync.read(
    // Its reader wants Buffers of its own making: in a browser bundle these are not the runtime's.
    bufferOf(PNG, repack(chunks, frame, rows)),
    { skipRescale: frame.depth === 16 } as object,
  );
  const levels = png.data as Uint8Array | Uint16Array;
  const data = levels instanceof Uint16Array ? levels : new Uint8Array(levels.buffer, levels.byteOffset, levels.length);
  makeTransparent(data, chunks, frame);
  return { width, height, channels: 4, data };
}

/** Encodes an image as a PNG file by pngjs. */
export async function encodePng({ width, height, channels, data, alpha }: Image8): Promise<Uint8Array> {
  const PNG = await loadPngjs();
  const png = new PNG({ width, height });
  for (let pixel = 0; pixel < width * height; pixel++) {
    for (let c = 0; c < 3; c++) png.data[4 * pixel + c] = data[channels === 1 ? pixel : 3 * pixel + c];
    png.data[4 * pixel + 3] = alpha ? alpha[pixel] : 255;
  }
  const colorType = channels === 1 ? (alpha ? GRAYSCALE_ALPHA : GRAYSCALE) : alpha ? RGB_ALPHA : RGB;
  const bytes = PNG.sync.write(png, { ...PNG_OPTIONS, colorType });
  return new Uint8Array(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}

/** pngjs, or its browser build where the bundler's conditions say so (`imports` in package.json). */
async function loadPngjs(): Promise<typeof Png> {
  const { default: pngjs } = await import('#pngjs');
  return pngjs.PNG;
}

type PngjsBuffer = Parameters<typeof Png.sync.read>[0];

function bufferOf(PNG: typeof Png, bytes: Uint8Array): PngjsBuffer {
  const { constructor: itsBuffer } = new PNG({ width: 1, height: 1 }).data;
  return (itsBuffer as unknown as { from(bytes: Uint8Array): PngjsBuffer }).from(bytes);
}

/** Bytes of all rows before compression, each with its filter's number; of an interlaced file those of all passes. */
function rowBytes({ width, height, depth, samplesPerPixel, interlaced }: PngFrame): number {
  const bytes = (columns: number, rows: number): number =>
    columns === 0 ? 0 : rows * (1 + Math.ceil((columns * depth * samplesPerPixel) / 8));
  if (!interlaced) return bytes(width, height);
  return PASSES.reduce(
    (sum, [x, y, dx, dy]) =>
      sum + bytes(Math.max(0, Math.ceil((width - x) / dx)), Math.max(0, Math.ceil((height - y) / dy))),
    0,
  );
}

/** The compressed rows, unpacked up to their `length`. Throws where they are damaged or fewer. */
async function unpack(chunks: readonly PngChunk[], length: number): Promise<Uint8Array> {
  const packed = concatBytes(chunks.filter(({ type }) => type === 'IDAT').map(({ data }) => data));
  if (length > packed.length * MOST_INFLATED) throw new Error('too few compressed bytes');
  const { Inflate } = await import('pako');
  const rows = new Uint8Array(length);
  let filled = 0;
  const inflate = new Inflate({ raw: false, windowBits: 15 });
  inflate.onData = (part) => {
    rows.set(part.subarray(0, length - filled), filled);
    filled += part.length;
    if (filled > length) throw BEYOND;
  };
  try {
    inflate.push(packed as Uint8Array<ArrayBuffer>, true);
  } catch (error) {
    if (error !== BEYOND) throw error;
    return rows;
  }
  if (inflate.err) throw new Error(`${inflate.msg} (zlib ${inflate.err})`);
  if (filled < length) throw new Error(`${filled} of ${length} bytes`);
  return rows;
}

/** Ends unpacking: there is more than the rows need. */
const BEYOND = new Error('more than the rows need');

/** The file with its rows in blocks that need no unpacking, and what pngjs would refuse made good. */
function repack(chunks: readonly PngChunk[], { depth, colorType }: PngFrame, rows: Uint8Array): Uint8Array {
  const [header] = chunks;
  const palette: PngChunk[] = [];
  if (colorType === PALETTE) {
    const data = chunks.slice(0, firstPixels(chunks)).find(({ type }) => type === 'PLTE')?.data;
    if (!data || data.length % 3 !== 0) throw new Error('no palette');
    const entries = Math.min(data.length / 3, 2 ** depth);
    const padded = new Uint8Array(3 * 256);
    padded.set(data.subarray(0, 3 * entries));
    palette.push({ type: 'PLTE', data: padded });
    const opacity = transparency(chunks);
    if (opacity && opacity.length > 0 && opacity.length <= entries) palette.push({ type: 'tRNS', data: opacity });
  }
  return pngFile([header, ...palette, { type: 'IDAT', data: stored(rows) }, { type: 'IEND', data: new Uint8Array(0) }]);
}

/** A zlib stream of blocks that are not compressed (RFC 1950, RFC 1951 section 3.2.4). */
function stored(bytes: Uint8Array): Uint8Array {
  const most = 65535;
  const parts: Uint8Array[] = [Uint8Array.of(0x78, 0x01)];
  for (let at = 0; at < bytes.length; at += most) {
    const block = bytes.subarray(at, at + most);
    const last = at + most >= bytes.length ? 1 : 0;
    const [low, high] = [block.length & 255, block.length >> 8];
    parts.push(Uint8Array.of(last, low, high, low ^ 255, high ^ 255), block);
  }
  const sum = adler32(bytes);
  return concatBytes([...parts, Uint8Array.of(sum >>> 24, (sum >>> 16) & 255, (sum >>> 8) & 255, sum & 255)]);
}

/** RFC 1950, section 8.2. */
function adler32(bytes: Uint8Array): number {
  let a = 1;
  let b = 0;
  for (let at = 0; at < bytes.length; at += 5552) {
    // So many sums stay below 2^32.
    for (const byte of bytes.subarray(at, at + 5552)) b += a += byte;
    a %= 65521;
    b %= 65521;
  }
  return b * 65536 + a;
}

const firstPixels = (chunks: readonly PngChunk[]): number => chunks.findIndex(({ type }) => type === 'IDAT');

/** What a file says of its transparency where it says it rightly: before the pixels, after the palette, once. */
function transparency(chunks: readonly PngChunk[]): Uint8Array | undefined {
  const first = firstPixels(chunks);
  const palette = chunks.findIndex(({ type }) => type === 'PLTE');
  return chunks.find(({ type }, i) => type === 'tRNS' && i < first && i > palette)?.data;
}

/** Makes the pixels of the colour transparent that a grey or RGB file declares so; their levels stay. */
function makeTransparent(
  pixels: Uint8Array | Uint16Array,
  chunks: readonly PngChunk[],
  { depth, colorType, samplesPerPixel }: PngFrame,
): void {
  const declared = colorType === GRAYSCALE || colorType === RGB ? transparency(chunks) : undefined;
  if (declared?.length !== 2 * samplesPerPixel) return;
  const most = 2 ** depth - 1;
  const scale = depth === 16 ? 1 : 255 / most;
  const view = new DataView(declared.buffer, declared.byteOffset, declared.byteLength);
  const colour = [0, 1, 2].map((c) => (view.getUint16(2 * (c % samplesPerPixel)) & most) * scale);
  for (let at = 0; at < pixels.length; at += 4)
    if (colour.every((level, c) => pixels[at + c] === level)) pixels[at + 3] = 0;
}
