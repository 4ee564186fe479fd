/** The white-box test: do the rows of a suspect's last layer point along the carriers? (docs/method.md, 4 and 5.) */

import { InputError } from '../errors.ts';
import type { Carriers } from '../marking/carriers.ts';
import type { StreamSource } from '../marking/key_stream.ts';
import { log10PCosine } from '../maths/cosine.ts';
import { fisherLog10P } from '../maths/fisher.ts';
import { centreRows, dot, type Elements, leastSquares, multiplyTransposed } from '../maths/linalg.ts';
import type { OnProgress } from '../nn/inference.ts';
import { freshCoordinates } from './fresh_keys.ts';

/** Samples per feature dimension that a good alignment takes. */
const SAMPLES_PER_DIMENSION = 10;

/** What {@link alignSuspect} is made from. Row i of both feature matrices is the same held-out vanilla image. */
export interface AlignmentInput {
  /** [n,d] under the marking network */
  featuresMarking: Elements;
  /** [n,dt] under the suspect */
  featuresSuspect: Elements;
  /** Number of images. */
  n: number;
  /** Features of the marking network. */
  d: number;
  /** Features of the suspect. */
  dt: number;
  /** [K,dt] last layer of the suspect, classes in the key's order */
  weight: Elements;
  /** centre both feature sets: the alignment has an intercept */
  centre: boolean;
  /** relative truncation of the alignment's singular values; see {@link leastSquares} */
  rcond?: number;
}

/** What {@link whiteBoxTest} is made from. */
export interface WhiteBoxInput extends AlignmentInput {
  /** the key's, of K classes and feature dimension d */
  carriers: Carriers;
  /** [K] names for the report */
  classes?: readonly string[];
}

/** One class's evidence. */
export interface ClassEvidence {
  /** Name, where names were given. */
  class?: string;
  /** Between the row of the last layer and the carrier, in the space carriers are drawn in. */
  cosine: number;
  /** log10 of its one-sided p-value */
  log10p: number;
}

/** What {@link whiteBoxTest} finds. */
export interface WhiteBoxResult {
  /** log10 of Fisher's combined p-value: the probability of evidence this strong from a model that never saw the mark */
  log10p: number;
  /** Mean of the cosines of all classes. */
  meanCosine: number;
  /** By class, in the key's order. */
  perClass: ClassEvidence[];
  /** How well the marking network's features explain the suspect's. */
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
  /** `[K,k]`: what cosines were taken of, and may be taken of again with other carriers */
  rows: Float64Array;
  /** one line each: what weakens the test; the p-value is exact all the same */
  warnings: string[];
}

/** A suspect's last layer in the marking network's feature space. */
export interface AlignedSuspect {
  /** [K,d]: A = W Xᵀ */
  readonly A: Float64Array;
  readonly classCount: number;
  readonly d: number;
  readonly alignment: WhiteBoxResult['alignment'];
  readonly warnings: readonly string[];
}

/** Throws InputError where n images are too few to align d feature dimensions. */
export function requireEnoughImages(n: number, d: number): void {
  if (n < d + 1) throw new InputError(`${n} images cannot align ${d} feature dimensions, take at least ${10 * d}`);
}

/**
 * Aligns the suspect's feature space with the marking network's (F₀ X ≈ F_t) and takes its last layer there, A = W Xᵀ. Nothing of
 * a key is used: one alignment serves any number of keys.
 * @throws InputError if shapes disagree, n ≤ d, or a feature or weight is NaN or infinite
 */
export function alignSuspect(input: AlignmentInput): AlignedSuspect {
  const { featuresMarking, featuresSuspect, n, d, dt, weight, centre, rcond } = input;
  const K = weight.length / dt;
  requireMatrix("the marking network's features", featuresMarking, n, d);
  requireMatrix("the suspect's features", featuresSuspect, n, dt);
  requireMatrix("the suspect's last layer", weight, Math.ceil(K), dt);
  requireEnoughImages(n, d);

  const options = rcond === undefined ? { n, d, dt, centre } : { n, d, dt, centre, rcond };
  const { X, rank, r2 } = leastSquares(featuresMarking, featuresSuspect, options);
  const warnings: string[] = [];
  if (n < SAMPLES_PER_DIMENSION * d) {
    warnings.push(`${n} images for ${d} feature dimensions: at least ${SAMPLES_PER_DIMENSION * d} are advised`);
  }
  if (rank < d) warnings.push(`the marking features have rank ${rank} of ${d}`);
  const A = multiplyTransposed(Float64Array.from(weight), X, K, d, dt);
  return { A, classCount: K, d, alignment: { n, rank, r2 }, warnings };
}

/**
 * The rows [K,k] that cosines with carriers' coordinates are taken of. Uniform carriers (`basis` null): A itself, the published
 * test. Subspace carriers: A's rows centred over the classes (softmax ignores a common row), projected on the basis [k,d].
 * @throws InputError if the basis has another feature dimension, or there are fewer than two classes for a basis
 */
