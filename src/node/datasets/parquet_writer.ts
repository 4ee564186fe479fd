import type { Dataset, DatasetFormat, DatasetWriter, WriterOptions } from '../../datasets/dataset.ts';
import { DATASET_FORMATS } from '../../datasets/format.ts';
import { IntegrityError } from '../../errors.ts';
import { imageFormat } from '../../images/decode.ts';
import { CLASSES_NAME } from './idx_writer.ts';
import { openPackedWriter } from './packed_writer.ts';
import { ParquetFile, parquetBytes, type RawRow, requireWritable } from './parquet_file.ts';
import type { PackedItem } from './staging.ts';

/** What distinguishes a data set of parquet files. */
export interface ParquetShards {
  readonly files: readonly ParquetFile[];
  /** Their names. */
  readonly shards: readonly string[];
  /** The column of images. */
  readonly image: string;
  /** Rows in all of them. */
  readonly length: number;
  /** Whether class names come from a `classes.txt` beside them. */
  readonly namedClasses: boolean;
}

/** The bytes of a column's value, or of its field `bytes`; undefined where there are none. */
export function imageBytes(value: unknown): Uint8Array | undefined {
  const bytes = value instanceof Uint8Array ? value : (value as { bytes?: unknown } | null | undefined)?.bytes;
  return bytes instanceof Uint8Array ? bytes : undefined;
}

/** Parquet files of such names and columns. */
export const parquetFormat = (shards: ParquetShards): DatasetFormat => ({
  name: 'parquet',
  ...DATASET_FORMATS.parquet,
  openWriter: (source, out, options) => openParquetWriter(source, shards, out, options),
});

/** Files of the source's names with its rows, the images of `source` in place of theirs: other columns, schema and notes are the same. */
async function openParquetWriter(
  source: Dataset,
  { files, shards: all, image, length, namedClasses }: ParquetShards,
  out: string,
  options: WriterOptions = {},
): Promise<DatasetWriter> {
  const itemsOf = new Map<string, { index: number; row: number }[]>(
    source.length < length ? [] : all.map((name) => [name, []]),
  );
  const positions = new Uint32Array(source.length);
  const shardNameOf = (index: number): string => source.id(index).slice(0, source.id(index).lastIndexOf('/'));
  for (let index = 0; index < source.length; index++) {
    const name = shardNameOf(index);
    const items = itemsOf.get(name) ?? [];
    itemsOf.set(name, items);
    positions[index] = items.length;
    items.push({ index, row: Number(source.id(index).slice(name.length + 1)) });
  }
  const shards = all.filter((name) => itemsOf.has(name));
  const placeOf = new Map(shards.map((name, shard) => [name, shard]));
  const fileOf = (shard: number): ParquetFile => files[all.indexOf(shards[shard])];
  for (const shard of shards.keys()) requireWritable(fileOf(shard));

  /** A row with another image. */
  const withImage = (row: RawRow, { bytes, isNew }: PackedItem): RawRow => {
    const before = row[image];
    if (before instanceof Uint8Array) return { ...row, [image]: bytes };
    const { path } = before as { path?: unknown };
    const renamed = isNew && options.format === 'PNG' && path instanceof Uint8Array ? { path: asPng(path) } : {};
    return { ...row, [image]: { ...(before as object), bytes, ...renamed } };
  };

  async function* rowsOf(
    shard: number,
    itemOf: (index: number) => Promise<PackedItem | undefined>,
  ): AsyncGenerator<RawRow> {
    const file = fileOf(shard);
    const items = itemsOf.get(shards[shard])!;
    let next = 0;
    for (let group = 0; group + 1 < file.starts.length && next < items.length; group++) {
      if (items[next].row >= file.starts[group + 1]) continue;
      const rows = await file.rows(group);
      for (; next < items.length && items[next].row < file.starts[group + 1]; next++) {
        const row = rows[items[next].row - file.starts[group]];
        const item = await itemOf(items[next].index);
        yield item ? withImage(row, item) : row;
      }
    }
    if (next < items.length)
      throw new IntegrityError(`${file.path}: has fewer rows than before; restore it, and resume the run`);
  }

  return openPackedWriter(
    source,
    {
      shards,
      shardOf: (index) => placeOf.get(shardNameOf(index))!,
      // Rows count anew where only a part is written.
      idOf: (index) => `${shardNameOf(index)}/${positions[index]}`,
      pieces: (shard, itemOf) => parquetBytes(fileOf(shard), rowsOf(shard, itemOf), image),
      async *items(shard, path) {
        const items = itemsOf.get(shards[shard])!;
        const file = await ParquetFile.open(path);
        for (let group = 0; group + 1 < file.starts.length; group++) {
          for (const [i, row] of (await file.rows(group, [image])).entries()) {
            const bytes = imageBytes(row[image]);
            if (!bytes) continue;
            const isNew = options.format !== 'PNG' || imageFormat(bytes)?.name === 'PNG';
            yield { index: items[file.starts[group] + i].index, isNew, bytes };
          }
        }
      },
      ...(namedClasses && { beside: { [CLASSES_NAME]: new TextEncoder().encode(`${source.classes.join('\n')}\n`) } }),
    },
    out,
    options,
  );
}

/** A path in UTF-8 with the extension of PNG files. */
function asPng(path: Uint8Array): Uint8Array {
  const text = new TextDecoder().decode(path);
  return new TextEncoder().encode(/\.[^./]+$/.test(text) ? text.replace(/\.[^./]+$/, '.png') : text);
}
