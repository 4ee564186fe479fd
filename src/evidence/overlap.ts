/** What images to test on are compared with: the marked images of a manifest, and what they were made from. */

import type { Dataset } from '../datasets/dataset.ts';
import type { OverlapSource } from '../datasets/overlap.ts';
import type { MarkedFolder } from './commitment.ts';
import { pairFinder } from './pairs.ts';

/** The marked images alone, of the whole data set, and their originals where these are at hand. */
export function overlapSources(
  { folder: { manifest }, dataset }: { readonly folder: Pick<MarkedFolder, 'manifest'>; readonly dataset: Dataset },
  original: Dataset | undefined,
): OverlapSource[] {
  const indexOf = new Map(Array.from({ length: dataset.length }, (_, index) => [dataset.id(index), index]));
  const some = (found: readonly (number | undefined)[]): number[] => found.filter((index) => index !== undefined);
  const marked = some(manifest.images.map(({ id }) => indexOf.get(id)));
  if (!original) return [{ kind: 'marked', dataset, indices: marked }];
  const placesOf = pairFinder(manifest, dataset, original);
  const originals = some(manifest.images.map((claim) => placesOf(claim)?.original));
  return [
    { kind: 'marked', dataset, indices: marked },
    { kind: 'original', dataset: original, indices: originals },
  ];
}
