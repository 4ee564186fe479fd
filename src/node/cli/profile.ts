import { UsageError } from '../../errors.ts';
import { textTable } from '../../formats/text_table.ts';
import { defaultBatchSize } from '../../nn/inference.ts';
import { Model } from '../../nn/model.ts';
import type { ConfigOverrides } from '../../nn/model_file.ts';
import { type NetworkConfig, optionNames } from '../../nn/networks.ts';
import { requireTimestamps } from '../../profiling/ceilings.ts';
import { groupLaunches, type ProfileRow, profileStep } from '../../profiling/profile.ts';
import { prepareStep, stepNames } from '../../profiling/steps.ts';
import { chromeTrace } from '../../profiling/trace.ts';
import { type CachedCeilings, cachedCeilings, userCacheFolder } from '../files/ceilings_cache.ts';
import { writeAtomic } from '../files/write.ts';
import { openNetwork } from '../runs/inputs.ts';
import { type Context, columns, defineCommand, precisionOption } from './command.ts';
import { networkOptions, networkOverrides } from './inputs.ts';

export const profile = defineCommand({
  name: 'profile',
  summary: "Shows where a step's time goes, by kernel or layer, beside what the adapter can do at most",
  options: {
    step: {
      type: 'string',
      value: 'NAME',
      choices: stepNames,
      default: 'forward',
      description: 'logits of a frozen network, a training step, or an iteration of marking',
    },
    model: { type: 'string', value: 'MODEL', description: 'a model file; default: fresh weights of the network below' },
    ...networkOptions,
    channels: { type: 'string', value: 'N', choices: ['1', '3'], description: 'grey or colour images; default 3' },
    classes: { type: 'integer', value: 'N', minimum: 1, description: 'outputs of the last layer; default 1000' },
    batch: { type: 'integer', value: 'N', minimum: 1, description: 'images a step; default by image size' },
    repeat: { type: 'integer', value: 'N', minimum: 1, default: 9, description: 'replays whose median counts' },
    layers: { type: 'flag', description: 'group by layer instead of kernel' },
    trace: { type: 'string', writes: true, value: 'FILE', description: 'also write the launches for ui.perfetto.dev' },
    ...precisionOption,
    remeasure: { type: 'flag', description: 'measure anew what the adapter can do at most; it is kept for next time' },
  },
  examples: [
    '--step mark --model weights/marker.safetensors --batch 128',
    '--step train --arch resnet18 --width 64 --stem cifar --input-size 32 --classes 10 --layers --trace step.json',
  ],
  async run(context) {
    const { options, progress, log, signal } = context;
    const device = await context.openDevice();
    requireTimestamps(device);
    const ceilings = await cachedCeilings(device, { folder: userCacheFolder(), remeasure: options.remeasure });
    const overrides = {
      ...networkOverrides(options),
      ...(options.channels !== undefined && { channels: Number(options.channels) }),
      ...(options.classes !== undefined && { numClasses: options.classes }),
    };
    const model = await modelOf(context, options.model, overrides);
    try {
      const { config } = model;
      const batch = options.batch ?? defaultBatchSize(config);
      const start = performance.now();
      const prepared = await prepareStep(model, options.step, batch);
      try {
        await device.idle();
        const firstStepMs = performance.now() - start;
        const display = progress(`profile ${options.step}`, options.repeat, 'rounds');
        const { launches, ...times } = await profileStep(prepared, options.repeat, {
          signal,
          onProgress: (rounds) => display.update(rounds),
        });
        display.done();
        const by = options.layers ? 'layer' : 'kernel';
        const { program } = prepared;
        const report = {
          adapter: device.name,
          ceilings,
          step: options.step,
          precision: options.precision,
          network: config,
          batch,
          repeat: options.repeat,
          ...times,
          imagesPerSecond: (batch * 1000) / times.replayMs,
          firstStepMs,
          flops: program.flops,
          plannedBytes: program.plan.bytes,
          lowerBoundBytes: program.plan.lowerBoundBytes,
          groupedBy: by,
          rows: groupLaunches(launches, by, ceilings),
          launches,
        } as const;
        const title = titleOf(report);
        if (options.trace) {
          const trace = JSON.stringify(chromeTrace(`${title}, ${device.name}`, launches));
          await writeAtomic(options.trace, new TextEncoder().encode(trace));
          log(`${options.trace}: open it at https://ui.perfetto.dev`);
        }
        return { json: report, text: textOf(title, report) };
      } finally {
        prepared.release();
      }
    } finally {
      model.destroy();
    }
  },
});

/** The file's model, or one with fresh weights: torchvision's ResNet-18, as far as the flags do not say otherwise. */
async function modelOf(
  context: Pick<Context<unknown>, 'openDevice' | 'log'>,
  file: string | undefined,
  overrides: ConfigOverrides,
): Promise<Model> {
  if (file !== undefined) return (await openNetwork(context, file, overrides)).model;
  const { inputSize = 224, channels = 3 } = overrides;
  const config = {
    architecture: 'resnet18',
    numClasses: 1000,
    inputSize,
    channels,
    mean: new Array<number>(channels).fill(0.5),
    std: new Array<number>(channels).fill(0.25),
    ...overrides,
  } as const;
  if (config.mean.length !== channels || config.std.length !== channels)
    throw new UsageError(`--mean and --std need ${channels} values for ${channels} channels`);
  return await Model.create(await context.openDevice(), config, 0);
}

