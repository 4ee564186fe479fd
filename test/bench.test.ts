import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { encodeMs } from '../bench/encode.ts';
import { firstStepCases, measureFirstSteps } from '../bench/first_step.ts';
import { measureHost } from '../bench/host.ts';
import { hostCases } from '../bench/host_cases.ts';
import { measureScaling, soak } from '../bench/soak.ts';
import { Device } from '../src/gpu/device.ts';
import { openGpu } from '../src/node/device.ts';
import { relu } from '../src/shaders/relu/relu.ts';
import { Program } from '../src/tensor/program.ts';
import { Tape } from '../src/tensor/tape.ts';

/** What measures needs no adapter to be tested: Dawn's null backend runs nothing and counts all the same. */
let gpu: GPU;
let device: Device;
const open = async (): Promise<Device> =>
  Device.open((await gpu.requestAdapter())!, { capabilities: { software: true, subgroupSize: 8 } });
beforeAll(async () => {
  gpu = await openGpu(['backend=null']);
  device = await open();
});
afterAll(() => device.destroy());

const context = {
  signal: new AbortController().signal,
  progress: () => ({ update: () => undefined, done: () => undefined }),
};

describe('the soak', () => {
  it('trains for as many steps as asked, in whole epochs, and follows memory', async () => {
    const { rows, flat, rssGrowth } = await soak(device, 50, context);
    expect(rows).toHaveLength(10);
    expect(rows.map(({ step }) => step)).toEqual(rows.map(({ step }) => step).toSorted((a, b) => a - b));
    expect(rows.at(-1)!.step).toBe(56);
    for (const { liveBytes, rssBytes, stepMs } of rows) {
      expect(liveBytes).toBe(rows[0].liveBytes);
      expect(liveBytes).toBeGreaterThan(0);
      expect(rssBytes).toBeGreaterThan(0);
      expect(stepMs).toBeGreaterThan(0);
    }
    expect(flat).toBe(rssGrowth < 0.05);
    expect(device.liveBytes).toBe(0);
  });

  it('tells when a buffer is left behind', async () => {
    const left: Promise<GPUBuffer>[] = [];
    const update = (): void => {
      left.push(device.allocate(4, 'left behind', GPUBufferUsage.STORAGE));
    };
    const leaking = { ...context, progress: () => ({ update, done: () => undefined }) };
    expect((await soak(device, 16, leaking)).flat).toBe(false);
    for (const buffer of await Promise.all(left)) device.free(buffer);
    expect(device.liveBytes).toBe(0);
  });

  it('gives the cost of an image for each batch size', async () => {
    const { batches } = await measureScaling(device, [2, 4], 1, context);
    expect(batches.map(({ batch }) => batch)).toEqual([2, 4]);
    for (const { batch, stepMs, imageMs } of batches) {
      expect(stepMs).toBeGreaterThan(0);
      expect(imageMs * batch).toBeCloseTo(stepMs, 9);
    }
    expect(device.liveBytes).toBe(0);
  });
});

describe('the first step', () => {
  it('is accounted for, on a device that has compiled nothing', async () => {
    const opened: Device[] = [];
    const openNew = async (): Promise<Device> => {
      opened.push(await open());
      return opened.at(-1)!;
    };
    const rows = await measureFirstSteps(openNew, firstStepCases.slice(0, 3), context);
    expect(rows.map((row) => row.case)).toEqual(firstStepCases.slice(0, 3).map(({ name }) => name));
    expect(new Set(opened).size).toBe(3);
    for (const { openMs, loadMs, buildMs, firstRunMs, totalMs, laterRunMs } of rows) {
      const parts = [openMs, loadMs, ...Object.values(buildMs), firstRunMs];
      for (const part of [...parts, laterRunMs]) expect(part).toBeGreaterThan(0);
      expect(parts.reduce((sum, ms) => sum + ms, 0)).toBeCloseTo(totalMs, 6);
    }
    for (const { pipelines } of opened) expect(pipelines.compiled).toBeGreaterThan(0);
  });
});

it('encoding takes time of the host', async () => {
  const tape = new Tape(undefined, { precision: 'f32' });
  const y = relu(tape.input('x', [5]));
  const program = await Program.build(device, tape, { name: 'encode', outputs: [y] });
  expect(await encodeMs(program, 3)).toBeGreaterThan(0);
  program.destroy();
});

describe('the bench of the host', () => {
  it('measures every case', async () => {
    const names = hostCases.map(({ name }) => name);
    expect(new Set(names).size).toBe(names.length);
    for (const subject of [/^planMemory/, /^leastSquares/, /^deriveCarriers/, /^permutation/, /^ssim/, /^sha256/])
      expect(names.some((name) => subject.test(name))).toBe(true);
    const rows = await measureHost(hostCases, { timeMs: 0, iterations: 2 }, context);
    expect(rows.map((row) => row.case)).toEqual(names);
    for (const { ms, rmePercent, samples, megabytesPerSecond } of rows) {
      expect(ms.min).toBeGreaterThan(0);
      expect(ms.median).toBeGreaterThanOrEqual(ms.min);
      expect(ms.max).toBeGreaterThanOrEqual(ms.median);
      expect(rmePercent).toBeGreaterThanOrEqual(0);
      expect(samples).toBe(2);
      if (megabytesPerSecond !== undefined) expect(megabytesPerSecond).toBeGreaterThan(0);
    }
  });

  it('waits for work that is not done at once, measures no preparation, and releases', async () => {
    const log: string[] = [];
    const work = {
      name: 'slow',
      prepare: async () => ({
        run: async () => {
          await Promise.resolve();
          log.push('done');
          return { overriddenDuration: 1 };
        },
        bytes: 5e3,
        release: () => log.push('released'),
      }),
    };
    const [row] = await measureHost([work], { timeMs: 0, iterations: 4 }, context);
    expect(log.at(-1)).toBe('released');
    expect(log.filter((entry) => entry === 'done').length).toBeGreaterThan(row.samples);
    expect(row.samples).toBe(4);
    expect(row.megabytesPerSecond).toBeCloseTo(5 / row.ms.median, 9);
    const failing = {
      name: 'fails',
      prepare: async () => ({ run: () => JSON.parse('{'), release: () => log.push('again') }),
    };
    await expect(measureHost([failing], { timeMs: 0, iterations: 1 }, context)).rejects.toThrow('JSON');
    expect(log.at(-1)).toBe('again');
  });
});
