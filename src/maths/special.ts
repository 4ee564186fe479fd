/**
 * Special functions in float64, in log space: nothing underflows, however small the probability.
 *
 * Formula numbers are those of the NIST Digital Library of Mathematical Functions (DLMF, dlmf.nist.gov).
 */

import { InputError } from '../errors.ts';

const HALF_LOG_2PI = 0.9189385332046728;
const ONE_MINUS_EULER_GAMMA = 0.42278433509846713;

/** (−1)^k (ζ(k) − 1)/k for k = 2, 3, …: the Taylor coefficients of ln Γ(2 + w), DLMF 5.7.3. */
const LOG_GAMMA_AT_2 = [
  0.3224670334241132, -0.0673523010531981, 0.020580808427784546, -0.007385551028673986, 0.0028905103307415234,
  -0.001192753911703261, 0.0005096695247430425, -0.00022315475845357939, 9.945751278180853e-5, -4.492623673813314e-5,
  2.050721277567069e-5, -9.439488275268397e-6, 4.374866789907488e-6, -2.039215753801366e-6, 9.55141213040742e-7,
  -4.492469198764566e-7, 2.1207184805554665e-7, -1.0043224823968099e-7, 4.7698101693639804e-8, -2.2711094608943164e-8,
  1.0838659214896955e-8, -5.183475041970047e-9, 2.4836745438024785e-9, -1.1921401405860912e-9, 5.731367241678862e-10,
  -2.7595228851242334e-10, 1.330476437424449e-10,
];

/** B_{2n} / (2n(2n−1)) for n = 1, 2, …: the coefficients of Stirling's series, DLMF 5.11.1. */
const STIRLING = [
  1 / 12,
  -1 / 360,
  1 / 1260,
  -1 / 1680,
  1 / 1188,
  -691 / 360360,
  1 / 156,
  -3617 / 122400,
  43867 / 244188,
  -174611 / 125400,
];

/** From here on Stirling's series with ten terms is exact to float64. */
const STIRLING_FROM = 10;

/** A continued fraction of this many terms has not converged: an argument is absurd. */
const MAX_TERMS = 1_000_000;

/** coefficients[0] + coefficients[1] x + coefficients[2] x² + … */
function polynomial(coefficients: readonly number[], x: number): number {
  let sum = 0;
  for (let i = coefficients.length - 1; i >= 0; i--) sum = sum * x + coefficients[i];
  return sum;
}

/** Δ(x) = ln Γ(x) − ((x − ½) ln x − x + ½ ln 2π), for x ≥ STIRLING_FROM. */
function stirlingRemainder(x: number): number {
  return polynomial(STIRLING, 1 / (x * x)) / x;
}

/** ln Γ(2 + w) for |w| ≤ ½. The factor w keeps the relative accuracy at the zero. */
function logGammaAt2(w: number): number {
  return w * (ONE_MINUS_EULER_GAMMA + w * polynomial(LOG_GAMMA_AT_2, w));
}

/**
 * ln Γ(x) for x > 0, to about 1e-15 relative, also next to its zeros at 1 and 2.
 *
 * Taylor series about 2 (DLMF 5.7.3), the recurrence Γ(x + 1) = x Γ(x) to get there, Stirling's series from 10 on.
 * @throws InputError unless x > 0
 */
export function logGamma(x: number): number {
  if (!(x > 0)) throw new InputError(`logGamma: x must be positive, it is ${x}`);
  if (x === Number.POSITIVE_INFINITY) return x;
  if (x >= STIRLING_FROM) {
    // (x − ½)(ln x − 1) is (x − ½) ln x − x + ½ without subtracting two large numbers.
    return (x - 0.5) * (Math.log(x) - 1) + (HALF_LOG_2PI - 0.5) + stirlingRemainder(x);
  }
  if (x < 0.5) return logGammaAt2(x) - Math.log1p(x) - Math.log(x);
  if (x <= 1.5) return logGammaAt2(x - 1) - Math.log1p(x - 1);
  let product = 1;
  let t = x;
  while (t > 2.5) {
    t -= 1;
    product *= t;
  }
  return Math.log(product) + logGammaAt2(t - 2);
}

