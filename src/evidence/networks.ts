/** What networks make of images, computed again and compared with what a result's arrays hold. */

import { type Dataset, subset } from '../datasets/dataset.ts';
import { Loader } from '../datasets/loader.ts';
import type { Elements } from '../maths/linalg.ts';
import { infer } from '../nn/inference.ts';
import type { Model } from '../nn/model.ts';

/** So far may what a network makes of an image be from what was kept, as a share of its length: another adapter rounds otherwise. */
export const SAME_OUTPUT = 1e-3;

/** A network's answers on some images beside those that were kept. */
export interface Recomputed {
  /** What the network answers now, [rows, columns]. */
  readonly found: Elements;
  /** The largest difference of an image's answers, as a share of their length. */
  readonly largest: number;
  /** Whether that is at most {@link SAME_OUTPUT}. */
  readonly same: boolean;
}

/**
 * Runs a network on images and compares its features, or its logits, with rows that were kept.
 *
 * @param kept [length, columns], a row for every image of the data set
 * @param rows those that are looked at
 */
export async function recomputeRows(
  model: Model,
  dataset: Dataset,
  kept: Elements,
  what: 'features' | 'logits',
  rows: readonly number[],
  {
    convert,
    ...options
  }: Pick<NonNullable<Parameters<typeof infer>[2]>, 'signal' | 'onProgress'> & {
    /** From the network's outputs to the columns that were kept. */
    readonly convert?: ((outputs: Float32Array) => Elements) | undefined;
  } = {},
): Promise<Recomputed> {
  const columns = kept.length / dataset.length;
  const loader = await Loader.open(subset(dataset, rows), model.config.channels);
  const outputs = (await infer(model, loader, options))[what];
  const found = convert ? convert(outputs) : outputs;
  if (found.length !== rows.length * columns) return { found, largest: Number.POSITIVE_INFINITY, same: false };
  let largest = 0;
  for (const [i, row] of rows.entries()) {
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
  return { found, largest, same: largest <= SAME_OUTPUT };
}
