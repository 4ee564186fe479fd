/** The tables of an experiment, made from the files of its cells. */

import * as v from 'valibot';
import { type DocumentKind, readDocument } from '../../formats/document.ts';
import { count } from '../../formats/fields.ts';

/** JSON has no infinity: see `jsonDocument`. */
const real = v.pipe(
  v.union([v.number(), v.picklist(['-Infinity', 'Infinity', 'NaN'])]),
  v.transform((value) => Number(value)),
);

const row = v.strictObject({
  setting: v.string(),
  /** Share of each class that is marked; 0: nothing is. */
  fraction: v.number(),
  key: count,
  seed: count,
  /** `null` where the key that marked the data is tested, else what makes it a control. */
  control: v.nullable(v.picklist(['unmarked', 'other key'])),
  /** Number of the key that is tested. */
  testedWith: count,
  statistic: v.string(),
  /** Of several that a test gave, the one that decides. */
  deciding: v.boolean(),
  /** False for an approximation, which is no p-value. */
  exact: v.boolean(),
  log10p: real,
  /** Mean over the classes: of the white-box test the mean cosine. Null where classes have none. */
  score: v.nullable(real),
  accuracy: v.number(),
  /** Of the model of the same setting and seed that was trained on the unmarked images. */
  vanillaAccuracy: v.nullable(v.number()),
  marked: count,
  psnrMedian: v.nullable(v.number()),
  psnrMin: v.nullable(v.number()),
  trainingSeconds: v.nullable(v.number()),
  testSeconds: v.number(),
});

/** One statistic of one suspect tested with one key. */
export type Row = v.InferOutput<typeof row>;

/** The middle of some values and how far they reach. */
export interface Spread {
  readonly median: number;
  readonly min: number;
  readonly max: number;
}

/** What one statistic gave over keys and seeds. */
export interface SummaryRow extends Pick<Row, 'setting' | 'fraction' | 'control' | 'statistic' | 'deciding' | 'exact'> {
  readonly tests: number;
  readonly log10p: Spread;
  readonly score: Spread | null;
  readonly accuracy: Spread;
  readonly vanillaAccuracy: Spread | null;
  readonly psnrMedian: number | null;
  readonly psnrMin: number | null;
}

/** The summary of rows, in their order. */
export function summariseRows(rows: readonly Row[]): SummaryRow[] {
  const groups = new Map<string, Row[]>();
  for (const each of rows) {
    const name = JSON.stringify([each.setting, each.fraction, each.control, each.statistic]);
    groups.set(name, [...(groups.get(name) ?? []), each]);
  }
  const known = (values: readonly (number | null)[]): number[] => values.filter((value) => value !== null);
  const spreadOrNull = (values: readonly number[]): Spread | null => (values.length > 0 ? spread(values) : null);
  return [...groups.values()].map((group) => {
    const { setting, fraction, control, statistic, deciding, exact } = group[0];
    const column = (name: 'score' | 'vanillaAccuracy' | 'psnrMedian' | 'psnrMin') =>
      known(group.map((each) => each[name]));
    return {
      setting,
      fraction,
      control,
      statistic,
      deciding,
      exact,
      tests: group.length,
      log10p: spread(group.map(({ log10p }) => log10p)),
      score: spreadOrNull(column('score')),
      accuracy: spread(group.map(({ accuracy }) => accuracy)),
      vanillaAccuracy: spreadOrNull(column('vanillaAccuracy')),
      psnrMedian: spreadOrNull(column('psnrMedian'))?.median ?? null,
      psnrMin: spreadOrNull(column('psnrMin'))?.min ?? null,
    };
  });
}

/** Median (of an even number the mean of the middle two), smallest and largest. Throws RangeError for no values or NaN. */
export function spread(values: readonly number[]): Spread {
  if (values.length === 0 || values.some(Number.isNaN)) throw new RangeError('spread: no values, or one is NaN');
  const sorted = values.toSorted((a, b) => a - b);
  const [low, high] = [sorted[(sorted.length - 1) >> 1], sorted[sorted.length >> 1]];
  return { median: low === high ? low : (low + high) / 2, min: sorted[0], max: sorted.at(-1)! };
}

const COLUMNS = Object.keys(row.entries) as (keyof Row)[];

/** Rows as CSV with a head (RFC 4180, but lines end with LF); what is null is empty. */
export function toCsv(rows: readonly Row[]): string {
  const names = COLUMNS.map((name) => name.replaceAll(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`));
  const cell = (value: Row[keyof Row]): string => {
    const written = value === null ? '' : String(value);
    return /[",\n\r]/.test(written) ? `"${written.replaceAll('"', '""')}"` : written;
  };
  return [names, ...rows.map((each) => COLUMNS.map((name) => cell(each[name])))]
    .map((cells) => `${cells.join(',')}\n`)
    .join('');
}

const results = v.looseObject({
  format: v.literal('radioactive-experiment-results'),
  version: v.literal(1),
  config: v.looseObject({
    title: v.string(),
    marking: v.looseObject({ dimension: v.nullable(count), hardest: v.exactOptional(v.string()) }),
  }),
  classes: v.array(v.string()),
  marker: v.looseObject({ sha256: v.string(), featureDimension: count }),
  rows: v.array(row),
});

/** `results.json` of an experiment. */
export type Results = v.InferOutput<typeof results>;

const RESULTS = {
  name: "experiment's results",
  cure: 'give the results.json of an experiment',
  schema: results,
} satisfies DocumentKind;

/**
 * Reads an experiment's `results.json`.
 *
 * @throws InputError naming the file and the place in it if it is none.
 */
export function parseResults(text: string, fileName: string): Results {
  return readDocument(RESULTS, text, fileName);
}
