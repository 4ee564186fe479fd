/** The white-box test: do the rows of a suspect's last layer point along the carriers? (docs/method.md, 4 and 5.) */

import { InputError } from '../errors.ts';
import type { Carriers } from '../marking/carriers.ts';
import { log10PCosine } from '../statistics/cosine.ts';
import { fisherLog10P } from '../statistics/fisher.ts';
import { centreRows, dot, type Elements, leastSquares, multiplyTransposed } from '../statistics/linalg.ts';

/** Samples per feature dimension that a good alignment takes. */
const SAMPLES_PER_DIMENSION = 10;

/** What {@link whiteBoxTest} is made from. Row i of both feature matrices is the same held-out vanilla image. */
export interface WhiteBoxInput {
  /** [n,d] under the marking network */
  featuresMarking: Elements;
  /** [n,dt] under the suspect */
  featuresSuspect: Elements;
  n: number;
  d: number;
  dt: number;
  /** [K,dt] last layer of the suspect, classes in the key's order */
  weight: Elements;
  /** the key's, of K classes and feature dimension d */
  carriers: Carriers;
  /** centre both feature sets: the alignment has an intercept */
  centre: boolean;
  /** relative truncation of the alignment's singular values; see {@link leastSquares} */
  rcond?: number;
  /** [K] names for the report */
  classes?: readonly string[];
}

/** One class's evidence. */
export interface ClassEvidence {
  class?: string;
  cosine: number;
  /** log10 of its one-sided p-value */
  log10p: number;
}

/** What {@link whiteBoxTest} finds. */
export interface WhiteBoxResult {
  /** log10 of Fisher's combined p-value: the probability of evidence this strong from a model that never saw the mark */
  log10p: number;
  meanCosine: number;
  perClass: ClassEvidence[];
  alignment: {
    /** images */
    n: number;
    /** of the marking features, after truncation */
    rank: number;
    /** share of the suspect's features that the marking features explain linearly */
    r2: number;
  };
  /** k, of the space the cosines are taken in */
  dimension: number;
  /** one line each: what weakens the test; the p-value is exact all the same */
  warnings: string[];
}

/**
 * Aligns the suspect's feature space with the marking network's (F₀ X ≈ F_t), takes its last layer there (A = W Xᵀ) and
 * tests each class's row against the class's carrier.
 *
 * Uniform carriers (`carriers.basis` null): cos(A_c, u_c) in d dimensions, the published test.
 * Subspace carriers: A's rows are centred over the classes (softmax ignores a common row), projected on the basis, and
 * the cosine with the carrier's coordinates is taken in k dimensions.
 *
 * The p-value is exact if the carriers are independent of the suspect, whatever A is. A class whose row is zero has no
 * direction: it counts as no evidence at all (cosine 0, p = 1), and a warning says so.
 * @throws InputError if shapes disagree, n ≤ d, a feature or weight is NaN or infinite, or subspace carriers have fewer
 * than two classes
 */
export function whiteBoxTest(input: WhiteBoxInput): WhiteBoxResult {
  const { featuresMarking, featuresSuspect, n, d, dt, weight, carriers, centre, rcond, classes } = input;
  const { classCount: K, dimension: k, basis, coordinates } = carriers;
  if (carriers.featureDimension !== d) {
    throw new InputError(`the carriers have feature dimension ${carriers.featureDimension}, the marking features ${d}`);
  }
  if (classes !== undefined && classes.length !== K) {
    throw new InputError(`there are ${classes.length} class names for carriers of ${K} classes`);
  }
  requireMatrix("the marking network's features", featuresMarking, n, d);
  requireMatrix("the suspect's features", featuresSuspect, n, dt);
  requireMatrix("the suspect's last layer", weight, K, dt);
  if (n < d + 1) throw new InputError(`${n} images cannot align ${d} feature dimensions, take at least ${10 * d}`);
  if (basis !== null && K < 2) throw new InputError('subspace carriers need at least two classes');

  const options = rcond === undefined ? { n, d, dt, centre } : { n, d, dt, centre, rcond };
  const { X, rank, r2 } = leastSquares(featuresMarking, featuresSuspect, options);
  const A = multiplyTransposed(Float64Array.from(weight), X, K, d, dt);
  const rows = basis === null ? A : multiplyTransposed(centreRows(A, K, d), basis, K, k, d);

  const warnings: string[] = [];
  if (n < SAMPLES_PER_DIMENSION * d) {
    warnings.push(`${n} images for ${d} feature dimensions: at least ${SAMPLES_PER_DIMENSION * d} are advised`);
  }
  if (rank < d) warnings.push(`the marking features have rank ${rank} of ${d}`);
  const perClass: ClassEvidence[] = [];
  for (let c = 0; c < K; c++) {
    const name = classes === undefined ? {} : { class: classes[c]! };
    const norm = Math.sqrt(dot(rows, c * k, rows, c * k, k));
    if (norm === 0) {
      warnings.push(`class ${classes?.[c] ?? c}: the suspect's row is zero, which is taken for no evidence`);
      perClass.push({ ...name, cosine: 0, log10p: 0 });
      continue;
    }
    const carrierNorm = Math.sqrt(dot(coordinates, c * k, coordinates, c * k, k));
    const cosine = dot(rows, c * k, coordinates, c * k, k) / (norm * carrierNorm);
    perClass.push({ ...name, cosine, log10p: log10PCosine(cosine, k) });
  }
  return {
    log10p: fisherLog10P(perClass.map((evidence) => evidence.log10p)),
    meanCosine: perClass.reduce((sum, evidence) => sum + evidence.cosine, 0) / K,
    perClass,
    alignment: { n, rank, r2 },
    dimension: k,
    warnings,
  };
}

function requireMatrix(name: string, A: Elements, m: number, n: number): void {
  if (A.length !== m * n) throw new InputError(`${name} should be [${m},${n}], there are ${A.length} elements`);
  const bad = A.findIndex((x) => !Number.isFinite(x));
  if (bad >= 0) throw new InputError(`${name}: row ${Math.floor(bad / n)}, column ${bad % n} is ${A[bad]}`);
}
