/** Folders that take long to make: under another name until they are complete, with a journal of what is done, by one run at a time. */

import { chmod, type FileHandle, mkdir, open, readdir, readFile, rename, rm } from 'node:fs/promises';
import { join } from 'node:path';
import * as v from 'valibot';
import type { Dataset } from '../../datasets/dataset.ts';
import { InputError } from '../../errors.ts';
import { canonicalJson } from '../../formats/canonical.ts';
import { parseJson } from '../../formats/document.ts';
import { count } from '../../formats/fields.ts';
import { createOutputFolder, requireOutside } from '../datasets/write.ts';
import { exists, fileError, outputPath } from '../files/files.ts';
import { wholeLines } from '../files/lines.ts';
import { PRIVATE_FILE_MODE, PRIVATE_FOLDER_MODE, privatePart } from '../files/private_part.ts';
import { TEMPORARY_NAME, writeAtomic, writeStreamed } from '../files/write.ts';
import { lockOutput } from './lock.ts';

/** The file, in what a folder that is not complete keeps notes in, that tells what it was begun with and which items are done. */
const JOURNAL_NAME = '.journal.ndjson';

/** What a kind of folder consists of. */
export interface FolderKind<Entry, Last> {
  /** What is noted of an item. */
  readonly entry: v.GenericSchema<unknown, Entry>;
  /** Name of the file that is written last: with it the folder is complete. */
  readonly lastName: string;
  /** Reads that file. Throws InputError if it is none. */
  readonly readLast: (text: string, fileName: string) => Last;
  /** What the folder was begun with, from that file. */
  readonly headOf: (last: Last) => object;
}

/** What a folder in the making is for. */
export interface FolderOptions {
  /** It is to be published: nothing of this run stays in it. */
  readonly published?: boolean | undefined;
  /** Names that its private part may hold before it is begun. */
  readonly keptPrivate?: readonly string[] | undefined;
}

/** What an earlier run has left. */
export type Begun<Entry, Last> =
  | { readonly last: Last }
  | { readonly last?: undefined; readonly resumed: boolean; readonly done: Map<number, Entry> };

/**
 * A folder in the making: `<out>.partial` with a journal, and beside it `<out>.lock`. Killed at any moment, it can be opened again
 * and gone on with. Of a folder that is to be published, the journal and the last file are in its private part instead,
 * `<out>.private`, which stays beside it.
 */
export class ResumableFolder {
  readonly out: string;
  /** Where its files are until it is complete. */
  readonly partial: string;
  /** Where the journal and the last file are: in it, or in its private part. */
  readonly #notes: string;
  readonly #source: Dataset;
  readonly #keptPrivate: readonly string[];
  readonly #release: () => Promise<void>;
  #journal: FileHandle | undefined;

  private constructor(out: string, source: Dataset, options: FolderOptions, release: () => Promise<void>) {
    this.out = out;
    this.partial = `${out}.partial`;
    this.#notes = options.published ? privatePart(out) : this.partial;
    this.#keptPrivate = options.keptPrivate ?? [];
    this.#source = source;
    this.#release = release;
  }

  /**
   * Opens the folder for this run alone; end with `close`.
   *
   * @throws InputError if `out` exists, is the folder of its source or inside it, or another run is writing there
   */
  static async open(out: string, source: Dataset, options: FolderOptions = {}): Promise<ResumableFolder> {
    const path = outputPath(out);
    await requireNewFolder(path);
    await requireOutside(source, path);
    const release = await lockOutput(path);
    try {
      // Another run may just have completed it.
      await requireNewFolder(path);
    } catch (error) {
      await release();
      throw error;
    }
    return new ResumableFolder(path, source, options, release);
  }

