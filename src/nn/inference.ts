import { chunks, type Loader } from '../datasets/loader.ts';
import { DeviceError, InputError } from '../errors.ts';
import { type Crop, centreSquare, wholeImage } from '../images/crop.ts';
import { packLevels, type Region, regionPixels } from '../images/region.ts';
import { cropResize, packCrops } from '../shaders/crop_resize/crop_resize.ts';
import { Stopwatch } from '../stopwatch.ts';
import { Program } from '../tensor/program.ts';
import { Tape } from '../tensor/tape.ts';
import type { Tensor } from '../tensor/tensor.ts';
import type { Model } from './model.ts';
import type { NetworkConfig } from './networks.ts';

/** Follows long work: `done` of `total` items. */
export type OnProgress = (done: number, total: number) => void;

/** How a pass over many images goes: batches, progress, an end before the end. */
export interface InferenceOptions {
  /** Images a batch; halved until it fits. Default 128 for images up to 64 pixels, else 16. */
  readonly batchSize?: number;
  /** Called after each batch, with images done and in all. */
  readonly onProgress?: OnProgress | undefined;
  /** Ends the work between two batches. */
  readonly signal?: AbortSignal | undefined;
  /** Is told where the time goes. */
  readonly stopwatch?: Stopwatch;
}

/** What a network sees of an image when nothing is random: all of it, where sizes differ the centre (torchvision's 224 of 256). */
export function evaluationCrop(image: { height: number; width: number }, { inputSize }: NetworkConfig): Crop {
  if (image.height === inputSize && image.width === inputSize) return wholeImage(image.height, image.width);
  return centreSquare(image.height, image.width, inputSize >= 128 ? 0.875 : 1);
}

/** Records crops of images in 8-bit levels, normalised: what the network takes. */
export function networkInput(model: Model, levels: Tensor, crops: Tensor): Tensor {
  const { inputSize } = model.config;
  return model.normalise(
    cropResize(levels, crops, { outHeight: inputSize, outWidth: inputSize, clampMin: 0, clampMax: 255 }),
  );
}

export const defaultBatchSize = ({ inputSize }: NetworkConfig): number => (inputSize <= 64 ? 128 : 16);

/** Builds with the batch size, or the largest of its halves that fits the device. Throws the DeviceError of batch size 1. */
export async function fitBatch<T>(
  batchSize: number,
  build: (batchSize: number) => Promise<T>,
): Promise<{ built: T; batchSize: number }> {
  for (let size = batchSize; ; size = Math.ceil(size / 2)) {
    try {
      return { built: await build(size), batchSize: size };
    } catch (error) {
      if (!(error instanceof DeviceError) || size <= 1) throw error;
    }
  }
}

/** A frozen network made ready to run on batches of images. `destroy` gives its memory back. */
export class FeatureExtractor {
  /** Images a batch. */
  readonly batchSize: number;
  readonly #program: Program;
  readonly #tensors: Record<'levels' | 'crops' | 'features' | 'logits', Tensor>;

  private constructor(program: Program, tensors: Record<'levels' | 'crops' | 'features' | 'logits', Tensor>) {
    this.#program = program;
    this.#tensors = tensors;
    this.batchSize = tensors.crops.shape[0];
  }

  /** For regions of images with up to `imagePixels`. Throws DeviceError when a batch of that size does not fit. */
  static async create(model: Model, imagePixels: number, batchSize: number): Promise<FeatureExtractor> {
    const { inputSize, channels } = model.config;
    const tape = new Tape(model.device, { precision: 'f32' });
    const levels = tape.input('levels', [batchSize * regionPixels(inputSize, imagePixels), channels]);
    const crops = tape.input('crops', [batchSize, 5], 'u32');
    const features = model.features(networkInput(model, levels, crops));
    const logits = model.logits(features);
    const program = await Program.build(model.device, tape, { name: 'inference', outputs: [features, logits] });
    return new FeatureExtractor(program, { levels, crops, features, logits });
  }

  /** Features and logits of up to `batchSize` regions: [n, d] and [n, K]. */
  async run(regions: readonly Region[]): Promise<{ features: Float32Array; logits: Float32Array }> {
    await this.submit(regions);
    return this.collect(regions.length);
  }

