/** What an experiment measured, for those who have not marked anything yet. */

import { logNormalSurvival, normalUpperQuantile } from '../../maths/special.ts';
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
  /** Undefined: those that decide. */
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
  /** Of several that a test gives, the one that decides. */
  readonly deciding: boolean;
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
        deciding: rowsOf(results, setting, statistic)[0].deciding,
        marked: config.marking.hardest === undefined ? ('random' as const) : ('hardest' as const),
        fractions: fractions.sort((a, b) => a - b),
      };
    });
  });
}

const rowsOf = ({ rows }: Results, setting: string, statistic: string): Row[] =>
  rows.filter((row) => row.setting === setting && row.statistic === statistic && row.control !== 'other key');

/**
 * What was measured for a plan: for the same number of classes (and of dimensions, if the plan has one), at its share or, key by key,
 * between the two measured shares next to it: on a straight line, of p-values on that of their normal quantiles, which grow about as
 * the share does, where log10 p falls ever faster. Never beyond them: where nothing fits, the list is empty.
 */
export function measuredFor(files: readonly MeasuredFile[], plan: Plan): Measured[] {
  return curvesOf(files).flatMap((curve) => {
    const { fractions, setting, statistic, file, dimension, marked } = curve;
    const fits =
      curve.classCount === plan.classCount &&
      (plan.dimension ?? curve.dimension) === curve.dimension &&
      (plan.setting ?? setting) === setting &&
      (plan.statistic === undefined ? curve.deciding : plan.statistic === statistic);
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
    const column = (value: (row: Row) => number | null, along = straight): Spread | null => {
      const values = pairs.flatMap(([row, other]) => {
        const [a, b] = [value(row), value(other)];
        return a === null || b === null ? [] : [share === 0 ? a : share === 1 ? b : along(a, b, share)];
      });
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
        log10p: column(({ log10p }) => log10p, straightInQuantiles)!,
        score: column(({ score }) => score),
        accuracyChange: column(({ accuracy, vanillaAccuracy }) =>
          vanillaAccuracy === null ? null : accuracy - vanillaAccuracy,
        ),
      },
    ];
  });
}

const straight = (a: number, b: number, share: number): number => (1 - share) * a + share * b;

/** Of values of log10 p: on the straight line between the normal quantiles of p. */
function straightInQuantiles(a: number, b: number, share: number): number {
  const [za, zb] = [a, b].map((log10p) => normalUpperQuantile(log10p * Math.LN10));
  return logNormalSurvival(straight(za, zb, share)) / Math.LN10;
}

/**
 * What as strong a response of each class gives with another number of classes: quantiles add up, so that of the joint p grows as the
 * root of their number. An extrapolation: nothing of the kind was measured.
 */
export function acrossClasses(log10p: number, from: number, to: number): number {
  return logNormalSurvival(normalUpperQuantile(log10p * Math.LN10) * Math.sqrt(to / from)) / Math.LN10;
}
