import { createReadStream } from 'node:fs';
import { truncate } from 'node:fs/promises';
import { fileError } from './files.ts';

const LINE_FEED = 10;

/**
 * The lines of a file that lines are added to, one after another. A last line that was cut off is removed, for the next to begin a line
 * of its own.
 *
 * @throws InputError if it cannot be read
 */
export async function* wholeLines(path: string): AsyncGenerator<string> {
  let rest: Buffer[] = [];
  let whole = 0;
  let size = 0;
  try {
    for await (const piece of createReadStream(path) as AsyncIterable<Buffer>) {
      size += piece.length;
      let from = 0;
      for (let end = piece.indexOf(LINE_FEED); end >= 0; end = piece.indexOf(LINE_FEED, from)) {
        const line = Buffer.concat([...rest, piece.subarray(from, end)]);
        rest = [];
        whole += line.length + 1;
        yield line.toString();
        from = end + 1;
      }
      rest.push(piece.subarray(from));
    }
    if (whole < size) await truncate(path, whole);
  } catch (error) {
    throw fileError(path, error);
  }
}
