/** Marked images beside what they were made from. */

import type { Dataset } from '../datasets/dataset.ts';
import { DATASET_FORMATS } from '../datasets/format.ts';
import type { Manifest, ManifestImage } from '../datasets/manifest.ts';
import { type Image8, sameShape } from '../images/image.ts';
import { psnr } from '../images/metrics.ts';

/** Where a marked image and its original are in their data sets. */
export interface PairPlaces {
  readonly marked: number;
  readonly original: number;
}

/** Finds the originals of marked images: undefined where a data set lacks one of the two. */
export function pairFinder(
  manifest: Manifest,
  marked: Dataset,
  original: Dataset,
): (claim: ManifestImage) => PairPlaces | undefined {
  // Of the ids that are claimed alone: a data set may have a hundred times as many.
  const byId = (of: Dataset, idOf: (claim: ManifestImage) => string): Map<string, number> => {
    const claimed = new Set(manifest.images.map(idOf));
    const places = new Map<string, number>();
    for (let index = 0; index < of.length; index++) {
      const id = of.id(index);
      if (claimed.has(id)) places.set(id, index);
    }
    return places;
  };
  const { pairedBy } = DATASET_FORMATS[manifest.source.layout];
  const markedIndex = byId(marked, ({ id }) => id);
  const originalIndex = byId(original, ({ id, source }) => source ?? id);
  return (claim) => {
    const at = markedIndex.get(claim.id);
    const from = pairedBy === 'position' ? at : originalIndex.get(claim.source ?? claim.id);
    return at === undefined || from === undefined || from >= original.length
      ? undefined
      : { marked: at, original: from };
  };
}

/** What is measured of a marked image. */
export interface MeasuredChange {
  /** Of any channel of any pixel, in 8-bit levels; infinite for images of different sizes. */
  readonly changeLevels: number;
  /** dB; infinite for equal images, NaN for images of different sizes. */
  readonly psnr: number;
}

export function measureChange(before: Image8, after: Image8): MeasuredChange {
  if (!sameShape(before, after)) return { changeLevels: Number.POSITIVE_INFINITY, psnr: Number.NaN };
  let changeLevels = 0;
  for (let i = 0; i < before.data.length; i++)
    changeLevels = Math.max(changeLevels, Math.abs(before.data[i] - after.data[i]));
  return { changeLevels, psnr: psnr(before, after) };
}

/** PSNR may differ from the manifest's by the rounding of its digits. */
const PSNR_TOLERANCE = 1e-6;

/** How what was measured differs from what the manifest says of an image, in a few words; undefined where it does not. */
export function contradiction(claim: ManifestImage, { changeLevels, psnr }: MeasuredChange): string | undefined {
  if (changeLevels !== claim.maxChangeLevels)
    return `${claim.id} changes by ${changeLevels} levels, not ${claim.maxChangeLevels}`;
  const same = claim.psnr === null ? changeLevels === 0 : Math.abs(psnr - claim.psnr) <= PSNR_TOLERANCE;
  return same ? undefined : `${claim.id} has ${psnr.toFixed(2)} dB, not ${claim.psnr?.toFixed(2) ?? 'infinitely many'}`;
}
