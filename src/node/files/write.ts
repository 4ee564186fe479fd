import { createHash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { mkdir, open, rename, rm, utimes } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { RadioactiveError } from '../../errors.ts';
import { hashBytes } from '../../formats/sha256.ts';
import { fileError } from './files.ts';
import { PRIVATE_FOLDER_MODE } from './private_part.ts';

/**
 * Writes a file so that its name only ever stands for the whole content, also after a crash or a loss of power: a temporary
 * file in the same folder, forced to disk, then renamed. A file of that name is replaced, and so is what a killed attempt at
 * the same path has left.
 *
 * @param mode permissions of a new file, as for `open`; default 0o666 less the umask.
 * @throws RadioactiveError if it cannot be written (no space, no permission, no such folder); nothing is left behind then.
 */
export async function writeAtomic(path: string, bytes: Uint8Array, mode?: number): Promise<void> {
  await writeStreamed(path, [bytes], mode);
}

/** The same of a content that comes in pieces, which need not be in memory together. What their source throws is thrown. */
export async function writeStreamed(
  path: string,
  pieces: AsyncIterable<Uint8Array> | Iterable<Uint8Array>,
  mode = 0o666,
): Promise<void> {
  const folder = dirname(path);
  // Hashed, since the name may have the greatest length there is.
  const temporary = join(folder, `.${hashBytes(new TextEncoder().encode(basename(path))).slice(0, 16)}.tmp`);
  try {
    await rm(temporary, { force: true });
    const file = await open(temporary, 'wx', mode);
    try {
      for await (const piece of pieces) await file.writeFile(piece);
      await file.sync();
    } finally {
      await file.close();
    }
    await rename(temporary, path);
    await syncFolder(folder);
  } catch (error) {
    await rm(temporary, { force: true });
    throw error instanceof RadioactiveError ? error : fileError(path, error);
  }
}

/** The same, with the folders it lies in. */
export async function writeWithFolders(path: string, bytes: Uint8Array): Promise<void> {
  try {
    await mkdir(dirname(path), { recursive: true });
  } catch (error) {
    throw fileError(path, error);
  }
  await writeAtomic(path, bytes);
}

/** Makes a folder for the owner alone, with those it lies in, unless it is there. Throws InputError where it cannot be made. */
export async function makePrivateFolder(path: string): Promise<void> {
  try {
    await mkdir(path, { recursive: true, mode: PRIVATE_FOLDER_MODE });
  } catch (error) {
    throw fileError(path, error);
  }
}

/** The time that all files and folders of a data set get which is to be published, whenever they were written. */
export const PUBLISHED_TIME = new Date('2000-01-01T00:00:00Z');

/** Gives files or folders that time. Throws InputError where one is not there. */
export async function setPublishedTime(paths: Iterable<string>): Promise<void> {
  for (const path of paths)
    await utimes(path, PUBLISHED_TIME, PUBLISHED_TIME).catch((error: unknown) => {
      throw fileError(path, error);
    });
}

/** Names of temporary files that a killed process has left. */
export const TEMPORARY_NAME = /^\.[0-9a-f]{16}\.tmp$/;

/**
 * SHA-256 of a file as 64 hex digits, read piece by piece.
 *
 * @throws InputError if it cannot be read.
 */
export async function hashFile(path: string): Promise<string> {
  const hash = createHash('sha256');
  try {
    for await (const piece of createReadStream(path)) hash.update(piece as Buffer);
  } catch (error) {
    throw fileError(path, error);
  }
  return hash.digest('hex');
}

/** Forces a rename to disk. Windows cannot open folders, and does not need it. */
async function syncFolder(folder: string): Promise<void> {
  if (process.platform === 'win32') return;
  const handle = await open(folder);
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}
