/** Are p-values what they claim to be? Uniformity, and how often they fall below a level. */

import { InputError } from '../errors.ts';
import { logGamma, logIncompleteBeta, logSumExp } from './special.ts';

/**
 * P(D⁺ ≥ x) for the largest excess D⁺ = sup(F_n(t) − t) of the empirical distribution of n uniform numbers, exact
 * (Birnbaum and Tingey, *One-sided confidence contours for probability distribution functions*, 1951):
 *
 *     x Σ_{j ≤ n(1−x)} C(n,j) (x + j/n)^{j−1} (1 − x − j/n)^{n−j}
 *
 * D⁻ = sup(t − F_n(t)) has the same law.
 * @throws InputError unless n is a positive integer and x a number
 */
export function smirnovTail(n: number, x: number): number {
  if (!(Number.isSafeInteger(n) && n > 0))
    throw new InputError(`smirnovTail: n must be a positive integer, it is ${n}`);
  if (Number.isNaN(x)) throw new InputError('smirnovTail: x is NaN');
  if (x <= 0) return 1;
  if (x >= 1) return 0;
  const terms: number[] = [];
  for (let j = 0; j <= n * (1 - x); j++) {
    const rest = 1 - x - j / n;
    // The last term: 0⁰ is 1.
    const lnRest = j === n ? 0 : (n - j) * Math.log(Math.max(0, rest));
    const lnChoose = logGamma(n + 1) - logGamma(j + 1) - logGamma(n - j + 1);
    terms.push(lnChoose + (j - 1) * Math.log(x + j / n) + lnRest);
  }
  return Math.min(1, x * Math.exp(logSumExp(terms)));
}

/** What {@link uniformity} finds. */
export interface Uniformity {
  /** Largest difference between the empirical distribution and the uniform one. */
  readonly distance: number;
  /** Probability of such a distance or a larger one if the p-values are what they claim to be. */
  readonly p: number;
}

/**
 * The Kolmogorov–Smirnov test that p-values are uniform. Two-sided by default, by doubling the one-sided tail: an upper bound, off
 * by less than 2 % of itself below 0.5. For discrete p-values, which are never uniform, `conservative` tests the one
 * side on which a p-value is wrong: too many small ones. Valid p-values pass that however discrete they are, since
 * P(p ≤ t) ≤ t is all it takes.
 * @throws InputError if there are none or one is not in [0, 1]
 */
export function uniformity(p: ArrayLike<number>, side: 'both' | 'conservative' = 'both'): Uniformity {
  const n = p.length;
  if (n === 0) throw new InputError('uniformity: there are no p-values');
  const sorted = Float64Array.from(p).sort();
  let excess = 0;
  let deficit = 0;
  for (let i = 0; i < n; i++) {
    const value = sorted[i];
    if (!(value >= 0 && value <= 1)) throw new InputError(`uniformity: a p-value is ${value}`);
    excess = Math.max(excess, (i + 1) / n - value);
    deficit = Math.max(deficit, value - i / n);
  }
  if (side === 'conservative') return { distance: excess, p: smirnovTail(n, excess) };
  const distance = Math.max(excess, deficit);
  return { distance, p: Math.min(1, 2 * smirnovTail(n, distance)) };
}

/** P(X ≥ count) of a binomial X of n trials with success probability p. */
export function binomialTail(count: number, n: number, p: number): number {
  if (count <= 0) return 1;
  return Math.exp(logIncompleteBeta(Math.log(p), Math.log1p(-p), count, n - count + 1));
}

/**
 * Clopper and Pearson's exact confidence interval of a binomial proportion, `count` of n (Biometrika 26, 1934).
 * @param level of confidence, e.g. 0.95
 */
export function clopperPearson(count: number, n: number, level: number): { low: number; high: number } {
  const tail = (1 - level) / 2;
  // P(X ≥ count) grows with p: where it reaches `tail`, and where P(X ≤ count) sinks to it.
  const low = count === 0 ? 0 : bisect((p) => binomialTail(count, n, p) < tail);
  const high = count === n ? 1 : bisect((p) => binomialTail(count + 1, n, p) < 1 - tail);
  return { low, high };
}

/** The point of [0, 1] up to which a condition holds. */
function bisect(holds: (x: number) => boolean): number {
  let [low, high] = [0, 1];
  for (let i = 0; i < 80; i++) {
    const middle = (low + high) / 2;
    if (holds(middle)) low = middle;
    else high = middle;
  }
  return (low + high) / 2;
}
