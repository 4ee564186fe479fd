import { join } from 'node:path';
import type { Dataset, DatasetFormat, DatasetWriter, WriterOptions } from '../../datasets/dataset.ts';
import { DATASET_FORMATS } from '../../datasets/format.ts';
import { IntegrityError } from '../../errors.ts';
import { concatBytes } from '../../formats/gzip.ts';
import { CLASSES_NAME } from './idx_writer.ts';
import { openPackedWriter } from './packed_writer.ts';
import type { PackedItem } from './staging.ts';
import { isGzipFile, type NewMember, tarBytes, tarMembers } from './tar.ts';

/** What distinguishes a data set of WebDataset's: its shards. */
export interface WebdatasetFiles {
  readonly root: string;
  /** Names of the shards in order. */
  readonly shards: readonly string[];
  /** Items in all of them. */
  readonly length: number;
  /** Whether class names come from a `classes.txt` beside them. */
  readonly namedClasses: boolean;
}

/** The key of the sample that a member belongs to, and the rest of its name: WebDataset parts them at the first dot of the last part. */
export function sampleParts(name: string): { readonly key: string; readonly extension: string } | undefined {
  const parts = /^((?:.*\/)?[^./][^./]*)\.([^/]*)$/s.exec(name);
  return parts ? { key: parts[1], extension: parts[2] } : undefined;
}

/** Shards of such names. */
export const webdatasetFormat = (files: WebdatasetFiles): DatasetFormat => ({
  name: 'webdataset',
  ...DATASET_FORMATS.webdataset,
  openWriter: (source, out, options) => openWebdatasetWriter(source, files, out, options),
});

/** Shards of the source's names with its members in their order, the images of `source` in place of theirs; compressed where those are. */
async function openWebdatasetWriter(
  source: Dataset,
  { root, shards: all, length, namedClasses }: WebdatasetFiles,
  out: string,
  options: WriterOptions = {},
): Promise<DatasetWriter> {
  const isPart = source.length < length;
  const indicesOf = new Map<string, number[]>(isPart ? [] : all.map((name) => [name, []]));
  const shardNameOf = (index: number): string => source.id(index).slice(0, source.id(index).indexOf('/'));
  for (let index = 0; index < source.length; index++) {
    const name = shardNameOf(index);
    const indices = indicesOf.get(name);
    if (indices) indices.push(index);
    else indicesOf.set(name, [index]);
  }
  const shards = all.filter((name) => indicesOf.has(name));
  const placeOf = new Map(shards.map((name, shard) => [name, shard]));
  const memberOf = (index: number): string => source.id(index).slice(shardNameOf(index).length + 1);
  const newName = (index: number): string => (options.format === 'PNG' ? asPng(memberOf(index)) : memberOf(index));

  /** The members of a shard as they are to be. */
  async function* members(
    name: string,
    itemOf: (index: number) => Promise<PackedItem | undefined>,
  ): AsyncGenerator<NewMember> {
    const path = join(root, name);
    const indices = indicesOf.get(name)!;
    const keys = new Set(isPart ? indices.map((index) => sampleParts(memberOf(index))?.key) : []);
    let next = 0;
    for await (const member of tarMembers(path)) {
      const { header } = member;
      if (next < indices.length && header.type === 'file' && member.name === memberOf(indices[next])) {
        const index = indices[next++];
        const item = await itemOf(index);
        const content = item?.bytes ?? member.content;
        yield { header, name: item?.isNew ? newName(index) : member.name, content };
        continue;
      }
      const key = sampleParts(member.name)?.key;
      if (!isPart || key === undefined || keys.has(key)) yield { header, name: member.name, content: member.content };
    }
    if (next < indices.length) {
      throw new IntegrityError(
        `${path}: ${source.id(indices[next])} is no longer there, or in another order; restore the shard, and resume the run`,
      );
    }
  }

  return openPackedWriter(
    source,
    {
      shards,
      shardOf: (index) => placeOf.get(shardNameOf(index))!,
      idOf: (index, isNew) => (isNew ? `${shardNameOf(index)}/${newName(index)}` : source.id(index)),
      async *pieces(shard, itemOf) {
        const gzip = await isGzipFile(join(root, shards[shard]));
        yield* tarBytes(members(shards[shard], itemOf), gzip);
      },
      async *items(shard, path) {
        const indices = indicesOf.get(shards[shard])!;
        let next = 0;
        for await (const { name, header, content } of tarMembers(path)) {
          if (next === indices.length) break;
          const index = indices[next];
          const isNew = name === newName(index);
          if (header.type !== 'file' || (!isNew && name !== memberOf(index))) continue;
          const pieces: Uint8Array[] = [];
          for await (const piece of content) pieces.push(piece);
          yield { index, isNew, bytes: concatBytes(pieces) };
          next++;
        }
      },
      ...(namedClasses && { beside: { [CLASSES_NAME]: new TextEncoder().encode(`${source.classes.join('\n')}\n`) } }),
    },
    out,
    options,
  );
}

/** The name of a sample's image as a PNG file. */
const asPng = (name: string): string => `${sampleParts(name)!.key}.png`;
