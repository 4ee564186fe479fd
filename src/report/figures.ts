/** The plots of a report: a statistic's null with the observed value, and its classes beside what chance gives. */

import { numberOf, type Result } from '../evidence/result.ts';
import type { Markup } from '../formats/markup.ts';
import { cosineOfP } from '../maths/cosine.ts';
import { clopperPearson } from '../maths/uniformity.ts';
import { histogram } from '../plots/histogram.ts';
import { type Layer, plot } from '../plots/plot.ts';
import { type Axis, log10PAxis, powerOfTen, roundStep } from '../plots/scale.ts';
import { FRESH_KEYS } from './report.ts';
import { groupDigits, writtenLog10, writtenProbability, writtenScore } from './words.ts';

type Statistic = Result['statistics'][number];

/** Intervals that a null's own range is cut into. */
const BINS = 16;
/** The observed value is drawn to scale up to so many times the null's range, else as an arrow. */
const TO_SCALE = 8;
/** More classes than these are shown in order of their scores, not by name. */
export const NAMED_CLASSES = 40;
/** More than these get small markers. */
const CROWDED = 150;
/** Shares of classes that chance leaves within the shaded ranges, the outer first. */
const CENTRAL = [0.99, 0.9] as const;
/** Places at which the band around many classes is computed. */
const BAND_PLACES = 60;

/**
 * The histogram of a statistic's null on the axis of log10 p, with the observed value in it; for fresh keys also how many are
 * expected. Null where there is none.
 */
export function nullFigure({ name, log10p, exact, null: sample }: Statistic, width: number): Markup | null {
  if (sample === null || sample.log10p.length === 0) return null;
  const values = sample.log10p.map(numberOf);
  const observed = numberOf(log10p);
  const range = Math.max(1, -values.reduce((least, x) => (Number.isFinite(x) ? Math.min(least, x) : least), 0));
  const step = roundStep(range / BINS);
  const from = -Math.ceil(range / step - 1e-9) * step;
  const { bars, below } = histogram(values, { from, to: 0, step });
  const fits = -observed <= TO_SCALE * range;
  const left = fits ? Math.min(from, 1.05 * observed) : from;
  const expected = bars.map(({ from: a, to: b }) => ({ a, b, count: values.length * (10 ** b - 10 ** a) }));
  const fresh = sample.kind === FRESH_KEYS;
  const highest = Math.max(
    ...bars.map(({ height }) => height),
    ...(fresh && exact ? expected.map((e) => e.count) : []),
  );
  const unit = fresh ? 'keys that marked nothing' : sample.kind;
  const layers: Layer[] = [
    { kind: 'bars', bars, name: `${groupDigits(values.length)} ${unit}` },
    ...(fresh && exact
      ? [
          {
            kind: 'line' as const,
            points: expected.flatMap(({ a, b, count }) => [[a, count] as const, [b, count] as const]),
            dashed: true,
            series: 2,
            name: 'expected of valid p-values',
          },
        ]
      : []),
    {
      kind: 'rule',
      x: observed,
      strong: true,
      label: `${fits ? '' : '← '}this result: ${highExponent(writtenProbability(observed))}`,
    },
  ];
  return plot({
    title: `${name}: distribution of log10 p of ${unit}${below > 0 ? `, ${below} of them beyond the left end` : ''}; the observed value is ${writtenLog10(observed)}${fits ? '' : ', far beyond the left end'}`,
    width,
    height: 250,
    x: log10PAxis('probability p (logarithmic)', [left, 0], width > 500 ? 8 : 4),
    y: { label: 'how many', domain: [0, 1.05 * highest] },
    layers,
  });
}

/** What is drawn of a class, and which of its values chance reaches with a probability. */
interface ClassScale {
  readonly label: string;
  readonly values: readonly number[];
  /** The value that chance reaches or exceeds, in strength, with probability p; null where this is not known. */
  readonly quantile: ((p: number) => number) | null;
  readonly axis: (domain: readonly [number, number], label: string) => Axis;
  readonly written: (value: number) => string;
  /** Whether smaller values are stronger. */
  readonly falling: boolean;
}

/** Cosines by their law, else p-values by theirs, else bare scores. */
function classScale({ perClass }: Statistic, cosineDimension: number | null): ClassScale {
  const plain = (domain: readonly [number, number], label: string): Axis => ({ label, domain });
  if (cosineDimension !== null && cosineDimension >= 2) {
    return {
      label: 'cosine with the carrier',
      values: perClass.map(({ score }) => numberOf(score)),
      quantile: (p) => cosineOfP(Math.log10(p), cosineDimension),
      axis: plain,
      written: writtenScore,
      falling: false,
    };
  }
  if (perClass.every(({ log10p }) => log10p !== null)) {
    return {
      label: 'probability p of the class by itself, logarithmic',
      values: perClass.map(({ log10p }) => numberOf(log10p!)),
      quantile: (p) => Math.log10(p),
      axis: (domain, label) => log10PAxis(label, domain),
      written: (value) => writtenProbability(value),
      falling: true,
    };
  }
  return {
    label: 'score',
    values: perClass.map(({ score }) => numberOf(score)),
    quantile: null,
    axis: plain,
    written: writtenScore,
    falling: false,
  };
}

