/** Writers of data sets whose items lie together in files, the shards. */

import { mkdir, readdir, rename, rm } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import type { Dataset, DatasetWriter, WriterOptions, WrittenItem } from '../../datasets/dataset.ts';
import { InputError, IntegrityError, RadioactiveError } from '../../errors.ts';
import { hashBytes } from '../../formats/sha256.ts';
import { decodeImage } from '../../images/decode.ts';
import { exists, fileError, readBytes } from '../files/files.ts';
import { hashFile, setPublishedTime, writeAtomic, writeStreamed } from '../files/write.ts';
import { nodeCodec } from '../images/codec.ts';
import { itemEncoder } from './folder_writer.ts';

/** An item as it goes into a shard. */
export interface PackedItem {
  readonly bytes: Uint8Array;
  /** Whether its pixels were encoded anew: where all become PNG files, its name is another then. */
  readonly isNew: boolean;
}

/** How shards of a format are written and read again. */
export interface PackedForm {
  /** Names of the shards that are written, in order. */
  readonly shards: readonly string[];
  /** The shard that an item is in. */
  shardOf(index: number): number;
  /** An item's id where it is written, with new pixels or as a copy. */
  idOf(index: number, isNew: boolean): string;
  /**
   * A shard's content: the source's, with these items in place of its own. An item that cannot be read is undefined, and stays.
   * Items are asked for in order.
   */
  pieces(shard: number, itemOf: (index: number) => Promise<PackedItem | undefined>): AsyncIterable<Uint8Array>;
  /** The items of a shard that was written, in order. */
  items(shard: number, path: string): AsyncIterable<PackedItem & { readonly index: number }>;
  /** Other files that belong to the data set, by their names. */
  readonly beside?: Readonly<Record<string, Uint8Array>>;
}

/** The folder that items are in until their shard is written. */
const WRITING = '.writing';
/** What follows the name of an item that is a copy. */
const COPY = '.copy';

/**
 * Items are collected as files in a hidden folder, one for each shard; `finish` puts the shards together, one after another, and
 * removes the folder of each. A shard is whole where it is there and its folder is not.
 */
