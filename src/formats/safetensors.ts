import { InputError } from '../errors.ts';
import { oddity } from './document.ts';
import { foreignFile } from './foreign.ts';
import { elementCount, isCount } from './shape.ts';

/** Bytes per element of every element type this project reads or writes. */
export const DTYPE_BYTES = {
  BOOL: 1,
  U8: 1,
  I8: 1,
  F8_E4M3: 1,
  F8_E5M2: 1,
  I16: 2,
  U16: 2,
  F16: 2,
  BF16: 2,
  I32: 4,
  U32: 4,
  F32: 4,
  I64: 8,
  U64: 8,
  F64: 8,
} as const;

/** Element types that are read and written, by their names in the format. */
export type SafetensorsDtype = keyof typeof DTYPE_BYTES;

/** One tensor of a file. `data` is a view of the file's bytes: little-endian, row-major, at any alignment. */
export interface SafetensorsTensor {
  /** File it came from, for messages. */
  readonly file: string;
  readonly name: string;
  readonly dtype: SafetensorsDtype;
  readonly shape: readonly number[];
  readonly data: Uint8Array;
}

/** What {@link parseSafetensors} finds in a file. */
export interface SafetensorsFile {
  /** The `__metadata__` entry; empty where the file has none. */
  readonly metadata: Readonly<Record<string, string>>;
  /** By name, in the order of their data in the file. */
  readonly tensors: ReadonlyMap<string, SafetensorsTensor>;
}

/** What `serializeSafetensors` takes for one tensor: `data` holds the elements of `shape`, row-major. */
export interface TensorData {
  readonly dtype: SafetensorsDtype;
  /** Extents of the axes, the last one contiguous. */
  readonly shape: readonly number[];
  readonly data: ArrayBufferView;
}

const MAX_HEADER_BYTES = 100_000_000;
/** Each costs memory and time whatever it holds; the largest models have a tenth of it. */
export const MOST_TENSORS = 65_536;
const LENGTH_BYTES = 8;

/**
 * Reads a safetensors file. Tensors are views of `bytes`; nothing is copied.
 *
 * @throws InputError if any rule of the format is broken: a header beyond 100 MB or the file, more than 65 536 tensors, invalid
 * UTF-8 or JSON, a key twice, an unknown element type, a shape that is not made of counts, byte ranges that are not exactly the shape's, that
 * overlap, leave a hole, or do not end at the end of the file.
 */
export function parseSafetensors(bytes: Uint8Array, fileName: string): SafetensorsFile {
  const fail = (what: string): never => {
    throw new InputError(`${fileName}: ${what}; save or download it again`);
  };
  if (bytes.length === 0) throw new InputError(`${fileName}: an empty file; restore or download it again`);
  if (bytes.length < LENGTH_BYTES)
    fail(`not a safetensors file: ${bytes.length} bytes, the header's length alone is 8`);
  const headerBytes = new DataView(bytes.buffer, bytes.byteOffset, LENGTH_BYTES).getBigUint64(0, true);
  // A header that begins as it should is not told by what its length looks like.
  const foreign = bytes[LENGTH_BYTES] === 0x7b && headerBytes <= MAX_HEADER_BYTES ? undefined : foreignFile(bytes);
  if (foreign) throw new InputError(`${fileName}: ${foreign.what}, not safetensors; ${foreign.cure}`);
  if (headerBytes > BigInt(MAX_HEADER_BYTES)) {
    fail(`not a safetensors file: it says that its header has ${headerBytes} bytes, the limit is ${MAX_HEADER_BYTES}`);
  }
  const dataStart = LENGTH_BYTES + Number(headerBytes);
  if (dataStart > bytes.length) {
    fail(`truncated: the header needs ${dataStart} bytes, the file has ${bytes.length}`);
  }

  const header = parseHeader(bytes.subarray(LENGTH_BYTES, dataStart), fail);
  const count = Object.keys(header).length;
  if (count > MOST_TENSORS + 1) fail(`names ${count} tensors, the limit is ${MOST_TENSORS}`);
  let metadata: Record<string, string> = {};
  const entries: { begin: number; end: number; tensor: Omit<SafetensorsTensor, 'data'> }[] = [];
  for (const [name, value] of Object.entries(header)) {
    if (name === '__metadata__') metadata = checkMetadata(value, fail);
    else entries.push(checkEntry(fileName, name, value, fail));
  }

  entries.sort((a, b) => a.begin - b.begin || a.end - b.end);
  const tensors = new Map<string, SafetensorsTensor>();
  let end = 0;
  for (const { begin, end: entryEnd, tensor } of entries) {
    if (begin !== end) {
      const what = begin < end ? 'overlaps the tensor before it' : 'leaves a hole after the tensor before it';
      fail(`tensor ${quote(tensor.name)} ${what}: it begins at byte ${begin}, expected ${end}`);
    }
    end = entryEnd;
    if (dataStart + end > bytes.length) {
      fail(
        `truncated: tensor ${quote(tensor.name)} ends at byte ${dataStart + end} of the file, which has ${bytes.length}`,
      );
    }
    tensors.set(tensor.name, { ...tensor, data: bytes.subarray(dataStart + begin, dataStart + end) });
  }
  if (dataStart + end !== bytes.length) {
    fail(`${bytes.length - dataStart - end} bytes after the last tensor belong to none`);
  }
  return { metadata, tensors };
}

