/** What evidence cosines of a given size are: how large they must be, and how much the p-value varies. */

import { InputError } from '../errors.ts';
import { derive, type Random } from '../random.ts';
import { log10PCosine } from './cosine.ts';
import { fisherLog10P } from './fisher.ts';
import { logGamma, logUpperGammaQ } from './special.ts';

/** Carriers: of K classes, uniform in k dimensions. */
export interface CarrierLaw {
  /** K, classes. */
  readonly classCount: number;
  /** k, dimensions that carriers are drawn in. */
  readonly dimension: number;
}

/**
 * The mean cosine of a carrier with x = δ·u + g, where u is the carrier and g has k independent standard normal components: a row
 * that consists of a part along the carrier and a rest that has nothing to do with it. With N of Poisson's law of mean δ²/2,
 *
 *     E cos = δ/√2 · E[ Γ((k+1)/2 + N) / Γ(k/2 + 1 + N) ]
 *
 * (the first moment of the projected normal law, Kummer's function written as a mean; Mardia and Jupp, *Directional statistics*,
 * 2000, 9.3). δ = 0 is the null hypothesis.
 */
export function meanCosineOfShift(shift: number, dimension: number): number {
  if (!(shift >= 0 && Number.isFinite(shift))) throw new InputError(`a shift must not be negative, it is ${shift}`);
  if (shift === 0) return 0;
  const z = (shift * shift) / 2;
  const reach = 14 * Math.sqrt(z + 1);
  let sum = 0;
  for (let n = Math.max(0, Math.floor(z - reach)); n <= z + reach; n++) {
    const weight = n * Math.log(z) - z - logGamma(n + 1);
    sum += Math.exp(weight + logGamma((dimension + 1) / 2 + n) - logGamma(dimension / 2 + 1 + n));
  }
  return (shift / Math.SQRT2) * sum;
}

/** The shift at which the mean cosine is the one given, see {@link meanCosineOfShift}. */
export function shiftOfMeanCosine(meanCosine: number, dimension: number): number {
  if (!(meanCosine >= 0 && meanCosine <= MOST))
    throw new InputError(`a mean cosine to expect must be from 0 to ${MOST}, it is ${meanCosine}`);
  if (meanCosine === 0) return 0;
  const reaches = (shift: number): boolean => meanCosineOfShift(shift, dimension) >= meanCosine;
  let end = 1;
  while (!reaches(end)) end *= 2;
  return firstThat(reaches, end);
}

/** No mean cosine beyond it is considered. */
const MOST = 0.999;

/**
 * The mean cosine at which half of all keys reach a p-value, in {@link meanCosineOfShift}'s law: Fisher's combination of K exact
 * p-values of cosines in k dimensions. For many dimensions a little more than z_p/√(K k), with z_p the normal quantile. Null where
 * a mean cosine of 0.999 does not suffice.
 *
 * Fisher's Σ −ln p_i has the median K·m − μ₃/(6σ²) of the Cornish–Fisher expansion, with m, σ² and μ₃ the moments of a single −ln p,
 * by quadrature. Beside simulations that was off by 0.05 in log10 p in 3 dimensions, by less than 0.01 in 32.
 * @param log10p finite and below 0
 * @throws InputError for any other log10p, fewer than one class or two dimensions
 */
export function meanCosineNeeded(log10p: number, law: CarrierLaw): number | null {
  requireLaw(law);
  if (!(log10p < 0 && Number.isFinite(log10p)))
    throw new InputError(`log10 of a p-value to reach must be below 0, it is ${log10p}`);
  const { classCount: K, dimension: k } = law;
  const reaches = (shift: number): boolean =>
    logUpperGammaQ(K, Math.max(0, medianEvidence(shift, law))) / Math.LN10 <= log10p;
  if (reaches(0)) return 0;
  const most = shiftOfMeanCosine(MOST, k);
  return reaches(most) ? meanCosineOfShift(firstThat(reaches, most), k) : null;
}

