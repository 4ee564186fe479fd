/** What an owner can expect before anything is marked with patterns, from what was measured. */

import {
  acrossClasses,
  type Curve,
  curvesOf,
  type Measured,
  type MeasuredFile,
  measuredFor,
} from '../experiment/measured.ts';
import { type Spread, spread } from '../experiment/results.ts';

/** What decides how much evidence there will be. */
export interface OutlookPlan {
  readonly classCount: number;
  /** Carrier sets of the test, the true one among them. */
  readonly sets: number;
  /** Patterns of the marking network. */
  readonly dimension: number;
  /** Which images are marked. */
  readonly marked: Curve['marked'];
}

/** What was measured nearest to a plan. */
export interface Outlook {
  /** Share of each class. */
  readonly fraction: number;
  /** Log10 of the smallest p-value that the test can give. */
  readonly floor: number;
  /** How suspects came about, with what was measured at that share, of other numbers of classes too. */
  readonly measured: readonly (Measured & {
    readonly classCount: number;
    /** Log10 p for the plan's classes: measured where the number is the same, else extrapolated. */
    readonly expected: Spread;
  })[];
}

/** The most that is marked unless somebody asks for more: at 20 % accuracy falls by half a point (docs/power.md). */
export const MOST_MARKED = 0.2;
/** The p-value hoped for. */
export const DEFAULT_GOAL = 1e-6;
/** How the suspects were trained that the share is chosen for: from fresh weights. */
const DECIDING_SETTING = 'scratch';

/** Of a test with K classes and S carrier sets. */
export const floorOf = ({ classCount, sets }: Pick<OutlookPlan, 'classCount' | 'sets'>): number =>
  -classCount * Math.log10(sets);

/** What was measured at a share, with other numbers of classes extrapolated; never beyond the measured shares. */
export function outlookAt(files: readonly MeasuredFile[], plan: OutlookPlan, fraction: number): Outlook {
  const floor = floorOf(plan);
  const measured = curvesOf(files)
    .filter(({ dimension, statistic, deciding }) => deciding && dimension === plan.dimension && isBlackBox(statistic))
    .flatMap(({ file, classCount, setting, statistic }) => {
      const found = measuredFor(
        files.filter((each) => each.file === file),
        { classCount, fraction, setting, statistic },
      );
      const here = (log10p: number): number =>
        Math.max(floor, classCount === plan.classCount ? log10p : acrossClasses(log10p, classCount, plan.classCount));
      return found.map((each) => ({
        ...each,
        classCount,
        expected: spread([here(each.log10p.min), here(each.log10p.median), here(each.log10p.max)]),
      }));
    });
  return { fraction, floor, measured };
}

const isBlackBox = (statistic: string): boolean => statistic.startsWith('black-box');

/**
 * The smallest share, in whole per cent, at which the middle of the measured keys reaches a p-value; {@link MOST_MARKED} where none does.
 */
export function shareFor(files: readonly MeasuredFile[], plan: OutlookPlan, goal: number): number {
  const level = Math.log10(goal);
  for (let percent = 1; percent < 100 * MOST_MARKED; percent++) {
    const { measured } = outlookAt(files, plan, percent / 100);
    const deciding = measured.filter(({ setting, marked }) => setting === DECIDING_SETTING && marked === plan.marked);
    if (deciding.some(({ expected }) => expected.median <= level)) return percent / 100;
  }
  return MOST_MARKED;
}
