/**
 * CIFAR-10 and CIFAR-100 as their authors publish them (Krizhevsky 2009; https://www.cs.toronto.edu/~kriz/cifar.html): batches of 32×32
 * colour images, planes of red, green and blue one after another, in pickles of Python or as plain records.
 */

import { InputError } from '../errors.ts';
import { PickledObject, type PickleOptions, type PickleValue, readPickle } from './pickle.ts';

/** Pixels of a side. */
export const CIFAR_SIDE = 32;
const PLANE = CIFAR_SIDE * CIFAR_SIDE;
/** Bytes of an image. */
export const CIFAR_BYTES = 3 * PLANE;

/** One file of images. */
export interface CifarBatch {
  /** As the file is. */
  readonly bytes: Uint8Array;
  /** Images in it. */
  readonly count: number;
  /** Where the first image's pixels begin, and how far it is to the next one's, in bytes. */
  readonly first: number;
  readonly stride: number;
  /** `[count]`: of the class each image is labelled with; of CIFAR-100 the fine one. */
  readonly labels: readonly number[];
  /** `[count]`: of CIFAR-100 the superclass. */
  readonly coarseLabels?: readonly number[];
  /** `[count]`: in pickles. */
  readonly fileNames?: readonly string[];
  /** In pickles: what it is called, as `training batch 1 of 5`. */
  readonly title?: string;
}

/** The pixels of an image of a batch, a view. */
export const cifarPixels = ({ bytes, first, stride }: CifarBatch, index: number): Uint8Array =>
  bytes.subarray(first + index * stride, first + index * stride + CIFAR_BYTES);

/** From planes [3, 32, 32], as files have them, to pixels [32, 32, 3]. */
export function fromPlanes(planes: Uint8Array): Uint8Array {
  const pixels = new Uint8Array(CIFAR_BYTES);
  for (let i = 0; i < CIFAR_BYTES; i++) pixels[i] = planes[(i % 3) * PLANE + Math.floor(i / 3)];
  return pixels;
}

/** The way back. */
export function toPlanes(pixels: Uint8Array): Uint8Array {
  const planes = new Uint8Array(CIFAR_BYTES);
  for (let i = 0; i < CIFAR_BYTES; i++) planes[(i % 3) * PLANE + Math.floor(i / 3)] = pixels[i];
  return planes;
}

/**
 * Reads records: the label, of CIFAR-100 the superclass before it, and the pixels.
 *
 * @throws InputError if the file is no whole number of them, or empty.
 */
export function parseCifarBinary(bytes: Uint8Array, fileName: string, superclasses: boolean): CifarBatch {
  const before = superclasses ? 2 : 1;
  const stride = before + CIFAR_BYTES;
  const count = bytes.length / stride;
  if (!Number.isInteger(count) || count === 0)
    throw new InputError(
      `${fileName}: ${bytes.length} bytes are no whole number of records of ${stride}; download it again`,
    );
  const column = (offset: number): number[] => Array.from({ length: count }, (_, i) => bytes[i * stride + offset]);
  return {
    ...{ bytes, count, stride },
    first: before,
    labels: column(before - 1),
    ...(superclasses && { coarseLabels: column(0) }),
  };
}

/** What is written of an image. */
export interface CifarRecord {
  readonly label: number;
  readonly coarseLabel?: number | undefined;
  readonly fileName?: string | undefined;
  /** Planes [3, 32, 32]. */
  readonly pixels: Uint8Array;
}

/** The bytes that `parseCifarBinary` reads. Labels must be below 256. */
export function serializeCifarBinary(records: readonly CifarRecord[], superclasses: boolean): Uint8Array {
  const stride = (superclasses ? 2 : 1) + CIFAR_BYTES;
  const bytes = new Uint8Array(records.length * stride);
  records.forEach(({ label, coarseLabel = 0, pixels }, i) => {
    bytes.set([...(superclasses ? [coarseLabel] : []), label], i * stride);
    bytes.set(pixels, (i + 1) * stride - CIFAR_BYTES);
  });
  return bytes;
}

const CURE = 'download it again, or give the binary version';