/**
 * ln B(a, b) = ln Γ(a) + ln Γ(b) − ln Γ(a + b) for a, b > 0.
 *
 * Where an argument is large the leading terms of Stirling's series are cancelled on paper, so that
 * ln B(1e6, ½) is as accurate as ln B(1, ½).
 * @throws InputError unless a > 0 and b > 0
 */
export function logBeta(a: number, b: number): number {
  if (!(a > 0 && b > 0)) throw new InputError(`logBeta: a and b must be positive, they are ${a} and ${b}`);
  const p = Math.min(a, b);
  let q = Math.max(a, b);
  // B(p, q) = B(p, q + 1) (p + q)/q, until Stirling's series serves for q.
  let product = 1;
  for (; q < STIRLING_FROM; q += 1) product *= (p + q) / q;
  const common = Math.log(product) - (q - 0.5) * Math.log1p(p / q) + stirlingRemainder(q) - stirlingRemainder(p + q);
  if (p < STIRLING_FROM) return common + logGamma(p) + p - p * Math.log(p + q);
  return common + stirlingRemainder(p) + HALF_LOG_2PI - 0.5 * Math.log(p + q) + (p - 0.5) * Math.log(p / (p + q));
}

/** ln(1 − e^x) for x ≤ 0, accurate at both ends (Mächler, *Accurately computing log(1 − exp(−|a|))*). */
export function log1mExp(x: number): number {
  if (!(x <= 0)) throw new InputError(`log1mExp: x must not be positive, it is ${x}`);
  return x > -Math.LN2 ? Math.log(-Math.expm1(x)) : Math.log1p(-Math.exp(x));
}

/** ln Σ e^{x_i}; −∞ for no terms. */
export function logSumExp(x: ArrayLike<number>): number {
  let max = Number.NEGATIVE_INFINITY;
  for (let i = 0; i < x.length; i++) max = Math.max(max, x[i]);
  if (!Number.isFinite(max)) return max;
  let sum = 0;
  for (let i = 0; i < x.length; i++) sum += Math.exp(x[i] - max);
  return max + Math.log(sum);
}

/**
 * The continued fraction 1 + a_1/(1 + a_2/(1 + …)) by the modified Lentz algorithm
 * (Thompson and Barnett, *Coulomb and Bessel functions of complex arguments and order*, J. Comput. Phys. 64, 1986).
 */
function continuedFraction(a: (j: number) => number): number {
  const TINY = 1e-300;
  let f = 1;
  let C = 1;
  let D = 0;
  for (let j = 1; j <= MAX_TERMS; j++) {
    const aj = a(j);
    D = 1 + aj * D;
    if (Math.abs(D) < TINY) D = TINY;
    D = 1 / D;
    C = 1 + aj / C;
    if (Math.abs(C) < TINY) C = TINY;
    const factor = C * D;
    f *= factor;
    if (Math.abs(factor - 1) <= Number.EPSILON) return f;
  }
  throw new InputError(`a continued fraction did not converge in ${MAX_TERMS} terms`);
}

/**
 * ln I_x(a, b), the regularised incomplete beta function, for a, b > 0; DLMF 8.17.22.
 *
 * x comes as ln x and ln(1 − x), so that neither end loses digits. The complement is {@link logIncompleteBetaComplement}.
 * @throws InputError unless a > 0, b > 0, ln x ≤ 0 and ln(1 − x) ≤ 0
 */
export function logIncompleteBeta(lnX: number, ln1mX: number, a: number, b: number): number {
  if (!(a > 0 && b > 0)) throw new InputError(`logIncompleteBeta: a and b must be positive, they are ${a} and ${b}`);
  if (!(lnX <= 0 && ln1mX <= 0)) {
    throw new InputError(`logIncompleteBeta: ln x and ln(1 − x) must not be positive, they are ${lnX} and ${ln1mX}`);
  }
  if (lnX === Number.NEGATIVE_INFINITY) return lnX;
  if (ln1mX === Number.NEGATIVE_INFINITY) return 0;
  const x = Math.exp(lnX);
  // The fraction converges fast below the mean; above it take I_x(a, b) = 1 − I_{1−x}(b, a), DLMF 8.17.4.
  if (x > (a + 1) / (a + b + 2)) return log1mExp(Math.min(0, logIncompleteBetaBelowMean(ln1mX, lnX, b, a)));
  return Math.min(0, logIncompleteBetaBelowMean(lnX, ln1mX, a, b));
}

