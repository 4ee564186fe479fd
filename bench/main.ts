import { readFile } from 'node:fs/promises';
import { loadavg } from 'node:os';
import { defineCommand } from '../src/cli/command.ts';
import { runCommand } from '../src/cli/program.ts';
import { UsageError } from '../src/errors.ts';
import { prepareCopy, prepareMultiplyAdd } from '../src/profiling/ceilings.ts';
import { tableLines } from '../src/profiling/table.ts';
import { type BenchCase, operatorCases, shapeCases } from './cases.ts';
import { type Measurement, measure } from './measure.ts';
import defaultShapes from './shapes.json?raw';
import { steps } from './steps.ts';

const ceilingCases: readonly BenchCase[] = [
  { name: 'ceiling: copy', build: prepareCopy },
  { name: 'ceiling: multiply-add', build: prepareMultiplyAdd },
];

const bench = defineCommand({
  name: 'bench',
  summary: "Measures operators and steps by wall clock, beside the adapter's measured ceilings",
  options: {
    shapes: { type: 'string', value: 'FILE', description: 'JSON array of shapes to measure instead of the own list' },
    backward: { type: 'flag', description: "with --shapes: a convolution's gradients too (the own list has them)" },
    filter: { type: 'string', value: 'RE', description: 'only cases whose name matches this regular expression' },
    quick: { type: 'flag', description: '3 rounds instead of 9' },
  },
  examples: ['--filter "^conv2d .*k3"', '--json --shapes shapes.json --backward > results.json'],
  async run({ options, openDevice, progress, signal, log }) {
    const all = options.shapes
      ? shapeCases(options.shapes, await readFile(options.shapes, 'utf8'), options.backward)
      : [...shapeCases('shapes.json', defaultShapes, true), ...operatorCases, ...steps];
    const filter = regularExpression(options.filter ?? '');
    const cases = all.filter(({ name }) => filter.test(name));
    if (cases.length === 0) throw new UsageError(`none of ${all.length} cases matches ${filter}`);

    const device = await openDevice();
    const rounds = options.quick ? 3 : 9;
    // The ceilings take turns with the cases: shares then compare what ran under the same load.
    const [copy, fma, ...measured] = await measure(device, [...ceilingCases, ...cases], rounds, {
      signal,
      progress,
    });
    const ceilings = { gflops: fma!.gflops, gbps: copy!.gbps };
    const load = loadavg()[0]!;
    log(
      `ceilings: ${ceilings.gflops.toFixed(1)} GFLOP/s, ${ceilings.gbps.toFixed(1)} GB/s; load average ${load.toFixed(2)}`,
    );
    const json = measured.map((row) => ({
      ...row,
      share: { gflops: row.gflops / ceilings.gflops, gbps: row.gbps / ceilings.gbps },
    }));
    return { json, text: table(json) };
  },
});

function regularExpression(source: string): RegExp {
  try {
    return new RegExp(source);
  } catch (error) {
    throw new UsageError(`--filter: ${(error as Error).message}`);
  }
}

function table(rows: readonly (Measurement & { share: { gflops: number; gbps: number } })[]): string {
  const percent = (share: number): string => `${(share * 100).toFixed(0)}%`;
  const mebibytes = (bytes: number): string => (bytes / 2 ** 20).toFixed(1);
  const lines = [
    ['case', 'ms', 'min', 'max', 'GFLOP/s', 'share', 'GB/s', 'share', 'images/s', 'MiB', 'least MiB', 'first ms'],
    ...rows.map((row) => [
      row.case,
      ...[row.ms.median, row.ms.min, row.ms.max].map((ms) => ms.toFixed(3)),
      row.gflops.toFixed(1),
      percent(row.share.gflops),
      row.gbps.toFixed(1),
      percent(row.share.gbps),
      row.imagesPerSecond?.toFixed(1) ?? '',
      mebibytes(row.plannedBytes),
      mebibytes(row.lowerBoundBytes),
      row.firstReplayMs.toFixed(0),
    ]),
  ];
  return tableLines(lines).join('\n');
}

await runCommand('npm run --silent bench --', bench, process.argv.slice(2));
