/** Data sets that are a list of image files with their labels, beside the files. */

import { realpath } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import type { Dataset, DatasetFormat, DatasetWriter, WriterOptions } from '../../datasets/dataset.ts';
import { DATASET_FORMATS } from '../../datasets/format.ts';
import { inParallel } from '../../datasets/loader.ts';
import { foldCase } from '../../datasets/names.ts';
import { InputError } from '../../errors.ts';
import { parseCsv, serializeCsv } from '../../formats/csv.ts';
import { printable } from '../../formats/printable.ts';
import { decodeImage, readImageHeader, SNIFF_BYTES, uprightShape } from '../../images/decode.ts';
import { isInside, readBytes, readHead } from '../files/files.ts';
import { setPublishedTime, writeAtomic } from '../files/write.ts';
import { nodeCodec } from '../images/codec.ts';
import { folderOpener } from './folder.ts';
import { folderFormat } from './folder_writer.ts';
import { readClasses } from './idx.ts';
import { CLASSES_NAME } from './idx_writer.ts';
import { LabelColumn } from './labels.ts';
import type { DatasetOpener, OpenDatasetOptions } from './opener.ts';
import { faultOfHead, refuseFaulty } from './shards.ts';

const LIST = /\.(?:csv|jsonl|ndjson)$/i;
/** What columns are called, the first that is there. */
const PATHS = ['path', 'file', 'file_name', 'filename', 'filepath', 'file_path', 'image', 'image_path', 'img'] as const;
const LABELS = ['label', 'class', 'cls', 'category', 'target', 'class_name', 'label_name'] as const;
const CURE = `name the columns path and label`;

/** A list of files in CSV or JSON lines. */
export const listOpener: DatasetOpener = {
  isAt: ({ path, names }) => names === undefined && LIST.test(path),
  open: ({ path: location }, path, options) => openList(location, path, options),
  begin: folderOpener.begin,
};

/** A row of a list. */
interface Row {
  /** As it is written there. */
  readonly path: string;
  readonly label: string;
  /** The same row with another path, as text. */
  at(path: string): string;
}

/** What a list holds: text before its rows, and these. */
interface List {
  readonly head: string;
  readonly rows: readonly Row[];
}

async function openList(location: string, path: string, options: OpenDatasetOptions): Promise<Dataset> {
  const root = dirname(location);
  const listName = basename(location);
  const labels = new LabelColumn();
  const ids: string[] = [];
  const places = new Map<string, number>();
  for (const [i, row] of (await readList(location)).rows.entries()) {
    const id = idOf(row.path, `${location}: row ${i + 1}`);
    const other = places.get(foldCase(id));
    if (other !== undefined) {
      const what = ids[other] === id ? 'is listed twice' : `differs only in case from ${ids[other]}`;
      throw new InputError(`${location}: row ${i + 1}: ${printable(id)} ${what}; remove or rename one`);
    }
    places.set(foldCase(id), ids.length);
    ids.push(id);
    labels.push(row.label);
  }
  if (ids.length === 0) throw new InputError(`${path}: lists no images; give a list with a row for each`);
  const realRoot = await realpath(root);
  const found: (string | undefined)[] = new Array(ids.length);
  const unreadable = new Set<number>();
  await inParallel(ids.length, async (index) => {
    const file = join(root, ids[index]);
    try {
      if (isInside(realRoot, await realpath(file))) {
        found[index] = faultOfHead(await readHead(file, SNIFF_BYTES));
        return;
      }
      found[index] = 'symbolic link out of the data set; put the file itself there or remove the link';
    } catch (error) {
      const missing = (error as NodeJS.ErrnoException).code === 'ENOENT';
      const { message } = error as Error;
      found[index] = missing ? 'no such file; check the list' : message.slice(message.indexOf(': ') + 2);
    }
    unreadable.add(index);
  });
  const faults = new Map(found.flatMap((fault, index) => (fault === undefined ? [] : [[index, fault] as const])));
  refuseFaulty(path, faults, (index) => printable(ids[index]), ids.length, options.keepFaults);
  const named = await readClasses(root);
  const codec = options.codec ?? (await nodeCodec());
  const shown = (index: number): string => join(root, printable(ids[index]));
  const bytes = async (index: number): Promise<Uint8Array> => {
    if (unreadable.has(index)) throw new InputError(`${shown(index)}: ${faults.get(index)}`);
    return readBytes(join(root, ids[index]));
  };
  return {
    path,
    root,
    format: listFormat({ location, listName, length: ids.length, namedClasses: named !== undefined }),
    ...labels.resolve(path, options.classes ?? named),
    length: ids.length,
    ...(options.keepFaults && { faults }),
    id: (index) => ids[index],
    shape: async (index) => uprightShape(readImageHeader(await bytes(index), shown(index), options.decode)),
    image: async (index) => decodeImage(codec, await bytes(index), shown(index), options.decode),
    bytes,
  };
}

