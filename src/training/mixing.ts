/** Mixup and CutMix: which images of a batch are mixed how, and what becomes of the labels. */

import type { Random } from '../random.ts';
import type { Recipe } from './recipe.ts';

/** How the images of a batch are mixed, each with the one before it (see `mix`). */
export interface Mixing {
  /** The image's own share, outside the box. */
  readonly lambda: number;
  /** Top, left, bottom, right in pixels, the last two outside; where nothing is cut, all 0. */
  readonly box: readonly [number, number, number, number];
  /** The own label's share. */
  readonly ownShare: number;
}

/**
 * Draws how a batch of images of `size`×`size` pixels is mixed (torchvision's `MixUp` and `CutMix`, and a draw between them where a recipe
 * has both); undefined where it has neither.
 */
export function drawMixing({ mixup, cutmix }: Pick<Recipe, 'mixup' | 'cutmix'>, size: number, random: Random) {
  if (mixup === undefined && cutmix === undefined) return undefined;
  const cut = mixup === undefined || (cutmix !== undefined && random.below(2) === 1);
  const lambda = symmetricBeta(cut ? cutmix! : mixup, random);
  return cut ? cutMixing(lambda, size, random.below(size), random.below(size)) : mixUp(lambda);
}

/** Mixup. */
export const mixUp = (lambda: number): Mixing => ({ lambda, box: [0, 0, 0, 0], ownShare: lambda });

/** CutMix: a square of 1 − λ of the area about a pixel, as far as it lies in the image (torchvision's `CutMix`). */
export function cutMixing(lambda: number, size: number, row: number, column: number): Mixing {
  const half = Math.floor(0.5 * Math.sqrt(1 - lambda) * size);
  const [top, bottom] = [Math.max(0, row - half), Math.min(size, row + half)];
  const [left, right] = [Math.max(0, column - half), Math.min(size, column + half)];
  return {
    lambda: 1,
    box: [top, left, bottom, right],
    ownShare: 1 - ((bottom - top) * (right - left)) / size ** 2,
  };
}

/** A number from the distribution Beta(α, α). */
export function symmetricBeta(alpha: number, random: Random): number {
  // The odds of one of two gamma variates, in logarithms: for a small α both would underflow.
  const [a, b] = [logGammaVariate(alpha, random), logGammaVariate(alpha, random)];
  return 1 / (1 + Math.exp(b - a));
}

/** The logarithm of a number from the gamma distribution of shape α and scale 1 (Marsaglia and Tsang 2000). */
function logGammaVariate(alpha: number, random: Random): number {
  if (alpha < 1) return logGammaVariate(alpha + 1, random) + Math.log(1 - random.uniform()) / alpha;
  const d = alpha - 1 / 3;
  const c = 1 / Math.sqrt(9 * d);
  for (;;) {
    const x = random.gaussian();
    const v = (1 + c * x) ** 3;
    if (v > 0 && Math.log(1 - random.uniform()) < 0.5 * x * x + d - d * v + d * Math.log(v))
      return Math.log(d) + Math.log(v);
  }
}

/**
 * Rows of probabilities [N, K] smoothed, so that `smoothing` of each is spread evenly over the classes (`CrossEntropyLoss(label_smoothing)`),
 * and mixed each with the row before it.
 */
export function softTargets(rows: readonly ArrayLike<number>[], smoothing: number, ownShare: number): Float32Array {
  const K = rows[0].length;
  const targets = new Float32Array(rows.length * K);
  rows.forEach((row, n) => {
    const other = rows.at(n - 1)!;
    for (let k = 0; k < K; k++) {
      const mixed = ownShare * row[k] + (1 - ownShare) * other[k];
      targets[n * K + k] = (1 - smoothing) * mixed + smoothing / K;
    }
  });
  return targets;
}
