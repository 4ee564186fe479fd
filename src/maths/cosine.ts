/** The law of the cosine between a uniformly random direction and a fixed one. */

import { InputError } from '../errors.ts';
import { log1mExp, logIncompleteBeta } from './special.ts';

/** By so much may a cosine exceed 1 in absolute value, through rounding. */
const ROUNDING = 1e-12;

/**
 * log10 of the one-sided p-value P(cos ≥ c) of a cosine under the null hypothesis that one of the two directions is
 * uniform on the unit sphere S^{d−1} and independent of the other (docs/method.md, 4):
 *
 *     p = ½ I_{1−c²}((d−1)/2, ½) for c ≥ 0, and 1 − p(−c) for c < 0.
 *
 * Exact for every d ≥ 1, in log space: finite for every |c| < 1. c = 1 gives −∞ (probability 0) for d ≥ 2; for d = 1 the
 * cosine is ±1 with probability ½ each.
 * @param c the cosine, in [−1, 1]; up to 1e-12 more is taken for rounding
 * @param d dimension of the space the random direction is uniform in
 * @throws InputError if c is NaN or outside [−1, 1], or d is not a positive integer
 */
export function log10PCosine(c: number, d: number): number {
  if (!(Math.abs(c) <= 1 + ROUNDING)) throw new InputError(`a cosine must be in [-1, 1], this one is ${c}`);
  if (!(Number.isSafeInteger(d) && d >= 1)) throw new InputError(`a dimension must be a positive integer, it is ${d}`);
  if (c <= -1) return 0;
  if (d === 1) return -Math.log10(2);
  const size = Math.min(1, Math.abs(c));
  // ln(1 − c²) from its factors: forming c² first would lose the digits of a c near 1.
  const ln1mSquare = Math.log1p(-size) + Math.log1p(size);
  const lnTail = logIncompleteBeta(ln1mSquare, 2 * Math.log(size), (d - 1) / 2, 0.5) - Math.LN2;
  return (c >= 0 ? lnTail : log1mExp(lnTail)) / Math.LN10;
}

/** Halvings until neighbouring numbers are left. */
const BISECTIONS = 60;

/**
 * The cosine whose one-sided p-value is p: the inverse of {@link log10PCosine}, to 1e-15.
 * @param log10p at most 0
 * @param d at least 2
 * @throws InputError as {@link log10PCosine} does
 */
export function cosineOfP(log10p: number, d: number): number {
  let [low, high] = [-1, 1];
  for (let i = 0; i < BISECTIONS; i++) {
    const middle = (low + high) / 2;
    if (log10PCosine(middle, d) > log10p) low = middle;
    else high = middle;
  }
  return (low + high) / 2;
}
