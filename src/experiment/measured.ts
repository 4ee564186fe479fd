/** What an experiment measured, for those who have not marked anything yet. */

import { type Results, type Row, type Spread, spread } from './results.ts';

/** An experiment's results with the file they are from. */
export interface MeasuredFile {
  readonly file: string;
  readonly results: Results;
}

/** What somebody plans to do. */
export interface Plan {
  readonly classCount: number;
  /** Undefined: any. */
  readonly dimension?: number | undefined;
  readonly fraction: number;
  readonly setting?: string | undefined;
  readonly statistic?: string | undefined;
}

/** What was measured of one setting and statistic, between the two measured shares that enclose the planned one. */
export interface Measured {
  readonly file: string;
  readonly title: string;
  readonly setting: string;
  readonly statistic: string;
  readonly dimension: number;
  /** Which images were marked. */
  readonly marked: Curve['marked'];
  readonly exact: boolean;
  /** The measured shares that enclose the planned one; equal where that was measured itself. */
  readonly between: readonly [number, number];
  /** Keys and seeds. */
  readonly models: number;
  readonly log10p: Spread;
  readonly score: Spread | null;
  /** Accuracy less that of the model trained on unmarked images. */
  readonly accuracyChange: Spread | null;
}

/** A curve that there is, for those who ask for another. */
export interface Curve {
  readonly file: string;
  readonly classCount: number;
  readonly dimension: number;
  readonly setting: string;
  readonly statistic: string;
  /** Which images were marked: those that a classifier finds hardest, or any. */
  readonly marked: 'hardest' | 'random';
  readonly fractions: readonly number[];
}

/** Every curve that was measured: share 0, the control, and at least one other. */
export function curvesOf(files: readonly MeasuredFile[]): Curve[] {
  return files.flatMap(({ file, results }) => {
    const { classes, config, marker, rows } = results;
    const own = rows.filter(({ control }) => control !== 'other key');
    const names = new Set(own.map(({ setting, statistic }) => JSON.stringify([setting, statistic])));
    return [...names].flatMap((name) => {
      const [setting, statistic] = JSON.parse(name) as [string, string];
      const fractions = [...new Set(rowsOf(results, setting, statistic).map(({ fraction }) => fraction))];
      return {
        file,
        classCount: classes.length,
        dimension: config.marking.dimension ?? marker.featureDimension,
        setting,
        statistic,
        marked: config.marking.hardest === undefined ? ('random' as const) : ('hardest' as const),
        fractions: fractions.sort((a, b) => a - b),
      };
    });
  });
}

const rowsOf = ({ rows }: Results, setting: string, statistic: string): Row[] =>
  rows.filter((row) => row.setting === setting && row.statistic === statistic && row.control !== 'other key');

/**
 * What was measured for a plan: for the same number of classes (and of dimensions, if the plan has one), at its share or, by straight lines key by key,
 * between the two measured shares next to it. Never beyond them: where nothing fits, the list is empty.
 */
export function measuredFor(files: readonly MeasuredFile[], plan: Plan): Measured[] {
  return curvesOf(files).flatMap((curve) => {
    const { fractions, setting, statistic, file, dimension, marked } = curve;
    const fits =
      curve.classCount === plan.classCount &&
      (plan.dimension ?? curve.dimension) === curve.dimension &&
      (plan.setting ?? setting) === setting &&
      (plan.statistic ?? statistic) === statistic;
    const below = fractions.findLast((fraction) => fraction <= plan.fraction);
    const above = fractions.find((fraction) => fraction >= plan.fraction);
    if (!fits || below === undefined || above === undefined) return [];
    const { results } = files.find((each) => each.file === file)!;
    const rows = rowsOf(results, setting, statistic);
    const name = ({ key, seed }: Row): string => `${key}/${seed}`;
    const upper = new Map(rows.filter(({ fraction }) => fraction === above).map((row) => [name(row), row]));
    const pairs = rows.flatMap((row) => {
      const other = upper.get(name(row));
      return row.fraction === below && other ? [[row, other] as const] : [];
    });
    if (pairs.length === 0) return [];
    const share = below === above ? 0 : (plan.fraction - below) / (above - below);
    const column = (value: (row: Row) => number | null): Spread | null => {
      const values = pairs.map(([a, b]) => between(value(a), value(b), share)).filter((each) => each !== null);
      return values.length === pairs.length ? spread(values) : null;
    };
    return [
      {
        file,
        title: results.config.title,
        setting,
        statistic,
        dimension,
        marked,
        exact: rows[0].exact,
        between: [below, above] as const,
        models: pairs.length,
        log10p: column(({ log10p }) => log10p)!,
        score: column(({ score }) => score),
        accuracyChange: column(({ accuracy, vanillaAccuracy }) =>
          vanillaAccuracy === null ? null : accuracy - vanillaAccuracy,
        ),
      },
    ];
  });
}

/** On the straight line from a to b; −∞ is taken only where it is met. */
function between(a: number | null, b: number | null, share: number): number | null {
  if (a === null || b === null) return null;
  return share === 0 ? a : share === 1 ? b : (1 - share) * a + share * b;
}
