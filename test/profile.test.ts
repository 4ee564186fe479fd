import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import * as v from 'valibot';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { Device } from '../src/gpu/device.ts';
import { Model } from '../src/nn/model.ts';
import { parseOptions, type Result } from '../src/node/cli/command.ts';
import { profile } from '../src/node/cli/profile.ts';
import { openGpu } from '../src/node/device.ts';
import { cachedCeilings } from '../src/node/files/ceilings_cache.ts';
import { groupLaunches, layersOf, type ProfiledLaunch } from '../src/profiling/profile.ts';
import { prepareStep, stepNames } from '../src/profiling/steps.ts';
import { chromeTrace } from '../src/profiling/trace.ts';
import { useDevice } from './device.ts';

const device = useDevice();

const folder = mkdtempSync(join(tmpdir(), 'radioactive-profile-'));
const cacheHome = process.env.XDG_CACHE_HOME;
beforeAll(() => {
  process.env.XDG_CACHE_HOME = folder;
});
afterAll(() => {
  if (cacheHome === undefined) delete process.env.XDG_CACHE_HOME;
  else process.env.XDG_CACHE_HOME = cacheHome;
  rmSync(folder, { recursive: true });
});

/** Runs the command on the test's device. */
async function run(line: string, on: Device = device()): Promise<Result> {
  return await profile.run({
    options: parseOptions(profile.options, line.split(' ')),
    signal: new AbortController().signal,
    progress: () => ({ update: () => undefined, done: () => undefined }),
    log: () => undefined,
    openDevice: async () => on,
  });
}

const tiny = '--arch resnet18 --width 4 --stem small --input-size 12 --channels 1 --classes 2 --batch 2 --repeat 2';

const positive = v.pipe(v.number(), v.finite(), v.gtValue(0));
const natural = v.pipe(v.number(), v.integer(), v.minValue(0));
const share = v.pipe(v.number(), v.finite(), v.minValue(0));
const nonEmpty = v.pipe(v.string(), v.minLength(1));
const reportSchema = v.strictObject({
  adapter: nonEmpty,
  ceilings: v.strictObject({
    adapter: v.string(),
    measuredAt: v.pipe(v.string(), v.isoTimestamp()),
    gflops: positive,
    gbps: positive,
  }),
  precision: v.literal('f32'),
  step: v.picklist(stepNames),
  network: v.looseObject({ architecture: v.literal('resnet18'), width: v.literal(4), numClasses: v.literal(2) }),
  batch: v.literal(2),
  repeat: v.literal(2),
  launchesMs: positive,
  replayMs: positive,
  encodeMs: positive,
  submitMs: positive,
  imagesPerSecond: positive,
  firstStepMs: positive,
  flops: natural,
  plannedBytes: natural,
  lowerBoundBytes: natural,
  groupedBy: v.picklist(['kernel', 'layer']),
  rows: v.array(
    v.strictObject({
      name: nonEmpty,
      kernels: v.pipe(v.array(v.strictObject({ kernel: nonEmpty, variant: v.string() })), v.minLength(1)),
      calls: natural,
      timeMs: share,
      timeShare: share,
      flops: natural,
      bytes: natural,
      gflops: share,
      gbps: share,
      computeShare: share,
      bandwidthShare: share,
      ceilingShare: share,
      limit: v.picklist(['compute', 'bandwidth']),
    }),
  ),
  launches: v.array(
    v.strictObject({
      label: nonEmpty,
      layer: nonEmpty,
      kernel: nonEmpty,
      variant: v.string(),
      timeMs: share,
      flops: natural,
      bytes: natural,
    }),
  ),
});

/** The sum of one field. */
const sum = <K extends string>(rows: readonly Readonly<Record<K, number>>[], field: K): number =>
  rows.reduce((total, row) => total + row[field], 0);

