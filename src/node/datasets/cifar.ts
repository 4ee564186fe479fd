import { join } from 'node:path';
import type { Dataset, DatasetFormat, DatasetWriter } from '../../datasets/dataset.ts';
import { DATASET_FORMATS } from '../../datasets/format.ts';
import { InputError } from '../../errors.ts';
import {
  CIFAR_BYTES,
  CIFAR_SIDE,
  type CifarBatch,
  type CifarRecord,
  cifarPixels,
  fromPlanes,
  parseCifarBinary,
  parseCifarNames,
  parseCifarPickle,
  serializeCifarBinary,
  serializeCifarPickle,
  toPlanes,
} from '../../formats/cifar.ts';
import { exists, readBytes } from '../files/files.ts';
import { writeAtomic } from '../files/write.ts';
import { parseClassNames } from './idx.ts';
import type { DatasetOpener, OpenDatasetOptions } from './opener.ts';
import { openPixelWriter } from './pixel_writer.ts';

/** A form of the archives, by the names of its files. */
interface CifarForm {
  readonly train: RegExp;
  readonly test: RegExp;
  /** The file with the class names, which says of CIFAR-100 that it is that; whether it is a pickle as all are. */
  readonly classesName: string;
  readonly pickled: boolean;
  /** CIFAR-100: images have a superclass besides. */
  readonly superclasses: boolean;
  /** Files that are copied with a data set. */
  readonly others: readonly string[];
}

const BINARY: CifarForm = {
  train: /^data_batch_\d+\.bin$/,
  test: /^test_batch\.bin$/,
  classesName: 'batches.meta.txt',
  pickled: false,
  superclasses: false,
  others: [],
};

const FORMS: readonly CifarForm[] = [
  { ...BINARY, train: /^data_batch_\d+$/, test: /^test_batch$/, classesName: 'batches.meta', pickled: true },
  BINARY,
  { ...BINARY, train: /^train$/, test: /^test$/, classesName: 'meta', pickled: true, superclasses: true },
  {
    ...BINARY,
    train: /^train\.bin$/,
    test: /^test\.bin$/,
    classesName: 'fine_label_names.txt',
    superclasses: true,
    others: ['coarse_label_names.txt'],
  },
];

/** The form of a folder with these names. Names as common as `train` count only beside the file with the classes. */
function formOf(names: readonly string[]): CifarForm | undefined {
  return FORMS.find(
    ({ train, test, classesName, superclasses }) =>
      names.some((name) => train.test(name) || test.test(name)) && (!superclasses || names.includes(classesName)),
  );
}

/** CIFAR-10 and CIFAR-100 in their authors' forms. */
export const cifarOpener: DatasetOpener = {
  isAt: ({ names }) => names !== undefined && formOf(names) !== undefined,
  open: ({ path: root, names }, path, options) => openCifar(root, names!, path, options),
  begin(shapes) {
    if (shapes.some(({ height, width, channels }) => height !== CIFAR_SIDE || width !== CIFAR_SIDE || channels !== 3))
      throw new InputError(
        `its images are not all colour images of ${CIFAR_SIDE}x${CIFAR_SIDE} pixels, which CIFAR's files hold; write PNG files`,
      );
    return {
      format: cifarFormat({ form: BINARY, files: [], others: [] }),
      id: (index) => `test/${index}`,
      file: () => NEW_NAME,
    };
  },
};

/** Of a file that is made anew. */
const NEW_NAME = 'test_batch.bin';

interface CifarFile {
  readonly name: string;
  readonly batch: CifarBatch;
}

/** What distinguishes a data set of CIFAR: its files, to be written again in the same form. */
interface CifarFiles {
  readonly form: CifarForm;
  /** With images, in order; none where it is made anew. */
  readonly files: readonly CifarFile[];
  /** Files with class names. */
  readonly others: readonly { readonly name: string; readonly bytes: Uint8Array }[];
}

async function openCifar(
  root: string,
  names: readonly string[],
  path: string,
  options: OpenDatasetOptions,
): Promise<Dataset> {
  const form = formOf(names)!;
  const split = options.split ?? 'train';
  const number = (name: string): number => Number(/\d+/.exec(name)?.[0] ?? 0);
  const chosen = names.filter((name) => form[split].test(name)).sort((a, b) => number(a) - number(b));
  if (chosen.length === 0)
    throw new InputError(`${path}: no images of the split ${split}; give another split, or add its files`);
  const files: CifarFile[] = [];
  for (const name of chosen)
    files.push({ name, batch: parseBatch(form, await readBytes(join(root, name)), join(root, name)) });
  const others: { name: string; bytes: Uint8Array }[] = [];
  for (const name of [form.classesName, ...form.others])
    if (names.includes(name)) others.push({ name, bytes: await readBytes(join(root, name)) });

  const classes = options.classes ?? classNames(form, others[0], path, root);
  const labels = Uint32Array.from(files.flatMap(({ batch }) => batch.labels));
  const beyond = labels.findIndex((label) => label >= classes.length);
  if (beyond !== -1)
    throw new InputError(
      `${path}: item ${beyond} has label ${labels[beyond]}, there are ${classes.length} classes; name all of them in ${form.classesName}`,
    );
  // A copy: callers may change what they get.
  const bytes = (index: number): Uint8Array => {
    const { batch, row } = locate(files, index);
    return cifarPixels(batch, row).slice();
  };
  const shape = { width: CIFAR_SIDE, height: CIFAR_SIDE, channels: 3 } as const;
  return {
    path,
    root,
    format: cifarFormat({ form, files, others }),
    classes,
    length: labels.length,
    labels,
    id: (index) => `${split}/${index}`,
    shape: async () => shape,
    image: async (index) => ({ ...shape, data: fromPlanes(bytes(index)) }),
    bytes: async (index) => bytes(index),
  };
}

