import { join } from 'node:path';
import { UsageError } from '../../errors.ts';
import { textTable } from '../../formats/text_table.ts';
import { findFashionMnist } from '../datasets/fashion_mnist.ts';
import { parseConfig } from '../experiment/config.ts';
import { runExperiment } from '../experiment/experiment.ts';
import type { Spread, SummaryRow } from '../experiment/results.ts';
import { readBytes } from '../files/files.ts';
import { defineCommand } from './command.ts';

export const experiment = defineCommand({
  name: 'experiment',
  summary:
    'Marks, trains and tests over keys, shares of marked images and settings, and writes tables and plots; goes on where it was stopped',
  options: {
    config: {
      type: 'string',
      value: 'CONFIG',
      required: true,
      positional: true,
      description: 'what to vary and what to keep: a JSON file, see docs/experiments.md',
    },
    output: {
      type: 'string',
      short: 'o',
      value: 'OUT',
      required: true,
      description: 'folder for everything it makes; what is there already is not done again',
    },
    data: {
      type: 'string',
      value: 'FOLDER',
      description:
        "folder that the configuration's data sets are in; default: found, or downloaded and checked, where the configuration names a source",
    },
  },
  afterInterrupt: 'run the same command again to go on',
  examples: ['experiments/fashion-mnist-scratch-hardest.json -o radioactive-experiment'],
  async run({ options, openDevice, progress, log, signal }) {
    const config = parseConfig(new TextDecoder().decode(await readBytes(options.config)), options.config);
    const data =
      options.data ??
      (config.data.source === 'fashion-mnist'
        ? await findFashionMnist(join('.data', 'fashion-mnist'), log)
        : undefined);
    if (data === undefined) throw new UsageError('--data FOLDER is missing: the configuration names no data.source');
    const report = await runExperiment({
      device: await openDevice(),
      config,
      configPath: options.config,
      data,
      out: options.output,
      command: ['radioactive', ...process.argv.slice(2)],
      progress,
      log,
      signal,
    });
    return {
      json: report,
      text: [...table(report.summary), '', `${report.cells} cells; ${report.files.join(', ')} in ${report.out}`].join(
        '\n',
      ),
    };
  },
});

const range = ({ median, min, max }: Spread, digits: number): string =>
  min === max ? median.toFixed(digits) : `${median.toFixed(digits)} (${min.toFixed(digits)} to ${max.toFixed(digits)})`;

/** The summary as text: median and range over keys and seeds. */
function table(summary: readonly SummaryRow[]): string[] {
  return textTable([
    ['setting', 'fraction', 'statistic', 'tests', 'log10 p', 'score', 'accuracy', 'unmarked'],
    ...summary.map((row) => [
      row.setting,
      `${row.fraction}${row.control === 'other key' ? ', other key' : ''}`,
      row.exact ? row.statistic : `${row.statistic} (no p-value)`,
      String(row.tests),
      range(row.log10p, 2),
      row.score ? range(row.score, 4) : '',
      `${(100 * row.accuracy.median).toFixed(2)} %`,
      row.vanillaAccuracy ? `${(100 * row.vanillaAccuracy.median).toFixed(2)} %` : '',
    ]),
  ]);
}
