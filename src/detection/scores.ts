/** From what a model says of probe images to its response to each carrier set (docs/method.md, 6). */

import { InputError } from '../errors.ts';
import type { ProbeLayout } from '../marking/probe_manifest.ts';
import type { Elements } from '../maths/linalg.ts';
import { argmaxRows } from '../nn/inference.ts';

/** What a model says of N images, one row each: K scores, or nothing but the class. */
export type ModelScores =
  | {
      readonly kind: 'scores';
      /** [N,K], classes in the key's order: logits, log-probabilities or probabilities */
      readonly scores: Elements;
    }
  | {
      readonly kind: 'labels';
      /** [N] index of the predicted class */
      readonly labels: ArrayLike<number>;
    };

/** How scores were understood. */
export type ScoreKind = 'logits' | 'probabilities' | 'labels';

/** Rows whose sum is this close to 1 are probabilities, if all are: those of an API are rounded. */
const SUM_TOLERANCE = 0.01;

/** Rows of scores that a layout asks for. */
export const probeRows = ({ labels, sets }: ProbeLayout): number => labels.length * (sets + 1);

/**
 * The mean change, over a class's images, of what the model says for that class, from the vanilla to the marked image:
 * [K,S], sets in the order of the rows.
 *
 * With scores it is the change of the margin z_c − mean_k z_k, which adding a number to all scores of an image leaves alone:
 * logits and log-probabilities give the same. Probabilities, told by rows that sum to 1, become their logarithms; zeros count as
 * half the smallest positive value of the file. With labels, or `labelOnly`, it is the change of the rate at which the class is
 * predicted.
 * @throws InputError if rows are missing or left over, a number is NaN or infinite, a probability negative, a label no class, or a
 * class without image
 */
export function probeResponse(
  model: ModelScores,
  layout: ProbeLayout,
  options: { readonly labelOnly?: boolean; readonly name?: string } = {},
): { readonly response: Float64Array; readonly kind: ScoreKind } {
  const { labels, classCount: K, sets: S } = layout;
  const { labelOnly = false, name = 'scores' } = options;
  const { values, kind } = valuesOf(model, layout, labelOnly, name);
  const response = new Float64Array(K * S);
  const counts = new Float64Array(K);
  for (let b = 0; b < labels.length; b++) {
    const c = labels[b];
    counts[c] += 1;
    const vanilla = values[b * (S + 1)];
    for (let s = 0; s < S; s++) response[c * S + s] += values[b * (S + 1) + 1 + s] - vanilla;
  }
  for (let c = 0; c < K; c++) {
    if (counts[c] === 0) throw new InputError(`${name}: there is no probe image of class ${c}`);
    for (let s = 0; s < S; s++) response[c * S + s] /= counts[c];
  }
  return { response, kind };
}

/** For each row, what the model says for the class that the image is of. */
function valuesOf(
  model: ModelScores,
  layout: ProbeLayout,
  labelOnly: boolean,
  name: string,
): { values: Float64Array; kind: ScoreKind } {
  const { labels, classCount: K, sets: S } = layout;
  const N = probeRows(layout);
  const classOf = (row: number): number => labels[Math.floor(row / (S + 1))];
  if (model.kind === 'labels') {
    checkRows(model.labels.length, N, name);
    const values = Float64Array.from({ length: N }, (_, row) => {
      const label = model.labels[row];
      if (!(Number.isInteger(label) && label >= 0 && label < K))
        throw new InputError(`${name}: row ${row} is ${label}; give a class, 0 to ${K - 1}`);
      return Number(label === classOf(row));
    });
    return { values, kind: 'labels' };
  }
  const { scores } = model;
  checkRows(scores.length / K, N, name);
  const bad = scores.findIndex((x) => !Number.isFinite(x));
  if (bad >= 0)
    throw new InputError(
      `${name}: row ${Math.floor(bad / K)}, column ${bad % K} is ${scores[bad]}; give finite logits, or probabilities`,
    );
  if (labelOnly) {
    const predicted = argmaxRows(scores, K);
    return { values: Float64Array.from(predicted, (label, row) => Number(label === classOf(row))), kind: 'labels' };
  }
  const probabilities = areProbabilities(scores, K);
  const logits = probabilities ? logarithms(scores) : scores;
  const values = Float64Array.from({ length: N }, (_, row) => {
    let sum = 0;
    for (let k = 0; k < K; k++) sum += logits[row * K + k];
    return logits[row * K + classOf(row)] - sum / K;
  });
  return { values, kind: probabilities ? 'probabilities' : 'logits' };
}

function checkRows(found: number, expected: number, name: string): void {
  if (found !== expected)
    throw new InputError(
      `${name}: has ${found} rows, the probes are ${expected} images; give one row per image, in the list's order`,
    );
}

function areProbabilities(scores: Elements, K: number): boolean {
  for (let row = 0; row < scores.length; row += K) {
    let sum = 0;
    for (let k = 0; k < K; k++) {
      if (scores[row + k] < 0) return false;
      sum += scores[row + k];
    }
    if (!(Math.abs(sum - 1) <= SUM_TOLERANCE)) return false;
  }
  return true;
}

/** A zero is some number below the smallest that was still written: half of that. One floor for all rows, whichever set they are of. */
function logarithms(probabilities: Elements): Float64Array {
  let smallest = 1;
  for (const p of probabilities) if (p > 0 && p < smallest) smallest = p;
  const floor = smallest / 2;
  return Float64Array.from(probabilities, (p) => Math.log(p > 0 ? p : floor));
}

/** Rows [K,S] with the sets of each class in another order: column j of class c is column `orders[c][j]` of the given rows. */
export function reorderSets(response: Float64Array, orders: readonly ArrayLike<number>[]): Float64Array {
  const S = response.length / orders.length;
  return Float64Array.from(response, (_, at) => response[Math.floor(at / S) * S + orders[Math.floor(at / S)][at % S]]);
}
