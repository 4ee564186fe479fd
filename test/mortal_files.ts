/** Files that a process can be killed at. */

import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import type { FileHandle } from 'node:fs/promises';

/**
 * Changes to files that this process may still make. Then it is as good as killed: a write that is under way is cut in
 * half, and nothing that follows, such as cleaning up, changes anything. With `diskFull` this counts what takes space, and
 * only that fails from then on.
 */
export const life = { left: Number.POSITIVE_INFINITY, diskFull: false };

/** Locks that were made, see `lockOutput`. */
const locks = new Set<string>();
/** A number that no process has. */
const NO_PROCESS = 2 ** 30;

/** Locks that a killed run left name this process, which lives on: they shall name one that does not. */
function buryHolders(): void {
  for (const path of locks) {
    if (!existsSync(path)) continue;
    const content = readFileSync(path, 'utf8');
    writeFileSync(path, content.replace(`"pid":${process.pid},`, `"pid":${NO_PROCESS},`));
  }
  locks.clear();
}

/** `node:fs/promises`, for `vi.mock` in a test of its own file. */
export async function mortalFiles<T>(importOriginal: () => Promise<T>): Promise<T> {
  const real = (await importOriginal()) as typeof import('node:fs/promises');
  const mortal =
    <A extends unknown[], R>(operation: (...args: A) => Promise<R>, cutShort?: (...args: A) => Promise<unknown>) =>
    async (...args: A): Promise<R> => {
      if (life.diskFull && !cutShort) return operation(...args);
      const alive = life.left-- > 0;
      if (alive) return operation(...args);
      if (life.left === -1) await cutShort?.(...args);
      // On a full disk only what takes space fails.
      if (life.diskFull) throw Object.assign(new Error('ENOSPC'), { code: 'ENOSPC', errno: -28, syscall: 'write' });
      throw new Error('killed');
    };
  const half = <T extends Uint8Array | string>(data: T): T => data.slice(0, data.length >> 1) as T;
  const mortalFile = (file: FileHandle): unknown => ({
    close: () => file.close(),
    datasync: () => file.datasync(),
    sync: () => file.sync(),
    stat: () => file.stat(),
    read: file.read.bind(file),
    write: mortal(
      (bytes: Uint8Array, from: number, length: number, at: number) => file.write(bytes, from, length, at),
      (bytes, from, length, at) => file.write(half(bytes), from, length >> 1, at),
    ),
    writeFile: mortal(
      (data: Uint8Array | string) => file.writeFile(data),
      (data) => file.writeFile(half(data)),
    ),
  });
  const mocked = {
    ...real,
    mkdir: mortal(real.mkdir),
    rename: mortal(real.rename),
    rm: mortal(real.rm),
    truncate: mortal(real.truncate),
    open: async (path: string, flags?: string, mode?: number) => {
      if (flags === undefined) return real.open(path);
      const file = await mortal(real.open)(path, flags, mode);
      if (path.endsWith('.lock')) locks.add(path);
      return mortalFile(file);
    },
  };
  return mocked as T;
}

/**
 * Kills `work` before its first change to a file, before its second, … until it gets through; `step` may leave some out. Returns how
 * often it was killed.
 */
export async function killEverywhere(
  work: () => Promise<unknown>,
  afterEach: () => Promise<void>,
  step: () => number = () => 1,
): Promise<number> {
  let kills = 0;
  for (let count = 0; ; ) {
    life.left = count;
    await work().catch((error: unknown) => {
      if (life.left >= 0) throw error;
    });
    const died = life.left < 0;
    life.left = Number.POSITIVE_INFINITY;
    buryHolders();
    count += step();
    await afterEach();
    if (!died) return kills;
    kills++;
  }
}
