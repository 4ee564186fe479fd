import { InputError } from '../errors.ts';
import { elementCount, isCount } from './shape.ts';

/** A NumPy array: `data` has one element per entry of `shape`, row-major (C order). */
export type NpyArray =
  | { readonly dtype: 'f4'; readonly shape: readonly number[]; readonly data: Float32Array }
  | { readonly dtype: 'f8'; readonly shape: readonly number[]; readonly data: Float64Array }
  | { readonly dtype: 'i4'; readonly shape: readonly number[]; readonly data: Int32Array }
  | { readonly dtype: 'i8'; readonly shape: readonly number[]; readonly data: BigInt64Array }
  | { readonly dtype: 'u1'; readonly shape: readonly number[]; readonly data: Uint8Array };

const MAGIC = '\x93NUMPY';
const ALIGNMENT = 64;
/** Format 1 cannot say more; longer ones are only written for arrays with named fields, which are not read here. */
const MAX_HEADER_BYTES = 65535;

const TYPES = {
  '<f4': { dtype: 'f4', array: Float32Array },
  '<f8': { dtype: 'f8', array: Float64Array },
  '<i4': { dtype: 'i4', array: Int32Array },
  '<i8': { dtype: 'i8', array: BigInt64Array },
  '|u1': { dtype: 'u1', array: Uint8Array },
} as const;

/**
 * Reads a `.npy` file of format 1, 2 or 3 into arrays of its own (a copy).
 *
 * @throws InputError if it is not one, is truncated or has bytes left over, is in Fortran order, or holds another type than
 * little-endian float32, float64, int32, int64, or uint8.
 */
export function parseNpy(bytes: Uint8Array, fileName: string): NpyArray {
  const fail = (what: string, cure: string): never => {
    throw new InputError(`${fileName}: ${what}; ${cure}`);
  };
  const again = 'save or download it again';
  if (latin1(bytes.subarray(0, MAGIC.length)) !== MAGIC) fail('not an .npy file', 'write it with numpy.save');
  const version = bytes[6];
  if (bytes.length >= 8 && version !== 1 && version !== 2 && version !== 3) {
    fail(`.npy format version ${version} is not known`, 'write it with numpy.save');
  }
  const lengthBytes = version === 1 ? 2 : 4;
  const headerStart = 8 + lengthBytes;
  if (bytes.length < headerStart) fail(`truncated in its header: ${bytes.length} bytes`, again);
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const headerBytes = version === 1 ? view.getUint16(8, true) : view.getUint32(8, true);
  const dataStart = headerStart + headerBytes;
  if (bytes.length < dataStart) fail(`truncated: its header ends at byte ${dataStart} of ${bytes.length}`, again);
  if (headerBytes > MAX_HEADER_BYTES) fail(`its header has ${headerBytes} bytes`, 'save an array without named fields');

  const header = parseHeader(latin1(bytes.subarray(headerStart, dataStart)));
  if (header === undefined) return fail('damaged: its header is not an array description', again);
  const { descr, fortranOrder, shape } = header;
  if (!Object.hasOwn(TYPES, descr)) {
    fail(`element type '${descr}' cannot be read`, `convert it with astype to one of ${Object.keys(TYPES).join(' ')}`);
  }
  if (fortranOrder && shape.length > 1) {
    fail(`it is in Fortran order`, 'save numpy.ascontiguousarray of it');
  }
  const { dtype, array } = TYPES[descr as keyof typeof TYPES];
  const count = elementCount(shape);
  const size = count === undefined ? Number.POSITIVE_INFINITY : count * array.BYTES_PER_ELEMENT;
  if (bytes.length - dataStart !== size) {
    const what = bytes.length - dataStart < size ? 'truncated' : 'too long';
    fail(`${what}: ${dtype} [${shape}] needs ${size} bytes of data, the file has ${bytes.length - dataStart}`, again);
  }
  return { dtype, shape, data: new array(new Uint8Array(bytes.subarray(dataStart)).buffer) } as NpyArray;
}

/** A matrix [rows, columns] of floating-point numbers, row-major. */
export interface Matrix<Data extends Float32Array | Float64Array = Float32Array | Float64Array> {
  readonly rows: number;
  readonly columns: number;
  readonly data: Data;
}

/**
 * Reads a matrix from a `.npy` file, float32 or float64 as it is stored.
 *
 * @throws InputError if it holds integers or another number of dimensions, or as {@link parseNpy} does.
 */
