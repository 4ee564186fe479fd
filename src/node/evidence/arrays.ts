/** The folder of a result: the arrays that the test was made from. */

import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import type { ArrayFiles, StoredArrays } from '../../detection/arrays.ts';
import { InputError } from '../../errors.ts';
import { hashBytes } from '../../formats/sha256.ts';
import { fileError, readBytes } from '../files/files.ts';
import { PRIVATE_FILE_MODE } from '../files/private_part.ts';
import { writeAtomic } from '../files/write.ts';

/**
 * Writes arrays into a folder.
 *
 * @returns their names with their SHA-256.
 */
export async function saveArrays(folder: string, files: ArrayFiles): Promise<Record<string, string>> {
  try {
    await mkdir(folder, { recursive: true });
  } catch (error) {
    throw fileError(folder, error);
  }
  for (const [name, bytes] of Object.entries(files)) await writeAtomic(join(folder, name), bytes, PRIVATE_FILE_MODE);
  return Object.fromEntries(Object.entries(files).map(([name, bytes]) => [name, hashBytes(bytes)]));
}

/**
 * Reads the files that a result names; whether they are those is for `verify` to say.
 *
 * @throws InputError if one cannot be read.
 */
export async function readArrays(folder: string, names: readonly string[]): Promise<StoredArrays> {
  const files: Record<string, Uint8Array> = {};
  for (const name of names) files[name] = await readBytes(join(folder, arrayName(name, folder)));
  return { folder, files };
}

/** A name that a result gives, if it is one in its own folder. Throws InputError for any other. */
export function arrayName(name: string, of: string): string {
  if (!/^[\w-][\w.-]*$/.test(name)) throw new InputError(`${of}: saved: ${JSON.stringify(name)} is no file's name`);
  return name;
}
