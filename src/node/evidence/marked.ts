import { stat } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { MANIFEST_NAME, parseManifest } from '../../datasets/manifest.ts';
import { InputError } from '../../errors.ts';
import type { MarkedFolder } from '../../evidence/commitment.ts';
import { hashBytes } from '../../formats/sha256.ts';
import { isShardPattern } from '../datasets/shards.ts';
import { exists, readBytes } from '../files/files.ts';
import { privatePart } from '../files/private_part.ts';

/** The folder that a data set is in: of a file, a pattern of shards, or a range of items, the folder of its files. */
export async function folderOf(path: string): Promise<string> {
  const found = await stat(path).catch(() => undefined);
  if (found) return found.isDirectory() ? path : dirname(path);
  const whole = path.replace(/#\d*:\d*$/, '');
  return whole === path ? (isShardPattern(path) ? dirname(path) : path) : folderOf(whole);
}

/** Where the manifest of a data set's folder is: in its private part, or inside it, where earlier versions wrote it. */
async function findManifest(folder: string): Promise<string | undefined> {
  for (const path of [join(privatePart(folder), MANIFEST_NAME), join(folder, MANIFEST_NAME)])
    if (await exists(path)) return path;
  return undefined;
}

/**
 * The manifest of a marked data set, by its path.
 *
 * @throws InputError if there is none, or it is not one.
 */
export async function openMarked(dataset: string): Promise<MarkedFolder> {
  const folder = await folderOf(dataset);
  const path = await findManifest(folder);
  if (path === undefined)
    throw new InputError(
      `${join(privatePart(folder), MANIFEST_NAME)}: no such file; put the private part, which mark wrote, beside ${folder}`,
    );
  return markedFolder(folder, path, await readBytes(path));
}

/**
 * The same where a folder need not be marked: undefined where there is no manifest, or a file of that name from another program.
 *
 * @throws InputError if there is one that cannot be read
 */
export async function openIfMarked(folder: string): Promise<MarkedFolder | undefined> {
  const path = await findManifest(folder);
  if (path === undefined) return undefined;
  const bytes = await readBytes(path);
  try {
    return markedFolder(folder, path, bytes);
  } catch (error) {
    if (error instanceof InputError) return undefined;
    throw error;
  }
}

function markedFolder(folder: string, path: string, bytes: Uint8Array): MarkedFolder {
  const manifest = parseManifest(new TextDecoder().decode(bytes), path);
  return { folder, path, manifest, manifestSha256: hashBytes(bytes) };
}