  /** Begins with up to `batchSize` regions; `collect` gives their results. Meanwhile another batch may be decoded. */
  async submit(regions: readonly Region[]): Promise<void> {
    const { levels, crops } = this.#tensors;
    writeRegions(this.#program, { levels, crops }, regions);
    await this.#program.run();
  }

  /** Results of the batch of `count` regions that was submitted last. */
  async collect(count: number): Promise<{ features: Float32Array; logits: Float32Array }> {
    const { features, logits } = this.#tensors;
    // Both copies are ordered before the next batch is submitted.
    const read = [this.#program.read(features), this.#program.read(logits)] as const;
    const [featureRows, logitRows] = await Promise.all(read);
    return {
      features: featureRows.subarray(0, count * features.shape[1]),
      logits: logitRows.subarray(0, count * logits.shape[1]),
    };
  }

  /** Gives the memory on the device back; the model stays. */
  destroy(): void {
    this.#program.destroy();
  }
}

/** Sets a program's inputs for regions that are resized whole. */
export function writeRegions(
  program: Program,
  { levels, crops }: Readonly<Record<'levels' | 'crops', Tensor>>,
  regions: readonly Region[],
): void {
  program.write(levels, packLevels(regions, levels.size));
  const whole = regions.map(({ height, width, flip }) => ({ ...wholeImage(height, width), flip }));
  program.write(crops, packCrops(whole, regions, crops.shape[0]));
}

/**
 * Features [N, d] and logits [N, K] of every image of a data set, in its order, by the frozen network.
 * Throws InputError when a result is not finite: then the weights or the normalisation are damaged.
 */
export async function infer(
  model: Model,
  loader: Loader,
  options: InferenceOptions = {},
): Promise<{ features: Float32Array; logits: Float32Array }> {
  const { config, device } = model;
  const { stopwatch = new Stopwatch() } = options;
  const count = loader.dataset.length;
  const { built: extractor, batchSize } = await fitBatch(
    Math.min(options.batchSize ?? defaultBatchSize(config), count),
    (size) => FeatureExtractor.create(model, loader.pixels, size),
  );
  const all = {
    features: new Float32Array(count * model.featureDimension),
    logits: new Float32Array(count * config.numClasses),
  };
  try {
    let done = 0;
    const cropOf = (image: { height: number; width: number }): Crop => evaluationCrop(image, config);
    const batches = loader.batches(chunks(count, batchSize), cropOf, config.inputSize);
    // The device works on a batch while the results of the one before are read.
    let results: ReturnType<FeatureExtractor['collect']> | undefined;
    const keep = async (): Promise<void> => {
      if (!results) return;
      const { features, logits } = await stopwatch.time('device', results);
      all.features.set(features, done * model.featureDimension);
      all.logits.set(logits, done * config.numClasses);
      done += logits.length / config.numClasses;
      options.onProgress?.(done, count);
    };
    for (;;) {
      const { value: batch, done: ended } = await stopwatch.time('waiting for images', batches.next());
      if (ended) break;
      options.signal?.throwIfAborted();
      await stopwatch.time('device', extractor.submit(batch.regions));
      await keep();
      results = extractor.collect(batch.regions.length);
      results.catch(() => undefined);
    }
    await keep();
  } finally {
    extractor.destroy();
  }
  for (const [name, values] of Object.entries(all)) {
    if (!values.every(Number.isFinite))
      throw new InputError(
        `${name} of ${loader.dataset.path} are not finite on ${device.name}: the weights are damaged`,
      );
  }
  return all;
}

/** Rows that the last layer is given at a time. */
const HEAD_ROWS = 1024;

/** Logits [N, K] of features [N, d] that are at hand: the last layer alone. */
export async function headLogits(model: Model, features: Float32Array): Promise<Float32Array> {
  const d = model.featureDimension;
  const { numClasses } = model.config;
  const count = features.length / d;
  const rows = Math.min(HEAD_ROWS, count);
  const tape = new Tape(model.device, { precision: 'f32' });
  const input = tape.input('features', [rows, d]);
  const output = model.logits(input);
  const program = await Program.build(model.device, tape, { name: 'last layer', outputs: [output] });
  try {
    const logits = new Float32Array(count * numClasses);
    const batch = new Float32Array(rows * d);
    for (let start = 0; start < count; start += rows) {
      const end = Math.min(count, start + rows);
      batch.set(features.subarray(start * d, end * d));
      program.write(input, batch);
      await program.run();
      logits.set((await program.read(output)).subarray(0, (end - start) * numClasses), start * numClasses);
    }
    return logits;
  } finally {
    program.destroy();
  }
}

/** The last element again, up to `length`: rows of a batch nobody reads. */
export function padTo<T>(values: readonly T[], length: number): T[] {
  return Array.from({ length }, (_, index) => values[index] ?? values.at(-1)!);
}

/** Index of the largest of each row of [N, K]; NaN never wins. */
export function argmaxRows(values: ArrayLike<number>, K: number): Uint32Array {
  return Uint32Array.from({ length: values.length / K }, (_, row) => {
    let best = 0;
    for (let k = 1; k < K; k++) if (values[row * K + k] > values[row * K + best]) best = k;
    return best;
  });
}

/** Share of rows of logits [N, K] whose largest is the label. */
export function accuracy(logits: Float32Array, labels: Uint32Array): number {
  const predicted = argmaxRows(logits, logits.length / labels.length);
  return predicted.reduce((right, label, row) => right + Number(label === labels[row]), 0) / labels.length;
}