/**
 * Reads a pickle of a batch: a dictionary with `data`, an array of NumPy, and `labels`, of CIFAR-100 `fine_labels` and `coarse_labels`.
 * Nothing in it is executed.
 *
 * @throws InputError if it is damaged, holds anything else, or asks for anything that no batch needs.
 */
export function parseCifarPickle(bytes: Uint8Array, fileName: string, superclasses: boolean): CifarBatch {
  const batch = readDictionary(bytes, fileName);
  const { data, count } = pixelsOf(batch.get('data'), fileName);
  const labels = countsOf(batch.get(superclasses ? 'fine_labels' : 'labels'), count, fileName);
  const fileNames = textsOf(batch.get('filenames'));
  const title = textOf(batch.get('batch_label'));
  return {
    ...{ bytes, count, labels },
    first: data.byteOffset - bytes.byteOffset,
    stride: CIFAR_BYTES,
    ...(superclasses && { coarseLabels: countsOf(batch.get('coarse_labels'), count, fileName) }),
    ...(fileNames?.length === count && { fileNames }),
    ...(title !== undefined && { title }),
  };
}

/** The class names in `batches.meta`, or of CIFAR-100 in `meta`. Throws InputError if it has none. */
export function parseCifarNames(bytes: Uint8Array, fileName: string, superclasses: boolean): string[] {
  const names = textsOf(readDictionary(bytes, fileName).get(superclasses ? 'fine_label_names' : 'label_names'));
  if (!names || names.length === 0) throw new InputError(`${fileName}: has no class names; ${CURE}`);
  return names;
}

/** Names that pickles of arrays call, by those of NumPy 1 and 2. */
const ARRAY = /^numpy\.(?:core|_core)\.multiarray\._reconstruct$/;
const FROM_BUFFER = /^numpy\.(?:core|_core)\.numeric\._frombuffer$/;
const OTHERS = ['numpy.ndarray', 'numpy.dtype'];

/** What such a name stands for. */
class Name {
  readonly text: string;
  constructor(text: string) {
    this.text = text;
  }
}

function readDictionary(bytes: Uint8Array, fileName: string): Map<string, PickleValue> {
  const options: PickleOptions = {
    fileName,
    longStringsAreBytes: true,
    purpose: { name: 'batch of CIFAR', cure: CURE },
    global: (name) =>
      ARRAY.test(name) || FROM_BUFFER.test(name) || OTHERS.includes(name) ? new Name(name) : undefined,
    call: (callee, args) => (callee instanceof Name ? new PickledObject(callee.text, args) : undefined),
    reference: () => undefined,
  };
  const { value, end } = readPickle(bytes, 0, options);
  if (!(value instanceof Map) || end !== bytes.length)
    throw new InputError(`${fileName}: is no dictionary in a pickle; ${CURE}`);
  // Keys are bytes where Python 3 wrote again what Python 2 had written.
  return new Map([...value].map(([key, entry]) => [textOf(key) ?? '', entry]));
}

/** A text, or the bytes of one. */
const textOf = (value: PickleValue): string | undefined =>
  typeof value === 'string' ? value : value instanceof Uint8Array ? new TextDecoder().decode(value) : undefined;

function textsOf(value: PickleValue): string[] | undefined {
  const texts = Array.isArray(value) ? value.map(textOf) : undefined;
  return texts?.every((text) => text !== undefined) ? texts : undefined;
}

function countsOf(value: PickleValue, count: number, fileName: string): number[] {
  const valid = (label: unknown): boolean =>
    Number.isInteger(label) && (label as number) >= 0 && (label as number) < 256;
  if (Array.isArray(value) && value.length === count && value.every(valid)) return value as number[];
  throw new InputError(`${fileName}: has no label for each of its ${count} images; ${CURE}`);
}

