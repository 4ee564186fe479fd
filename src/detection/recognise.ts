/** What a marking network is: the published patterns or others, and whether its own classes lie where the carriers are. */

import type { Carriers } from '../marking/carriers.ts';
import { centreRows, type Elements, multiplyTransposed, orthonormaliseRows } from '../maths/linalg.ts';
import { cosinePatterns } from '../nn/frequencies.ts';
import type { NetworkConfig } from '../nn/networks.ts';
import { cosineTest } from './whitebox.ts';

/** By so much of a pattern's largest value may a file differ from the formula: float32, and the last bits of a cosine. */
const PATTERN_TOLERANCE = 1e-6;
/** From this cosine on, rows of other weights count as the published ones in another order or scale. */
const SAME_DIRECTION = 1 - 1e-6;

/** A share below this is rounding. */
const ROUNDING = 1e-12;

/** What a file of the network `frequencies` holds. */
export interface RecognisedFrequencies {
  /**
   * `published`: the formula of docs/method.md, 8. `reordered`: its patterns in another order, some left out or twice. `rescaled`: in
   * order, with other lengths. `mixed`: their sums, which can be made to suit. `foreign`: anything else.
   */
  readonly kind: 'published' | 'reordered' | 'rescaled' | 'mixed' | 'foreign';
  /** Largest difference from the formula, as a share of the formula's largest value. */
  readonly difference: number;
  readonly detail: string;
}

/**
 * Whether the weights of a network `frequencies` are the published formula's, which leaves nothing to choose but their number. Pixels
 * must be taken as levels/255 too (mean 0, standard deviation 1), and are not otherwise looked at.
 * @param weight [patterns, C·H·W] the tensor `patterns.weight`, as PyTorch has it
 */
export function recogniseFrequencies(
  weight: Elements,
  config: Pick<NetworkConfig, 'channels' | 'inputSize' | 'mean' | 'std'>,
): RecognisedFrequencies {
  const { channels, inputSize } = config;
  const pixels = channels * inputSize * inputSize;
  const count = weight.length / pixels;
  const other = (kind: RecognisedFrequencies['kind'], difference: number, detail: string): RecognisedFrequencies => ({
    kind,
    difference,
    detail,
  });
  let formula: Float32Array;
  try {
    formula = cosinePatterns(count, [channels, inputSize, inputSize]);
  } catch {
    return other('foreign', Number.POSITIVE_INFINITY, `there are no ${count} published patterns for such images`);
  }
  let largest = 0;
  let difference = 0;
  for (let i = 0; i < formula.length; i++) {
    largest = Math.max(largest, Math.abs(formula[i]));
    difference = Math.max(difference, Math.abs(weight[i] - formula[i]));
  }
  difference /= largest;
  if (difference <= PATTERN_TOLERANCE) {
    if (config.mean.every((x) => x === 0) && config.std.every((x) => x === 1))
      return other('published', difference, `the ${count} patterns of the published formula`);
    return other('rescaled', difference, 'the published patterns, of pixels with another mean or scale');
  }
  // Math.max keeps NaN, of which no comparison holds.
  if (!Number.isFinite(difference)) return other('foreign', Number.POSITIVE_INFINITY, 'weights that are not finite');
  const rows = Float64Array.from(weight);
  const reference = Float64Array.from(formula);
  const norms = squares(rows, count, pixels).map(Math.sqrt);
  if (norms.some((norm) => norm === 0)) return other('foreign', difference, 'a pattern that is zero');
  // The published patterns are orthonormal up to float32.
  const cosines = multiplyTransposed(rows, reference, count, count, pixels).map(
    (product, at) => product / norms[Math.floor(at / count)],
  );
  const partner = Array.from({ length: count }, (_, row) => {
    const along = cosines.subarray(row * count, (row + 1) * count);
    return along.findIndex((cosine) => Math.abs(cosine) >= SAME_DIRECTION);
  });
  if (partner.every((at, row) => at === row))
    return other('rescaled', difference, 'the published patterns with other lengths or signs');
  if (partner.every((at) => at >= 0))
    return other('reordered', difference, 'published patterns in another order, or not each once');
  const inside = multiplyTransposed(cosines, cosines, count, count, count).filter((_, at) => at % (count + 1) === 0);
  if (inside.every((share) => share >= SAME_DIRECTION))
    return other(
      'mixed',
      difference,
      'sums of the published patterns: they can be made to suit carriers and what all models answer to',
    );
  return other('foreign', difference, 'patterns that are not the published ones');
}

/** Whether a marking network's own classes lie along the carriers. */
export interface ClassWeightsInCarriers {
  /** Share of the centred class weights' squared length in the space that carriers are drawn in: 1 for uniform carriers. */
  readonly share: number;
  /** log10 of the probability of cosines this large if the carriers were independent of the network: Fisher of all classes. */
  readonly log10p: number;
  /** [K] of each class's carrier with the class's own weight, inside that space; null where the network's classes are others. */
  readonly cosines: readonly number[] | null;
  /** The same without regard to which class is which: share of the carriers' squared length in the span of the class weights. */
  readonly spanned: number;
  /** What that share is on average if the carriers were independent of the network. */
  readonly spannedExpected: number;
}

/**
 * Compares carriers with the last layer of the marking network itself. A network whose class weights point along the carriers makes
 * every classifier of these classes look marked. The subspace that `keygen` finds leaves the class weights out: there the share is 0.
 * @param weight [rows,d] the marking network's last layer
 * @param sameClasses whether its rows are the key's classes, in the key's order
 */
export function classWeightsInCarriers(
  carriers: Carriers,
  weight: Elements,
  sameClasses: boolean,
): ClassWeightsInCarriers {
  const { classCount: K, dimension: k, featureDimension: d, coordinates, basis } = carriers;
  const rows = weight.length / d;
  const centred = centreRows(weight, rows, d);
  const inside = basis === null ? centred : multiplyTransposed(centred, basis, rows, k, d);
  const total = sum(squares(centred, rows, d));
  const share = total === 0 ? 0 : sum(squares(inside, rows, k)) / total;
  if (share < ROUNDING)
    return {
      share: 0,
      log10p: 0,
      cosines: sameClasses ? new Array<number>(K).fill(0) : null,
      spanned: 0,
      spannedExpected: 0,
    };
  const { rows: span, rank } = orthonormaliseRows(inside, rows, k);
  const parts = multiplyTransposed(coordinates, span, K, rank, k);
  const test = sameClasses ? cosineTest(inside, coordinates, K) : null;
  return {
    share,
    log10p: test?.log10p ?? 0,
    cosines: test?.perClass.map(({ cosine }) => cosine) ?? null,
    spanned: rank === 0 ? 0 : sum(squares(parts, K, rank)) / K,
    spannedExpected: rank / k,
  };
}

const sum = (values: Float64Array): number => values.reduce((total, x) => total + x, 0);

/** Squared lengths [m] of rows [m,n]. */
const squares = (rows: Float64Array, m: number, n: number): Float64Array =>
  Float64Array.from({ length: m }, (_, i) => rows.subarray(i * n, (i + 1) * n).reduce((total, x) => total + x * x, 0));