export function parseNpyMatrix(bytes: Uint8Array, fileName: string): Matrix {
  const { shape, data } = parseNpy(bytes, fileName);
  if (!(data instanceof Float32Array || data instanceof Float64Array))
    throw new InputError(`${fileName}: holds integers; save float32 or float64`);
  return matrixOf(shape, data, fileName);
}

/** An array as a matrix. Throws InputError if it has another number of dimensions. */
export function matrixOf<Data extends Float32Array | Float64Array>(
  shape: readonly number[],
  data: Data,
  name: string,
): Matrix<Data> {
  if (shape.length !== 2) throw new InputError(`${name}: is [${shape.join(', ')}]; give a matrix, a row each`);
  return { rows: shape[0], columns: shape[1], data };
}

/**
 * Writes a `.npy` file (format 1, C order): float32, float64, int64 or uint8 by the type of `data`. The same input gives the same
 * bytes.
 *
 * @throws InputError if `data` does not have one element per entry of `shape`.
 */
export function serializeNpy(
  shape: readonly number[],
  data: Float32Array | Float64Array | BigInt64Array | Uint8Array,
): Uint8Array {
  if (!shape.every(isCount) || elementCount(shape) !== data.length) {
    throw new InputError(`npy: shape [${shape}] and ${data.length} elements do not fit; give one element per entry`);
  }
  const descr = Object.entries(TYPES).find(([, { array }]) => data instanceof array)![0];
  const tuple = shape.length === 1 ? `(${shape[0]},)` : `(${shape.join(', ')})`;
  const description = `{'descr': '${descr}', 'fortran_order': False, 'shape': ${tuple}, }`;
  const headerStart = 10;
  const dataStart = Math.ceil((headerStart + description.length + 1) / ALIGNMENT) * ALIGNMENT;
  const text = `${MAGIC}\x01\x00\x00\x00${description.padEnd(dataStart - headerStart - 1)}\n`;

  const file = new Uint8Array(dataStart + data.byteLength);
  for (let i = 0; i < dataStart; i++) file[i] = text.charCodeAt(i);
  new DataView(file.buffer).setUint16(8, dataStart - headerStart, true);
  file.set(new Uint8Array(data.buffer, data.byteOffset, data.byteLength), dataStart);
  return file;
}

/** Every byte as the character of the same number: exact for the ASCII that a valid header of any version is here. */
function latin1(bytes: Uint8Array): string {
  let text = '';
  for (const byte of bytes) text += String.fromCharCode(byte);
  return text;
}

interface Header {
  descr: string;
  fortranOrder: boolean;
  shape: number[];
}

/**
 * The header is a Python dict literal. This reads the only form there is for arrays without named fields, with the keys in
 * any order and either kind of quote: a string, True or False, and a tuple of decimal integers.
 */
function parseHeader(text: string): Header | undefined {
  const dict = /^\{(.*)\}\s*$/s.exec(text);
  if (dict === null) return undefined;
  const item =
    /\s*(['"])(descr|fortran_order|shape)\1\s*:\s*(?:(['"])([^'"\\]*)\3|(True|False)|\(([\d,\s]*)\))\s*(,|$)/gy;
  const header: Partial<Header> = {};
  let end = 0;
  for (const match of dict[1].matchAll(item)) {
    end = match.index + match[0].length;
    const [, , key, , string, boolean, tuple] = match;
    if (key === 'descr' && string !== undefined && header.descr === undefined) header.descr = string;
    else if (key === 'fortran_order' && boolean !== undefined && header.fortranOrder === undefined) {
      header.fortranOrder = boolean === 'True';
    } else if (key === 'shape' && tuple !== undefined && header.shape === undefined) {
      const shape = parseTuple(tuple);
      if (shape === undefined) return undefined;
      header.shape = shape;
    } else return undefined;
  }
  if (dict[1].slice(end).trim() !== '') return undefined;
  const { descr, fortranOrder, shape } = header;
  if (descr === undefined || fortranOrder === undefined || shape === undefined) return undefined;
  return { descr, fortranOrder, shape };
}

/** The inside of a tuple of counts: nothing, or numbers with commas between and perhaps after; one number needs its comma. */
function parseTuple(text: string): number[] | undefined {
  if (text.trim() === '') return [];
  const parts = text.split(',');
  if (parts.length === 1) return undefined;
  if (parts.at(-1)!.trim() === '') parts.pop();
  const shape: number[] = [];
  for (const part of parts) {
    const value = Number(part);
    if (!/^\s*\d+\s*$/.test(part) || !isCount(value)) return undefined;
    shape.push(value);
  }
  return shape;
}
