/** What networks make of images, computed again on a sample and compared with what a result's arrays hold. */

import { type Dataset, subset } from '../datasets/dataset.ts';
import { Loader } from '../datasets/loader.ts';
import type { Elements } from '../maths/linalg.ts';
import { infer } from '../nn/inference.ts';
import type { Model } from '../nn/model.ts';
import { derive } from '../random.ts';

/** So far may what a network makes of an image be from what was kept, as a share of its length: another adapter rounds otherwise. */
export const SAME_OUTPUT = 1e-3;

/** A network's answers on some images beside those that were kept. */
export interface Recomputed {
  /** Images that were compared. */
  readonly count: number;
  /** The largest difference of an image's answers, as a share of their length. */
  readonly largest: number;
  /** Whether that is at most {@link SAME_OUTPUT}. */
  readonly same: boolean;
}

/**
 * Runs a network on a sample of images and compares its features, or its logits, with rows that were kept.
 *
 * @param kept [length, columns], a row for every image
 * @param sample at most so many images, the same for everybody
 */
export async function recomputeRows(
  model: Model,
  dataset: Dataset,
  kept: Elements,
  what: 'features' | 'logits',
  { sample, signal }: { readonly sample: number; readonly signal?: AbortSignal | undefined },
): Promise<Recomputed> {
  const columns = kept.length / dataset.length;
  const rows = Array.from({ length: dataset.length }, (_, row) => row);
  derive(0, 'verify').shuffle(rows);
  const chosen = rows.slice(0, sample).sort((a, b) => a - b);
  const found = (await infer(model, await Loader.open(subset(dataset, chosen), model.config.channels), { signal }))[
    what
  ];
  if (found.length !== chosen.length * columns)
    return { count: chosen.length, largest: Number.POSITIVE_INFINITY, same: false };
  let largest = 0;
  for (const [i, row] of chosen.entries()) {
    let [difference, length] = [0, 0];
    for (let c = 0; c < columns; c++) {
      const [a, b] = [found[i * columns + c], kept[row * columns + c]];
      difference += (a - b) ** 2;
      length += a ** 2;
    }
    const share = Math.sqrt(difference / length);
    // NaN, of 0/0 or of a kept value, is no agreement but where both are zero.
    largest = difference === 0 ? largest : Number.isNaN(share) ? Number.POSITIVE_INFINITY : Math.max(largest, share);
  }
  return { count: chosen.length, largest, same: largest <= SAME_OUTPUT };
}
