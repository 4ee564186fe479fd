import { toChannels } from '../datasets/loader.ts';
import { DeviceError } from '../errors.ts';
import { type Crop, type RandomCropOptions, randomCrop } from '../images/crop.ts';
import { type Image8, isGrey } from '../images/image.ts';
import { packLevels } from '../images/region.ts';
import { evaluationCrop, networkInput, padTo } from '../nn/inference.ts';
import type { Model } from '../nn/model.ts';
import { derive } from '../random.ts';
import { backward } from '../shaders/backward.ts';
import { packCrops } from '../shaders/crop_resize/crop_resize.ts';
import { markingLoss } from '../shaders/marking_loss/marking_loss.ts';
import { greyGradient, pgdStep, stepFactors } from '../shaders/pgd_step/pgd_step.ts';
import { Program } from '../tensor/program.ts';
import { Tape } from '../tensor/tape.ts';
import { bytesOf, sizeOf, type Tensor } from '../tensor/tensor.ts';
import { Variable } from '../tensor/variable.ts';
import type { MarkingRecipe } from './recipe.ts';

/**
 * Records one iteration on images in 8-bit levels, pixels [..., C] one after another: φ of both crops, the loss, its gradient to
 * the pixels, the step. `image` is a variable and changes in place; carriers are [B, d], crops as `packCrops` makes them, `rounding` [1] of u32 tells
 * whether this iteration rounds. Returns the loss [B] without the image penalty.
 */
export function recordMarkingStep(
  model: Model,
  tensors: Readonly<Record<'image' | 'original' | 'carriers' | 'crops' | 'vanillaCrops' | 'rounding', Tensor>> & {
    readonly grey?: Tensor | undefined;
  },
  recipe: Pick<MarkingRecipe, 'radiusLevels' | 'learningRate' | 'lambdaFeatures' | 'lambdaImage'>,
): Tensor {
  const { image, original, carriers, crops, vanillaCrops, rounding } = tensors;
  const { learningRate, lambdaImage, lambdaFeatures, radiusLevels } = recipe;
  const { tape } = image;
  const vanilla = tape.scope('vanilla', () => model.features(networkInput(model, original, vanillaCrops)));
  const features = tape.scope('marked', () => model.features(networkInput(model, image, crops)));
  const { loss } = markingLoss(features, vanilla, carriers, { lambdaFeatures });
  const [gradient] = backward(loss, [image]);
  const factors = stepFactors(image.shape.at(-1)!, { learningRate, lambdaImage, std: model.config.std });
  const common = tensors.grey ? greyGradient(gradient, factors.step, tensors.grey) : gradient;
  pgdStep(image, { original, gradient: common, rounding, radiusLevels, ...factors });
  return loss;
}

/** An image to mark, with everything that decides its mark besides the recipe. */
export interface MarkingJob {
  /** Names its stream of random crops. */
  readonly id: string;
  /** With the network's channels, or grey: a grey image stays grey, also where it is stored as RGB. */
  readonly image: Image8;
  /** The carrier of its class in feature space, [d]. */
  readonly direction: Float32Array;
}

/** How {@link Marker.mark} goes on a batch: progress, an end before the end. */
export interface MarkOptions {
  /** Ends the work between two iterations; the images of the batch are lost. */
  readonly signal?: AbortSignal | undefined;
  /** Called when an iteration has been submitted, with its number from 1 on. */
  readonly onIteration?: ((iteration: number) => void) | undefined;
}

/**
 * Marks batches of images of any classes and sizes by projected gradient descent on a device. Images do not interact: a mark depends on
 * the image, its id, its carrier and the recipe alone, so any batching or sharding gives the same pixels.
 */
export class Marker {
  /** Most images that `mark` takes at once. */
  readonly batchSize: number;
  readonly #model: Model;
  readonly #recipe: MarkingRecipe;
  readonly #image: Variable;
  readonly #original: Variable;
  readonly #vanillaCrops: Variable;
  readonly #carriers: Tensor;
  readonly #crops: Tensor;
  readonly #rounding: Tensor;
  /** How many pixels are of grey images, where the network takes colours. They come first. */
  readonly #grey: Tensor | undefined;
  /** The image's tensor on the tape: the program's output. */
  readonly #marked: Tensor;
  readonly program: Program;