describe.each(stepNames)('profile --step %s', (step) => {
  it.each([
    ['kernel', ''],
    ['layer', ' --layers'],
  ])('accounts for every launch, by %s', async (groupedBy, flag) => {
    const baseline = device().liveBytes;
    const { json, text } = await run(`--step ${step} ${tiny}${flag}`);
    expect(device().liveBytes).toBe(baseline);
    const report = v.parse(reportSchema, JSON.parse(JSON.stringify(json)));
    expect(report).toMatchObject({ step, groupedBy });
    expect(report.plannedBytes).toBeGreaterThanOrEqual(report.lowerBoundBytes);

    // What the program itself says of the same step.
    const model = await Model.create(device(), report.network as unknown as Model['config'], 0);
    const prepared = await prepareStep(model, step, 2);
    const { launchCount, flops } = prepared.program;
    prepared.release();
    model.destroy();
    expect(flops).toBeGreaterThan(0);
    expect(report.flops).toBe(flops);
    expect(report.launches).toHaveLength(launchCount);
    expect(sum(report.rows, 'calls')).toBe(launchCount);
    for (const rows of [report.rows, report.launches]) {
      expect(sum(rows, 'flops')).toBe(flops);
      expect(sum(rows, 'timeMs')).toBeCloseTo(report.launchesMs, 6);
    }
    expect(sum(report.rows, 'bytes')).toBe(sum(report.launches, 'bytes'));
    expect(sum(report.rows, 'timeShare')).toBeCloseTo(1, 6);
    expect(report.rows.map(({ timeMs }) => timeMs)).toEqual(
      report.rows.map(({ timeMs }) => timeMs).toSorted((a, b) => b - a),
    );
    expect(text).toMatch(new RegExp(`^${step}: resnet18, width 4, .*\n${groupedBy} +ms `, 's'));
  });
});

describe('rows', () => {
  const launch = (kernel: string, timeMs: number, flops: number, bytes: number): ProfiledLaunch => ({
    label: `fc/${kernel}`,
    layer: 'fc',
    kernel,
    variant: '',
    timeMs,
    flops,
    bytes,
  });

  it('set rates against the ceiling that is nearer', () => {
    const launches = [launch('add', 1, 1e6, 12e6), launch('gemm', 2, 80e6, 4e6), launch('gemm', 2, 40e6, 4e6)];
    const rows = groupLaunches(launches, 'kernel', { gflops: 60, gbps: 24 });
    expect(rows).toMatchObject([
      { name: 'gemm', calls: 2, timeMs: 4, timeShare: 0.8, gflops: 30, gbps: 2, ceilingShare: 0.5, limit: 'compute' },
      { name: 'add', calls: 1, timeMs: 1, timeShare: 0.2, gflops: 1, gbps: 12, ceilingShare: 0.5, limit: 'bandwidth' },
    ]);
    const [all] = groupLaunches(launches, 'layer', { gflops: 60, gbps: 24 });
    expect(all).toMatchObject({ name: 'fc', calls: 3, flops: 121e6, bytes: 20e6 });
    expect(all.kernels.map(({ kernel }) => kernel)).toEqual(['gemm', 'add']);
  });

  it('have finite rates where the clock shows no time', () => {
    const [row] = groupLaunches([launch('add', 0, 1e6, 1e6)], 'kernel', { gflops: 1, gbps: 1 });
    expect(row).toMatchObject({ timeShare: 0, gflops: 0, gbps: 0, ceilingShare: 0 });
  });
});

it('a layer is the innermost scope, an operator beside layers one of its own', () => {
  const layers = {
    normalise: 'normalise',
    'marked/layer1.0.conv1/conv2d': 'marked/layer1.0.conv1',
    'marked/max_pool2d': 'marked/max_pool2d',
    'marked/max_pool2d.backward/max_pool2d_dx': 'marked/max_pool2d gradient',
    'marked/layer1.0.conv1/conv2d.backward/relu_backward': 'marked/layer1.0.conv1 gradient',
    'fc.weight/sgd': 'fc.weight',
  };
  expect(layersOf(Object.keys(layers))).toEqual(Object.values(layers));
});

