/** What every test statistic comes back as: plain numbers, ready for JSON. */

import { binomialTail, clopperPearson, type Uniformity, uniformity } from '../maths/uniformity.ts';

/** What the same statistic gives on the same suspect where there is nothing to find. */
export interface NullSample {
  /** Carriers of keys that marked nothing; or, in the black-box test, each decoy set taken for the true one. */
  readonly kind: 'fresh keys' | 'decoys';
  /** log10 of the p-value of each. */
  readonly log10p: readonly number[];
  /** How many of them are as small as the observed value or smaller. */
  readonly atMost: number;
}

/** One test statistic of a suspect, and what it gives where there is nothing to find. */
export interface Statistic {
  /** As in reports, like `white-box`. */
  readonly name: string;
  /** log10 of the p-value */
  readonly log10p: number;
  /** False for an approximation, which is shown for comparison and is no p-value. */
  readonly exact: boolean;
  /** A score a class, larger means more evidence, with log10 of its own p-value where it has one. */
  readonly perClass: readonly { readonly class: string; readonly score: number; readonly log10p: number | null }[];
  /** What it gives where there is nothing to find; null where that was not asked for. */
  readonly null: NullSample | null;
}

/** What a test found, with whatever else it reports. The first statistic is the one that decides. */
export interface Finding {
  /** log10 of the p-value of the statistic that decides */
  readonly log10p: number;
  /** One line each: what weakens the test. */
  readonly warnings: string[];
  readonly statistics: readonly Statistic[];
}

export function nullSample(kind: NullSample['kind'], log10p: readonly number[], observed: number): NullSample {
  return { kind, log10p, atMost: log10p.filter((value) => value <= observed).length };
}

/** Levels at which false positives are counted. */
const LEVELS = [0.05, 0.01, 0.001] as const;
/** Confidence of the intervals. */
const CONFIDENCE = 0.95;
/** A calibration fails where what it saw would have a smaller probability than this. */
const REJECTED_BELOW = 0.001;

/** How p-values of a statistic behave where there is nothing to find. */
export interface Calibration {
  /** Of the statistic. */
  readonly name: string;
  /** How many p-values. */
  readonly samples: number;
  /** `conservative`: only too many small p-values count against it, because they are discrete. */
  readonly side: 'both' | 'conservative';
  /** The Kolmogorov–Smirnov test of them against the uniform distribution. */
  readonly uniformity: Uniformity;
  /** How many are at most alpha, for each level alpha. */
  readonly falsePositives: readonly {
    readonly alpha: number;
    readonly count: number;
    readonly rate: number;
    /** Clopper and Pearson's 95 % interval of the rate. */
    readonly low: number;
    readonly high: number;
    /** Probability of so many or more at the rate alpha. */
    readonly p: number;
  }[];
  /** Whether valid p-values would give this more often than once in a thousand. */
  readonly passed: boolean;
  /** log10 of the p-values, in the order of the keys. */
  readonly log10p: readonly number[];
}

/**
 * Judges the p-values of a statistic under the null hypothesis: Kolmogorov–Smirnov, and the rate of false positives at 0.05, 0.01
 * and 0.001 with exact binomial intervals. Fails what would happen to valid p-values less than once in a thousand.
 */
export function calibration(name: string, log10p: readonly number[], side: Calibration['side'] = 'both'): Calibration {
  const values = log10p.map((value) => 10 ** value);
  const n = values.length;
  const uniform = uniformity(values, side);
  const falsePositives = LEVELS.map((alpha) => {
    const count = values.filter((p) => p <= alpha).length;
    return {
      alpha,
      count,
      rate: count / n,
      ...clopperPearson(count, n, CONFIDENCE),
      p: binomialTail(count, n, alpha),
    };
  });
  const passed = uniform.p >= REJECTED_BELOW && falsePositives.every(({ p }) => p >= REJECTED_BELOW);
  return { name, samples: n, side, uniformity: uniform, falsePositives, passed, log10p };
}
