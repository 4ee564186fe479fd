import { UsageError } from '../../errors.ts';
import { textTable } from '../../formats/text_table.ts';
import { DEFAULT_SUBSPACE_DIMENSION } from '../../marking/keygen.ts';
import { type Expectation, expectedEvidence, meanCosineNeeded } from '../../maths/power.ts';
import { type Curve, curvesOf, type Measured, measuredFor } from '../experiment/measured.ts';
import { measuredFiles } from '../experiment/measured_files.ts';
import type { Spread } from '../experiment/results.ts';
import { defineCommand } from './command.ts';

/** P-values that are listed beside the one asked for. */
const LEVELS = [0.05, 1e-2, 1e-4, 1e-6, 1e-10];

export const power = defineCommand({
  name: 'power',
  summary: 'What an owner can expect before anything is marked: by formula, and from what was measured',
  options: {
    classes: {
      type: 'integer',
      value: 'K',
      required: true,
      minimum: 1,
      maximum: 100_000,
      description: 'classes of the data',
    },
    dim: {
      type: 'integer',
      value: 'K',
      minimum: 2,
      maximum: 1_000_000,
      description: `dimensions that carriers are drawn in; default ${DEFAULT_SUBSPACE_DIMENSION}, of what was measured any`,
    },
    p: {
      type: 'number',
      value: 'P',
      default: 1e-4,
      minimum: 1e-300,
      maximum: 0.5,
      description: 'the p-value hoped for',
    },
    cosine: {
      type: 'number',
      value: 'C',
      minimum: 0,
      maximum: 0.999,
      description: 'a mean cosine to judge; default: the one that P needs',
    },
    fraction: {
      type: 'number',
      value: 'Q',
      minimum: 0,
      maximum: 1,
      description: 'share of each class to be marked: shows what was measured at it',
    },
    setting: {
      type: 'string',
      value: 'NAME',
      description: 'of the measured ones, like linear or scratch; default: all',
    },
    statistic: {
      type: 'string',
      value: 'NAME',
      description: 'of the measured ones, like white-box; default: those that decide',
    },
    measured: {
      type: 'string',
      value: 'FILE',
      description: 'results.json of an experiment; default: those of this project',
    },
  },
  examples: [
    '--classes 10 --dim 32 --fraction 0.05 --setting linear',
    '--classes 1000 --dim 512 --p 1e-6',
    '--classes 10 --cosine 0.3',
  ],
  async run({ options }) {
    const { classes: classCount, fraction, setting, statistic } = options;
    const dimension = options.dim ?? DEFAULT_SUBSPACE_DIMENSION;
    if (fraction === undefined && (setting !== undefined || statistic !== undefined || options.measured !== undefined))
      throw new UsageError('--setting, --statistic and --measured go with --fraction');
    const law = { classCount, dimension };
    const level = Math.log10(options.p);
    const needed = [...new Set([...LEVELS, options.p])]
      .sort((a, b) => b - a)
      .map((p) => ({ p, meanCosine: meanCosineNeeded(Math.log10(p), law) }));
    const meanCosine = options.cosine ?? needed.find(({ p }) => p === options.p)!.meanCosine;
    const expected = meanCosine === null ? null : expectedEvidence({ ...law, meanCosine, level });
    const files = fraction === undefined ? [] : await measuredFiles(options.measured);
    const measured =
      fraction === undefined
        ? null
        : measuredFor(files, { classCount, dimension: options.dim, fraction, setting, statistic });
    const curves = curvesOf(files).filter((curve) => statistic !== undefined || curve.deciding);
    return {
      json: {
        classes: classCount,
        dimension,
        p: options.p,
        fraction: fraction ?? null,
        needed,
        expected,
        measured,
        curves,
      },
      text: [
        `${classCount} classes, carriers in ${dimension} dimensions`,
        '',
        'p           mean cosine at which half of all keys reach it',
        ...needed.map(({ p, meanCosine }) => `${String(p).padEnd(12)}${meanCosine?.toFixed(4) ?? 'more than 0.999'}`),
        ...(expected ? ['', describeExpectation(expected, options.p)] : []),
        ...(measured && fraction !== undefined ? ['', ...describeMeasured(measured, curves, fraction)] : []),
      ].join('\n'),
    };
  },
});

const describeExpectation = ({ meanCosine, quantiles: { p05, p50, p95 }, reached }: Expectation, p: number): string =>
  `at a mean cosine of ${meanCosine.toFixed(4)}: log10 p ${p50.toFixed(2)} in the middle, from ${p95.toFixed(2)} to ${p05.toFixed(2)} for nine keys in ten; ${p} or less for ${Math.round(100 * reached)} %`;

function describeMeasured(measured: readonly Measured[], curves: readonly Curve[], fraction: number): string[] {
  if (measured.length > 0)
    return textTable([
      [
        `measured at ${fraction}`,
        'statistic',
        'marked',
        'dimensions',
        'models',
        'log10 p',
        'score',
        'accuracy, points',
      ],
      ...measured.map((each) => [
        `${each.setting}${each.between[0] === each.between[1] ? '' : `, between ${each.between.join(' and ')}`}`,
        `${each.statistic}${each.exact ? '' : ' (no p-value)'}`,
        each.marked,
        String(each.dimension),
        String(each.models),
        range(each.log10p, 2),
        each.score ? range(each.score, 3) : '',
        each.accuracyChange ? range(scaled(each.accuracyChange, 100), 2) : '',
      ]),
    ]);
  if (curves.length === 0) return ['nothing was measured: give the results.json of an experiment with --measured'];
  return [
    'not measured, and not guessed; what was measured:',
    ...curves.map(
      ({ classCount, dimension, setting, statistic, marked, fractions }) =>
        `  ${classCount} classes, ${dimension} dimensions, ${setting}, ${statistic}, ${marked} images, fractions ${fractions.join(', ')}`,
    ),
  ];
}

const range = ({ median, min, max }: Spread, digits: number): string =>
  `${median.toFixed(digits)} (${min.toFixed(digits)} to ${max.toFixed(digits)})`;

const scaled = ({ median, min, max }: Spread, factor: number): Spread => ({
  median: factor * median,
  min: factor * min,
  max: factor * max,
});