/**
 * Every class of a statistic beside what chance gives: by name, or where they are many in order of strength.
 *
 * @param cosineDimension of the space that the scores are cosines in; null where they are something else.
 */
export function classFigure(statistic: Statistic, cosineDimension: number | null, width: number): Markup | null {
  if (statistic.perClass.length === 0) return null;
  const scale = classScale(statistic, cosineDimension);
  return statistic.perClass.length <= NAMED_CLASSES
    ? namedClasses(statistic, scale, width)
    : orderedClasses(statistic, scale, width);
}

function namedClasses({ name, perClass }: Statistic, scale: ClassScale, width: number): Markup {
  const { values, quantile, written } = scale;
  const count = values.length;
  const spans = quantile ? CENTRAL.map((share) => [quantile((1 + share) / 2), quantile((1 - share) / 2)] as const) : [];
  const domain = padded([...values.filter(Number.isFinite), ...spans.flat(), 0], scale.falling);
  return plot({
    title: `${name}: ${scale.label} of each of ${count} classes${quantile ? ', with the ranges that chance alone gives' : ''}`,
    width,
    height: 62 + (quantile ? 18 : 0) + 22 * count,
    x: scale.axis(domain, scale.label),
    y: {
      label: '',
      domain: [count - 0.5, -0.5],
      ticks: perClass.map((entry, at) => ({ at, label: entry.class })),
    },
    layers: [
      ...spans.map(([a, b], i): Layer => ({ kind: 'span', from: a, to: b, name: shareName(CENTRAL[i]) })),
      ...(scale.falling ? [] : [{ kind: 'rule', x: 0 } as const]),
      {
        kind: 'points',
        series: 0,
        points: perClass.map((entry, y) => ({ x: values[y], y, title: `${entry.class}: ${written(values[y])}` })),
        name: 'this model',
      },
    ],
  });
}

function orderedClasses({ name, perClass }: Statistic, scale: ClassScale, width: number): Markup {
  const { quantile, falling, written } = scale;
  const sorted = perClass
    .map((entry, i) => ({ class: entry.class, value: scale.values[i] }))
    .sort((a, b) => (falling ? a.value - b.value : b.value - a.value));
  const count = sorted.length;
  const places = [
    ...new Set(Array.from({ length: BAND_PLACES }, (_, i) => 1 + Math.round((i * (count - 1)) / (BAND_PLACES - 1)))),
  ];
  // The rank-th smallest of `count` uniform p-values has a beta law, whose quantiles are bounds of Clopper and Pearson's.
  const band = quantile
    ? places.map((rank) => ({
        x: rank,
        low: quantile(Math.max(clopperPearson(rank, count, CENTRAL[0]).low, Number.MIN_VALUE)),
        high: quantile(clopperPearson(rank - 1, count, CENTRAL[0]).high),
      }))
    : [];
  const middle = quantile ? places.map((rank) => [rank, quantile((rank - 0.5) / count)] as const) : [];
  const domain = padded(
    [...sorted.map(({ value }) => value).filter(Number.isFinite), ...middle.map(([, y]) => y), 0],
    falling,
  );
  const [low, high] = falling ? [domain[1], domain[0]] : domain;
  return plot({
    title: `${name}: ${scale.label} of ${count} classes in order of strength${quantile ? ', with the range that chance alone gives' : ''}`,
    width,
    height: 300,
    x: { label: 'classes, the strongest first', domain: [0.5, count + 0.5] },
    y: scale.axis([low, high], scale.label),
    layers: [
      ...(quantile
        ? ([
            { kind: 'band', points: band, name: shareName(CENTRAL[0]) },
            { kind: 'line', points: middle, dashed: true, name: 'expected by chance' },
          ] as const)
        : []),
      {
        kind: 'points',
        series: 0,
        small: count > CROWDED,
        points: sorted.map((entry, i) => ({
          x: i + 1,
          y: entry.value,
          title: count > CROWDED ? undefined : `${entry.class}: ${written(entry.value)}`,
        })),
        name: 'this model',
      },
    ],
  });
}

/** `10^-22.6` as plots write it. */
const highExponent = (written: string): string =>
  written.replace(/^10\^(.*)$/, (_, exponent) => powerOfTen(Number(exponent)));

const shareName = (share: number): string => `${100 * share} % of classes by chance`;

/** Bounds of values with some room: beyond both ends, or before the lower where 0 is the other. */
function padded(values: readonly number[], falling: boolean): readonly [number, number] {
  const low = values.reduce((least, x) => Math.min(least, x), 0);
  const high = values.reduce((most, x) => Math.max(most, x), 0);
  const room = Math.max(0.06 * (high - low), falling ? 0.2 : 1e-3);
  return [low - room, falling ? 0 : high + room];
}
