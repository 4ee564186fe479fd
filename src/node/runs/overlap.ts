/** Images to test on beside a marked data set, before a test is made. */

import type { Dataset } from '../../datasets/dataset.ts';
import { findOverlap, type Overlap } from '../../datasets/overlap.ts';
import { overlapSources } from '../../evidence/overlap.ts';
import type { DecodeOptions } from '../../images/decode.ts';
import type { Key } from '../../marking/key.ts';
import { openDataset } from '../datasets/open.ts';
import { openMarked } from '../evidence/marked.ts';
import type { RunContext } from './context.ts';

/** A marked data set in files. */
export interface MarkedFiles {
  /** What `mark` wrote, its private part beside it. */
  readonly marked: string;
  /** The same before it was marked. */
  readonly original?: string | undefined;
  /** Which IDX files, where a folder holds both; default `train`. */
  readonly split?: 'train' | 'test' | undefined;
}

/**
 * Compares images with the marked ones of a data set and their originals.
 *
 * @throws InputError where one of the data sets cannot be opened.
 */
export async function compareWithMarked(
  images: Dataset,
  { marked, original, split = 'train' }: MarkedFiles,
  key: Key,
  { progress, signal }: Pick<RunContext, 'progress' | 'signal'>,
  decode?: DecodeOptions,
): Promise<Overlap> {
  const open = (path: string) =>
    openDataset(path, { split, classes: key.classes, keepFaults: true, ...(decode && { decode }) });
  const folder = await openMarked(marked);
  const sources = overlapSources(
    { folder, dataset: await open(marked) },
    original === undefined ? undefined : await open(original),
  );
  return await shownOverlap(images, sources, { progress, signal });
}

/** `findOverlap` under a progress display. */
export async function shownOverlap(
  images: Dataset,
  sources: Parameters<typeof findOverlap>[1],
  { progress, signal, most }: Pick<RunContext, 'progress' | 'signal'> & { readonly most?: number },
): Promise<Overlap> {
  let display: ReturnType<RunContext['progress']> | undefined;
  const found = await findOverlap(images, sources, {
    most,
    onProgress: (done, total) => {
      display ??= progress(`comparing ${images.path}`, total, 'images');
      display.update(done);
    },
    signal,
  });
  display?.done();
  return found;
}
