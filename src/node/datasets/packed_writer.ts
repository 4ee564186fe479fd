/** Writers of data sets whose items lie together in files, the shards. */

import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import type { Dataset, DatasetWriter, WriterOptions, WrittenItem } from '../../datasets/dataset.ts';
import { InputError, IntegrityError } from '../../errors.ts';
import { hashAside, hashBytes } from '../../formats/sha256.ts';
import { decodeImage } from '../../images/decode.ts';
import { exists } from '../files/files.ts';
import { setPublishedTime, writeAtomic, writeStreamed } from '../files/write.ts';
import { nodeCodec } from '../images/codec.ts';
import { itemEncoder } from './folder_writer.ts';
import { type PackedItem, Staging } from './staging.ts';

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
/**
 * Items are collected in a hidden folder; `finish` puts the shards together, one after another, and forgets the items of each. A shard
 * is whole where it is there and its items do not wait.
 */
export async function openPackedWriter(
  source: Dataset,
  form: PackedForm,
  out: string,
  options: WriterOptions = {},
): Promise<DatasetWriter> {
  const codec = options.codec ?? (await nodeCodec());
  const encode = itemEncoder(source, codec, options);
  const folder = join(out, WRITING);
  const staging = await Staging.open(folder, form.shards.length, source.length);
  const whole: boolean[] = [];
  for (const [shard, name] of form.shards.entries())
    whole.push(!(await staging.isThere(shard)) && (await exists(join(out, name))));
  /** Hashes in whole shards, read when the first is asked for. */
  const contents = new Map<number, Promise<ReadonlyMap<number, WrittenItem>>>();
  const contentOf = (shard: number): Promise<ReadonlyMap<number, WrittenItem>> => {
    const there = contents.get(shard);
    if (there) return there;
    const read = async () => {
      const found = new Map<number, WrittenItem>();
      for await (const { index, bytes, isNew } of form.items(shard, join(out, form.shards[shard])))
        found.set(index, { id: form.idOf(index, isNew), sha256: hashBytes(bytes) });
      return found;
    };
    const content = read();
    contents.set(shard, content);
    return content;
  };
  /** Shards that are taken apart again, since an item is to be another. */
  const apart = new Map<number, Promise<void>>();
  const write = async (index: number, item: PackedItem): Promise<WrittenItem> => {
    if (!(index in source.labels)) throw new RangeError(`${out}: no item ${index} among ${source.length}`);
    const shard = form.shardOf(index);
    if (whole[shard]) {
      if (!apart.has(shard)) apart.set(shard, staging.putAll(shard, form.items(shard, join(out, form.shards[shard]))));
      await apart.get(shard);
      whole[shard] = false;
      contents.delete(shard);
    }
    return { id: form.idOf(index, item.isNew), sha256: await staging.put(shard, index, item) };
  };
  return {
    root: out,
    beginsAsCopy: false,
    async writeImage(index, image) {
      const { bytes, lossy } = await encode(index, image);
      return { ...(await write(index, { bytes, isNew: true })), ...(lossy && { lossy }) };
    },
    async copy(index) {
      return write(index, { bytes: await source.bytes(index), isNew: false });
    },
    async read(index) {
      const found = await staging.get(form.shardOf(index), index);
      const id = source.id(index);
      if (!found) throw new InputError(`${out}: ${id} was not written yet; write it first`);
      // Written here: as large as the original, which was accepted.
      return decodeImage(codec, found.bytes, id, { maxPixels: Number.POSITIVE_INFINITY });
    },
    async stored(index) {
      const shard = form.shardOf(index);
      if (whole[shard]) return (await contentOf(shard)).get(index);
      const found = await staging.get(shard, index);
      return found && { id: form.idOf(index, found.isNew), sha256: await hashAside(found.bytes) };
    },
    async finish(leftOut) {
      let missing = 0;
      let first: string | undefined;
      for (let index = 0; index < source.length; index++) {
        if (leftOut?.has(index) || whole[form.shardOf(index)] || staging.has(index)) continue;
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
        await writeStreamed(
          join(out, name),
          form.pieces(shard, (index) => staging.get(shard, index)),
        );
        await staging.release(shard);
        whole[shard] = true;
      }
      for (const [name, bytes] of Object.entries(form.beside ?? {})) await writeAtomic(join(out, name), bytes);
      await rm(folder, { recursive: true, force: true });
      const names = [...form.shards, ...Object.keys(form.beside ?? {})];
      await setPublishedTime([...names.map((name) => join(out, name)), out]);
    },
    async close() {},
  };
}