/**
 * Writes a safetensors file: tensors in the order given, no gaps, header padded with spaces to a multiple of 8 bytes. The
 * same input gives the same bytes.
 *
 * @throws InputError if a name comes twice or is `__metadata__`, or if `data` does not have exactly the bytes of the shape.
 */
export function serializeSafetensors(
  tensors: Iterable<readonly [name: string, tensor: TensorData]>,
  metadata: Readonly<Record<string, string>> = {},
): Uint8Array {
  const header = new Map<string, unknown>();
  if (Object.keys(metadata).length > 0) header.set('__metadata__', metadata);
  const parts: Uint8Array[] = [];
  let end = 0;
  for (const [name, { dtype, shape, data }] of tensors) {
    if (name === '__metadata__' || header.has(name)) {
      throw new InputError(`safetensors: tensor name ${quote(name)} is taken; give every tensor a name of its own`);
    }
    const count = shape.every(isCount) ? elementCount(shape) : undefined;
    if (count === undefined || data.byteLength !== count * DTYPE_BYTES[dtype]) {
      throw new InputError(
        `safetensors: tensor ${quote(name)} is ${dtype} [${shape}], its data has ${data.byteLength} bytes; give one element per entry`,
      );
    }
    header.set(name, { dtype, shape, data_offsets: [end, end + data.byteLength] });
    // Typed arrays are little-endian on every machine that has WebGPU, as the format wants them.
    parts.push(new Uint8Array(data.buffer, data.byteOffset, data.byteLength));
    end += data.byteLength;
  }

  // Not JSON.stringify of one object, which would move names that look like numbers to the front.
  const members = Array.from(header, ([name, entry]) => `${JSON.stringify(name)}:${JSON.stringify(entry)}`);
  const json = new TextEncoder().encode(`{${members.join(',')}}`);
  const headerBytes = Math.ceil(json.length / 8) * 8;
  const file = new Uint8Array(LENGTH_BYTES + headerBytes + end);
  new DataView(file.buffer).setBigUint64(0, BigInt(headerBytes), true);
  file.fill(0x20, LENGTH_BYTES, LENGTH_BYTES + headerBytes);
  file.set(json, LENGTH_BYTES);
  let offset = LENGTH_BYTES + headerBytes;
  for (const part of parts) {
    file.set(part, offset);
    offset += part.length;
  }
  return file;
}

/**
 * A floating-point tensor as float32, row-major. An aligned F32 tensor comes back as a view of the file's bytes, anything
 * else as a copy; F64 is rounded to nearest.
 *
 * @throws InputError if the tensor is not F32, F16, BF16 or F64.
 */
