/** How well a suspect's outputs agree with the labels of images: whether they are the classes that they are taken for. */

import { centreRows, type Elements, multiplyTransposed } from '../maths/linalg.ts';
import { logIncompleteBeta } from '../maths/special.ts';
import type { ClassMapping } from './class_mapping.ts';

/** How often a suspect is right about images of known classes. */
export interface Agreement {
  /** [K] which of its outputs each of the key's classes was taken to be. */
  readonly outputs: readonly number[];
  /** How many outputs it has. */
  readonly outputCount: number;
  readonly images: number;
  /** Images of which the output of their class is the largest of the K. */
  readonly right: number;
  /** The share that would be right if its answers had nothing to do with the labels: Σ_c (share of class c) (share of answers c). */
  readonly byChance: number;
  /** log10 of the binomial probability of so many or more. */
  readonly log10p: number;
  /** The outputs that fit the labels best, class by class, and how many images would be right; null where they are these. */
  readonly best: { readonly outputs: readonly number[]; readonly right: number } | null;
}

/** Above this log10 p outputs count as not being the key's classes: eight images of two classes, all right, are enough. */
export const AT_CHANCE_ABOVE = -2;
/** Other outputs that are right about so many times as many images are the ones that were meant. */
const OTHERS_FIT = 2;

/**
 * Compares a suspect's answers with labels.
 *
 * @param scores [n, outputs] logits, or any scores of which the largest is the answer
 * @param labels [n] classes in the key's order
 * @returns undefined for a single class, of which every answer is right
 */
export function agreement(
  scores: Elements,
  { outputs, classes }: Pick<ClassMapping, 'outputs' | 'classes'>,
  labels: Uint32Array,
): Agreement | undefined {
  const K = classes.length;
  if (K < 2) return undefined;
  const n = labels.length;
  const outputCount = scores.length / n;
  const answers = answersAmong(scores, n, outputs);
  const { right, byChance } = compare(answers, labels, K);
  const fitting = fittingOutputs(scores, labels, K);
  const better = fitting && compare(answersAmong(scores, n, fitting), labels, K).right;
  return {
    outputs: [...outputs],
    outputCount,
    images: n,
    right,
    byChance,
    log10p: binomialLog10P(right, n, byChance),
    best: fitting && better !== undefined && better > right ? { outputs: fitting, right: better } : null,
  };
}

/**
 * Logits [n, outputs] of features [n, dt] under a last layer [outputs, dt] of which nobody gave the bias: every output has the mean 0 over
 * the images, which is what the bias of a classifier does about classes of one size.
 */
export function linearLogits(features: Elements, weight: Elements, n: number): Float64Array {
  const dt = features.length / n;
  const outputs = weight.length / dt;
  return centreRows(
    multiplyTransposed(Float64Array.from(features), Float64Array.from(weight), n, outputs, dt),
    n,
    outputs,
  );
}

/** The class of each row whose output is the largest of some. */
function answersAmong(scores: Elements, n: number, outputs: readonly number[]): Uint32Array {
  const columns = scores.length / n;
  return Uint32Array.from({ length: n }, (_, row) => {
    let best = 0;
    for (let c = 1; c < outputs.length; c++)
      if (scores[row * columns + outputs[c]] > scores[row * columns + outputs[best]]) best = c;
    return best;
  });
}

/** How many answers are right, and the share that chance makes right, given how often each is given. */
export function compare(
  answers: Uint32Array,
  labels: Uint32Array,
  K: number,
): { readonly right: number; readonly byChance: number } {
  const [given, there] = [new Float64Array(K), new Float64Array(K)];
  let right = 0;
  for (const [row, label] of labels.entries()) {
    given[answers[row]] += 1;
    there[label] += 1;
    if (answers[row] === label) right++;
  }
  const n = labels.length;
  return {
    right,
    byChance: Math.min(
      1,
      given.reduce((sum, x, c) => sum + (x / n) * (there[c] / n), 0),
    ),
  };
}

/** log10 P(X ≥ count) of a binomial X of n trials with success probability p. */
export function binomialLog10P(count: number, n: number, p: number): number {
  if (count <= 0 || p >= 1) return 0;
  if (p <= 0) return Number.NEGATIVE_INFINITY;
  return logIncompleteBeta(Math.log(p), Math.log1p(-p), count, n - count + 1) / Math.LN10;
}

/** For each class an output of its own that is the largest most often for its images, the most frequent first; undefined for too few. */
function fittingOutputs(scores: Elements, labels: Uint32Array, K: number): number[] | undefined {
  const n = labels.length;
  const M = scores.length / n;
  if (M < K) return undefined;
  const all = Array.from({ length: M }, (_, output) => output);
  const answers = answersAmong(scores, n, all);
  const counts = new Float64Array(K * M);
  for (const [row, label] of labels.entries()) counts[label * M + answers[row]] += 1;
  const order = Array.from(counts.keys())
    .filter((at) => counts[at] > 0)
    .sort((a, b) => counts[b] - counts[a] || a - b);
  const found = new Array<number>(K).fill(-1);
  const taken = new Set<number>();
  const take = (c: number, output: number): void => {
    if (found[c] >= 0 || taken.has(output)) return;
    found[c] = output;
    taken.add(output);
  };
  for (const at of order) take(Math.floor(at / M), at % M);
  for (const output of all) for (let c = 0; c < K; c++) take(c, output);
  return found;
}

/** What is wrong with an agreement, in a few words; undefined where the outputs are the key's classes. */
export function agreementFault(found: Agreement, classes: readonly string[]): string | undefined {
  const { right, best, log10p } = found;
  const others = best !== null && best.right >= OTHERS_FIT * Math.max(1, right) ? best : null;
  if (log10p <= AT_CHANCE_ABOVE && !others) return undefined;
  const told = describeAgreement(found);
  if (!best || !others) return told;
  const named = best.outputs.slice(0, 3).map((output, c) => `${classes[c]} is output ${output}`);
  return `${told}; with its outputs in another order it would be right about ${percent(best.right, found.images)}: ${named.join(', ')}${best.outputs.length > 3 ? ', …' : ''}`;
}

/** An agreement in a few words. */
export const describeAgreement = ({ right, images, byChance }: Omit<Agreement, 'log10p' | 'best'>): string =>
  `the suspect is right about ${percent(right, images)} of ${images} images, chance gives ${(100 * byChance).toFixed(1)} %`;

const percent = (count: number, of: number): string => `${((100 * count) / of).toFixed(1)} %`;
