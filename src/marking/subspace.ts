/** The subspace that carriers are drawn in when classes are few (docs/method.md, 5). */

import { InputError } from '../errors.ts';
import {
  centreRows,
  type Elements,
  multiplyTransposed,
  orthonormaliseRows,
  symmetricEigen,
  transpose,
} from '../maths/linalg.ts';

/** A direction with less than this share of the features' total variance has none. */
const NO_VARIANCE = 1e-12;

/** What {@link classIrrelevantSubspace} looks at. */
export interface SubspaceInput {
  /** [N,d] features of vanilla images under the marking network */
  features: Elements;
  /** [N] class of each image, 0 … classCount−1 */
  labels: ArrayLike<number>;
  classCount: number;
  /** [rows,d] last layer of the marking network; its classes need not be the data's */
  weight: Elements;
  /** how many directions */
  k: number;
}

/**
 * The k directions in which the marking network's features vary most, outside the span of the centred class means and of
 * the network's own centred class weights: where a suspect's last layer has little weight of its own. A network of so many classes
 * that their weights span half of its features or more (ImageNet's thousand in 512) was made for others: its weights are left aside.
 *
 * A function of public vanilla data only, to be fixed before the key is drawn: then the null distribution of cosines
 * inside it is exact with k in place of d.
 * @returns basis [k,d], orthonormal rows, variance descending, each row's component of largest magnitude positive
 * @throws InputError if fewer than k directions are left, a class has no image, a number is not finite or lengths disagree
 */
export function classIrrelevantSubspace(input: SubspaceInput): Float64Array {
  const { features, labels, classCount, weight, k } = input;
  const n = labels.length;
  const d = features.length / n;
  if (!Number.isInteger(d) || d === 0) {
    throw new InputError(`subspace: ${features.length} feature values do not fit ${n} labels`);
  }
  if (weight.length === 0 || weight.length % d !== 0) {
    throw new InputError(`subspace: ${weight.length} weights do not fit a feature dimension of ${d}`);
  }
  if (!(Number.isSafeInteger(k) && k > 0)) {
    throw new InputError(`subspace: k must be a positive integer, it is ${k}`);
  }
  if (!features.every(Number.isFinite)) throw new InputError('subspace: a feature is NaN or infinite');
  if (!weight.every(Number.isFinite)) throw new InputError('subspace: a weight is NaN or infinite');

  const weightRows = weight.length / d >= d / 2 ? 0 : weight.length / d;
  const relevant = new Float64Array((classCount + weightRows) * d);
  relevant.set(centreRows(classMeans(features, labels, classCount, d), classCount, d));
  if (weightRows > 0) relevant.set(centreRows(weight, weightRows, d), classCount * d);
  const { rows: E, rank } = orthonormaliseRows(relevant, classCount + weightRows, d);

  const columns = transpose(centreRows(features, n, d), n, d);
  const covariance = multiplyTransposed(columns, columns, d, d, n);
  let totalVariance = 0;
  for (let i = 0; i < d; i++) totalVariance += covariance[i * d + i];
  const { values, vectors } = symmetricEigen(projectOut(covariance, E, rank, d), d);
  let available = 0;
  while (available < d - rank && values[available] > NO_VARIANCE * totalVariance) available++;
  if (k > available) {
    throw new InputError(
      `subspace: ${k} directions asked for, ${available} are left of ${d} outside the class means and class weights; give more unmarked images, ask for fewer, or draw carriers in all of the feature space`,
    );
  }
  // The eigenvectors are outside E up to rounding relative to the largest variance: make that exact.
  const { rows: basis } = orthonormaliseRows(vectors.subarray(0, k * d), k, d, E);
  for (let row = 0; row < k * d; row += d) {
    let largest = row;
    for (let i = row; i < row + d; i++) if (Math.abs(basis[i]) > Math.abs(basis[largest])) largest = i;
    if (basis[largest] < 0) for (let i = row; i < row + d; i++) basis[i] = -basis[i];
  }
  return basis;
}

/**
 * How far two subspaces differ: the sine of the largest angle between a direction of one and its nearest in the other, 0 where they
 * are the same, whatever bases they are given by; 1 where one has a direction that the other lacks altogether.
 * @param a [k,d] orthonormal rows
 * @param b [k,d] likewise
 */
export function subspaceDistance(a: Float64Array, b: Float64Array, k: number): number {
  const d = a.length / k;
  // The part of each row of b outside a: its largest singular value is the sine.
  const outside = b.slice();
  const along = multiplyTransposed(b, a, k, k, d);
  subtract(outside, multiplyTransposed(along, transpose(a, k, d), k, d, k));
  const { values } = symmetricEigen(multiplyTransposed(outside, outside, k, k, d), k);
  return Math.sqrt(Math.min(1, Math.max(0, values[0])));
}

/** Features [N,d] → class means [K,d]. */
function classMeans(features: Elements, labels: ArrayLike<number>, classCount: number, d: number): Float64Array {
  const means = new Float64Array(classCount * d);
  const counts = new Float64Array(classCount);
  for (let n = 0; n < labels.length; n++) {
    const c = labels[n];
    if (!(Number.isInteger(c) && c >= 0 && c < classCount)) {
      throw new InputError(`subspace: label ${n} is ${c}, there are ${classCount} classes`);
    }
    counts[c] += 1;
    for (let i = 0; i < d; i++) means[c * d + i] += features[n * d + i];
  }
  for (let c = 0; c < classCount; c++) {
    if (counts[c] === 0) throw new InputError(`subspace: class ${c} has no image`);
    for (let i = 0; i < d; i++) means[c * d + i] /= counts[c];
  }
  return means;
}

/** P S P of a symmetric S [d,d], with P = I − EᵀE and orthonormal rows E [rank,d]. */
function projectOut(S: Float64Array, E: Float64Array, rank: number, d: number): Float64Array {
  const Et = transpose(E, rank, d);
  const PS = S.slice();
  subtract(PS, multiplyTransposed(Et, multiplyTransposed(S, E, d, rank, d), d, d, rank));
  const PSP = PS.slice();
  subtract(PSP, multiplyTransposed(multiplyTransposed(PS, E, d, rank, d), Et, d, d, rank));
  for (let i = 0; i < d; i++) {
    for (let j = 0; j < i; j++) PSP[i * d + j] = PSP[j * d + i] = (PSP[i * d + j] + PSP[j * d + i]) / 2;
  }
  return PSP;
}

function subtract(A: Float64Array, B: Float64Array): void {
  for (let i = 0; i < A.length; i++) A[i] -= B[i];
}
