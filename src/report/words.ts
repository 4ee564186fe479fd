/** Probabilities from their log10, written and in words, however small they are. */

/** Below this a probability is written as a power of ten. */
const SMALLEST_DECIMAL = -3;
/** Below this one number in so many is written with its digits counted. */
const SMALLEST_COUNTED = -9;

/**
 * A probability by its log10: `0.71`, `10^-22.6`, `10^-3485.3`; `0` for −∞, `>0.999` for what rounds to 1.
 *
 * @param log10p at most 0.
 */
export function writtenProbability(log10p: number): string {
  if (log10p === Number.NEGATIVE_INFINITY) return '0';
  if (log10p <= SMALLEST_DECIMAL) return `10^${log10p.toFixed(1)}`;
  const p = 10 ** log10p;
  // What is not certain is not written as if it were.
  if (p < 1 && p.toPrecision(3) === '1.00') return '>0.999';
  return String(Number(p.toPrecision(p >= 0.99 ? 3 : 2)));
}

/** The same in words: `about 71 in 100`, `about one in 44 000`, `about one in 4 × 10^22, a number of 23 digits`. */
export function probabilityInWords(log10p: number): string {
  if (log10p === Number.NEGATIVE_INFINITY) return 'too small for this arithmetic to tell from zero';
  if (log10p === 0) return 'every time';
  const p = 10 ** log10p;
  if (p >= 0.995) return 'more than 99 in 100';
  if (p >= 0.01) return `about ${Math.round(100 * p)} in 100`;
  if (log10p > SMALLEST_COUNTED) return `about one in ${groupDigits(Number((1 / p).toPrecision(2)))}`;
  let exponent = Math.floor(-log10p);
  let factor = Math.round(10 ** (-log10p - exponent));
  if (factor === 10) [factor, exponent] = [1, exponent + 1];
  const digits = `a number of ${groupDigits(exponent + 1)} digits`;
  return exponent < 100
    ? `about one in ${factor === 1 ? '' : `${factor} × `}10^${exponent}, ${digits}`
    : `one in ${digits}`;
}

/** A probability of which a bound is known, by the bound's log10, a whole number: `at most 10^-12`; `more than 0.1` for 0. */
export const writtenBound = (log10p: number): string =>
  log10p === 0 ? 'more than 0.1' : `at most ${writtenProbability(log10p).replace(/\.0$/, '')}`;

/** The same in words. */
export const boundInWords = (log10p: number): string =>
  log10p === 0 ? 'more than one in ten' : probabilityInWords(log10p).replace(/^(about )?/, 'at most ');

/** log10 of a p-value with three decimals, as tables show it. */
export const writtenLog10 = (log10: number): string =>
  Number.isFinite(log10) ? minus(log10.toFixed(3)) : log10 < 0 ? '−∞' : Number.isNaN(log10) ? 'not a number' : '∞';

/** A score with four significant decimals, as tables show it. */
export const writtenScore = (score: number): string =>
  Number.isFinite(score)
    ? minus(Math.abs(score) >= 1e5 ? score.toExponential(3) : score.toFixed(4))
    : writtenLog10(score);

/** `12 345`, with spaces that no line breaks at; small numbers as they are. */
export const groupDigits = (count: number): string =>
  count < 10_000 ? String(count) : String(count).replaceAll(/\B(?=(\d{3})+(?!\d))/g, '\u00a0');

/** `1 test`, `2 tests`. */
export const counted = (count: number, one: string, many = `${one}s`): string =>
  `${groupDigits(count)} ${count === 1 ? one : many}`;

/** An ISO 8601 time as people read it. */
export const writtenTime = (time: string): string =>
  `${new Date(time).toLocaleString('en-GB', { timeZone: 'UTC', dateStyle: 'long', timeStyle: 'medium' })} UTC`;

/** Its day alone. */
export const writtenDay = (time: string): string =>
  new Date(time).toLocaleString('en-GB', { timeZone: 'UTC', dateStyle: 'long' });

/** With a true minus. */
const minus = (text: string): string => text.replace(/^-(?=\d)/, '−').replace(/^−(0(\.0+)?)$/, '$1');
