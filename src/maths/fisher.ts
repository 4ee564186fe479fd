/** Fisher's method of combining independent p-values. */

import { InputError } from '../errors.ts';
import { logUpperGammaQ } from './special.ts';

/**
 * log10 of Fisher's combined p-value of K independent tests: under the null hypothesis −2 Σ ln p_i is χ² with 2K degrees
 * of freedom, so p = Q(K, −Σ ln p_i). Exact for uniform p_i, conservative for discrete or conservative ones
 * (R. A. Fisher, *Statistical Methods for Research Workers*, section 21.1).
 * @param log10Ps K ≥ 1 values log10 p_i ≤ 0; −∞ is allowed and gives −∞
 * @throws InputError if there are none, or one is NaN or positive
 */
export function fisherLog10P(log10Ps: ArrayLike<number>): number {
  if (log10Ps.length === 0) throw new InputError("Fisher's method needs at least one p-value");
  let z = 0;
  for (let i = 0; i < log10Ps.length; i++) {
    const log10p = log10Ps[i];
    if (!(log10p <= 0)) throw new InputError(`log10 of p-value ${i} must not be positive, it is ${log10p}`);
    z -= log10p * Math.LN10;
  }
  return logUpperGammaQ(log10Ps.length, z) / Math.LN10;
}
