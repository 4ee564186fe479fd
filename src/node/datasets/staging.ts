import { type FileHandle, mkdir, open, rm, stat } from 'node:fs/promises';
import { join } from 'node:path';
import * as v from 'valibot';
import { InputError } from '../../errors.ts';
import { count, hex32 } from '../../formats/fields.ts';
import { hashAside, hashBytes } from '../../formats/sha256.ts';
import { exists, fileError } from '../files/files.ts';
import { wholeLines } from '../files/lines.ts';
import { writeStreamed } from '../files/write.ts';

/** An item as it goes into a shard. */
export interface PackedItem {
  readonly bytes: Uint8Array;
  /** Whether its pixels were encoded anew: where all become PNG files, its name is another then. */
  readonly isNew: boolean;
}

/** A line of a shard's index: an item, where its bytes are among the shard's, and their SHA-256. */
const Line = v.strictTuple([count, v.boolean(), count, count, hex32]);

const [NONE, NEW, COPY] = [0, 1, 2];

/**
 * Items that wait for their shard to be written: for each shard a file of their bytes, one behind another, and an index. Nothing waits
 * for the disk: what a kill or a loss of power has left is told by its hash when it is opened again, and the rest is as if never
 * written. A shard's index is the last to be made and the first to be removed: with it the items wait here.
 */
export class Staging {
  readonly #folder: string;
  readonly #offsets: Float64Array;
  readonly #sizes: Float64Array;
  readonly #states: Uint8Array;
  /** Bytes of each shard's file that are taken. */
  readonly #taken = new Map<number, number>();
  readonly #begun = new Map<number, Promise<void>>();
  /** The last line that is being written of each index: lines do not mix. */
  readonly #writing = new Map<number, Promise<void>>();

  private constructor(folder: string, items: number) {
    this.#folder = folder;
    this.#offsets = new Float64Array(items);
    this.#sizes = new Float64Array(items);
    this.#states = new Uint8Array(items);
  }

  /**
   * @param shards how many there are
   * @param items how many there are in all of them
   */
  static async open(folder: string, shards: number, items: number): Promise<Staging> {
    const staging = new Staging(folder, items);
    try {
      await mkdir(folder, { recursive: true });
    } catch (error) {
      throw fileError(folder, error);
    }
    for (let shard = 0; shard < shards; shard++) if (await staging.isThere(shard)) await staging.#load(shard);
    return staging;
  }

  #dataPath(shard: number): string {
    return join(this.#folder, `${shard}.data`);
  }

  #indexPath(shard: number): string {
    return join(this.#folder, `${shard}.index`);
  }

  /** Whether items of a shard wait here. */
  isThere(shard: number): Promise<boolean> {
    return exists(this.#indexPath(shard));
  }

  /** Takes up what an earlier run has left, as far as it is sound. */
  async #load(shard: number): Promise<void> {
    for await (const line of wholeLines(this.#indexPath(shard))) {
      const read = v.safeParse(Line, jsonOf(line));
      if (!read.success) continue;
      const [index, isNew, offset, length, sha256] = read.output;
      if (index >= this.#states.length) continue;
      const bytes = await this.#read(shard, offset, length).catch(() => undefined);
      if (!bytes || (await hashAside(bytes)) !== sha256) continue;
      this.#note(index, isNew, offset, length);
    }
    this.#taken.set(shard, (await stat(this.#dataPath(shard)).catch(() => undefined))?.size ?? 0);
  }

  #note(index: number, isNew: boolean, offset: number, size: number): void {
    this.#offsets[index] = offset;
    this.#sizes[index] = size;
    this.#states[index] = isNew ? NEW : COPY;
  }

  async #read(shard: number, offset: number, size: number): Promise<Uint8Array> {
    const bytes = new Uint8Array(size);
    await using(this.#dataPath(shard), undefined, async (file) => {
      for (let done = 0; done < size; ) {
        const { bytesRead } = await file.read(bytes, done, size - done, offset + done);
        if (bytesRead === 0) throw new InputError(`${this.#dataPath(shard)}: has become shorter; run again`);
        done += bytesRead;
      }
    });
    return bytes;
  }

  /** Makes a shard's file, once: items are written side by side. */
  #begin(shard: number): Promise<void> {
    let begun = this.#begun.get(shard);
    if (!begun) {
      begun = using(this.#dataPath(shard), 'a', async () => undefined);
      this.#begun.set(shard, begun);
    }
    return begun;
  }

  /** Whether an item waits here. */
  has(index: number): boolean {
    return this.#states[index] !== NONE;
  }

  /** An item that waits here. */
  async get(shard: number, index: number): Promise<PackedItem | undefined> {
    if (!this.has(index)) return undefined;
    const bytes = await this.#read(shard, this.#offsets[index], this.#sizes[index]);
    return { bytes, isNew: this.#states[index] === NEW };
  }

  /** Adds an item, or another one in its place. Throws RadioactiveError where it cannot be written. Returns its SHA-256. */
  async put(shard: number, index: number, { bytes, isNew }: PackedItem): Promise<string> {
    const offset = this.#taken.get(shard) ?? 0;
    this.#taken.set(shard, offset + bytes.length);
    const data = this.#dataPath(shard);
    await this.#begin(shard);
    await using(data, 'r+', async (file) => {
      await file.write(bytes, 0, bytes.length, offset);
    });
    const sha256 = await hashAside(bytes);
    const line = `${JSON.stringify([index, isNew, offset, bytes.length, sha256])}\n`;
    const before = this.#writing.get(shard) ?? Promise.resolve();
    const writing = before.then(() => using(this.#indexPath(shard), 'a', (file) => file.writeFile(line)));
    this.#writing.set(
      shard,
      writing.catch(() => undefined),
    );
    await writing;
    this.#note(index, isNew, offset, bytes.length);
    return sha256;
  }

  /** Adds all items of a shard at once: they wait here when all of them do. */
  async putAll(shard: number, items: AsyncIterable<PackedItem & { readonly index: number }>): Promise<void> {
    const data = this.#dataPath(shard);
    await rm(data, { force: true });
    let offset = 0;
    const lines: string[] = [];
    const put = async function* (note: (...at: [number, boolean, number, number]) => void): AsyncGenerator<Uint8Array> {
      for await (const { index, isNew, bytes } of items) {
        lines.push(`${JSON.stringify([index, isNew, offset, bytes.length, hashBytes(bytes)])}\n`);
        note(index, isNew, offset, bytes.length);
        offset += bytes.length;
        yield bytes;
      }
    };
    await writeStreamed(
      data,
      put((...at) => this.#note(...at)),
    );
    await writeStreamed(this.#indexPath(shard), [new TextEncoder().encode(lines.join(''))]);
    this.#taken.set(shard, offset);
  }

  /** Forgets a shard's items, once the shard is whole. */
  async release(shard: number): Promise<void> {
    for (const path of [this.#indexPath(shard), this.#dataPath(shard)]) {
      await rm(path, { force: true }).catch((error: unknown) => {
        throw fileError(path, error);
      });
    }
    this.#taken.delete(shard);
    this.#begun.delete(shard);
  }
}

async function using(
  path: string,
  flags: string | undefined,
  work: (file: FileHandle) => Promise<unknown>,
): Promise<void> {
  try {
    const file = await open(path, flags);
    try {
      await work(file);
    } finally {
      await file.close();
    }
  } catch (error) {
    throw error instanceof InputError ? error : fileError(path, error);
  }
}

function jsonOf(line: string): unknown {
  try {
    return JSON.parse(line);
  } catch {
    return undefined;
  }
}
