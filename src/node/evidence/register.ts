/** The file of a key's register. */

import { access, constants, rm } from 'node:fs/promises';
import { dirname, sep } from 'node:path';
import { InputError, IntegrityError } from '../../errors.ts';
import {
  appendLook,
  type NewLook,
  newRegister,
  parseRegister,
  type Register,
  serializeRegister,
} from '../../evidence/register.ts';
import { parseJson } from '../../formats/document.ts';
import { exists, fileError, readBytes } from '../files/files.ts';
import { PRIVATE_FILE_MODE } from '../files/private_part.ts';
import { writeAtomic } from '../files/write.ts';
import { lockOutput } from '../runs/lock.ts';

/** Where a key's register is. */
export const registerPath = (keyPath: string): string => `${keyPath}.register.jsonl`;

/** So long a process waits for others that append, which takes each some milliseconds. */
const PATIENCE_MS = 30_000;

/**
 * Begins a register.
 *
 * @param withKey whether the key is new: otherwise the register says for ever that tests may have been made before it.
 * @throws InputError if there is one.
 */
export async function beginRegister(path: string, keyCommitment: string, withKey: boolean): Promise<void> {
  await locked(path, async () => {
    if (await exists(path))
      throw new InputError(`${path}: exists already; it lists the tests made with a key: keep it`);
    await write(newRegister(path, keyCommitment, withKey));
  });
}

/**
 * Reads and checks a register, see `parseRegister`.
 *
 * @throws IntegrityError naming the line where the chain is broken, or if it belongs to another key.
 * @throws InputError if it cannot be read.
 */
export async function readRegister(path: string, keyCommitment: string): Promise<Register> {
  return parseRegister(new TextDecoder().decode(await readBytes(path)), path, keyCommitment);
}

/**
 * Checks that a test can be registered, before long work is done for it.
 *
 * @throws IntegrityError if the register is missing or damaged; InputError if it cannot be written.
 */
export async function requireRegister(path: string, keyCommitment: string): Promise<void> {
  if (!(await exists(path))) {
    throw new IntegrityError(
      `${path}: missing, so nobody can say how many tests were made with this key; restore it, name it with --register, or begin one with --new-register, which every report will say`,
    );
  }
  await readRegister(path, keyCommitment);
  try {
    await access(`${dirname(path)}${sep}`, constants.W_OK);
  } catch (error) {
    throw fileError(dirname(path), error);
  }
}

/**
 * Enters a test. Several processes may do so at once; a crash leaves the register with the entry or without it, never with a part.
 *
 * @returns the register with the entry as its last.
 * @throws IntegrityError if the register is damaged: nothing is appended then.
 * @throws InputError if another process keeps it locked.
 */
export async function enterLook(path: string, keyCommitment: string, look: NewLook): Promise<Register> {
  return await locked(path, async () => {
    const register = appendLook(await readRegister(path, keyCommitment), look);
    await write(register);
    return register;
  });
}

/**
 * Removes a register that was begun for a key which a killed run did not come to write. For a folder in which nobody else makes keys:
 * elsewhere it may be that of a key that was moved.
 *
 * @throws IntegrityError if tests are in it, or it is damaged
 */
export async function removeUnusedRegister(path: string): Promise<void> {
  if (!(await exists(path))) return;
  await locked(path, async () => {
    const [first] = new TextDecoder().decode(await readBytes(path)).split('\n');
    const { keyCommitment } = parseJson(first, path, 'restore it') as { readonly keyCommitment: string };
    if ((await readRegister(path, keyCommitment)).looks.length > 0)
      throw new IntegrityError(`${path}: lists tests that were made with a key that is missing; restore the key`);
    await rm(path);
  });
}

/** The whole file anew, under another name first: a line is never there in part. */
async function write(register: Register): Promise<void> {
  await writeAtomic(register.path, new TextEncoder().encode(serializeRegister(register)), PRIVATE_FILE_MODE);
}

/** Runs `work` while no other process does so for the same path. */
async function locked<T>(path: string, work: () => Promise<T>): Promise<T> {
  const release = await lockOutput(path, PATIENCE_MS);
  try {
    return await work();
  } finally {
    await release();
  }
}