it('--trace writes a lane for each kernel whose events do not overlap and add up', async () => {
  const path = join(folder, 'trace.json');
  const { json } = await run(`--step mark ${tiny} --trace ${path}`);
  const { launches } = v.parse(reportSchema, JSON.parse(JSON.stringify(json)));
  const { traceEvents } = JSON.parse(readFileSync(path, 'utf8'));
  const event = v.strictObject({
    name: nonEmpty,
    cat: nonEmpty,
    ph: v.literal('X'),
    ts: share,
    dur: share,
    pid: v.literal(1),
    tid: natural,
    args: v.strictObject({ kernel: nonEmpty, variant: v.string(), layer: nonEmpty, flops: natural, bytes: natural }),
  });
  const events = v.parse(
    v.array(event),
    traceEvents.filter(({ ph }: { ph: string }) => ph === 'X'),
  );
  expect(events.map(({ name }) => name)).toEqual(launches.map(({ label }) => label));
  expect(sum(events, 'dur')).toBeCloseTo(sum(launches, 'timeMs') * 1000, 3);
  expect(
    sum(
      events.map(({ args }) => args),
      'flops',
    ),
  ).toBe(sum(launches, 'flops'));

  const names = new Map<number, string>(
    traceEvents
      .filter(({ name }: { name: string }) => name === 'thread_name')
      .map(({ tid, args }: { tid: number; args: { name: string } }) => [tid, args.name]),
  );
  expect(names.size).toBe(new Set(launches.map(({ kernel }) => kernel)).size);
  // In nanoseconds, which Perfetto counts in.
  const ends = new Map<number, number>();
  for (const { ts, dur, cat, tid } of events) {
    expect(names.get(tid)).toBe(cat);
    expect(Math.round(ts * 1000)).toBeGreaterThanOrEqual(ends.get(tid) ?? 0);
    ends.set(tid, Math.round((ts + dur) * 1000));
  }
});

it('a trace counts whole nanoseconds', () => {
  const launch = { label: 'a', layer: 'a', kernel: 'a', variant: '', timeMs: 0.0000014, flops: 0, bytes: 0 };
  const { traceEvents } = chromeTrace('title', [launch, launch]) as { traceEvents: { ts?: number; dur?: number }[] };
  expect(traceEvents.slice(-2)).toMatchObject([
    { ts: 0, dur: 0.001 },
    { ts: 0.001, dur: 0.001 },
  ]);
});

it('the ceilings are measured once, again where the file is damaged or --remeasure says so', async () => {
  const cache = join(folder, 'ceilings');
  /** Whether it was measured: nothing else allocates here. */
  const measure = async (remeasure = false) => {
    const before = device().created.buffers;
    const ceilings = await cachedCeilings(device(), { folder: cache, remeasure });
    return { ceilings, measured: device().created.buffers > before };
  };
  const first = await measure();
  expect(first).toMatchObject({ measured: true, ceilings: { adapter: device().name } });
  expect(first.ceilings.gflops).toBeGreaterThan(0);
  expect(first.ceilings.gbps).toBeGreaterThan(0);
  expect(await measure()).toEqual({ ...first, measured: false });
  expect((await measure(true)).measured).toBe(true);
  const [file] = readdirSync(cache) as [string];
  writeFileSync(join(cache, file), JSON.stringify({ ...first.ceilings, gbps: 0 }));
  expect((await measure()).measured).toBe(true);
  expect((await measure()).measured).toBe(false);
});

it('ceilings that cannot be kept are used all the same', async () => {
  const occupied = join(folder, 'a file');
  writeFileSync(occupied, '');
  expect((await cachedCeilings(device(), { folder: occupied, remeasure: false })).gflops).toBeGreaterThan(0);
});

it.each([
  ['--step detect', 2, '--step detect: must be one of forward, train, mark'],
  ['--step mark --channels 2', 2, '--channels 2: must be one of 1, 3'],
  ['--step forward --mean 0.5', 2, '--mean and --std need 3 values for 3 channels'],
  ['--model nowhere.safetensors', 3, 'nowhere.safetensors: no such file or folder; check the path'],
])('refuses %s', async (line, exitCode, message) => {
  await expect((async () => run(line))()).rejects.toMatchObject({ exitCode, message });
});

it('without timestamps there is nothing to show: exit code 4', async () => {
  const gpu = await openGpu();
  const blind = await Device.open((await gpu.requestAdapter())!, { capabilities: { timestamps: false } });
  try {
    const refused = { exitCode: 4, message: expect.stringMatching(/takes no GPU timestamps: [^\n]+$/) };
    await expect(run(tiny, blind)).rejects.toMatchObject(refused);
    expect(blind.created.buffers).toBe(0);
  } finally {
    blind.destroy();
  }
});
