/** What the scores of a classifier are: probabilities, or numbers whose differences count. */

import type { Elements } from './linalg.ts';

/** Rows whose sum is this close to 1 are probabilities, if all are: those of an API are rounded. */
const SUM_TOLERANCE = 0.01;

/** Whether the rows [N,K] are probabilities: not negative, each with the sum 1. */
export function areProbabilities(scores: Elements, K: number): boolean {
  for (let row = 0; row < scores.length; row += K) {
    let sum = 0;
    for (let k = 0; k < K; k++) {
      if (scores[row + k] < 0) return false;
      sum += scores[row + k];
    }
    if (!(Math.abs(sum - 1) <= SUM_TOLERANCE)) return false;
  }
  return true;
}

/**
 * Logarithms of probabilities. A zero is some number below the smallest that was still written: half of that. One floor for all
 * rows, whichever image they are of.
 */
export function logProbabilities(probabilities: Elements): Float64Array {
  let smallest = 1;
  for (const p of probabilities) if (p > 0 && p < smallest) smallest = p;
  const floor = smallest / 2;
  return Float64Array.from(probabilities, (p) => Math.log(p > 0 ? p : floor));
}
