import { InputError } from '../errors.ts';
import { gunzip, isGzip } from './gzip.ts';
import { elementCount } from './shape.ts';

/**
 * An array of unsigned bytes, row-major: labels `[n]`, grayscale images `[n, height, width]`, or images with channels last
 * `[n, height, width, channels]`.
 */
export interface IdxArray {
  /** Extents of the axes, the last one contiguous. */
  readonly shape: readonly number[];
  /** Unsigned bytes, row-major. */
  readonly data: Uint8Array;
}

/** Options of {@link parseIdx}. */
export interface ParseIdxOptions {
  /** Largest unpacked size in bytes that a gzip-compressed file may promise; default 1 GiB. */
  maxBytes?: number;
}

const UNSIGNED_BYTE = 0x08;
const OTHER_TYPES: Record<number, string> = {
  9: 'signed bytes',
  11: 'int16',
  12: 'int32',
  13: 'float32',
  14: 'float64',
};
const MAX_HEADER_BYTES = 20;

/**
 * Reads an IDX file of unsigned bytes (the format of MNIST), gzip-compressed or not; which of both is told by its first
 * bytes. Unpacking stops as soon as the data is longer than the header says. `data` of an uncompressed file is a view of
 * `bytes`.
 *
 * @throws InputError if it is no IDX file, is truncated or too long, holds another type than unsigned bytes, or has another
 * rank than 1, 3 or 4.
 */
export async function parseIdx(bytes: Uint8Array, fileName: string, options: ParseIdxOptions = {}): Promise<IdxArray> {
  const packed = isGzip(bytes);
  const content = packed ? await unpack(bytes, fileName, options.maxBytes ?? 2 ** 30) : bytes;
  const { shape, headerBytes, totalBytes } = parseHeader(content, fileName);
  if (content.length !== totalBytes) throw wrongSize(fileName, shape, totalBytes, content.length, packed);
  return { shape, data: content.subarray(headerBytes) };
}

/**
 * Writes an IDX file of unsigned bytes, not compressed; see `gzip` in gzip.ts.
 *
 * @throws InputError if `data` does not have one byte per entry of `shape`.
 */
export function serializeIdx({ shape, data }: IdxArray): Uint8Array {
  const valid = shape.every((size) => Number.isInteger(size) && size >= 0 && size < 2 ** 32);
  if (!valid || elementCount(shape) !== data.length) {
    throw new InputError(`idx: shape [${shape}] and ${data.length} bytes do not fit; give one byte per entry`);
  }
  const file = new Uint8Array(4 + 4 * shape.length + data.length);
  const view = new DataView(file.buffer);
  file[2] = UNSIGNED_BYTE;
  file[3] = shape.length;
  shape.forEach((size, axis) => {
    view.setUint32(4 + 4 * axis, size);
  });
  file.set(data, 4 + 4 * shape.length);
  return file;
}

interface IdxHeader {
  shape: number[];
  headerBytes: number;
  totalBytes: number;
}

function parseHeader(bytes: Uint8Array, fileName: string): IdxHeader {
  const fail = (what: string, cure = 'download it again'): never => {
    throw new InputError(`${fileName}: ${what}; ${cure}`);
  };
  if (bytes.length < 4) fail(`truncated: ${bytes.length} bytes are no IDX header`);
  const [zero, alsoZero, type, rank] = bytes;
  if (zero !== 0 || alsoZero !== 0) fail('not an IDX file: it does not begin with two zero bytes', 'give an IDX file');
  if (type !== UNSIGNED_BYTE) {
    const what = OTHER_TYPES[type] ?? `type 0x${type.toString(16)}`;
    fail(`it holds ${what}, only unsigned bytes are read`, 'convert it to unsigned bytes');
  }
  if (rank !== 1 && rank !== 3 && rank !== 4) {
    fail(`it has rank ${rank}`, 'give labels (rank 1) or images (rank 3, or rank 4 with channels last)');
  }
  const headerBytes = 4 + 4 * rank;
  if (bytes.length < headerBytes) fail(`truncated: ${bytes.length} bytes, the header alone has ${headerBytes}`);
  const view = new DataView(bytes.buffer, bytes.byteOffset, headerBytes);
  const shape = Array.from({ length: rank }, (_, axis) => view.getUint32(4 + 4 * axis));
  const count = elementCount(shape);
  if (count === undefined) return fail(`damaged: its shape [${shape}] is too large to count`);
  return { shape, headerBytes, totalBytes: headerBytes + count };
}

function wrongSize(fileName: string, shape: readonly number[], expected: number, actual: number, packed: boolean) {
  const items = shape.length === 1 ? `${shape[0]} labels` : `${shape[0]} images of ${shape.slice(1).join('x')}`;
  const what = actual < expected ? 'truncated' : 'too long';
  const has = packed ? `unpacked it has ${actual > expected ? 'more' : `${actual} bytes`}` : `file has ${actual} bytes`;
  return new InputError(`${fileName}: ${what}: header says ${items} (${expected} bytes), ${has}; download it again`);
}

/** Unpacks into one buffer, of the size that the header promises. */
async function unpack(bytes: Uint8Array, fileName: string, maxBytes: number): Promise<Uint8Array> {
  let content = new Uint8Array(MAX_HEADER_BYTES);
  let size = 0;
  let header: IdxHeader | undefined;
  try {
    for await (let part of gunzip(bytes)) {
      if (header === undefined) {
        const missing = Math.min(MAX_HEADER_BYTES - size, part.length);
        content.set(part.subarray(0, missing), size);
        size += missing;
        part = part.subarray(missing);
        if (size < MAX_HEADER_BYTES) continue;
        header = parseHeader(content, fileName);
        if (header.totalBytes > maxBytes)
          throw new InputError(
            `${fileName}: its header promises ${header.totalBytes} bytes, the limit for compressed files is ${maxBytes}; unpack it with gunzip first`,
          );
        if (size > header.totalBytes) throw wrongSize(fileName, header.shape, header.totalBytes, size, true);
        const beginning = content;
        content = new Uint8Array(header.totalBytes);
        content.set(beginning);
      }
      if (size + part.length > header.totalBytes)
        throw wrongSize(fileName, header.shape, header.totalBytes, size + part.length, true);
      content.set(part, size);
      size += part.length;
    }
  } catch (error) {
    if (error instanceof InputError) throw error;
    throw new InputError(`${fileName}: damaged gzip file: ${(error as Error).message}; download it again`);
  }
  return content.subarray(0, size);
}