const parseBatch = ({ pickled, superclasses }: CifarForm, bytes: Uint8Array, path: string): CifarBatch =>
  (pickled ? parseCifarPickle : parseCifarBinary)(bytes, path, superclasses);

function classNames(
  { classesName, pickled, superclasses }: CifarForm,
  file: CifarFiles['others'][number] | undefined,
  path: string,
  root: string,
): string[] {
  if (file?.name !== classesName)
    throw new InputError(`${path}: has no ${classesName} with the names of the classes; put it beside the images`);
  const place = join(root, classesName);
  if (pickled) return parseCifarNames(file.bytes, place, superclasses);
  // The authors' file ends with an empty line more.
  return parseClassNames(new TextDecoder().decode(file.bytes).trimEnd(), place);
}

/** The file that holds an item, and its place in it. */
function locate(files: readonly CifarFile[], index: number): { readonly name: string; batch: CifarBatch; row: number } {
  let row = index;
  for (const { name, batch } of files) {
    if (row >= 0 && row < batch.count) return { name, batch, row };
    row -= batch.count;
  }
  throw new RangeError(`no item ${index}`);
}

const cifarFormat = (files: CifarFiles): DatasetFormat => ({
  name: 'cifar',
  ...DATASET_FORMATS.cifar,
  openWriter: (source, out) => openCifarWriter(source, files, out),
});

/** A file to be written: of the source's items from `from` on, as many as there are rows of the original, which may be absent. */
interface Part {
  readonly name: string;
  readonly from: number;
  readonly rows: readonly ({ readonly batch: CifarBatch; readonly row: number } | undefined)[];
}

/**
 * The files of the source that have some of its items, with these alone. A file of which all items are written is the source's to the byte,
 * but for the pixels that are others.
 */
async function openCifarWriter(
  source: Dataset,
  { form, files, others }: CifarFiles,
  out: string,
): Promise<DatasetWriter> {
  const { superclasses, pickled, classesName } = form;
  const beyond = source.labels.find((label) => label > 255);
  if (beyond !== undefined)
    throw new InputError(
      `${source.path}: label ${beyond} is beyond 255, the last that CIFAR's files hold; write PNG files`,
    );
  const parts = partsOf(source, files);
  const contentOf = ({ from, rows, name }: Part, pixels: Uint8Array): Uint8Array => {
    const [first] = rows;
    const pixelsAt = (i: number): Uint8Array => pixels.subarray((from + i) * CIFAR_BYTES, (from + i + 1) * CIFAR_BYTES);
    if (
      first &&
      rows.length === first.batch.count &&
      rows.every((each, i) => each?.batch === first.batch && each.row === i)
    ) {
      const bytes = first.batch.bytes.slice();
      for (const i of rows.keys()) bytes.set(pixelsAt(i), first.batch.first + i * first.batch.stride);
      return bytes;
    }
    const records = rows.map(
      (each, i): CifarRecord => ({
        label: source.labels[from + i],
        coarseLabel: each?.batch.coarseLabels?.[each.row],
        fileName: each?.batch.fileNames?.[each.row],
        pixels: pixelsAt(i),
      }),
    );
    return pickled
      ? serializeCifarPickle(records, first?.batch.title ?? name, superclasses)
      : serializeCifarBinary(records, superclasses);
  };
  const names = new TextEncoder().encode(`${source.classes.join('\n')}\n`);
  const beside = others.length > 0 || pickled ? others : [{ name: classesName, bytes: names }];
  return await openPixelWriter(source, out, {
    name: parts[0].name,
    shape: { height: CIFAR_SIDE, width: CIFAR_SIDE, channels: 3 },
    encode: toPlanes,
    decode: fromPlanes,
    async finished() {
      const pixels: Uint8Array[] = [];
      for (const { name, rows } of parts) {
        const path = join(out, name);
        if (!(await exists(path))) return undefined;
        const batch = parseBatch(form, await readBytes(path), path);
        if (batch.count !== rows.length)
          throw new InputError(`${path}: ${batch.count} images, expected ${rows.length}; choose a new folder`);
        pixels.push(...rows.map((_, i) => cifarPixels(batch, i)));
      }
      return Buffer.concat(pixels);
    },
    async finish(pixels) {
      for (const { name, bytes } of beside) await writeAtomic(join(out, name), bytes);
      for (const part of parts) await writeAtomic(join(out, part.name), contentOf(part, pixels));
      return [...beside, ...parts].map(({ name }) => name);
    },
  });
}

/** The files that a data set's items go to: those they are from, where they come in that order; else all to the first. */
function partsOf(source: Dataset, files: readonly CifarFile[]): Part[] {
  const total = files.reduce((sum, { batch }) => sum + batch.count, 0);
  const positions = Array.from({ length: source.length }, (_, index) => Number(source.id(index).split('/')[1]));
  const places = positions.map((at) => (at < total ? locate(files, at) : undefined));
  const inOrder = positions.every((at, i) => i === 0 || at > positions[i - 1]);
  if (!inOrder || places.includes(undefined)) return [{ name: files[0]?.name ?? NEW_NAME, from: 0, rows: places }];
  return files.flatMap(({ name }) => {
    const rows = places.filter((place) => place!.name === name);
    return rows.length === 0 ? [] : [{ name, from: places.findIndex((place) => place!.name === name), rows }];
  });
}
