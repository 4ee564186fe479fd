/** Plots of an experiment's results: median and range over keys and seeds. */

import { type Layer, plot, svgFile } from '../../plots/plot.ts';
import { log10PAxis } from '../../plots/scale.ts';
import type { Spread, SummaryRow } from './results.ts';

const SIZE = { width: 640, height: 400 };
/** Where evidence is commonly taken for strong: p = 10⁻⁴. */
const STRONG = -4;

/** The plots by file name: of each setting evidence and accuracy against the share that is marked. */
export function figures(summary: readonly SummaryRow[]): Record<string, string> {
  const settings = [...new Set(summary.map(({ setting }) => setting))];
  return Object.fromEntries(
    settings.flatMap((setting) => {
      const rows = summary.filter((row) => row.setting === setting);
      return [
        [`log10p-${setting}.svg`, evidence(setting, rows)],
        [`accuracy-${setting}.svg`, accuracy(setting, rows)],
      ];
    }),
  );
}

/** Values of a series at shares, with a line through the medians. */
function series(
  name: string,
  number: number,
  points: readonly { readonly x: number; readonly spread: Spread }[],
  dashed = false,
): Layer[] {
  const sorted = points.toSorted((a, b) => a.x - b.x);
  return [
    { kind: 'line', series: number, dashed, points: sorted.map(({ x, spread }) => [x, spread.median] as const) },
    {
      kind: 'points',
      series: number,
      name,
      points: sorted.map(({ x, spread: { median, min, max } }) => ({ x, y: median, low: min, high: max })),
    },
  ];
}

function evidence(setting: string, rows: readonly SummaryRow[]): string {
  const statistics = [...new Set(rows.map(({ statistic }) => statistic))];
  const at = (row: SummaryRow) => ({ x: row.fraction, spread: row.log10p });
  const layers = statistics.flatMap((statistic, index) =>
    series(
      statistic,
      index + 1,
      rows.filter((row) => row.statistic === statistic && row.control !== 'other key').map(at),
    ),
  );
  const first = statistics[0];
  const other = rows.filter((row) => row.statistic === first && row.control === 'other key');
  const lowest = Math.min(...rows.map(({ log10p }) => log10p.min).filter(Number.isFinite), STRONG);
  return svgFile(
    plot({
      ...SIZE,
      title: `${setting}: probability against the share of images that are marked, median and range over keys`,
      x: { label: 'share of each class that is marked', domain: [0, 1.05 * largest(rows)] },
      y: log10PAxis('p: median and range over keys', [Math.floor(1.05 * lowest), 0]),
      layers: [
        { kind: 'rule', y: STRONG },
        ...layers,
        ...(other.length > 0 ? series(`${first}, another key`, statistics.length + 1, other.map(at), true) : []),
      ],
    }),
  );
}

function accuracy(setting: string, rows: readonly SummaryRow[]): string {
  const first = rows[0].statistic;
  const own = rows.filter((row) => row.statistic === first && row.control !== 'other key');
  const all = own.map(({ accuracy }) => accuracy);
  const margin = Math.max(
    0.005,
    0.2 * (Math.max(...all.map(({ max }) => max)) - Math.min(...all.map(({ min }) => min))),
  );
  const domain = [
    Math.max(0, Math.min(...all.map(({ min }) => min)) - margin),
    Math.min(1, Math.max(...all.map(({ max }) => max)) + margin),
  ] as const;
  return svgFile(
    plot({
      ...SIZE,
      title: `${setting}: accuracy against the share of images that are marked, median and range over keys`,
      x: { label: 'share of each class that is marked', domain: [0, 1.05 * largest(rows)] },
      y: {
        label: 'accuracy on the held-out images',
        domain,
        format: (value) => `${Number((100 * value).toFixed(2))} %`,
      },
      layers: series(
        'median and range over keys',
        1,
        own.map((row) => ({ x: row.fraction, spread: row.accuracy })),
      ),
    }),
  );
}

const largest = (rows: readonly SummaryRow[]): number => Math.max(...rows.map(({ fraction }) => fraction), 0.01);
