/** From what a model says of probe images to its response to each carrier set (docs/method.md, 6). */

import { InputError } from '../errors.ts';
import { CHECKED, Guarded, requireGuarded } from '../guarded.ts';
import type { ProbeLayout } from '../marking/probe_manifest.ts';
import type { Elements } from '../maths/linalg.ts';
import { areProbabilities, logProbabilities } from '../maths/probabilities.ts';
import { argmaxRows } from '../nn/inference.ts';

/** How scores were understood. */
export type ScoreKind = 'logits' | 'probabilities' | 'labels';

/**
 * What a model says of N images, one row each: K scores, or nothing but the class. Checked, and understood, when it is made: the
 * black-box test takes nothing else.
 */
export class ModelScores extends Guarded {
  /** Probabilities where every row is not negative and has the sum 1, else logits: log-probabilities are among these. */
  readonly kind: ScoreKind;
  /** N */
  readonly rows: number;
  /** K */
  readonly classCount: number;
  /** [N,K] of scores, classes in the key's order, as they were given; [N] of labels, the predicted class. */
  readonly values: Elements | Uint32Array;
  /** What it is called in messages. */
  readonly name: string;
  /** What is odd about the scores, though they can be used; undefined where nothing is. */
  readonly remark: string | undefined;

  private constructor(
    checked: typeof CHECKED,
    kind: ScoreKind,
    values: Elements | Uint32Array,
    classCount: number,
    name: string,
  ) {
    super(checked);
    this.kind = kind;
    this.values = values;
    this.classCount = classCount;
    this.rows = kind === 'labels' ? values.length : values.length / classCount;
    this.name = name;
    this.remark = kind === 'logits' ? oddLogits(values as Elements, classCount) : undefined;
    Object.freeze(this);
  }

  /**
   * @param scores [N,K] logits, log-probabilities or probabilities, classes in the key's order.
   * @throws InputError naming the place where one is NaN or infinite, or if they are no rows.
   */
  static ofScores(scores: Elements, classCount: number, name = 'scores'): ModelScores {
    requireClasses(classCount, name);
    const bad = scores.findIndex((x) => !Number.isFinite(x));
    if (bad >= 0)
      throw new InputError(
        `${name}: row ${Math.floor(bad / classCount)}, column ${bad % classCount} is ${scores[bad]}; give finite logits, or probabilities`,
      );
    if (scores.length % classCount !== 0)
      throw new InputError(`${name}: ${scores.length} scores are no rows of ${classCount} classes`);
    return new ModelScores(
      CHECKED,
      areProbabilities(scores, classCount) ? 'probabilities' : 'logits',
      scores,
      classCount,
      name,
    );
  }

  /**
   * @param labels [N] the predicted classes, by their number in the key's order.
   * @throws InputError naming the row where one is no class.
   */
  static ofLabels(labels: ArrayLike<number>, classCount: number, name = 'scores'): ModelScores {
    requireClasses(classCount, name);
    const bad = Array.from(labels).findIndex((label) => !(Number.isInteger(label) && label >= 0 && label < classCount));
    if (bad >= 0) throw new InputError(`${name}: row ${bad} is ${labels[bad]}; give a class, 0 to ${classCount - 1}`);
    return new ModelScores(CHECKED, 'labels', Uint32Array.from(labels), classCount, name);
  }

  /** [N] the predicted classes. */
  labels(): Uint32Array {
    return this.kind === 'labels' ? (this.values as Uint32Array) : argmaxRows(this.values, this.classCount);
  }

  /**
   * [N,K] whose differences count: logits as they are, logarithms of probabilities; null of labels. Zeros count as half the smallest
   * positive value.
   */
  logits(): Elements | null {
    if (this.kind === 'labels') return null;
    const scores = this.values as Elements;
    return this.kind === 'probabilities' ? logProbabilities(scores) : scores;
  }
}

/** What looks like probabilities and was taken for logits: valid, and weaker than it need be. */
function oddLogits(scores: Elements, K: number): string | undefined {
  if (K < 2 || scores.length === 0 || scores.some((x) => x < 0)) return undefined;
  const percent = scores.map((x) => x / 100);
  return areProbabilities(percent, K)
    ? 'rows add up to 100, as probabilities in percent do, and were taken for logits; divide them by 100, which makes the test stronger'
    : 'no score is negative, and rows do not add up to 1: they were taken for logits; probabilities that are not normalised make the test weaker';
}

function requireClasses(classCount: number, name: string): void {
  if (!(Number.isInteger(classCount) && classCount > 0))
    throw new InputError(`${name}: a number of classes is 1, 2, …, this one is ${classCount}`);
}

/** Rows of scores that a layout asks for. */
export const probeRows = ({ labels, sets }: ProbeLayout): number => labels.length * (sets + 1);

/**
 * The mean change, over a class's images, of what the model says for that class, from the vanilla to the marked image:
 * [K,S], sets in the order of the rows.
 *
 * With scores it is the change of the margin z_c − mean_k z_k, which adding a number to all scores of an image leaves alone:
 * logits and log-probabilities give the same. With labels, or `labelOnly`, it is the change of the rate at which the class is
 * predicted.
 * @throws InputError if rows are missing or left over, the scores are of other classes, or a class is without image
 */
export function probeResponse(
  model: ModelScores,
  layout: ProbeLayout,
  options: { readonly labelOnly?: boolean } = {},
): { readonly response: Float64Array; readonly kind: ScoreKind } {
  requireGuarded(model, ModelScores, 'ModelScores');
  const { labels, classCount: K, sets: S } = layout;
  const { name } = model;
  if (model.classCount !== K) throw new InputError(`${name}: of ${model.classCount} classes, the probes have ${K}`);
  if (model.rows !== probeRows(layout))
    throw new InputError(
      `${name}: has ${model.rows} rows, the probes are ${probeRows(layout)} images; give one row per image, in the list's order`,
    );
  const logits = options.labelOnly ? null : model.logits();
  const values = saidForOwnClass(logits, model, layout);
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
  return { response, kind: logits ? model.kind : 'labels' };
}

/** For each row, what the model says for the class that the image is of: by the logits, or else whether it predicts it. */
function saidForOwnClass(
  logits: Elements | null,
  model: ModelScores,
  { labels, classCount: K, sets: S }: ProbeLayout,
): Float64Array {
  const classOf = (row: number): number => labels[Math.floor(row / (S + 1))];
  if (!logits) return Float64Array.from(model.labels(), (label, row) => Number(label === classOf(row)));
  return Float64Array.from({ length: model.rows }, (_, row) => {
    let sum = 0;
    for (let k = 0; k < K; k++) sum += logits[row * K + k];
    return logits[row * K + classOf(row)] - sum / K;
  });
}

/** Rows [K,S] with the sets of each class in another order: column j of class c is column `orders[c][j]` of the given rows. */
export function reorderSets(response: Float64Array, orders: readonly ArrayLike<number>[]): Float64Array {
  const S = response.length / orders.length;
  return Float64Array.from(response, (_, at) => response[Math.floor(at / S) * S + orders[Math.floor(at / S)][at % S]]);
}
