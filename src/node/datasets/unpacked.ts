import { closeSync, openSync, read, rmSync, write } from 'node:fs';
import { mkdtemp } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { fileError } from '../files/files.ts';

const [readAt, writeAt] = [promisify(read), promisify(write)];

/**
 * A temporary file for what compressed shards hold, so that each item can be read by itself. It has no name where the system allows
 * that: it is gone when the process ends, however it ends.
 */
export class Unpacked {
  readonly #folder: string;
  readonly #file: number;
  #size = 0;
  /** Closes the files of data sets that are no longer used. */
  static readonly #unused = new FinalizationRegistry<number>((file) => closeSync(file));

  private constructor(folder: string, file: number) {
    this.#folder = folder;
    this.#file = file;
    Unpacked.#unused.register(this, file);
  }

  /** Begins one, in the folder for temporary files (`TMPDIR`). Throws InputError where it cannot be written. */
  static async create(): Promise<Unpacked> {
    const parent = tmpdir();
    try {
      const folder = await mkdtemp(join(parent, 'radioactive-'));
      const remove = (): void => rmSync(folder, { recursive: true, force: true });
      const file = openSync(join(folder, 'unpacked'), 'wx+', 0o600);
      // Windows does not remove open files.
      if (process.platform === 'win32') process.once('exit', remove);
      else remove();
      return new Unpacked(folder, file);
    } catch (error) {
      throw fileError(parent, error);
    }
  }

  /** Bytes so far: where the next go. */
  get size(): number {
    return this.#size;
  }

  /** Throws RadioactiveError where the disk is full. */
  async append(bytes: Uint8Array): Promise<void> {
    for (let done = 0; done < bytes.length; ) {
      try {
        const { bytesWritten } = await writeAt(this.#file, bytes, done, bytes.length - done, this.#size);
        done += bytesWritten;
        this.#size += bytesWritten;
      } catch (error) {
        throw fileError(this.#folder, error);
      }
    }
  }

  async read(offset: number, size: number): Promise<Uint8Array> {
    const bytes = new Uint8Array(size);
    for (let done = 0; done < size; ) {
      const { bytesRead } = await readAt(this.#file, bytes, done, size - done, offset + done);
      if (bytesRead === 0) throw fileError(this.#folder, new Error('the temporary file has become shorter'));
      done += bytesRead;
    }
    return bytes;
  }
}
