import type { Bars } from './plot.ts';

/** How many values lie in each of equal intervals. */
export interface Histogram {
  readonly bars: Bars['bars'];
  /** Values beyond the first interval, −∞ among them, and beyond the last. */
  readonly below: number;
  readonly above: number;
}

/**
 * Counts values in intervals of width `step`, each with its lower end, the last with both.
 *
 * @param from lower end of the first interval.
 * @param to upper end of the last, a whole number of steps above `from`.
 * @throws RangeError unless that holds, or if a value is NaN.
 */
export function histogram(
  values: readonly number[],
  { from, to, step }: { readonly from: number; readonly to: number; readonly step: number },
): Histogram {
  const count = Math.round((to - from) / step);
  if (!(count >= 1 && Math.abs(from + count * step - to) <= 1e-9 * Math.max(Math.abs(from), Math.abs(to), step)))
    throw new RangeError(`histogram: from ${from} to ${to} is no whole number of steps of ${step}`);
  const heights = new Array<number>(count).fill(0);
  let [below, above] = [0, 0];
  for (const value of values) {
    if (Number.isNaN(value)) throw new RangeError('histogram: a value is NaN');
    if (value < from) below++;
    else if (value > to) above++;
    else heights[Math.min(count - 1, Math.floor((value - from) / step + 1e-9))]++;
  }
  return {
    bars: heights.map((height, i) => ({ from: from + i * step, to: from + (i + 1) * step, height })),
    below,
    above,
  };
}
