import { type Canvas, chunks, type Loader, layOut } from '../datasets/loader.ts';
import { DeviceError, InputError } from '../errors.ts';
import { type Crop, centreSquare, wholeImage } from '../images/crop.ts';
import type { Image8 } from '../images/image.ts';
import { cropResize, packCrops } from '../shaders/crop_resize/crop_resize.ts';
import { Program } from '../tensor/program.ts';
import { Tape } from '../tensor/tape.ts';
import type { Tensor } from '../tensor/tensor.ts';
import type { Model } from './model.ts';
import type { NetworkConfig } from './networks.ts';

/** Follows long work: `done` of `total` items. */
export type OnProgress = (done: number, total: number) => void;

export interface InferenceOptions {
  /** Images a batch; halved until it fits. Default 128 for images up to 64 pixels, else 16. */
  readonly batchSize?: number;
  readonly onProgress?: OnProgress | undefined;
  readonly signal?: AbortSignal | undefined;
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
  readonly batchSize: number;
  readonly #config: NetworkConfig;
  readonly #canvas: Canvas;
  readonly #program: Program;
  readonly #tensors: Record<'levels' | 'crops' | 'features' | 'logits', Tensor>;

  private constructor(
    config: NetworkConfig,
    canvas: Canvas,
    program: Program,
    tensors: Record<'levels' | 'crops' | 'features' | 'logits', Tensor>,
  ) {
    this.#config = config;
    this.#canvas = canvas;
    this.#program = program;
    this.#tensors = tensors;
    this.batchSize = tensors.levels.shape[0];
  }

  /** Throws DeviceError when a batch of that size does not fit. */
  static async create(model: Model, canvas: Canvas, batchSize: number): Promise<FeatureExtractor> {
    const tape = new Tape(model.device.capabilities);
    const levels = tape.input('levels', [batchSize, canvas.height, canvas.width, canvas.channels]);
    const crops = tape.input('crops', [batchSize, 5], 'u32');
    const features = model.features(networkInput(model, levels, crops));
    const logits = model.logits(features);
    const program = await Program.build(model.device, tape, { name: 'inference', outputs: [features, logits] });
    return new FeatureExtractor(model.config, canvas, program, { levels, crops, features, logits });
  }

  /** Features and logits of up to `batchSize` images: [n, d] and [n, K]. */
  async run(images: readonly Image8[]): Promise<{ features: Float32Array; logits: Float32Array }> {
    const { levels, crops, features, logits } = this.#tensors;
    const rows = padTo(images, this.batchSize);
    this.#program.write(levels, layOut(rows, this.#canvas));
    const regions = rows.map((image) => evaluationCrop(image, this.#config));
    this.#program.write(crops, packCrops(regions, this.#canvas.height, this.#canvas.width));
    await this.#program.run();
    return {
      features: (await this.#program.read(features)).subarray(0, images.length * features.shape[1]),
      logits: (await this.#program.read(logits)).subarray(0, images.length * logits.shape[1]),
    };
  }

  destroy(): void {
    this.#program.destroy();
  }
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
  const count = loader.dataset.length;
  const { built: extractor, batchSize } = await fitBatch(
    Math.min(options.batchSize ?? defaultBatchSize(config), count),
    (size) => FeatureExtractor.create(model, loader.canvas, size),
  );
  const all = {
    features: new Float32Array(count * model.featureDimension),
    logits: new Float32Array(count * config.numClasses),
  };
  try {
    let done = 0;
    for await (const { images } of loader.batches(chunks(count, batchSize))) {
      options.signal?.throwIfAborted();
      const { features, logits } = await extractor.run(images);
      all.features.set(features, done * model.featureDimension);
      all.logits.set(logits, done * config.numClasses);
      done += images.length;
      options.onProgress?.(done, count);
    }
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

/** The first element again, up to `length`: rows of a batch nobody reads. */
export function padTo<T>(values: readonly T[], length: number): T[] {
  return Array.from({ length }, (_, index) => values[index] ?? values[0]);
}

/** Index of the largest of each row of [N, K]; NaN never wins. */
export function argmaxRows(values: Float32Array, K: number): Uint32Array {
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
