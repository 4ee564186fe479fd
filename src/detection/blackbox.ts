/**
 * The black-box test: does a model answer the true carriers more than decoys drawn the same way? Needs scores only
 * (docs/method.md, 6).
 */

import { InputError } from '../errors.ts';
import { leastSquares } from '../maths/linalg.ts';
import { stratifiedSumLog10P } from '../maths/permutation.ts';
import { logNormalSurvival } from '../maths/special.ts';
import { fisherOfRanks, rankTest } from './decoy.ts';
import { nullSample, type Statistic } from './statistic.ts';

/** How the classes' evidence becomes one p-value. */
export type Combination = 'sum' | 'fisher';

/** Standardised responses are rounded to so many steps of a standard deviation, for sums to have a law that can be computed exactly. */
const STEPS = 64;

/** What {@link blackBoxTest} is made from. */
export interface BlackBoxInput {
  /** [K,S] the suspect's mean response by class and carrier set, see `probeResponse`; set 0 is the true one, the others its decoys */
  readonly response: Float64Array;
  /** [K,S] each: of models that never saw the mark, on the same probes */
  readonly references?: readonly Float64Array[];
  /** [K] names */
  readonly classes: readonly string[];
  /** Which combination decides; the other is reported beside it. */
  readonly combine: Combination;
  /** Without it the decoys' own p-values are left out, which take the longest. Default true. */
  readonly withNull?: boolean;
}

/** What {@link blackBoxTest} finds. */
export interface BlackBoxResult {
  /** log10 of the p-value of the combination that decides */
  readonly log10p: number;
  /** One line each: what weakens the test; the p-value is exact all the same. */
  readonly warnings: string[];
  /** The deciding one first. Scores of classes are standardised responses, their p-values those of ranks. */
  readonly statistics: readonly Statistic[];
  /** The control variate: what of the reference models' responses was taken from the suspect's. */
  readonly control: {
    /** one coefficient a reference model */
    readonly beta: readonly number[];
    /** share of the variation of the suspect's response between sets that it explains */
    readonly explained: number;
  };
}

/**
 * Ranks the true carriers' response among its decoys', class by class, and combines the classes.
 *
 * Under the null hypothesis the sets of a class are exchangeable, and the classes independent of each other: the true set may be
 * any of the S in every class. Everything here is computed from the sets without regard to which is the true one (regression and
 * standard deviations are over all S, within each class), so that every p-value but the normal approximation is exact, given the
 * responses: P(p ≤ α) ≤ α. Ties count against the mark.
 * @throws InputError if lengths disagree, there is no decoy, or a response is not finite
 */
export function blackBoxTest(input: BlackBoxInput): BlackBoxResult {
  const { response, references = [], classes, combine, withNull = true } = input;
  const K = classes.length;
  const S = response.length / K;
  for (const [name, values] of [
    ['the response', response] as const,
    ...references.map((r) => ['a reference', r] as const),
  ])
    checkResponse(name, values, K, response.length);
  if (S < 2) throw new InputError('the black-box test needs at least one decoy');
  if (combine !== 'sum' && combine !== 'fisher')
    throw new InputError(`the black-box test combines classes by sum or fisher, not by ${combine}`);

  const { residual, ...control } = takeControl(response, references, K);
  const z = standardise(residual, K);
  const steps = z.map((x) => Math.round(STEPS * x));
  const ranks = (true_: number) =>
    fisherOfRanks(
      classes.map((_, c) => residual[c * S + true_]),
      classes.map((_, c) => residual.slice(c * S, (c + 1) * S).filter((_, s) => s !== true_)),
    );
  const sums = Array.from({ length: S }, (_, s) => columnSum(steps, K, s));
  const joint = Array.from({ length: S }, (_, s) => columnSum(z, K, s));
  const decoys = Array.from({ length: S - 1 }, (_, m) => m + 1);

  const observed = ranks(0);
  const [sumLog10P, ...nullSums] = stratifiedSumLog10P(steps, K, withNull ? sums : sums.slice(0, 1));
  const jointRank = (true_: number): number =>
    rankTest(
      joint[true_],
      joint.filter((_, s) => s !== true_),
    );
  const scored = (log10p: readonly (number | null)[]): Statistic['perClass'] =>
    classes.map((name, c) => ({ class: name, score: z[c * S], log10p: log10p[c] ?? null }));
  const statistic = (name: string, log10p: number, nothing: () => number[], perClass = scored([])): Statistic => ({
    name: `black-box ${name}`,
    log10p,
    exact: true,
    perClass,
    null: withNull ? nullSample('decoys', nothing(), log10p) : null,
  });
  const sum = statistic('sum of responses', sumLog10P, () => nullSums, scored(observed.perClass));
  const fisher = statistic(
    'ranks of classes (Fisher)',
    observed.log10p,
    () => decoys.map((m) => ranks(m).log10p),
    scored(observed.perClass),
  );
  const deciding = combine === 'sum' ? [sum, fisher] : [fisher, sum];
  return {
    log10p: deciding[0].log10p,
    warnings: warningsOf(residual, classes, references.length),
    statistics: [
      ...deciding,
      statistic('rank of the sum', jointRank(0), () => decoys.map(jointRank)),
      ...normalApproximation(joint),
    ],
    control,
  };
}

