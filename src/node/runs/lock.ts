import { randomUUID } from 'node:crypto';
import { link, mkdir, open, readFile, rename, rm, stat, utimes } from 'node:fs/promises';
import { hostname } from 'node:os';
import { dirname } from 'node:path';
import * as v from 'valibot';
import { InputError } from '../../errors.ts';
import { parseJson } from '../../formats/document.ts';
import { positiveCount, text } from '../../formats/fields.ts';
import { fileError } from '../files/files.ts';

const HolderSchema = v.object({ pid: positiveCount, host: text, token: text });
type Holder = v.InferOutput<typeof HolderSchema>;

/** How often a lock is touched, and how long it may go untouched before another machine takes its holder for dead. */
const BEAT_MS = 15_000;
const SILENCE_MS = 4 * BEAT_MS;
/** A lock without a holder's name is one that is being written, for so long. */
const WRITING_MS = 1_000;
const RETRY_MS = 100;

/**
 * Locks that this process has or had: its number alone may be that of one before a restart. One that was given back stays, since whoever
 * read it before must not take it for a dead one's, and another's that is there by then with it.
 */
const own = new Set<string>();

/**
 * Keeps other runs from writing an output, by the file `<out>.lock` in its folder, which is made; returns what gives it back. The lock of a process that has
 * died is taken over: on the same machine at once, else when it has not been touched for a minute.
 *
 * @param patienceMs so long it is waited for a living run, which is to take no longer; default: not at all
 * @throws InputError if another run is writing there, or the lock cannot be written
 */
export async function lockOutput(out: string, patienceMs = 0): Promise<() => Promise<void>> {
  const path = `${out}.lock`;
  try {
    await mkdir(dirname(out), { recursive: true });
  } catch (error) {
    throw fileError(out, error);
  }
  const holder: Holder = { pid: process.pid, host: hostname(), token: randomUUID() };
  // Before the lock is there: whoever reads it then must find its holder alive.
  own.add(holder.token);
  await take(out, path, holder, patienceMs);
  const beat = setInterval(() => {
    const now = new Date();
    utimes(path, now, now).catch(() => undefined);
  }, BEAT_MS).unref();
  return async () => {
    clearInterval(beat);
    await rm(path, { force: true }).catch(() => undefined);
  };
}

/** Makes the lock, or takes that of a dead process over. */
async function take(out: string, path: string, holder: Holder, patienceMs: number): Promise<void> {
  const giveUp = performance.now() + patienceMs;
  while (!(await create(path, JSON.stringify(holder)))) {
    const found = await readLock(path);
    if (found === undefined) continue;
    if (found.holder && (await isAlive(found.holder, path))) {
      if (performance.now() > giveUp)
        throw new InputError(
          `${out}: another run is writing there (process ${found.holder.pid} on ${found.holder.host}); wait for it, or remove ${path} if there is none`,
        );
      await new Promise((resolve) => setTimeout(resolve, RETRY_MS * Math.random()));
      continue;
    }
    await takeAway(path, found.content, holder.token);
  }
}

/** Makes the lock; false where there is one. */
async function create(path: string, content: string): Promise<boolean> {
  try {
    const file = await open(path, 'wx');
    try {
      await file.writeFile(content);
    } finally {
      await file.close();
    }
    return true;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'EEXIST') return false;
    await rm(path, { force: true }).catch(() => undefined);
    throw fileError(path, error);
  }
}

/** What a lock says, once it is written; undefined where it is gone. */
async function readLock(path: string): Promise<{ readonly content: string; readonly holder?: Holder } | undefined> {
  for (let waitedMs = 0; ; waitedMs += RETRY_MS) {
    let content: string;
    try {
      content = await readFile(path, 'utf8');
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
      throw fileError(path, error);
    }
    const holder = holderIn(content, path);
    if (holder) return { content, holder };
    if (waitedMs >= WRITING_MS) return { content };
    await new Promise((resolve) => setTimeout(resolve, RETRY_MS));
  }
}

function holderIn(content: string, path: string): Holder | undefined {
  try {
    return v.parse(HolderSchema, parseJson(content, path, 'remove it'));
  } catch {
    return undefined;
  }
}

async function isAlive({ pid, host, token }: Holder, path: string): Promise<boolean> {
  if (host !== hostname()) {
    const touched = await stat(path).catch(() => undefined);
    return touched !== undefined && Date.now() - touched.mtimeMs < SILENCE_MS;
  }
  if (pid === process.pid) return own.has(token);
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    // Of another user's process it is known that it is there.
    return (error as NodeJS.ErrnoException).code === 'EPERM';
  }
}

/** Removes a dead lock, and no other: one that was exchanged for it meanwhile is put back. */
async function takeAway(path: string, content: string, token: string): Promise<void> {
  const aside = `${path}.${token}`;
  try {
    await rename(path, aside);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return;
    throw fileError(path, error);
  }
  if ((await readFile(aside, 'utf8')) !== content) await link(aside, path).catch(() => undefined);
  await rm(aside, { force: true });
}
