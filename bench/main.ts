import { readFile } from 'node:fs/promises';
import { loadavg } from 'node:os';
import { UsageError } from '../src/errors.ts';
import { textTable } from '../src/formats/text_table.ts';
import { defineCommand, precisionOption } from '../src/node/cli/command.ts';
import { runCommand } from '../src/node/cli/program.ts';
import { openDevice as openDeviceOf } from '../src/node/device.ts';
import { prepareCopy, prepareMultiplyAdd } from '../src/profiling/ceilings.ts';
import { type BenchCase, operatorCases, shapeCases } from './cases.ts';
import { disableDriverCaches, type FirstStep, firstStepCases, measureFirstSteps } from './first_step.ts';
import { type HostMeasurement, measureHost } from './host.ts';
import { hostCases } from './host_cases.ts';
import { type Measurement, measure } from './measure.ts';
import defaultShapes from './shapes.json?raw';
import { measureScaling, type Scaling, type Soak, soak } from './soak.ts';
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
    quick: { type: 'flag', description: '3 rounds instead of 9, or a fifth of the time with --host' },
    host: {
      type: 'flag',
      description: 'instead measure what the host computes: planning, statistics, parsers, images',
    },
    soak: {
      type: 'flag',
      description: 'instead train on and on: memory and time of a step, and the cost by batch size',
    },
    steps: { type: 'integer', value: 'N', minimum: 8, default: 2000, description: 'training steps of --soak' },
    ...precisionOption,
    firstStep: {
      type: 'flag',
      description:
        'instead time first steps from opening the device, nothing compiled before; without --filter those at 224',
    },
  },
  examples: [
    '--filter "^conv2d .*k3"',
    '--json --shapes shapes.json --backward > results.json',
    '--soak --steps 2000',
    '--first-step',
    '--host --filter "^decode"',
  ],
  async run({ options, openDevice, progress, signal, log }) {
    if ([options.soak, options.firstStep, options.host].filter(Boolean).length > 1)
      throw new UsageError('--soak, --first-step and --host are runs of their own; give one');
    if (options.host) {
      const cases = matching(hostCases, options.filter ?? '');
      const budget = options.quick ? { timeMs: 200, iterations: 4 } : { timeMs: 1000, iterations: 16 };
      const rows = await measureHost(cases, budget, { signal, progress });
      log(`load average ${loadavg()[0].toFixed(2)}`);
      return { json: rows, text: hostTable(rows) };
    }
    if (options.firstStep) {
      const cases = matching(firstStepCases, options.filter ?? ' 4x3x224x224$');
      disableDriverCaches();
      const { name } = await openDevice();
      const rows = await measureFirstSteps(() => openDeviceOf({ adapter: name, precision: options.precision }), cases, {
        signal,
        progress,
      });
      return { json: rows, text: firstStepTable(rows) };
    }
    if (options.soak) {
      const device = await openDevice();
      const soaked = await soak(device, options.steps, { signal, progress });
      const scaling = await measureScaling(device, [8, 16, 32, 64, 128], options.quick ? 3 : 9, { signal, progress });
      return { json: { ...soaked, scaling }, text: soakText(soaked, scaling), exitCode: soaked.flat ? 0 : 1 };
    }
    const all = options.shapes
      ? shapeCases(options.shapes, await readFile(options.shapes, 'utf8'), options.backward)
      : [...shapeCases('shapes.json', defaultShapes, true), ...operatorCases, ...steps];
    const cases = matching(all, options.filter ?? '');

    const device = await openDevice();
    const rounds = options.quick ? 3 : 9;
    // The ceilings take turns with the cases: shares then compare what ran under the same load.
    const [copy, fma, ...measured] = await measure(device, [...ceilingCases, ...cases], rounds, {
      signal,
      progress,
    });
    const ceilings = { gflops: fma.gflops, gbps: copy.gbps };
    const load = loadavg()[0];
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

/** The cases whose name matches. Throws UsageError where the expression is none, or matches none. */
function matching<T extends { readonly name: string }>(cases: readonly T[], source: string): T[] {
  let filter: RegExp;
  try {
    filter = new RegExp(source);
  } catch (error) {
    throw new UsageError(`--filter: ${(error as Error).message}`);
  }
  const found = cases.filter(({ name }) => filter.test(name));
  if (found.length === 0) throw new UsageError(`none of ${cases.length} cases matches ${filter}`);
  return found;
}

const mebibytes = (bytes: number): string => (bytes / 2 ** 20).toFixed(1);

function firstStepTable(rows: readonly FirstStep[]): string {
  const lines = [
    ['case', 'ms', 'open', 'weights', 'record', 'plan', 'allocate', 'compile', 'bind', 'first run', 'later run'],
    ...rows.map(({ case: name, totalMs, openMs, loadMs, buildMs, firstRunMs, laterRunMs }) => {
      const { record, plan, allocate, compile, bind } = buildMs;
      const times = [totalMs, openMs, loadMs, record, plan, allocate, compile, bind, firstRunMs, laterRunMs];
      return [name, ...times.map((ms) => ms.toFixed(0))];
    }),
  ];
  return [...textTable(lines), '', 'A software adapter makes machine code at the first run.'].join('\n');
}

function hostTable(rows: readonly HostMeasurement[]): string {
  const lines = [
    ['case', 'ms', 'min', 'max', '± %', 'runs', 'MB/s'],
    ...rows.map(({ case: name, ms, rmePercent, samples, megabytesPerSecond }) => [
      name,
      ...[ms.median, ms.min, ms.max].map((time) => time.toFixed(3)),
      rmePercent.toFixed(1),
      String(samples),
      megabytesPerSecond?.toFixed(1) ?? '',
    ]),
  ];
  return [
    ...textTable(lines),
    '',
    'ms is the median; ± the half width of the 95 % confidence interval of the mean.',
  ].join('\n');
}

function soakText({ case: name, rows, flat, rssGrowth }: Soak, scaling: Scaling): string {
  const growth = `${(rssGrowth * 100).toFixed(1)} % after the first fifth`;
  return [
    ...textTable([
      [name, 'live MiB', 'process MiB', 'ms a step'],
      ...rows.map(({ step, liveBytes, rssBytes, stepMs }) => [
        String(step),
        mebibytes(liveBytes),
        mebibytes(rssBytes),
        stepMs.toFixed(2),
      ]),
    ]),
    `memory is ${flat ? 'flat' : 'NOT FLAT'}: the process grew by ${growth}`,
    '',
    ...textTable([
      [scaling.case, 'ms a step', 'ms an image'],
      ...scaling.batches.map(({ batch, stepMs, imageMs }) => [String(batch), stepMs.toFixed(2), imageMs.toFixed(3)]),
    ]),
  ].join('\n');
}

function table(rows: readonly (Measurement & { share: { gflops: number; gbps: number } })[]): string {
  const percent = (share: number): string => `${(share * 100).toFixed(0)}%`;
  const lines = [
    [
      'case',
      'ms',
      'min',
      'max',
      'GFLOP/s',
      'share',
      'GB/s',
      'share',
      'images/s',
      'encode ms',
      'MiB',
      'least',
      'ratio',
      'first ms',
    ],
    ...rows.map((row) => [
      row.case,
      ...[row.ms.median, row.ms.min, row.ms.max].map((ms) => ms.toFixed(3)),
      row.gflops.toFixed(1),
      percent(row.share.gflops),
      row.gbps.toFixed(1),
      percent(row.share.gbps),
      row.imagesPerSecond?.toFixed(1) ?? '',
      row.encodeMs?.toFixed(2) ?? '',
      mebibytes(row.plannedBytes),
      mebibytes(row.lowerBoundBytes),
      (row.plannedBytes / row.lowerBoundBytes).toFixed(3),
      row.firstReplayMs.toFixed(0),
    ]),
  ];
  return textTable(lines).join('\n');
}

await runCommand('npm run --silent bench --', bench, process.argv.slice(2));