/** Median of Σ −ln p over K classes. */
function medianEvidence(shift: number, { classCount: K, dimension: k }: CarrierLaw): number {
  const values: number[] = [];
  const weights: number[] = [];
  const m = k - 1;
  const middle = Math.sqrt(m);
  const from = Math.max(0, middle - REACH);
  // Midpoints: r = 0, where p is 0, is none.
  for (let i = 0.5; i < NODES; i++) {
    const x = shift - REACH + (2 * REACH * i) / NODES;
    for (let j = 0.5; j < NODES; j++) {
      const r = from + ((middle + REACH - from) * j) / NODES;
      // Densities of x and r to a factor.
      const weight = Math.exp(-((x - shift) ** 2 + r * r - m) / 2 + (m - 1) * Math.log(r / middle));
      if (!(weight > NEGLIGIBLE)) continue;
      values.push(-Math.LN10 * log10PCosine(x / Math.hypot(x, r), k));
      weights.push(weight);
    }
  }
  const total = weights.reduce((sum, weight) => sum + weight, 0);
  const mean = values.reduce((sum, y, i) => sum + (weights[i] / total) * y, 0);
  const moment = (order: number): number =>
    values.reduce((sum, y, i) => sum + (weights[i] / total) * (y - mean) ** order, 0);
  return K * mean - moment(3) / (6 * moment(2));
}

/** Half the range of quadrature, in standard deviations, its intervals, and the weight below which a point is left out. */
const REACH = 7;
const NODES = 24;
const NEGLIGIBLE = 1e-9;

/** Where a condition that holds from some point on begins to hold, between 0 and `end`. */
function firstThat(holds: (x: number) => boolean, end: number): number {
  let [low, high] = [0, end];
  for (let i = 0; i < 40; i++) {
    const middle = (low + high) / 2;
    if (holds(middle)) high = middle;
    else low = middle;
  }
  return high;
}

/** What is to be expected of keys at a mean cosine. */
export interface Expectation {
  readonly meanCosine: number;
  /** Of log10 p over keys. */
  readonly quantiles: Readonly<Record<'p05' | 'p50' | 'p95', number>>;
  /** Share of keys with log10 p at the level or below it. */
  readonly reached: number;
  readonly draws: number;
}

/**
 * The law of log10 p where rows have a part along their carriers that makes the mean cosine the one given, simulated with a fixed
 * seed: cosines of {@link meanCosineOfShift}'s law, exact p-values, Fisher.
 * @param level log10 of the p-value that is hoped for
 */
export function expectedEvidence(
  law: CarrierLaw & { readonly meanCosine: number; readonly level: number },
  { seed = 0, draws = drawsFor(law.classCount) }: { readonly seed?: number; readonly draws?: number } = {},
): Expectation {
  requireLaw(law);
  const { classCount: K, dimension: k, meanCosine, level } = law;
  const shift = shiftOfMeanCosine(meanCosine, k);
  const random = derive(seed, 'power', K, k);
  const values = Array.from({ length: draws }, () =>
    fisherLog10P(Array.from({ length: K }, () => log10PCosine(drawCosine(random, shift, k), k))),
  ).sort((a, b) => a - b);
  const quantile = (share: number): number => values[Math.min(draws - 1, Math.floor(share * draws))];
  return {
    meanCosine,
    // The stronger the evidence, the smaller the value: p05 is what one key in twenty exceeds in strength.
    quantiles: { p05: quantile(0.05), p50: quantile(0.5), p95: quantile(0.95) },
    reached: values.filter((value) => value <= level).length / draws,
    draws,
  };
}

/** Enough for quantiles to two digits, in about a second. */
const drawsFor = (classCount: number): number => Math.max(200, Math.min(4000, Math.round(100_000 / classCount)));

function drawCosine(random: Random, shift: number, k: number): number {
  const along = shift + random.gaussian();
  return along / Math.sqrt(along * along + chiSquare(random, k - 1));
}

/** A χ² deviate of m degrees of freedom: twice a gamma deviate of shape m/2 (Marsaglia and Tsang, *A simple method for generating gamma variables*, 2000). */
function chiSquare(random: Random, m: number): number {
  if (m === 1) return random.gaussian() ** 2;
  const d = m / 2 - 1 / 3;
  const c = 1 / Math.sqrt(9 * d);
  for (;;) {
    const x = random.gaussian();
    const v = (1 + c * x) ** 3;
    if (v > 0 && Math.log(1 - random.uniform()) < 0.5 * x * x + d - d * v + d * Math.log(v)) return 2 * d * v;
  }
}

function requireLaw({ classCount, dimension }: CarrierLaw): void {
  if (!(Number.isSafeInteger(classCount) && classCount >= 1))
    throw new InputError(`the number of classes must be a positive integer, it is ${classCount}`);
  if (!(Number.isSafeInteger(dimension) && dimension >= 2))
    throw new InputError(`the dimension must be an integer of at least 2, it is ${dimension}`);
}
