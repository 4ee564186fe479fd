import { join } from 'node:path';
import type { SchemaTree } from 'hyparquet';
import type { Dataset } from '../../datasets/dataset.ts';
import { InputError } from '../../errors.ts';
import { decodeImage, readImageHeader, uprightShape } from '../../images/decode.ts';
import { nodeCodec } from '../images/codec.ts';
import { folderOpener } from './folder.ts';
import { readClasses } from './idx.ts';
import { CLASSES_NAME } from './idx_writer.ts';
import { LabelColumn } from './labels.ts';
import type { DatasetOpener, Location, OpenDatasetOptions } from './opener.ts';
import { ParquetFile, partOf } from './parquet_file.ts';
import { imageBytes, parquetFormat } from './parquet_writer.ts';
import { findShards, holdsShards, refuseFaulty } from './shards.ts';

const SHARD = /\.parquet$/i;
/** What a column of images or labels is called, where the file does not say which it is; the first that is there. */
const IMAGES = ['image', 'img', 'jpg', 'png', 'picture'] as const;
const LABELS = ['label', 'labels', 'class', 'cls', 'fine_label', 'category', 'target'] as const;
/** Bytes of images that are kept in memory, so that those of a row group are read once. */
const CACHE_BYTES = 2 ** 28;
const NO_IMAGE = 'the row has no image; remove the row, or put the bytes of its image into the file';

/** Parquet files in Hugging Face's form: a file, a folder of them, or a pattern. */
export const parquetOpener: DatasetOpener = {
  isAt: (location) => holdsShards(location, SHARD),
  open: openParquet,
  begin: folderOpener.begin,
};

/** Which columns of a file hold images and labels, and what numbers among the labels are called. */
interface Columns {
  readonly image: string;
  readonly label: string;
  readonly names?: readonly string[];
}

async function openParquet(location: Location, path: string, options: OpenDatasetOptions): Promise<Dataset> {
  const { root, names: shards, others } = await findShards(location, (name) => SHARD.test(name), path, options);
  const labels = new LabelColumn();
  const files: ParquetFile[] = [];
  const starts = [0];
  const faults = new Map<number, string>();
  let columns: Columns | undefined;
  for (const name of shards) {
    const file = await ParquetFile.open(join(root, name));
    const found = columnsOf(file);
    if (columns && JSON.stringify(found) !== JSON.stringify(columns))
      throw new InputError(`${file.path}: has other columns or classes than ${shards[0]}; give shards of one data set`);
    columns = found;
    for (let group = 0; group + 1 < file.starts.length; group++) {
      const rows = await file.rows(group, [columns.label]);
      rows.forEach((row, i) => {
        labels.push(labelOf(row[found.label], found, `${file.path}: row ${file.starts[group] + i}`));
      });
      for (const row of await emptyRows(file, group, columns.image)) faults.set(starts.at(-1)! + row, NO_IMAGE);
    }
    files.push(file);
    starts.push(starts.at(-1)! + file.length);
  }
  const length = starts.at(-1)!;
  if (length === 0) throw new InputError(`${path}: no rows in ${shards.length} shards; give others`);
  const placeOf = (index: number): { shard: number; row: number } => {
    if (!(index >= 0 && index < length)) throw new RangeError(`${path}: no item ${index} among ${length}`);
    const shard = partOf(starts, index);
    return { shard, row: index - starts[shard] };
  };
  const id = (index: number): string => {
    const { shard, row } = placeOf(index);
    return `${shards[shard]}/${row}`;
  };
  refuseFaulty(path, faults, id, length, options.keepFaults);
  const { image } = columns!;
  const cache = new GroupCache();
  const bytes = async (index: number): Promise<Uint8Array> => {
    const { shard, row } = placeOf(index);
    const file = files[shard];
    const group = file.groupOf(row);
    const images = await cache.get(`${shard}/${group}`, async () =>
      (await file.rows(group, [image])).map((each) => imageBytes(each[image])),
    );
    const found = images[row - file.starts[group]];
    if (!found) throw new InputError(`${join(root, id(index))}: ${NO_IMAGE}`);
    // A copy: callers may change what they get.
    return found.slice();
  };
  const named = columns!.names ? undefined : await readClasses(root);
  const codec = options.codec ?? (await nodeCodec());
  const shown = (index: number): string => join(root, id(index));
  return {
    path,
    root,
    format: parquetFormat({ files, shards, image, length, namedClasses: named !== undefined }),
    ...labels.resolve(path, options.classes ?? columns!.names ?? named),
    length,
    otherFiles: others.filter((name) => name !== CLASSES_NAME),
    ...(options.keepFaults && { faults }),
    id,
    shape: async (index) => uprightShape(readImageHeader(await bytes(index), shown(index), options.decode)),
    image: async (index) => decodeImage(codec, await bytes(index), shown(index), options.decode),
    bytes,
  };
}