  /**
   * Begins the folder, or finds what was done. Entries that are no longer what they should be are left out.
   *
   * @param head everything that decides what will be in it
   * @throws InputError if the partial folder was begun with another head, or is of something else
   */
  async begin<Entry, Last>(head: object, kind: FolderKind<Entry, Last>): Promise<Begun<Entry, Last>> {
    const { partial } = this;
    const notes = this.#notes;
    const isPrivate = notes !== partial;
    const journalPath = join(notes, JOURNAL_NAME);
    const lastPath = join(notes, kind.lastName);
    const check = (found: unknown): void => {
      if (canonicalJson(found) !== canonicalJson(head))
        throw new InputError(
          `${partial}: was begun with another key, data set or options; finish it with those, or remove it`,
        );
    };
    const journal = await readJournal(journalPath, kind.entry);
    if (journal) check(journal.head);
    else if (await exists(lastPath)) {
      if (!(await exists(partial)))
        throw new InputError(
          `${notes}: belongs to a data set that is no longer beside it; choose another folder, or remove it`,
        );
      // Killed when everything was there but the folder's name.
      const last = kind.readLast(await readFile(lastPath, 'utf8'), lastPath);
      check(kind.headOf(last));
      return { last };
    } else {
      // The journal comes before everything else: what a killed run leaves in the folder is always known to be its own.
      const names = await createOutputFolder(this.#source, partial);
      if (names.length > 0) throw new InputError(`${partial}: not empty and not from this command; remove it`);
      if (isPrivate) await createPrivate(notes, this.#keptPrivate);
      await writeAtomic(journalPath, new TextEncoder().encode(`${JSON.stringify(head)}\n`), this.#mode);
    }
    this.#journal = await open(journalPath, 'a');
    return { resumed: journal !== undefined, done: journal?.entries ?? new Map() };
  }

  /** Notes what became of items, once it is safely written. Only then does a run that is started again count them as done. */
  async note(entries: readonly (readonly [index: number, entry: unknown])[]): Promise<void> {
    try {
      await this.#journal!.writeFile(entries.map((entry) => `${JSON.stringify(entry)}\n`).join(''));
      await this.#journal!.datasync();
    } catch (error) {
      throw fileError(join(this.#notes, JOURNAL_NAME), error);
    }
  }

  /** Writes the last file, if it is not there, and gives the folder its name. */
  async complete(last?: { readonly name: string; readonly text: string | Iterable<string> }): Promise<void> {
    if (last) await writeStreamed(join(this.#notes, last.name), encoded(last.text), this.#mode);
    await this.#journal?.close();
    this.#journal = undefined;
    await rm(join(this.#notes, JOURNAL_NAME), { force: true });
    await rename(this.partial, this.out);
  }

  /** Of files among the notes; undefined for what the umask gives. */
  get #mode(): number | undefined {
    return this.#notes === this.partial ? undefined : PRIVATE_FILE_MODE;
  }

  /** Lets others write there; call it also after an error. */
  async close(): Promise<void> {
    await this.#journal?.close().catch(() => undefined);
    await this.#release();
  }
}

function* encoded(text: string | Iterable<string>): Generator<Uint8Array> {
  const encoder = new TextEncoder();
  for (const piece of typeof text === 'string' ? [text] : text) yield encoder.encode(piece);
}

/** Makes a folder for the owner alone. Throws InputError if there is something in it besides `kept`. */
export async function createPrivate(path: string, kept: readonly string[] = []): Promise<void> {
  try {
    await mkdir(path, { recursive: true, mode: PRIVATE_FOLDER_MODE });
    await chmod(path, PRIVATE_FOLDER_MODE);
    if ((await readdir(path)).every((name) => TEMPORARY_NAME.test(name) || kept.includes(name))) return;
  } catch (error) {
    throw fileError(path, error);
  }
  throw new InputError(`${path}: not empty and not from this command; remove it, or choose another folder`);
}

async function requireNewFolder(path: string): Promise<void> {
  if (await exists(path)) throw new InputError(`${path}: exists already; choose another folder, or remove it`);
}

/** The journal; undefined where there is none. */
async function readJournal<Entry>(path: string, entry: v.GenericSchema<unknown, Entry>) {
  return (await exists(path)) ? parseJournal(wholeLines(path), path, entry) : undefined;
}

/**
 * A journal's lines: what the folder was begun with, then one for each item that is done. Lines that are damaged are passed over:
 * their items are done again.
 *
 * @throws InputError naming the file if its first line is not JSON.
 */
export async function parseJournal<Entry>(
  lines: AsyncIterable<string> | Iterable<string>,
  path: string,
  entry: v.GenericSchema<unknown, Entry>,
): Promise<{ head: unknown; entries: Map<number, Entry> }> {
  const schema = v.strictTuple([count, entry]);
  const entries = new Map<number, Entry>();
  let head: { readonly value: unknown } | undefined;
  for await (const line of lines) {
    if (!head) {
      head = { value: parseJson(line, path, 'remove the folder and start again') };
      continue;
    }
    const parsed = v.safeParse(schema, jsonOf(line));
    if (parsed.success) entries.set(...(parsed.output as [number, Entry]));
  }
  head ??= { value: parseJson('', path, 'remove the folder and start again') };
  return { head: head.value, entries };
}

function jsonOf(line: string): unknown {
  try {
    return JSON.parse(line);
  } catch {
    return undefined;
  }
}
