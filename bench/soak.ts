import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import type { Dataset } from '../src/datasets/dataset.ts';
import { Loader } from '../src/datasets/loader.ts';
import type { Device } from '../src/gpu/device.ts';
import { Model } from '../src/nn/model.ts';
import type { Context } from '../src/node/cli/command.ts';
import { median, replaysToTime, wallClockMs } from '../src/profiling/prepared.ts';
import { prepareStep } from '../src/profiling/steps.ts';
import { defaultRecipe } from '../src/training/recipe.ts';
import { train } from '../src/training/train.ts';
import { settings } from './steps.ts';

/** How things stand after so many steps. */
export interface SoakRow {
  readonly step: number;
  /** Of the device's buffers. */
  readonly liveBytes: number;
  /** Memory of the process, its garbage collected. */
  readonly rssBytes: number;
  /** Median of the steps since the last row. */
  readonly stepMs: number;
}

export interface Soak {
  readonly case: string;
  readonly adapter: string;
  readonly rows: readonly SoakRow[];
  /** Bytes of the device's buffers never changed, and the process grew by less than 5 % after the first fifth. */
  readonly flat: boolean;
  readonly rssGrowth: number;
}

/** Garbage comes and goes by tens of megabytes: left in, it would hide what stays. */
setFlagsFromString('--expose-gc');
const collectGarbage = runInNewContext('gc') as () => void;

const BATCH = 32;
const EPOCH_STEPS = 8;
const INTERVALS = 10;
const MOST_GROWTH = 0.05;
const { config, name } = settings[0];

/** Trains the smallest network as a user would, for so many steps, rounded up to whole epochs of 8. */
export async function soak(
  device: Device,
  steps: number,
  { signal, progress }: Pick<Context<unknown>, 'signal' | 'progress'>,
): Promise<Soak> {
  const epochs = Math.ceil(steps / EPOCH_STEPS);
  const total = epochs * EPOCH_STEPS;
  const loader = await Loader.open(noise(EPOCH_STEPS * BATCH), config.channels);
  const model = await Model.create(device, config, 0);
  const display = progress('soak', total, 'steps');
  const rows: SoakRow[] = [];
  let times: number[] = [];
  let last = performance.now();
  try {
    const recipe = { ...defaultRecipe(config, 'from scratch'), epochs, batchSize: BATCH, learningRate: 0.01 };
    await train(model, loader, {
      recipe,
      signal,
      onProgress: (images) => {
        const step = images / BATCH;
        const now = performance.now();
        times.push(now - last);
        last = now;
        display.update(step);
        if (Math.floor((step * INTERVALS) / total) === rows.length) return;
        collectGarbage();
        rows.push({
          step,
          liveBytes: device.liveBytes,
          rssBytes: process.memoryUsage.rss(),
          stepMs: median(times),
        });
        times = [];
        last = performance.now();
      },
    });
  } finally {
    model.destroy();
  }
  display.done();
  const settled = rows[Math.ceil(rows.length / 5) - 1];
  const rssGrowth = rows.at(-1)!.rssBytes / settled.rssBytes - 1;
  const flat = rows.every(({ liveBytes }) => liveBytes === rows[0].liveBytes) && rssGrowth < MOST_GROWTH;
  return { case: `train ${name.replace(/ \d+x/, ` ${BATCH}x`)}`, adapter: device.name, rows, flat, rssGrowth };
}

/** What one image costs at each batch size. */
export interface Scaling {
  readonly case: string;
  readonly batches: readonly { readonly batch: number; readonly stepMs: number; readonly imageMs: number }[];
}

/** Training steps of the smallest network at several batch sizes, in turn, medians of so many rounds. */
export async function measureScaling(
  device: Device,
  batchSizes: readonly number[],
  rounds: number,
  { signal, progress }: Pick<Context<unknown>, 'signal' | 'progress'>,
): Promise<Scaling> {
  const model = await Model.create(device, config, 0);
  const candidates = [];
  try {
    for (const batch of batchSizes) {
      const prepared = await prepareStep(model, 'train', batch);
      candidates.push({
        batch,
        prepared,
        replays: await replaysToTime(device, prepared.program),
        times: [] as number[],
      });
    }
    const display = progress('batch sizes', rounds, 'rounds');
    for (let round = 0; round < rounds; round++) {
      for (const { prepared, replays, times } of candidates) {
        signal.throwIfAborted();
        times.push(await wallClockMs(device, prepared.program, replays));
      }
      display.update(round + 1);
    }
    display.done();
    return {
      case: `train ${name.replace(/ \d+x/, ' Nx')}`,
      batches: candidates.map(({ batch, times }) => ({ batch, stepMs: median(times), imageMs: median(times) / batch })),
    };
  } finally {
    for (const { prepared } of candidates) prepared.release();
    model.destroy();
  }
}

/** Images of noise with labels in turn, in memory. */
function noise(count: number): Dataset {
  const { inputSize, channels, numClasses } = config;
  const size = inputSize ** 2 * channels;
  const bytes = async (index: number): Promise<Uint8Array> =>
    Uint8Array.from({ length: size }, (_, i) => ((index * size + i) * 2654435761) >>> 24);
  const shape = { width: inputSize, height: inputSize, channels: channels as 1 | 3 };
  return {
    path: 'noise',
    root: '',
    classes: Array.from({ length: numClasses }, (_, label) => String(label)),
    length: count,
    labels: Uint32Array.from({ length: count }, (_, index) => index % numClasses),
    id: String,
    shape: async () => shape,
    image: async (index) => ({ ...shape, data: await bytes(index) }),
    bytes,
  };
}