export function testedRows(
  { A, classCount: K, d }: Pick<AlignedSuspect, 'A' | 'classCount' | 'd'>,
  basis: Float64Array | null,
): Float64Array {
  if (basis === null) return A;
  if (basis.length % d !== 0)
    throw new InputError(`the basis has ${basis.length} elements, the feature dimension is ${d}`);
  if (K < 2) throw new InputError('subspace carriers need at least two classes');
  return multiplyTransposed(centreRows(A, K, d), basis, K, basis.length / d, d);
}

/**
 * Cosines of rows with carriers, both [K,k], their p-values, and Fisher's combination. A row that is zero has no direction: it
 * counts as no evidence at all (cosine 0, p = 1).
 */
export function cosineTest(
  rows: Float64Array,
  coordinates: Float64Array,
  K: number,
): { log10p: number; meanCosine: number; perClass: { cosine: number; log10p: number }[] } {
  const k = rows.length / K;
  const perClass = Array.from({ length: K }, (_, c) => {
    const norm = Math.sqrt(dot(rows, c * k, rows, c * k, k));
    if (norm === 0) return { cosine: 0, log10p: 0 };
    const carrierNorm = Math.sqrt(dot(coordinates, c * k, coordinates, c * k, k));
    const cosine = dot(rows, c * k, coordinates, c * k, k) / (norm * carrierNorm);
    return { cosine, log10p: log10PCosine(cosine, k) };
  });
  return {
    log10p: fisherLog10P(perClass.map((evidence) => evidence.log10p)),
    meanCosine: perClass.reduce((sum, evidence) => sum + evidence.cosine, 0) / K,
    perClass,
  };
}

/**
 * What {@link cosineTest} gives of the same rows under the first `count` fresh keys, through the same derivation.
 * @param options `like`: the key that they are drawn like, see {@link freshCoordinates}
 * @returns log10 of the combined p-value of each key, and of each class of each key [count · K]
 */
export async function freshKeyTests(
  rows: Float64Array,
  K: number,
  count: number,
  options: {
    readonly like?: StreamSource | undefined;
    readonly onProgress?: OnProgress | undefined;
    readonly signal?: AbortSignal | undefined;
  } = {},
): Promise<{ combined: number[]; perClass: number[] }> {
  if (!(Number.isSafeInteger(count) && count >= 0))
    throw new InputError(`fresh keys: their number is 0, 1, …, this one is ${count}`);
  const combined: number[] = [];
  const perClass: number[] = [];
  for (let index = 0; index < count; index++) {
    options.signal?.throwIfAborted();
    const test = cosineTest(rows, await freshCoordinates(index, K, rows.length / K, options.like), K);
    combined.push(test.log10p);
    perClass.push(...test.perClass.map(({ log10p }) => log10p));
    options.onProgress?.(index + 1, count);
  }
  return { combined, perClass };
}

/**
 * `alignSuspect`, `testedRows` and `cosineTest` with the key's carriers. The p-value is exact if the carriers are
 * independent of the suspect, whatever A is. A warning names classes whose row is zero.
 * @throws InputError if the carriers have another feature dimension or number of classes, or as those functions do
 */
export function whiteBoxTest(input: WhiteBoxInput): WhiteBoxResult {
  const { d, dt, weight, carriers, classes } = input;
  const { classCount: K, dimension: k, basis, coordinates } = carriers;
  if (carriers.featureDimension !== d) {
    throw new InputError(`the carriers have feature dimension ${carriers.featureDimension}, the marking features ${d}`);
  }
  if (classes !== undefined && classes.length !== K) {
    throw new InputError(`there are ${classes.length} class names for carriers of ${K} classes`);
  }
  requireMatrix("the suspect's last layer", weight, K, dt);
  const aligned = alignSuspect(input);
  const rows = testedRows(aligned, basis);
  const { perClass, ...combined } = cosineTest(rows, coordinates, K);
  const warnings = [...aligned.warnings];
  for (let c = 0; c < K; c++) {
    if (dot(rows, c * k, rows, c * k, k) > 0) continue;
    warnings.push(`class ${classes?.[c] ?? c}: the suspect's row is zero, which is taken for no evidence`);
  }
  return {
    ...combined,
    perClass: perClass.map((evidence, c) => (classes === undefined ? evidence : { class: classes[c], ...evidence })),
    alignment: aligned.alignment,
    dimension: k,
    rows,
    warnings,
  };
}

function requireMatrix(name: string, A: Elements, m: number, n: number): void {
  if (A.length !== m * n) throw new InputError(`${name} should be [${m},${n}], there are ${A.length} elements`);
  const bad = A.findIndex((x) => !Number.isFinite(x));
  if (bad >= 0) throw new InputError(`${name}: row ${Math.floor(bad / n)}, column ${bad % n} is ${A[bad]}`);
}