/** What Hugging Face's `datasets` notes of a column. */
interface Feature {
  readonly _type?: string;
  readonly names?: readonly string[];
}

/** Finds the columns, by what Hugging Face's `datasets` notes in the file, else by their names. Throws InputError where they are not told. */
function columnsOf(file: ParquetFile): Columns {
  let features: Readonly<Record<string, Feature>> = {};
  try {
    const noted = JSON.parse(file.note('huggingface') ?? '{}') as { info?: { features?: typeof features } };
    features = noted.info?.features ?? {};
  } catch {
    // Notes that cannot be read say nothing.
  }
  const there = file.columns.map(({ element }) => element.name);
  const choose = (type: string, usual: readonly string[]): string | undefined => {
    const ofType = there.filter((name) => features[name]?._type === type);
    return usual.find((name) => ofType.includes(name)) ?? ofType[0] ?? usual.find((name) => there.includes(name));
  };
  const image = choose('Image', IMAGES);
  const label = choose('ClassLabel', LABELS);
  const column = file.columns.find(({ element }) => element.name === image);
  if (image === undefined || !column || !holdsImages(column)) {
    throw new InputError(
      `${file.path}: no column of images among ${there.join(', ')}; name it image, with bytes and path, as Hugging Face's Image`,
    );
  }
  if (label === undefined)
    throw new InputError(`${file.path}: no column of labels among ${there.join(', ')}; name it label`);
  const { names } = features[label] ?? {};
  return { image, label, ...(names && { names }) };
}

/** Bytes, or a structure with bytes. */
function holdsImages({ element, children }: SchemaTree): boolean {
  if (children.length === 0) return element.type === 'BYTE_ARRAY' && element.converted_type !== 'UTF8';
  return children.some((child) => child.element.name === 'bytes' && child.element.type === 'BYTE_ARRAY');
}

/** A row's label as text. Throws InputError where it has none, or is none of the classes. */
function labelOf(value: unknown, { label, names }: Columns, where: string): string {
  const text = value instanceof Uint8Array ? new TextDecoder().decode(value) : String(value ?? '');
  if (text === '') throw new InputError(`${where}: has no ${label}; give every row one`);
  if (!names || value instanceof Uint8Array) return text;
  const name = names[Number(text)];
  if (name !== undefined) return name;
  throw new InputError(`${where}: ${label} is ${text}, there are ${names.length} classes; correct it`);
}

/** Rows of a group, in the file, that have no image. What the group tells of itself is enough where it has none. */
async function emptyRows(file: ParquetFile, group: number, image: string): Promise<number[]> {
  const chunk = file.metadata.row_groups[group].columns.find(
    ({ meta_data }) =>
      meta_data?.path_in_schema[0] === image && ['bytes', image].includes(meta_data.path_in_schema.at(-1)!),
  );
  if (chunk?.meta_data?.statistics?.null_count === 0n) return [];
  const rows = await file.rows(group, [image]);
  return rows.flatMap((row, i) => (imageBytes(row[image]) ? [] : [file.starts[group] + i]));
}

type Images = readonly (Uint8Array | undefined)[];

/** Images of the row groups that were asked for last. */
class GroupCache {
  readonly #groups = new Map<string, { readonly images: Promise<Images>; bytes: number }>();
  #bytes = 0;

  async get(name: string, read: () => Promise<Images>): Promise<Images> {
    const there = this.#groups.get(name);
    if (there) {
      // The last to be dropped.
      this.#groups.delete(name);
      this.#groups.set(name, there);
      return there.images;
    }
    const entry = { images: read(), bytes: 0 };
    this.#groups.set(name, entry);
    try {
      const images = await entry.images;
      entry.bytes = images.reduce((sum, image) => sum + (image?.length ?? 0), 0);
      this.#bytes += entry.bytes;
      for (const [oldest, { bytes }] of this.#groups) {
        if (this.#bytes <= CACHE_BYTES) break;
        if (oldest === name) continue;
        this.#groups.delete(oldest);
        this.#bytes -= bytes;
      }
      return images;
    } catch (error) {
      this.#groups.delete(name);
      throw error;
    }
  }
}