export function toFloat32(tensor: SafetensorsTensor): Float32Array {
  if (tensor.dtype === 'F32') {
    const { buffer, byteOffset, byteLength } = aligned(tensor.data, 4);
    return new Float32Array(buffer, byteOffset, byteLength / 4);
  }
  if (tensor.dtype === 'F16') return halves(tensor, float16Value);
  if (tensor.dtype === 'BF16') return halves(tensor, bfloat16Value);
  if (tensor.dtype === 'F64') return Float32Array.from(toFloat64(tensor));
  throw new InputError(
    `${tensor.file}: tensor ${quote(tensor.name)} is ${tensor.dtype}, expected floating point; save it as F32`,
  );
}

/**
 * A floating-point tensor as float64, row-major; exact for every type taken. An aligned F64 tensor comes back as a view of
 * the file's bytes.
 *
 * @throws InputError if the tensor is not F64, F32, F16 or BF16.
 */
export function toFloat64(tensor: SafetensorsTensor): Float64Array {
  if (tensor.dtype !== 'F64') return Float64Array.from(toFloat32(tensor));
  const { buffer, byteOffset, byteLength } = aligned(tensor.data, 8);
  return new Float64Array(buffer, byteOffset, byteLength / 8);
}

/**
 * An I64 tensor as numbers, row-major.
 *
 * @throws InputError if the tensor is not I64, or holds a value beyond ±(2^53 − 1).
 */
export function toInt64Numbers(tensor: SafetensorsTensor): number[] {
  if (tensor.dtype !== 'I64') {
    throw new InputError(
      `${tensor.file}: tensor ${quote(tensor.name)} is ${tensor.dtype}, expected I64; save it as I64`,
    );
  }
  const { buffer, byteOffset, byteLength } = aligned(tensor.data, 8);
  return Array.from(new BigInt64Array(buffer, byteOffset, byteLength / 8), (value) => {
    const number = Number(value);
    if (!Number.isSafeInteger(number)) {
      throw new InputError(
        `${tensor.file}: tensor ${quote(tensor.name)} holds ${value}, beyond exact integers; save values within ±(2^53 − 1)`,
      );
    }
    return number;
  });
}

/**
 * A tensor of any element type as numbers, row-major; integers beyond ±(2^53 − 1) are rounded, and values of 8-bit floating point
 * are NaN.
 */
export function toNumbers({ dtype, data }: SafetensorsTensor): number[] {
  const size = DTYPE_BYTES[dtype];
  const view = new DataView(data.buffer, data.byteOffset, data.byteLength);
  return Array.from({ length: data.length / size }, (_, i) => READ[dtype](view, i * size));
}

const READ: Readonly<Record<SafetensorsDtype, (view: DataView, at: number) => number>> = {
  BOOL: (view, at) => view.getUint8(at),
  U8: (view, at) => view.getUint8(at),
  I8: (view, at) => view.getInt8(at),
  F8_E4M3: () => Number.NaN,
  F8_E5M2: () => Number.NaN,
  I16: (view, at) => view.getInt16(at, true),
  U16: (view, at) => view.getUint16(at, true),
  F16: (view, at) => float16Value(view.getUint16(at, true)),
  BF16: (view, at) => bfloat16Value(view.getUint16(at, true)),
  I32: (view, at) => view.getInt32(at, true),
  U32: (view, at) => view.getUint32(at, true),
  F32: (view, at) => view.getFloat32(at, true),
  I64: (view, at) => Number(view.getBigInt64(at, true)),
  U64: (view, at) => Number(view.getBigUint64(at, true)),
  F64: (view, at) => view.getFloat64(at, true),
};

type Fail = (what: string) => never;

/** A name for a one-line message, however long or odd it is. */
function quote(name: string): string {
  return JSON.stringify(name.length > 100 ? `${name.slice(0, 100)}…` : name);
}