/**
 * log10 of a p-value for the marks themselves: whether those of the true set differ from the decoys' by more than chance allows, as
 * they do if they were not all made alike. Then nothing that compares the sets has a p-value.
 *
 * Both directions of each measure, summed over classes as in {@link blackBoxTest}; the smallest, corrected for their number.
 * @param measures [K,S] each, set 0 the true one: how much images change, how far features move
 * @throws InputError if there is none, or one is not finite
 */
export function marksAlike(measures: readonly Float64Array[], K: number): number {
  if (measures.length === 0) throw new InputError('whether marks are alike takes at least one measure of them');
  for (const measure of measures) checkResponse('the measure of marks', measure, K, measure.length);
  const tails = measures.flatMap((measure) => {
    const steps = standardise(centreClasses(measure, K), K).map((x) => Math.round(STEPS * x));
    return [steps, steps.map((x) => -x)].map((rows) => stratifiedSumLog10P(rows, K, [columnSum(rows, K, 0)])[0]);
  });
  return Math.min(0, Math.min(...tails) + Math.log10(tails.length));
}

function checkResponse(name: string, values: Float64Array, K: number, length: number): void {
  if (values.length !== length || length % K !== 0)
    throw new InputError(`${name} has ${values.length} values for ${K} classes, the suspect's has ${length}`);
  const bad = values.findIndex((x) => !Number.isFinite(x));
  if (bad >= 0) throw new InputError(`${name} of class ${Math.floor((bad * K) / length)} is ${values[bad]}`);
}

/**
 * The response without what the references explain of it: R̃ − Σ_j β_j r̃_j, where ~ takes each class's mean over its sets and β
 * is the least-squares fit over all classes and sets. β depends on sums over the sets of each class alone, so that exchanging
 * sets within any class, independently of the other classes, leaves it as it is.
 */
function takeControl(
  response: Float64Array,
  references: readonly Float64Array[],
  K: number,
): { residual: Float64Array; beta: number[]; explained: number } {
  const centred = centreClasses(response, K);
  const J = references.length;
  const n = centred.length;
  const controls = new Float64Array(n * J);
  for (const [j, reference] of references.entries())
    for (const [i, x] of centreClasses(reference, K).entries()) controls[i * J + j] = x;
  if (controls.every((x) => x === 0)) return { residual: centred, beta: references.map(() => 0), explained: 0 };
  const { X: beta, r2 } = leastSquares(controls, centred, { n, d: J, dt: 1, centre: false });
  const residual = centred.map((x, i) => beta.reduce((rest, b, j) => rest - b * controls[i * J + j], x));
  return { residual, beta: [...beta], explained: r2 };
}

/** Rows [K,S] less their means. */
function centreClasses(values: Float64Array, K: number): Float64Array {
  const S = values.length / K;
  const centred = values.slice();
  for (let c = 0; c < K; c++) {
    const row = centred.subarray(c * S, (c + 1) * S);
    const mean = row.reduce((sum, x) => sum + x, 0) / S;
    for (let s = 0; s < S; s++) row[s] -= mean;
  }
  return centred;
}

/** Rows [K,S] of mean 0, divided by their standard deviations; a row without variation stays 0. */
function standardise(residual: Float64Array, K: number): Float64Array {
  const S = residual.length / K;
  const z = new Float64Array(residual.length);
  for (let c = 0; c < K; c++) {
    const row = residual.subarray(c * S, (c + 1) * S);
    const deviation = Math.sqrt(row.reduce((sum, x) => sum + x * x, 0) / S);
    if (deviation > 0) for (let s = 0; s < S; s++) z[c * S + s] = row[s] / deviation;
  }
  return z;
}

function columnSum(rows: Float64Array, K: number, s: number): number {
  const S = rows.length / K;
  let sum = 0;
  for (let c = 0; c < K; c++) sum += rows[c * S + s];
  return sum;
}

/** The true set's sum of responses in standard deviations of the decoys', taken for normal. None where these do not vary. */
function normalApproximation([observed, ...decoys]: readonly number[]): Statistic[] {
  const mean = decoys.reduce((sum, x) => sum + x, 0) / decoys.length;
  const variance = decoys.reduce((sum, x) => sum + (x - mean) ** 2, 0) / (decoys.length - 1);
  if (!(variance > 0)) return [];
  const log10p = logNormalSurvival((observed - mean) / Math.sqrt(variance)) / Math.LN10;
  return [{ name: 'black-box normal approximation', log10p, exact: false, perClass: [], null: null }];
}

function warningsOf(residual: Float64Array, classes: readonly string[], references: number): string[] {
  const K = classes.length;
  const S = residual.length / K;
  const silent = classes.filter((_, c) => {
    const row = residual.subarray(c * S, (c + 1) * S);
    return row.every((x) => x === row[0]);
  });
  return [
    ...(references === 0 ? ['without a reference model the test has less power'] : []),
    ...silent.map((name) => `class ${name}: the suspect answers all sets alike, which is taken for no evidence`),
  ];
}
