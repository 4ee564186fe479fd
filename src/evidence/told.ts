/** How probabilities are told in what is shown around. */

import type { TestName } from '../detection/tests.ts';

/** A logarithm of a probability, rounded up to a whole number: the probability is at most ten to the power of it. */
export const boundOf = (log10p: number): number => (log10p < 0 ? Math.ceil(log10p) + 0 : log10p);

/**
 * log10 of a p-value for a table that is shown around. Of a black-box test it is a bound: the digits of the exact number, and the probes
 * with the model's answers, tell which sets are true.
 */
export const toldLog10P = (test: TestName, log10p: number): string =>
  test === 'black-box' ? `log10 p at most ${boundOf(log10p)}` : `log10 p ${log10p.toFixed(3)}`;
