/** Images marked again, and what is left of the difference to those that were saved. */

import { chunks } from '../datasets/loader.ts';
import type { Image8 } from '../images/image.ts';
import { sameShape } from '../images/image.ts';
import { Marker, type MarkingJob } from '../marking/marker.ts';
import type { MarkingRecipe } from '../marking/recipe.ts';
import { defaultBatchSize, fitBatch } from '../nn/inference.ts';
import type { Model } from '../nn/model.ts';

/**
 * So far may a mark be from the one that is made again, as a share of its own length. The same adapter gives the same pixels; on another
 * one roundings differ, and with them some pixels by a level.
 */
export const SAME_MARK = 0.25;
/** Of lossy files: so much of the change must be the mark, as a cosine. What encoding adds is in any direction. */
export const SAME_DIRECTION = 0.5;
/** More iterations no honest recipe has, and nobody waits for them. */
const MOST_ITERATIONS = 10_000;

/** A mark, to be made again and compared. */
export interface Remarked {
  readonly job: MarkingJob;
  /** The image as it was saved. */
  readonly saved: Image8;
  /** Whether it was saved in a lossy file. */
  readonly lossy: boolean;
}

/** What came of it. */
export interface MarksAgain {
  /** Images of which every pixel is as it was. */
  readonly identical: number;
  /** Of lossless files the largest distance between the two marks, as a share of the saved one's length. */
  readonly largest: number;
  /** Of lossy ones the smallest cosine between the changes. */
  readonly smallestCosine: number;
  /** The first whose mark is another. */
  readonly different: string | undefined;
}

/** Why marks cannot be made again with a recipe on a device; undefined where they can. */
export function cannotRemark(recipe: MarkingRecipe | undefined, precision: unknown, model: Model): string | undefined {
  if (!recipe) return 'how they were marked is not said in a way that this version knows';
  if (recipe.iterations > MOST_ITERATIONS) return `they say ${recipe.iterations} iterations, which nobody waits for`;
  const theirs = precision ?? 'f32';
  return theirs === model.device.precision
    ? undefined
    : `they were marked in ${String(theirs)}, this device marks in ${model.device.precision}`;
}

/** Marks images again and compares them with what was saved. Throws DeviceError where one image does not fit. */
export async function remark(
  model: Model,
  recipe: MarkingRecipe,
  images: readonly Remarked[],
  { signal, onProgress }: { signal?: AbortSignal | undefined; onProgress?: (done: number, total: number) => void } = {},
): Promise<MarksAgain> {
  const pixels = ({ job: { image } }: Remarked): number => image.width * image.height;
  const sorted = images.toSorted((a, b) => pixels(a) - pixels(b));
  const batchesOf = (size: number): Remarked[][] =>
    chunks(sorted.length, size).map((rows) => rows.map((row) => sorted[row]));
  const { built: marker, batchSize } = await fitBatch(
    Math.min(defaultBatchSize(model.config), sorted.length),
    async (size) => {
      const most = Math.max(...batchesOf(size).map((batch) => batch.reduce((sum, each) => sum + pixels(each), 0)));
      return await Marker.create(model, most, size, recipe);
    },
  );
  let [identical, largest, smallestCosine, done] = [0, 0, 1, 0];
  let different: string | undefined;
  try {
    for (const batch of batchesOf(batchSize)) {
      const again = await marker.mark(
        batch.map(({ job }) => job),
        { signal },
      );
      for (const [i, { job, saved, lossy }] of batch.entries()) {
        const { share, cosine } = compareMarks(job.image, saved, again[i]);
        if (share === 0) identical++;
        if (lossy) smallestCosine = Math.min(smallestCosine, cosine);
        else largest = Math.max(largest, share);
        if (!(lossy ? cosine >= SAME_DIRECTION : share <= SAME_MARK)) different ??= job.id;
      }
      done += batch.length;
      onProgress?.(done, sorted.length);
    }
  } finally {
    marker.destroy();
  }
  return { identical, largest, smallestCosine, different };
}

/** Two marks of an image: their distance as a share of the first, and their cosine. Images of other sizes are infinitely far. */
function compareMarks(before: Image8, saved: Image8, again: Image8): { share: number; cosine: number } {
  if (!sameShape(before, saved) || !sameShape(before, again)) return { share: Number.POSITIVE_INFINITY, cosine: -1 };
  let [difference, own, other, product] = [0, 0, 0, 0];
  for (let i = 0; i < before.data.length; i++) {
    const [a, b] = [saved.data[i] - before.data[i], again.data[i] - before.data[i]];
    difference += (a - b) ** 2;
    own += a * a;
    other += b * b;
    product += a * b;
  }
  if (difference === 0) return { share: 0, cosine: 1 };
  return { share: Math.sqrt(difference / own), cosine: own * other === 0 ? -1 : product / Math.sqrt(own * other) };
}