interface Report {
  readonly adapter: string;
  readonly ceilings: CachedCeilings;
  readonly step: string;
  readonly precision: string;
  readonly network: NetworkConfig;
  readonly batch: number;
  readonly repeat: number;
  readonly launchesMs: number;
  readonly replayMs: number;
  readonly encodeMs: number;
  readonly submitMs: number;
  readonly imagesPerSecond: number;
  readonly firstStepMs: number;
  readonly plannedBytes: number;
  readonly lowerBoundBytes: number;
  readonly groupedBy: 'kernel' | 'layer';
  readonly rows: readonly ProfileRow[];
  readonly launches: readonly unknown[];
}

function titleOf({
  step,
  precision,
  network,
  batch,
}: Pick<Report, 'step' | 'precision' | 'network' | 'batch'>): string {
  const { architecture, inputSize, channels, numClasses } = network;
  const options = optionNames(network).map((name) => `${name} ${network[name as keyof NetworkConfig]}, `);
  return `${step}: ${architecture}, ${options.join('')}${numClasses} classes; ${batch} images of ${inputSize}x${inputSize}x${channels}${precision === 'f32' ? '' : `, ${precision}`}`;
}

function textOf(title: string, report: Report): string {
  const { ceilings, replayMs, launchesMs } = report;
  const mebibytes = (bytes: number): string => `${(bytes / 2 ** 20).toFixed(1)} MiB`;
  return [
    title,
    '',
    ...columns([
      ['adapter', report.adapter],
      [
        'at most',
        `${ceilings.gflops.toFixed(1)} GFLOP/s, ${ceilings.gbps.toFixed(1)} GB/s, measured ${ceilings.measuredAt.slice(0, 10)} (--remeasure)`,
      ],
      ['a step', `${ms(replayMs)} ms by wall clock, ${report.imagesPerSecond.toFixed(1)} images/s`],
      ['its launches', `${report.launches.length}, together ${ms(launchesMs)} ms on the adapter`],
      ['the host', `${ms(report.encodeMs)} ms to encode it, ${ms(report.submitMs)} ms to submit it`],
      ['first step', `${report.firstStepMs.toFixed(0)} ms, with recording, planning and compiling`],
      ['memory', `${mebibytes(report.plannedBytes)}; no plan takes less than ${mebibytes(report.lowerBoundBytes)}`],
    ]),
    '',
    ...rowTable(report),
    '',
    `Times are GPU timestamps, the median of ${report.repeat} replays. GB/s counts every tensor of a launch once. "of limit" is the larger`,
    'of GFLOP/s and GB/s as shares of the most that the adapter was measured to do, "limit" which of the two; above 100 % a cache',
    'delivers, or that was measured on a busy machine. The variant is the constants its kernel was compiled with. A software adapter',
    'computes while the host submits.',
  ].join('\n');
}

/** Rows of less than half a percent of the time are taken together. */
const LEAST_SHARE = 0.005;

function rowTable({ groupedBy, rows, launchesMs, launches }: Report): string[] {
  const percent = (share: number): string => `${(share * 100).toFixed(0)} %`;
  const long = rows.filter(({ timeShare }) => timeShare >= LEAST_SHARE);
  const short = rows.slice(long.length);
  const sumOf = (values: readonly number[]): number => values.reduce((sum, value) => sum + value, 0);
  const together = (name: string, timeMs: number, calls: number): string[] => [
    name,
    ms(timeMs),
    percent(timeMs / launchesMs),
    String(calls),
    ...['', '', '', '', ''],
  ];
  const head = [groupedBy, 'ms', 'of time', 'calls', 'GFLOP/s', 'GB/s', 'of limit', 'limit'];
  return textTable(
    [
      [...head, groupedBy === 'layer' ? 'longest kernel and variant' : 'variant'],
      ...long.map((row) => [
        row.name,
        ms(row.timeMs),
        percent(row.timeShare),
        String(row.calls),
        row.gflops.toFixed(1),
        row.gbps.toFixed(1),
        percent(row.ceilingShare),
        row.limit,
        groupedBy === 'layer' ? longestKernel(row) : shortVariant(row.kernels[0].variant),
      ]),
      ...(short.length === 0
        ? []
        : [
            together(
              `${short.length} shorter ones`,
              sumOf(short.map(({ timeMs }) => timeMs)),
              sumOf(short.map(({ calls }) => calls)),
            ),
          ]),
      together('together', launchesMs, launches.length),
    ],
    { left: [0, 7, 8] },
  );
}

function longestKernel({ kernels }: ProfileRow): string {
  const [{ kernel, variant }, ...others] = kernels as [ProfileRow['kernels'][number], ...ProfileRow['kernels']];
  return `${kernel} ${shortVariant(variant)}`.trimEnd() + (others.length > 0 ? `, and ${others.length} more` : '');
}

/** Constants as people read them: `TM=16 RELU`, leaving out what is off. */
const shortVariant = (variant: string): string =>
  variant
    .split(' ')
    .filter((constant) => !constant.endsWith('=false'))
    .map((constant) => constant.replace(/=true$/, ''))
    .join(' ');

const ms = (value: number): string => value.toFixed(3);
