import { join } from 'node:path';
import { type Dataset, subset } from '../../datasets/dataset.ts';
import { InputError } from '../../errors.ts';
import { exists, readBytes } from '../files/files.ts';
import { privatePart } from '../files/private_part.ts';

/** In the private part of a marked data set: images of the original that are not in it, kept back for tests, an id a line. */
export const HELD_BACK_NAME = 'held-out.txt';

/** The ids in that list; undefined where none were held back. */
export async function readHeldBack(privateFolder: string): Promise<ReadonlySet<string> | undefined> {
  const path = join(privateFolder, HELD_BACK_NAME);
  if (!(await exists(path))) return undefined;
  return new Set(
    new TextDecoder()
      .decode(await readBytes(path))
      .split('\n')
      .filter(Boolean),
  );
}

/**
 * The images of an original data set of which a marked one was made: without those that were held back for tests.
 *
 * @throws InputError where some of those are not there: it is another data set
 */
export async function withoutHeldBack(original: Dataset, marked: string): Promise<Dataset> {
  const heldBack = await readHeldBack(privatePart(marked));
  return heldBack ? leaveOut(original, heldBack) : original;
}

/** A data set without some of its items. Throws InputError where one of these is none of its items. */
export function leaveOut(dataset: Dataset, ids: ReadonlySet<string>): Dataset {
  const rest = Array.from({ length: dataset.length }, (_, index) => index).filter((i) => !ids.has(dataset.id(i)));
  const missing = ids.size - (dataset.length - rest.length);
  // Without any of them it is what was marked already.
  if (missing === ids.size) return dataset;
  if (missing > 0)
    throw new InputError(
      `${dataset.path}: ${missing} of the ${ids.size} images that were held back are missing; give the data set that was protected`,
    );
  return subset(dataset, rest);
}