/** The bytes of an array of uint8 [n, 3072] in the order of C, a view of the file. */
function pixelsOf(value: PickleValue, fileName: string): { data: Uint8Array; count: number } {
  const [shape, type, fortran, data] = arrayOf(value);
  const [count, row, ...more] = Array.isArray(shape) ? (shape as unknown[]) : [];
  const valid =
    type instanceof PickledObject &&
    (type.args[0] === 'u1' || type.args[0] === '|u1') &&
    fortran === false &&
    data instanceof Uint8Array &&
    Number.isInteger(count) &&
    (count as number) > 0 &&
    row === CIFAR_BYTES &&
    more.length === 0 &&
    data.length === (count as number) * CIFAR_BYTES;
  if (valid) return { data: data as Uint8Array, count: count as number };
  throw new InputError(`${fileName}: its data is no array of bytes [n, ${CIFAR_BYTES}]; ${CURE}`);
}

/** Shape, dtype, whether columns come first, and bytes of a pickled array. */
function arrayOf(value: PickleValue): readonly PickleValue[] {
  if (!(value instanceof PickledObject)) return [];
  if (FROM_BUFFER.test(value.className)) {
    const [data, type, shape, order] = value.args;
    return [shape, type, order !== 'C', data];
  }
  // (version, shape, dtype, whether columns come first, bytes)
  return Array.isArray(value.state) ? value.state.slice(1) : [];
}

/** A pickle that `parseCifarPickle`, Python 2 and Python 3 read, in the form of the published ones (protocol 2, strings of Python 2). */
export function serializeCifarPickle(
  records: readonly CifarRecord[],
  title: string,
  superclasses: boolean,
): Uint8Array {
  const parts: Uint8Array[] = [];
  const raw = (...codes: number[]) => parts.push(Uint8Array.from(codes));
  const uint32 = (code: number, value: number) =>
    raw(code, value & 0xff, (value >> 8) & 0xff, (value >> 16) & 0xff, value >>> 24);
  const text = (value: string) => {
    const bytes = new TextEncoder().encode(value).slice(0, 255);
    raw(0x55, bytes.length);
    parts.push(bytes);
  };
  const line = (value: string) => parts.push(new TextEncoder().encode(value));
  const integer = (value: number) =>
    value < 256 ? raw(0x4b, value) : value < 65536 ? raw(0x4d, value & 0xff, value >> 8) : uint32(0x4a, value);
  /** An empty list, to which everything up to APPENDS is appended. */
  const list = (values: readonly (() => void)[]) => {
    raw(0x5d, 0x28);
    for (const write of values) write();
    raw(0x65);
  };
  const numbers = (values: readonly number[]) => list(values.map((value) => () => integer(value)));

  // PROTO 2, EMPTY_DICT, MARK; at the end SETITEMS, STOP.
  raw(0x80, 2, 0x7d, 0x28);
  text('batch_label');
  text(title);
  text(superclasses ? 'fine_labels' : 'labels');
  numbers(records.map(({ label }) => label));
  if (superclasses) {
    text('coarse_labels');
    numbers(records.map(({ coarseLabel = 0 }) => coarseLabel));
  }
  text('data');
  // _reconstruct(ndarray, (0,), 'b')
  line('cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\n');
  raw(0x4b, 0, 0x85);
  text('b');
  raw(0x87, 0x52);
  // Its state: (1, shape, dtype('u1', False, True), False, bytes); that of the dtype: (3, '|', None, None, None, -1, -1, 0).
  raw(0x28, 0x4b, 1);
  integer(records.length);
  integer(CIFAR_BYTES);
  raw(0x86);
  line('cnumpy\ndtype\n');
  text('u1');
  raw(0x89, 0x88, 0x87, 0x52, 0x28, 0x4b, 3);
  text('|');
  raw(0x4e, 0x4e, 0x4e, 0x4a, 0xff, 0xff, 0xff, 0xff, 0x4a, 0xff, 0xff, 0xff, 0xff, 0x4b, 0, 0x74, 0x62, 0x89);
  uint32(0x54, records.length * CIFAR_BYTES);
  for (const { pixels } of records) parts.push(pixels);
  raw(0x74, 0x62);
  text('filenames');
  list(
    records.map(
      ({ fileName = '' }) =>
        () =>
          text(fileName),
    ),
  );
  raw(0x75, 0x2e);

  const bytes = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
  let at = 0;
  for (const part of parts) {
    bytes.set(part, at);
    at += part.length;
  }
  return bytes;
}
