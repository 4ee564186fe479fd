/** Exact p-values by ranking the true carriers among decoys drawn the same way (docs/method.md, 6). */

import { InputError } from '../errors.ts';
import { fisherLog10P } from '../maths/fisher.ts';

/**
 * log10 of p = (1 + #{decoys ≥ true})/(M + 1). Under the null hypothesis the true score and the M decoys' are
 * exchangeable, so that p is at most α with probability at most α, for every α; ties count against the mark.
 * @param decoyScores M ≥ 1 scores; larger means more evidence
 * @throws InputError if there are no decoys or a score is not finite
 */
export function rankTest(trueScore: number, decoyScores: ArrayLike<number>): number {
  const M = decoyScores.length;
  if (M === 0) throw new InputError('a rank test needs at least one decoy');
  if (!Number.isFinite(trueScore)) throw new InputError(`the true score is ${trueScore}`);
  let atLeast = 0;
  for (let m = 0; m < M; m++) {
    if (!Number.isFinite(decoyScores[m])) throw new InputError(`the score of decoy ${m} is ${decoyScores[m]}`);
    if (decoyScores[m] >= trueScore) atLeast++;
  }
  return Math.log10((1 + atLeast) / (M + 1));
}

/**
 * Rank tests of K classes, combined by Fisher's method. Carriers are independent across classes, hence so are the ranks;
 * they are discrete, which makes the combined p-value conservative.
 * @param trueScores [K]
 * @param decoyScores [K] of M scores each
 * @throws InputError if the counts of classes differ, or as {@link rankTest} does
 */
export function fisherOfRanks(
  trueScores: ArrayLike<number>,
  decoyScores: ArrayLike<ArrayLike<number>>,
): { log10p: number; perClass: number[] } {
  if (trueScores.length !== decoyScores.length) {
    throw new InputError(`true scores for ${trueScores.length} classes, decoy scores for ${decoyScores.length}`);
  }
  const perClass = Array.from(trueScores, (score, c) => rankTest(score, decoyScores[c]));
  return { log10p: fisherLog10P(perClass), perClass };
}
