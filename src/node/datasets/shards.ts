/** Data sets that are stored in several files, the shards, of one folder. */

import { realpath, stat } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { severalFaults } from '../../datasets/faults.ts';
import { compareCodePoints } from '../../datasets/names.ts';
import { InputError } from '../../errors.ts';
import { DECODABLE_FORMATS, imageFormat } from '../../images/decode.ts';
import { fileError } from '../files/files.ts';
import { optionalModule } from '../optional.ts';
import type { Location, OpenDatasetOptions } from './opener.ts';

/** The files of a data set, in order. */
export interface Shards {
  /** The folder that they are in. */
  readonly root: string;
  readonly names: readonly string[];
  /** Names beside them in the folder, where the folder was given. */
  readonly others: readonly string[];
}

/** What stands for the name of a split in those of files. */
const SPLITS: Readonly<Record<'train' | 'test', RegExp>> = {
  train: /(?:^|[-_.])train(?:ing)?(?:[-_.]|$)/i,
  test: /(?:^|[-_.])(?:test|val|valid|validation)(?:[-_.]|$)/i,
};

/** Whether a file is a shard by its name, or a folder without folders in it holds one. */
export const holdsShards = ({ path, names, hasFolders }: Location, shard: RegExp): boolean =>
  names === undefined ? shard.test(path) : !hasFolders && names.some((name) => shard.test(name));

/** Whether a path may stand for several files. */
export const isShardPattern = (path: string): boolean => /[{*?[]/.test(path);

/**
 * The shards that a path stands for: the file; those of a folder, of one split where their names tell; or those that a pattern names,
 * as `000.tar` to `099.tar` for `{000..099}.tar`.
 *
 * @throws InputError where there are none, one is missing, or a pattern has a part that is not the files' name
 */
export async function findShards(
  { path: location, names }: Location,
  isShard: (name: string) => boolean,
  path: string,
  { split }: OpenDatasetOptions,
): Promise<Shards> {
  if (names !== undefined) {
    const all = names.filter((name) => !name.startsWith('.') && isShard(name)).sort(compareCodePoints);
    const others = names.filter((name) => !name.startsWith('.') && !isShard(name)).sort(compareCodePoints);
    const wanted = split ?? 'train';
    const other = wanted === 'train' ? 'test' : 'train';
    if (!all.some((name) => SPLITS.train.test(name) || SPLITS.test.test(name)))
      return { root: location, names: all, others };
    const chosen = all.filter((name) => SPLITS[wanted].test(name) || !SPLITS[other].test(name));
    if (chosen.length > 0) return { root: location, names: chosen, others };
    throw new InputError(
      `${path}: no shards of the split ${wanted} among ${shortly(all)}; give another split, or the files`,
    );
  }
  const root = dirname(location);
  const name = basename(location);
  const isThere = await stat(location).then(
    () => true,
    () => false,
  );
  if (isThere) return { root, names: [name], others: [] };
  if (isShardPattern(root)) {
    throw new InputError(`${path}: a pattern of folders; give the shards of one folder, as ${join('shards', '*.tar')}`);
  }
  const chosen = await matching(root, name);
  if (chosen.length === 0) throw new InputError(`${path}: no file has such a name; check the pattern`);
  return { root, names: chosen, others: [] };
}

/** The names in a folder that a pattern stands for, in its order. Throws InputError where one that it spells out is missing. */
async function matching(root: string, pattern: string): Promise<string[]> {
  const { minimatch } = await optionalModule('minimatch', () => import('minimatch'));
  const { readdir } = await import('node:fs/promises');
  let names: string[];
  try {
    names = (await readdir(await realpath(root))).filter((name) => !name.startsWith('.')).sort(compareCodePoints);
  } catch (error) {
    throw fileError(root, error);
  }
  const there = new Set(names);
  const found = new Set<string>();
  for (const each of minimatch.braceExpand(pattern)) {
    if (/[*?[]/.test(each)) for (const name of minimatch.match(names, each)) found.add(name);
    else if (there.has(each)) found.add(each);
    else throw new InputError(`${join(root, each)}: no such file; check the pattern, or restore the shard`);
  }
  return [...found];
}

/** The first of many names. */
const shortly = (names: readonly string[]): string =>
  names.length > 3 ? `${names.slice(0, 3).join(', ')}, …` : names.join(', ');

/** What is wrong with a file that should be an image, by its first bytes (`SNIFF_BYTES`); undefined: nothing. */
export function faultOfHead(head: Uint8Array): string | undefined {
  const format = imageFormat(head);
  if (format?.decodable) return undefined;
  const what = format ? `${format.name} images are not read` : head.length === 0 ? 'an empty file' : 'not an image';
  return `${what}; convert it to ${DECODABLE_FORMATS.join(' or ')}, or remove it`;
}

/** What is wrong with items. Throws InputError where a data set may have no faults, or nothing else. */
export function refuseFaulty(
  path: string,
  faults: ReadonlyMap<number, string>,
  id: (index: number) => string,
  length: number,
  keepFaults = false,
): void {
  if (faults.size === 0 || (keepFaults && faults.size < length)) return;
  throw severalFaults(
    path,
    Array.from(faults, ([index, reason]) => ({ id: id(index), reason })),
  );
}