/** A path of a list as an id. Throws InputError where it does not lie in the list's folder. */
function idOf(path: string, where: string): string {
  const id = path.replace(/^(?:\.\/)+/, '');
  if (!id.startsWith('/') && id.split('/').every((part) => part !== '' && part !== '.' && part !== '..')) return id;
  throw new InputError(
    `${where}: ${JSON.stringify(path.slice(0, 200))} is no path from the list's folder; put the list above the images, and give paths like val/001.jpg`,
  );
}

/** Reads a list. Throws InputError where it is none. */
async function readList(location: string): Promise<List> {
  const text = new TextDecoder().decode(await readBytes(location));
  return /\.csv$/i.test(location) ? csvList(text, location) : jsonList(text, location);
}

function csvList(text: string, location: string): List {
  const { rows, lines } = parseCsv(text, location);
  const first = (rows[0] ?? []).map((name) => name.toLowerCase());
  const columnOf = (names: readonly string[]): number =>
    names.map((name) => first.indexOf(name)).find((column) => column >= 0) ?? -1;
  let [pathAt, labelAt] = [columnOf(PATHS), columnOf(LABELS)];
  const headed = pathAt >= 0 && labelAt >= 0;
  if (!headed) {
    if (rows.length > 0 && first.length !== 2)
      throw new InputError(`${location}: does not say which of its ${first.length} columns are which; ${CURE}`);
    [pathAt, labelAt] = [0, 1];
  }
  return {
    head: headed ? serializeCsv([rows[0]]) : '',
    rows: (headed ? rows.slice(1) : rows).map((row, i) => {
      const [path, label] = [row[pathAt], row[labelAt]];
      if (path === '' || label === '')
        throw new InputError(`${location}: line ${lines[headed ? i + 1 : i]} has no path or no label; give both`);
      return { path, label, at: (other) => serializeCsv([row.with(pathAt, other)]) };
    }),
  };
}

function jsonList(text: string, location: string): List {
  const rows: Row[] = [];
  for (const [i, line] of text.split('\n').entries()) {
    if (line.trim() === '') continue;
    let row: Record<string, unknown> | undefined;
    try {
      row = JSON.parse(line) as Record<string, unknown>;
    } catch {
      // Said below.
    }
    const pathName = PATHS.find((name) => typeof row?.[name] === 'string' && row[name] !== '');
    const labelName = LABELS.find((name) => row?.[name] !== undefined);
    const label = labelName && row![labelName];
    if (!row || !pathName || !(typeof label === 'string' || typeof label === 'number') || label === '')
      throw new InputError(`${location}: line ${i + 1} is no object with a path and a label; ${CURE}`);
    rows.push({
      path: row[pathName] as string,
      label: String(label),
      at: (other) => `${JSON.stringify({ ...row, [pathName]: other })}\n`,
    });
  }
  return { head: '', rows };
}

/** What distinguishes a list: the file, to be written again. */
interface ListFile {
  readonly location: string;
  readonly listName: string;
  /** Images in it. */
  readonly length: number;
  /** Whether class names come from a `classes.txt` beside it. */
  readonly namedClasses: boolean;
}

const listFormat = (list: ListFile): DatasetFormat => ({
  name: 'list',
  ...DATASET_FORMATS.list,
  openWriter: (source, out, options) => openListWriter(source, list, out, options),
});

/** Files as in the source, and a list of its name: the same bytes, unless only a part is written or files have other names. */
async function openListWriter(
  source: Dataset,
  { location, listName, length, namedClasses }: ListFile,
  out: string,
  options: WriterOptions = {},
): Promise<DatasetWriter> {
  const files = await folderFormat.openWriter(source, out, options);
  const list = async (): Promise<Uint8Array> => {
    if (options.format !== 'PNG' && source.length === length) return readBytes(location);
    const newIds = new Map<string, string>();
    for (let index = 0; index < source.length; index++) {
      const id = source.id(index);
      newIds.set(id, (options.format === 'PNG' && (await files.stored(index))?.id) || id);
    }
    const { head, rows } = await readList(location);
    const kept = rows.flatMap((row) => {
      const id = newIds.get(idOf(row.path, location));
      return id === undefined ? [] : [row.at(id)];
    });
    return new TextEncoder().encode(head + kept.join(''));
  };
  return {
    ...files,
    async finish(leftOut) {
      await files.finish(leftOut);
      const beside = [join(out, listName)];
      await writeAtomic(beside[0], await list());
      if (namedClasses) {
        beside.push(join(out, CLASSES_NAME));
        await writeAtomic(beside[1], new TextEncoder().encode(`${source.classes.join('\n')}\n`));
      }
      await setPublishedTime([...beside, out]);
    },
  };
}
