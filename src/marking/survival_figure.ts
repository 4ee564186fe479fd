/** What is left of marks, as a table and as a plot. */

import { textTable } from '../formats/text_table.ts';
import { plot, svgFile } from '../plots/plot.ts';
import type { SurvivalReport } from './survival.ts';

const SIZE = { width: 720, rowHeight: 26 };
const percent = (share: number): string => `${(100 * share).toFixed(0)} %`;

/** A table for people: a line for each treatment. */
export function survivalTable({ treatments }: SurvivalReport): string[] {
  return textTable(
    [
      ['after', 'images', 'gain left', 'tenth', 'median', 'nine tenths'],
      ...treatments.map(({ treatment, images, left, leftOfImages }) => [
        treatment,
        String(images),
        left === null ? 'none changes' : percent(left),
        ...(leftOfImages?.map(percent) ?? ['', '', '']),
      ]),
    ],
    { indent: 2 },
  );
}

/** The same as an SVG file: for each treatment the share that is left, with the range of nine tenths of the images. */
export function survivalPlot({ images, treatments }: SurvivalReport): string {
  const shown = treatments.filter((each) => each.left !== null);
  const rows = shown.map((each, i) => ({ ...each, at: shown.length - i }));
  const ends = rows.flatMap(({ left, leftOfImages }) => [left!, ...(leftOfImages ?? [])]);
  const [low, high] = [Math.min(0, ...ends), Math.max(1, ...ends)];
  const margin = 0.04 * (high - low);
  return svgFile(
    plot({
      width: SIZE.width,
      height: 90 + SIZE.rowHeight * (shown.length + 1),
      title: `gain that is left of ${images} marked images after each treatment`,
      x: { label: 'gain that is left', domain: [low - margin, high + margin], format: percent },
      y: {
        label: '',
        domain: [0.3, shown.length + 0.7],
        ticks: rows.map(({ at, treatment }) => ({ at, label: treatment })),
      },
      layers: [
        { kind: 'rule', x: 1, label: 'as published' },
        ...rows.flatMap(({ at, leftOfImages }) =>
          leftOfImages
            ? [
                {
                  kind: 'line' as const,
                  series: 1,
                  points: [[leftOfImages[0], at] as const, [leftOfImages[2], at] as const],
                },
              ]
            : [],
        ),
        {
          kind: 'points',
          series: 0,
          points: rows.map(({ at, left, treatment }) => ({
            x: left!,
            y: at,
            title: `${treatment}: ${percent(left!)}`,
          })),
        },
      ],
    }),
  );
}