function logIncompleteBetaBelowMean(lnX: number, ln1mX: number, a: number, b: number): number {
  const x = Math.exp(lnX);
  const fraction = continuedFraction((j) => {
    const m = j >> 1;
    return j % 2 === 0
      ? (m * (b - m) * x) / ((a + j - 1) * (a + j))
      : (-(a + m) * (a + b + m) * x) / ((a + j - 1) * (a + j));
  });
  return a * lnX + b * ln1mX - Math.log(a) - logBeta(a, b) - Math.log(fraction);
}

/** ln(1 − I_x(a, b)) = ln I_{1−x}(b, a), as accurate as {@link logIncompleteBeta}, which see for arguments and errors. */
export function logIncompleteBetaComplement(lnX: number, ln1mX: number, a: number, b: number): number {
  return logIncompleteBeta(ln1mX, lnX, b, a);
}

/**
 * ln Q(K, z) = ln(Γ(K, z)/Γ(K)) = −z + ln Σ_{j<K} z^j/j!, the upper tail of a Gamma(K, 1) variable; DLMF 8.4.10.
 * 2z is χ² with 2K degrees of freedom.
 * @param K a positive integer
 * @param z ≥ 0, may be Infinity
 * @throws InputError for any other argument
 */
export function logUpperGammaQ(K: number, z: number): number {
  if (!(Number.isSafeInteger(K) && K > 0)) {
    throw new InputError(`logUpperGammaQ: K must be a positive integer, it is ${K}`);
  }
  if (!(z >= 0)) throw new InputError(`logUpperGammaQ: z must not be negative, it is ${z}`);
  if (z === 0) return 0;
  if (z === Number.POSITIVE_INFINITY) return Number.NEGATIVE_INFINITY;
  const lnZ = Math.log(z);
  const terms = new Float64Array(K);
  for (let j = 0; j < K; j++) terms[j] = j * lnZ - logGamma(j + 1);
  // Rounding must not turn a probability of nearly 1 into more than 1.
  return Math.min(0, logSumExp(terms) - z);
}

/**
 * ln P(Z > z) for a standard normal Z. Power series of the distribution function below 1.5 (DLMF 7.6.2),
 * the continued fraction of Mills' ratio above (DLMF 7.9.2).
 * @throws InputError if z is NaN
 */
export function logNormalSurvival(z: number): number {
  if (Number.isNaN(z)) throw new InputError('logNormalSurvival: z is NaN');
  if (z === Number.POSITIVE_INFINITY) return Number.NEGATIVE_INFINITY;
  if (z < 0) return Math.log1p(-Math.exp(logNormalSurvival(-z)));
  const lnDensity = -0.5 * z * z - HALF_LOG_2PI;
  if (z < 1.5) {
    let term = z;
    let sum = z;
    for (let n = 3; term > sum * 1e-17; n += 2) {
      term *= (z * z) / n;
      sum += term;
    }
    return Math.log(0.5 - Math.exp(lnDensity) * sum);
  }
  // z + 1/(z + 2/(z + 3/(z + …))) = z (1 + (1/z²)/(1 + (2/z²)/(1 + …)))
  const inverseSquare = 1 / (z * z);
  return lnDensity - Math.log(z) - Math.log(continuedFraction((j) => j * inverseSquare));
}

/**
 * The z that a standard normal Z exceeds with probability p, given as ln p: the inverse of {@link logNormalSurvival}, by bisection.
 * @throws InputError unless ln p ≤ 0
 */
export function normalUpperQuantile(lnP: number): number {
  if (!(lnP <= 0)) throw new InputError(`normalUpperQuantile: ln p must not be positive, it is ${lnP}`);
  if (!Number.isFinite(lnP)) return Number.POSITIVE_INFINITY;
  if (lnP === 0) return Number.NEGATIVE_INFINITY;
  // P(Z > z) ≤ e^{−z²/2} for z ≥ 0; below −9 it is 1 in float64.
  let [low, high] = [-9, Math.sqrt(-2 * lnP) + 1];
  for (let i = 0; i < 70; i++) {
    const middle = (low + high) / 2;
    if (logNormalSurvival(middle) > lnP) low = middle;
    else high = middle;
  }
  return (low + high) / 2;
}