  private constructor(
    model: Model,
    recipe: MarkingRecipe,
    variables: readonly [Variable, Variable, Variable],
    tensors: Record<'carriers' | 'crops' | 'rounding' | 'marked', Tensor> & { grey: Tensor | undefined },
    program: Program,
  ) {
    this.#model = model;
    this.#recipe = recipe;
    [this.#image, this.#original, this.#vanillaCrops] = variables;
    this.#carriers = tensors.carriers;
    this.#crops = tensors.crops;
    this.#rounding = tensors.rounding;
    this.#grey = tensors.grey;
    this.#marked = tensors.marked;
    this.program = program;
    this.batchSize = tensors.crops.shape[0];
  }

  /**
   * Prepares marking of `batchSize` images at a time that have up to `pixels` pixels together. Throws DeviceError when that does
   * not fit.
   */
  static async create(model: Model, pixels: number, batchSize: number, recipe: MarkingRecipe): Promise<Marker> {
    const { device } = model;
    const shape = [pixels, model.config.channels];
    if (bytesOf(shape) > device.capabilities.tensorBytes)
      throw new DeviceError(
        `marking: ${pixels} pixels need ${bytesOf(shape)} bytes, ${device.name} binds at most ${device.capabilities.tensorBytes}: use a smaller batch`,
      );
    const variables: Variable[] = [];
    try {
      for (const name of ['image', 'original']) variables.push(await Variable.create(device, name, shape));
      variables.push(await Variable.create(device, 'vanilla crops', [batchSize, 5], undefined, 'u32'));
      const tape = new Tape(device, { precision: device.precision });
      const [image, original, fixedCrops] = variables.map((variable) => tape.variable(variable));
      const carriers = tape.input('carriers', [batchSize, model.featureDimension]);
      const crops = tape.input('crops', [batchSize, 5], 'u32');
      const rounding = tape.input('rounding', [1], 'u32');
      const grey = model.config.channels === 3 ? tape.input('grey', [1], 'u32') : undefined;
      recordMarkingStep(
        model,
        {
          image,
          original,
          carriers,
          rounding,
          grey,
          crops: recipe.crop ? crops : fixedCrops,
          // Without random crops, what is seen of the original never changes: its features are then computed once a batch.
          vanillaCrops: recipe.crop && recipe.vanillaCrop === 'same' ? crops : fixedCrops,
        },
        recipe,
      );
      const program = await Program.build(device, tape, { name: 'marking', outputs: [image] });
      return new Marker(
        model,
        recipe,
        variables as [Variable, Variable, Variable],
        { carriers, crops, rounding, grey, marked: image },
        program,
      );
    } catch (error) {
      for (const variable of variables) variable.destroy();
      throw error;
    }
  }

  /**
   * Marks up to `batchSize` images. Returns them in the same order, with the channels they came with. Throws DeviceError if the
   * device fails, and the signal's reason.
   */
  async mark(all: readonly MarkingJob[], options: MarkOptions = {}): Promise<Image8[]> {
    const recipe = this.#recipe;
    const { channels } = this.#model.config;
    const grey = channels === 3 ? all.filter(({ image }) => isGrey(image)) : [];
    const jobs = [...grey, ...all.filter((job) => !grey.includes(job))];
    const images = jobs.map(({ id, image }) => toChannels(image, channels, id));
    const pack = (crops: readonly Crop[]): Uint32Array => packCrops(crops, images, this.batchSize);
    const levels = packLevels(
      images.map(({ data }) => ({ levels: data })),
      sizeOf(this.#image.shape),
    );
    this.#original.write(levels);
    this.#image.write(levels);
    this.#vanillaCrops.write(pack(images.map((image) => evaluationCrop(image, this.#model.config))));
    const directions = padTo(jobs, this.batchSize).flatMap(({ direction }) => [...direction]);
    this.program.write(this.#carriers, Float32Array.from(directions));
    if (this.#grey) {
      const pixels = grey.reduce((sum, { image }) => sum + image.width * image.height, 0);
      this.program.write(this.#grey, Uint32Array.of(pixels));
    }
    for (let iteration = 1; iteration <= recipe.iterations; iteration++) {
      options.signal?.throwIfAborted();
      const rounding = iteration === recipe.iterations || iteration % recipe.roundEvery === 0;
      this.program.write(this.#rounding, Uint32Array.of(rounding ? 1 : 0));
      if (recipe.crop)
        this.program.write(this.#crops, pack(jobs.map((job) => this.#draw(job, recipe.crop!, iteration))));
      await this.program.run();
      options.onIteration?.(iteration);
    }
    const marked = new Map(cutApart(images, await this.program.read(this.#marked)).map((image, i) => [jobs[i], image]));
    return all.map((job) => (job.image.channels < channels ? firstChannel(marked.get(job)!) : marked.get(job)!));
  }

  /** Gives the memory on the device back; the model stays. */
  destroy(): void {
    this.program.destroy();
    for (const variable of [this.#image, this.#original, this.#vanillaCrops]) variable.destroy();
  }

  #draw({ id, image }: MarkingJob, options: RandomCropOptions, iteration: number): Crop {
    return randomCrop(image.height, image.width, options, derive(this.#recipe.seed, 'mark', id, iteration));
  }
}

/** An image whose channels are alike, as a grey one. */
function firstChannel({ channels, data, ...rest }: Image8): Image8 {
  return {
    ...rest,
    channels: 1,
    data: Uint8Array.from({ length: data.length / channels }, (_, i) => data[i * channels]),
  };
}

/** Images that lie one after another. */
function cutApart(images: readonly Image8[], levels: Float32Array): Image8[] {
  let at = 0;
  return images.map((image) => {
    const data = Uint8Array.from(levels.subarray(at, at + image.data.length));
    at += image.data.length;
    return { ...image, data };
  });
}
