/** Archives of tar, plain or gzip: their members in order, as they are stored, and written again. */

import { createReadStream } from 'node:fs';
import { createGunzip, createGzip } from 'node:zlib';
import type { Header } from 'tar-stream';
import { InputError, RadioactiveError } from '../../errors.ts';
import { isGzip } from '../../formats/gzip.ts';
import { printable } from '../../formats/printable.ts';
import { fileError, readHead } from '../files/files.ts';
import { PUBLISHED_TIME } from '../files/write.ts';
import { optionalModule } from '../optional.ts';

/** A header's size, in bytes. */
const BLOCK = 512;

/** A member of an archive, while it is read. */
export interface TarMember {
  /** Its path, without `./` at the beginning. */
  readonly name: string;
  readonly size: number;
  /** Where its content begins in the archive, once that is decompressed. */
  readonly offset: number;
  /** Its content, piece by piece; what is not read is passed over. */
  readonly content: AsyncIterable<Uint8Array>;
  readonly header: Header;
}

/** Whether a file is compressed, whatever its name says. */
export const isGzipFile = async (path: string): Promise<boolean> => isGzip(await readHead(path, 2));

/**
 * The members of an archive, in order: files, folders and links.
 *
 * @throws InputError where it is no archive, ends too early, or is damaged between members; MissingModuleError without tar-stream
 */
export async function* tarMembers(path: string): AsyncGenerator<TarMember> {
  const { extract } = await optionalModule('tar-stream', async () => (await import('tar-stream')).default);
  const gzip = await isGzipFile(path);
  const file = createReadStream(path, { highWaterMark: 2 ** 20 });
  const bytes = gzip ? file.pipe(createGunzip({ chunkSize: 2 ** 18 })) : file;
  const members = extract();
  let unread: unknown;
  file.on('error', (error) => {
    unread = fileError(path, error);
    bytes.destroy(error);
  });
  bytes.on('error', (error: Error) => members.destroy(error));
  bytes.pipe(members as unknown as NodeJS.WritableStream);
  let last: string | undefined;
  const told = (error: unknown, where: 'after' | 'in'): unknown => {
    if (unread) return unread;
    if (error instanceof RadioactiveError) return error;
    const what = last === undefined ? 'is no tar archive' : `is damaged ${where} its member ${printable(last)}`;
    return new InputError(`${path}: ${what} (${(error as Error).message}); restore the file`, { cause: error });
  };
  async function* contentOf(source: AsyncIterable<unknown>): AsyncGenerator<Uint8Array> {
    try {
      yield* source as AsyncIterable<Uint8Array>;
    } catch (error) {
      throw told(error, 'in');
    }
  }
  try {
    for await (const source of members) {
      const { header } = source;
      const name = header.name.replace(/^(?:\.\/)+/, '');
      // Its type is one that tar-stream does not know, such as a sparse file: it would be written as another.
      if (!header.type)
        throw new InputError(`${path}: ${printable(name)} is of a kind that is not read; pack plain files`);
      last = name;
      yield {
        name,
        size: header.size,
        offset: source.offset + BLOCK,
        content: contentOf(source),
        header,
      };
      source.resume();
    }
  } catch (error) {
    throw told(error, 'after');
  } finally {
    members.destroy();
    file.destroy();
  }
}

/** A member as it is to be written: with the header of another, but for its size and what is given here. */
export interface NewMember {
  readonly header: Header;
  readonly name: string;
  /** In one piece, or as it is read, if it keeps its size. */
  readonly content: Uint8Array | AsyncIterable<Uint8Array>;
}

/** Of what PAX headers say: what is written anew from the header, and times. */
const REWRITTEN = /^(?:path|linkpath|size|[amc]time|LIBARCHIVE\.creationtime|GNU\.sparse\..*)$/;
/** Beyond this numbers do not fit a header, and stand in a PAX header. */
const MOST_OCTAL = 0o777777;

/**
 * An archive of members, piece by piece. All have one time; names that do not fit a header, owners and what else the members' PAX headers
 * say stand in PAX headers.
 */
export async function* tarBytes(members: AsyncIterable<NewMember>, gzip: boolean): AsyncGenerator<Uint8Array> {
  const { pack } = await optionalModule('tar-stream', async () => (await import('tar-stream')).default);
  const archive = pack();
  const fill = async (): Promise<void> => {
    for await (const { header, name, content } of members) await add(header, name, content);
    archive.finalize();
  };
  const add = (header: Header, name: string, content: NewMember['content']): Promise<void> =>
    new Promise((resolve, reject) => {
      const done = (error?: Error | null): void => (error ? reject(error) : resolve());
      const kept = Object.entries((header.pax ?? {}) as Record<string, string>).filter(([key]) => !REWRITTEN.test(key));
      for (const key of ['uid', 'gid'] as const) if (header[key] > MOST_OCTAL) kept.push([key, String(header[key])]);
      const isFile = header.type === 'file' || header.type === 'contiguous-file';
      const size = !isFile ? 0 : content instanceof Uint8Array ? content.length : header.size;
      const pax = kept.length > 0 ? Object.fromEntries(kept) : null;
      const sink = archive.entry({ ...header, name, size, mtime: PUBLISHED_TIME, pax }, done);
      if (!isFile) return;
      const write = async (): Promise<void> => {
        for await (const piece of content instanceof Uint8Array ? [content] : content) {
          if (sink.destroyed) return;
          if (sink.write(piece)) continue;
          await new Promise<void>((goOn) => {
            sink.once('drain', () => goOn());
            sink.once('close', () => goOn());
          });
        }
        sink.end(undefined);
      };
      write().catch((error: Error) => {
        sink.destroy(error);
        reject(error);
      });
    });
  const filled = fill().catch((error: Error) => {
    archive.destroy(error);
    throw error;
  });
  filled.catch(() => undefined);
  const bytes = gzip ? (archive as unknown as NodeJS.ReadableStream).pipe(createGzip()) : archive;
  archive.on('error', (error: Error) => gzip && (bytes as ReturnType<typeof createGzip>).destroy(error));
  let first = true;
  for await (const piece of bytes as AsyncIterable<Uint8Array>) {
    if (gzip && first) withoutOrigin(piece);
    first = false;
    yield piece;
  }
  await filled;
}

/** Leaves time and operating system out of the beginning of a gzip file (RFC 1952, 2.3). */
function withoutOrigin(head: Uint8Array): void {
  head.fill(0, 4, 8);
  head[9] = 255;
}