function parseHeader(bytes: Uint8Array, fail: Fail): Record<string, unknown> {
  if (bytes[0] !== 0x7b) return fail('not a safetensors file: the header does not begin with {');
  let text: string;
  let header: unknown;
  try {
    text = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes);
    header = JSON.parse(text);
  } catch {
    return fail('damaged: the header is not valid JSON');
  }
  const problem = oddity(text);
  if (problem !== undefined) return fail(`damaged: the header ${problem}`);
  return header as Record<string, unknown>;
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function checkMetadata(value: unknown, fail: Fail): Record<string, string> {
  if (!isObject(value)) return fail('damaged: __metadata__ is not an object');
  for (const [key, entry] of Object.entries(value)) {
    if (typeof entry !== 'string') fail(`damaged: __metadata__ ${quote(key)} is not a string`);
  }
  return value as Record<string, string>;
}

function checkEntry(file: string, name: string, value: unknown, fail: Fail) {
  const failTensor = (what: string): never => fail(`tensor ${quote(name)}: ${what}`);
  if (!isObject(value)) return failTensor('its entry is not an object');
  const { dtype, shape, data_offsets: offsets } = value;
  if (typeof dtype !== 'string' || !Object.hasOwn(DTYPE_BYTES, dtype)) {
    return failTensor(`unknown dtype ${quote(String(JSON.stringify(dtype)))}, known are ${Object.keys(DTYPE_BYTES)}`);
  }
  if (!Array.isArray(shape) || !shape.every(isCount)) return failTensor('its shape is not a list of counts');
  if (!Array.isArray(offsets) || offsets.length !== 2 || !offsets.every(isCount)) {
    return failTensor('its data_offsets are not two counts');
  }
  const [begin, end] = offsets as [number, number];
  const count = elementCount(shape);
  const size = count === undefined ? undefined : count * DTYPE_BYTES[dtype as SafetensorsDtype];
  if (size === undefined || !Number.isSafeInteger(size))
    return failTensor(`its shape [${shape}] is too large to count`);
  if (end - begin !== size) return failTensor(`${dtype} [${shape}] needs ${size} bytes, its range has ${end - begin}`);
  return { begin, end, tensor: { file, name, dtype: dtype as SafetensorsDtype, shape: shape as number[] } };
}

/** The same bytes at an offset that a typed array of this element size accepts: a view if possible, else a copy. */
function aligned(data: Uint8Array, elementBytes: number): Uint8Array {
  return data.byteOffset % elementBytes === 0 ? data : new Uint8Array(data);
}

/** What all numbers of 16 bits mean, by the function that says it. */
const tables = new Map<(bits: number) => number, Float32Array>();

function halves(tensor: SafetensorsTensor, value: (bits: number) => number): Float32Array {
  const table = tables.get(value) ?? Float32Array.from({ length: 2 ** 16 }, (_, bits) => value(bits));
  tables.set(value, table);
  const { buffer, byteOffset, byteLength } = aligned(tensor.data, 2);
  const words = new Uint16Array(buffer, byteOffset, byteLength / 2);
  const values = new Float32Array(words.length);
  for (let i = 0; i < words.length; i++) values[i] = table[words[i]];
  return values;
}

function float16Value(bits: number): number {
  const sign = bits & 0x8000 ? -1 : 1;
  const exponent = (bits >> 10) & 0x1f;
  const fraction = bits & 0x3ff;
  if (exponent === 0) return sign * fraction * 2 ** -24;
  if (exponent === 0x1f) return fraction === 0 ? sign * Number.POSITIVE_INFINITY : Number.NaN;
  return sign * (1 + fraction / 1024) * 2 ** (exponent - 15);
}

const word = new DataView(new ArrayBuffer(4));

/** bfloat16 is the upper half of a float32. */
function bfloat16Value(bits: number): number {
  word.setUint32(0, bits * 0x10000);
  return word.getFloat32(0);
}
