/** Exact tails of permutation tests in strata. */

import { InputError } from '../errors.ts';
import { logSumExp } from './special.ts';

/** Tails below this, in log10, are made of probabilities that leave float64: there the sum is tilted towards the observed value. */
const SMALLEST_LOG10 = -290;

/**
 * log10 P(X_1 + … + X_K ≥ t) for independent X_c, each uniform over the S integers of its row: the null distribution of a sum in
 * which every stratum's labels are permuted by themselves. By convolution: all terms are positive, so that small tails are as
 * accurate as large ones. Where they leave float64, of the exponentially tilted variables (Esscher's transform).
 * @param rows [K,S] integers
 * @param observed the values t
 * @throws InputError if the rows do not fit K strata, or an element is not an integer
 */
export function stratifiedSumLog10P(rows: ArrayLike<number>, strata: number, observed: readonly number[]): number[] {
  const S = rows.length / strata;
  if (!(Number.isInteger(S) && S > 0))
    throw new InputError(`permutation test: ${rows.length} values in ${strata} strata`);
  const tables = Array.from({ length: strata }, (_, c) => {
    const counts = new Map<number, number>();
    for (let s = 0; s < S; s++) {
      const value = rows[c * S + s];
      if (!Number.isSafeInteger(value)) throw new InputError(`permutation test: a value is ${value}, not an integer`);
      counts.set(value, (counts.get(value) ?? 0) + 1);
    }
    return [...counts].sort(([a], [b]) => a - b).map(([value, count]) => ({ value, weight: count / S }));
  });
  const plain = sumLaw(tables, 0);
  return observed.map((t) => {
    const log10p = tail(plain, t);
    return log10p > SMALLEST_LOG10 ? log10p : tail(sumLaw(tables, tiltTo(tables, t)), t);
  });
}

/** The values of one stratum, ascending, with their probabilities. */
type Table = readonly { readonly value: number; readonly weight: number }[];

/** Probabilities of the sum's values from `low` on, of variables whose weights are multiplied by e^(theta · value − their logSum). */
interface SumLaw {
  readonly low: number;
  readonly density: Float64Array;
  readonly theta: number;
  readonly logSum: number;
}

function sumLaw(tables: readonly Table[], theta: number): SumLaw {
  const span = tables.reduce((sum, table) => sum + table.at(-1)!.value - table[0].value, 0);
  let density = new Float64Array(span + 1);
  let next = new Float64Array(span + 1);
  density[0] = 1;
  let [length, low, logSum] = [1, 0, 0];
  for (const table of tables) {
    const first = table[0].value;
    const { weights, logTotal } = tilted(table, theta);
    next.fill(0);
    for (const [i, { value }] of table.entries()) {
      const [shift, weight] = [value - first, weights[i]];
      for (let t = 0; t < length; t++) next[shift + t] += density[t] * weight;
    }
    [density, next] = [next, density];
    length += table.at(-1)!.value - first;
    low += first;
    logSum += logTotal;
  }
  return { low, density, theta, logSum };
}

function tilted(table: Table, theta: number): { weights: number[]; logTotal: number } {
  const logs = table.map(({ value, weight }) => Math.log(weight) + theta * value);
  const logTotal = logSumExp(logs);
  return { weights: logs.map((log) => Math.exp(log - logTotal)), logTotal };
}

/** The tilt under which the sum has the mean t, or nearly, where t is the largest sum there is. */
function tiltTo(tables: readonly Table[], t: number): number {
  const mean = (theta: number): number =>
    tables.reduce((sum, table) => {
      const { weights } = tilted(table, theta);
      return sum + table.reduce((of, { value }, i) => of + value * weights[i], 0);
    }, 0);
  let [low, high] = [0, 1];
  for (let step = 0; step < 60; step++) {
    const middle = (low + high) / 2;
    if (mean(middle) < t) low = middle;
    else high = middle;
  }
  return high;
}

/** log10 P(sum ≥ t): the tilt is taken back term by term. */
function tail({ low, density, theta, logSum }: SumLaw, t: number): number {
  const from = Math.max(0, Math.ceil(t - low));
  if (from === 0) return 0;
  if (from >= density.length) return Number.NEGATIVE_INFINITY;
  const logs = new Float64Array(density.length - from);
  for (let i = from; i < density.length; i++) logs[i - from] = Math.log(density[i]) - theta * (low + i);
  return Math.min(0, (logSumExp(logs) + logSum) / Math.LN10);
}