export async function openPackedWriter(
  source: Dataset,
  form: PackedForm,
  out: string,
  options: WriterOptions = {},
): Promise<DatasetWriter> {
  const codec = options.codec ?? (await nodeCodec());
  const encode = itemEncoder(source, codec, options);
  const folderOf = (shard: number): string => join(out, WRITING, String(shard));
  const fileOf = (index: number, isNew: boolean): string =>
    join(folderOf(form.shardOf(index)), `${index}${isNew ? '' : COPY}`);
  const isWhole = async (shard: number): Promise<boolean> =>
    !(await exists(folderOf(shard))) && (await exists(join(out, form.shards[shard])));
  const collected = async (index: number): Promise<{ path: string; isNew: boolean } | undefined> => {
    for (const isNew of [true, false]) {
      const path = fileOf(index, isNew);
      if (await exists(path)) return { path, isNew };
    }
    return undefined;
  };
  /** What is in whole shards, read when it is first asked for. */
  const contents = new Map<number, Promise<ReadonlyMap<number, WrittenItem>>>();
  const contentOf = (shard: number): Promise<ReadonlyMap<number, WrittenItem>> => {
    let content = contents.get(shard);
    if (!content) {
      content = (async () => {
        const found = new Map<number, WrittenItem>();
        for await (const { index, bytes, isNew } of form.items(shard, join(out, form.shards[shard])))
          found.set(index, { id: form.idOf(index, isNew), sha256: hashBytes(bytes) });
        return found;
      })();
      contents.set(shard, content);
    }
    return content;
  };
  /** Takes a whole shard apart again, where one of its items is to be another. */
  const takeApart = async (shard: number): Promise<void> => {
    const path = join(out, form.shards[shard]);
    const apart = `${folderOf(shard)}.apart`;
    await rm(apart, { recursive: true, force: true });
    await mkdir(apart, { recursive: true });
    for await (const { index, bytes, isNew } of form.items(shard, path))
      await writeAtomic(join(apart, `${index}${isNew ? '' : COPY}`), bytes);
    await rename(apart, folderOf(shard));
    contents.delete(shard);
  };
  /** Shards whose folder is there, so that items can be written. */
  const ready = new Map<number, Promise<void>>();
  const prepare = (shard: number): Promise<void> => {
    let preparing = ready.get(shard);
    if (!preparing) {
      preparing = (async () => {
        try {
          if (await isWhole(shard)) await takeApart(shard);
          await mkdir(folderOf(shard), { recursive: true });
        } catch (error) {
          throw error instanceof RadioactiveError ? error : fileError(folderOf(shard), error);
        }
      })();
      ready.set(shard, preparing);
    }
    return preparing;
  };
  const write = async (index: number, bytes: Uint8Array, isNew: boolean): Promise<WrittenItem> => {
    if (!(index in source.labels)) throw new RangeError(`${out}: no item ${index} among ${source.length}`);
    await prepare(form.shardOf(index));
    await writeAtomic(fileOf(index, isNew), bytes);
    await rm(fileOf(index, !isNew), { force: true });
    return { id: form.idOf(index, isNew), sha256: hashBytes(bytes) };
  };
  const stored = async (index: number): Promise<WrittenItem | undefined> => {
    const found = await collected(index);
    if (found) return { id: form.idOf(index, found.isNew), sha256: await hashFile(found.path) };
    const shard = form.shardOf(index);
    return (await isWhole(shard)) ? (await contentOf(shard)).get(index) : undefined;
  };
  return {
    root: out,
    beginsAsCopy: false,
    async writeImage(index, image) {
      const { bytes, lossy } = await encode(index, image);
      return { ...(await write(index, bytes, true)), ...(lossy && { lossy }) };
    },
    async copy(index) {
      return write(index, await source.bytes(index), false);
    },
    async read(index) {
      const found = await collected(index);
      if (!found) throw new InputError(`${out}: ${source.id(index)} was not written yet; write it first`);
      // Written here: as large as the original, which was accepted.
      return decodeImage(codec, await readBytes(found.path), found.path, { maxPixels: Number.POSITIVE_INFINITY });
    },
    stored,
    async finish(leftOut) {
      const whole = await Promise.all(form.shards.map((_, shard) => isWhole(shard)));
      let missing = 0;
      let first: string | undefined;
      for (let index = 0; index < source.length; index++) {
        if (leftOut?.has(index) || whole[form.shardOf(index)] || (await collected(index))) continue;
        missing++;
        first ??= source.id(index);
      }
      if (missing > 0) {
        throw new IntegrityError(
          `${out}: ${missing} of ${source.length} images were not written, the first is ${first}; resume the run`,
        );
      }
      for (const [shard, name] of form.shards.entries()) {
        if (whole[shard]) continue;
        const pieces = form.pieces(shard, async (index) => {
          const found = await collected(index);
          return found && { bytes: await readBytes(found.path), isNew: found.isNew };
        });
        await writeStreamed(join(out, name), pieces);
        await release(folderOf(shard));
      }
      for (const [name, bytes] of Object.entries(form.beside ?? {})) await writeAtomic(join(out, name), bytes);
      await rm(join(out, WRITING), { recursive: true, force: true });
      const names = [...form.shards, ...Object.keys(form.beside ?? {})];
      await setPublishedTime([...names.map((name) => join(out, name)), out]);
    },
    async close() {},
  };
}

/** Removes a folder, which counts as gone at once. */
async function release(folder: string): Promise<void> {
  const done = `${folder}.done`;
  try {
    if (await exists(folder)) await rename(folder, done);
    for (const name of await readdir(dirname(folder)).catch(() => []))
      if (name.endsWith('.done')) await rm(join(dirname(folder), name), { recursive: true, force: true });
  } catch (error) {
    throw fileError(folder, error);
  }
}
