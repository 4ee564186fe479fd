import { access, constants, open, readFile } from 'node:fs/promises';
import { dirname, isAbsolute, join, parse, relative, sep } from 'node:path';
import { InputError, RadioactiveError } from '../../errors.ts';

const REASONS: Record<string, string> = {
  ENOENT: 'no such file or folder; check the path',
  EACCES: 'no permission; change its mode or owner',
  EPERM: 'no permission; change its mode or owner',
  EROFS: 'the file system is read-only; choose another place',
  ENOSPC: 'no space left on the device; free some and run again',
  EDQUOT: 'disk quota exceeded; free some space and run again',
  EEXIST: 'is a file, expected a folder; choose another path',
  EISDIR: 'is a folder, expected a file; give a file',
  ENOTDIR: 'part of the path is a file, expected a folder; check the path',
  ELOOP: 'symbolic links go in a circle; remove them',
  EMFILE: 'too many open files; raise the limit (ulimit -n)',
  ERR_FS_FILE_TOO_LARGE: 'larger than the 2 GiB that are read at once; split it',
};

/** A failed file operation as an error that names the file and what to do: bad input, or a full disk, which can be retried. */
export function fileError(path: string, error: unknown): RadioactiveError {
  const { code = '', message } = error as NodeJS.ErrnoException;
  const text = `${path}: ${REASONS[code] ?? `${message}; check the path and the disk`}`;
  const outOfSpace = code === 'ENOSPC' || code === 'EDQUOT';
  return outOfSpace ? new RadioactiveError(text, 5, { cause: error }) : new InputError(text, { cause: error });
}

/** A path to write to, without separators at its end: names that are made of it, `<out>.partial`, are then beside it, not inside. */
export function outputPath(path: string): string {
  const { dir, base, root } = parse(path);
  return base === '' ? root || path : join(dir, base);
}

/**
 * Refuses a path where no new file can be written, before long work is done for it.
 *
 * @throws InputError if there is something of that name, or its folder is missing or not writable.
 */
export async function requireNewFile(path: string): Promise<void> {
  if (await exists(path)) throw new InputError(`${path}: exists already; choose another name, or remove it`);
  const folder = dirname(path);
  try {
    // With the separator a file of that name is refused too.
    await access(`${folder}${sep}`, constants.W_OK);
  } catch (error) {
    throw fileError(folder, error);
  }
}

/**
 * The bytes of a file.
 *
 * @throws InputError if it cannot be read.
 */
export async function readBytes(path: string): Promise<Uint8Array> {
  try {
    // Not a Buffer, whose slice() is a view where a Uint8Array's is a copy.
    const { buffer, byteOffset, byteLength } = await readFile(path);
    return new Uint8Array(buffer, byteOffset, byteLength);
  } catch (error) {
    throw fileError(path, error);
  }
}

/**
 * The first bytes of a file, fewer where it is shorter.
 *
 * @throws InputError if it cannot be read.
 */
export async function readHead(path: string, bytes: number): Promise<Uint8Array> {
  try {
    const file = await open(path);
    try {
      const head = new Uint8Array(bytes);
      const { bytesRead } = await file.read(head, 0, bytes, 0);
      return head.subarray(0, bytesRead);
    } finally {
      await file.close();
    }
  } catch (error) {
    throw fileError(path, error);
  }
}

/** Whether a path is a folder's own or below it; both absolute, without symbolic links. */
export function isInside(folder: string, path: string): boolean {
  const fromFolder = relative(folder, path);
  return fromFolder !== '..' && !fromFolder.startsWith(`..${sep}`) && !isAbsolute(fromFolder);
}

/** Whether there is anything of that name. */
export async function exists(path: string): Promise<boolean> {
  return access(path).then(
    () => true,
    () => false,
  );
}
