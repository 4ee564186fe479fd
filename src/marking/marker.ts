import { toChannels } from '../datasets/loader.ts';
import { DeviceError } from '../errors.ts';
import { type Crop, type RandomCropOptions, randomCrop } from '../images/crop.ts';
import { type Image8, isGrey } from '../images/image.ts';
import { type JpegCoding, jpegCoding } from '../images/jpeg_coding.ts';
import { packLevels } from '../images/region.ts';
import { resizedTo } from '../images/resized.ts';
import { evaluationCrop, networkInput, padTo } from '../nn/inference.ts';
import type { Model } from '../nn/model.ts';
import { derive } from '../random.ts';
import { backward } from '../shaders/backward.ts';
import { packCrops } from '../shaders/crop_resize/crop_resize.ts';
import { jpegRoundTrip, packPictures } from '../shaders/jpeg_round_trip/jpeg_round_trip.ts';
import { markingLoss } from '../shaders/marking_loss/marking_loss.ts';
import { greyGradient, pgdStep, stepFactors } from '../shaders/pgd_step/pgd_step.ts';
import { packSizes, resizeSmaller } from '../shaders/resize_smaller/resize_smaller.ts';
import { Program } from '../tensor/program.ts';
import { Tape } from '../tensor/tape.ts';
import { bytesOf, sizeOf, type Tensor } from '../tensor/tensor.ts';
import { Variable } from '../tensor/variable.ts';
import type { MarkingRecipe } from './recipe.ts';
import { parseTransformation, type Transformation } from './transformation.ts';

/** Codings of a batch's images on a tape, as `packPictures` makes them. */
export interface BatchCodings {
  /** [B + 1, 8] of u32. */
  readonly pictures: Tensor;
  /** [B, 128] of u32. */
  readonly tables: Tensor;
}

const codingsOn = (tape: Tape, name: string, batchSize: number): BatchCodings => ({
  pictures: tape.input(`${name} pictures`, [batchSize + 1, 8], 'u32'),
  tables: tape.input(`${name} tables`, [batchSize, 128], 'u32'),
});

/** What happens to a batch's images in one iteration, where their marks are to survive that: saved as JPEG files again, then resized. */
export interface BatchHandling {
  /** Those that are saved again. */
  readonly jpeg?: BatchCodings | undefined;
  /** [B + 1, 6] of u32, as `packSizes` makes them. */
  readonly sizes?: Tensor | undefined;
}

const encoded = (levels: Tensor, codings: BatchCodings | undefined): Tensor =>
  codings ? jpegRoundTrip(levels, codings.pictures, codings.tables) : levels;

function handled(levels: Tensor, { jpeg, sizes }: BatchHandling = {}): Tensor {
  const saved = encoded(levels, jpeg);
  return sizes ? resizeSmaller(saved, sizes) : saved;
}

/**
 * Records one iteration on images in 8-bit levels, pixels [..., C] one after another: φ of both crops, the loss, its gradient to
 * the pixels, the step. `image` is a variable and changes in place; carriers are [B, d], crops as `packCrops` makes them, `rounding` [1] of u32 tells
 * whether this iteration rounds. `encoding`: how the marked images will be coded as JPEG files; `handling`: what is done to both
 * thereafter. Returns the loss [B] without the image penalty.
 */
export function recordMarkingStep(
  model: Model,
  tensors: Readonly<Record<'image' | 'original' | 'carriers' | 'crops' | 'vanillaCrops' | 'rounding', Tensor>> & {
    readonly grey?: Tensor | undefined;
    readonly encoding?: BatchCodings | undefined;
    readonly handling?: BatchHandling | undefined;
  },
  recipe: Pick<MarkingRecipe, 'radiusLevels' | 'learningRate' | 'lambdaFeatures' | 'lambdaImage'>,
): Tensor {
  const { image, original, carriers, crops, vanillaCrops, rounding } = tensors;
  const { learningRate, lambdaImage, lambdaFeatures, radiusLevels } = recipe;
  const { tape } = image;
  const featuresOf = (levels: Tensor, crops: Tensor): Tensor =>
    model.features(networkInput(model, handled(levels, tensors.handling), crops));
  const vanilla = tape.scope('vanilla', () => featuresOf(original, vanillaCrops));
  const features = tape.scope('marked', () => featuresOf(encoded(image, tensors.encoding), crops));
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
  /** How it will be coded as a JPEG file, if it will. */
  readonly coding?: JpegCoding | undefined;
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
  /** How images will be coded, where the mark is found through that. */
  readonly #encoding: BatchCodings | undefined;
  /** What happens to images in an iteration, where marks are to survive that. */
  readonly #handling: BatchHandling;
  /** The image's tensor on the tape: the program's output. */
  readonly #marked: Tensor;
  readonly program: Program;

  private constructor(
    model: Model,
    recipe: MarkingRecipe,
    variables: readonly [Variable, Variable, Variable],
    tensors: Record<'carriers' | 'crops' | 'rounding' | 'marked', Tensor> & {
      readonly grey: Tensor | undefined;
      readonly encoding: BatchCodings | undefined;
      readonly handling: BatchHandling;
    },
    program: Program,
  ) {
    this.#model = model;
    this.#recipe = recipe;
    [this.#image, this.#original, this.#vanillaCrops] = variables;
    this.#carriers = tensors.carriers;
    this.#crops = tensors.crops;
    this.#rounding = tensors.rounding;
    this.#grey = tensors.grey;
    this.#encoding = tensors.encoding;
    this.#handling = tensors.handling;
    this.#marked = tensors.marked;
    this.program = program;
    this.batchSize = tensors.crops.shape[0];
  }

  /**
   * Prepares marking of `batchSize` images at a time that have up to `pixels` pixels together; `coded`: some of them with a
   * `MarkingJob.coding`, which the recipe may have the mark found through. Throws DeviceError when that does not fit.
   */
  static async create(
    model: Model,
    pixels: number,
    batchSize: number,
    recipe: MarkingRecipe,
    { coded = false }: { readonly coded?: boolean } = {},
  ): Promise<Marker> {
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
      const encoding = coded && recipe.throughEncoding ? codingsOn(tape, 'encoding', batchSize) : undefined;
      const kinds = survivalsOf(recipe).map((each) => each.kind);
      const handling: BatchHandling = {
        jpeg: kinds.includes('jpeg') ? codingsOn(tape, 'survive', batchSize) : undefined,
        sizes: kinds.includes('resize') ? tape.input('sizes', [batchSize + 1, 6], 'u32') : undefined,
      };
      // Images that are resized have other crops, also where these are not random.
      const drawn = recipe.crop !== null || handling.sizes !== undefined;
      recordMarkingStep(
        model,
        {
          image,
          original,
          carriers,
          rounding,
          grey,
          encoding,
          handling,
          crops: drawn ? crops : fixedCrops,
          // Without random crops, what is seen of the original never changes: its features are then computed once a batch.
          vanillaCrops: drawn && recipe.vanillaCrop === 'same' ? crops : fixedCrops,
        },
        recipe,
      );
      const program = await Program.build(device, tape, { name: 'marking', outputs: [image] });
      return new Marker(
        model,
        recipe,
        variables as [Variable, Variable, Variable],
        { carriers, crops, rounding, grey, encoding, handling, marked: image },
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
    const { config } = this.#model;
    const { channels } = config;
    const grey = channels === 3 ? all.filter(({ image }) => isGrey(image)) : [];
    const jobs = [...grey, ...all.filter((job) => !grey.includes(job))];
    const images = jobs.map(({ id, image }) => toChannels(image, channels, id));
    const pack = (crops: readonly Crop[], sizes: readonly Size[]): Uint32Array =>
      packCrops(crops, sizes, this.batchSize);
    const levels = packLevels(
      images.map(({ data }) => ({ levels: data })),
      sizeOf(this.#image.shape),
    );
    this.#original.write(levels);
    this.#image.write(levels);
    this.#vanillaCrops.write(
      pack(
        images.map((image) => evaluationCrop(image, config)),
        images,
      ),
    );
    const directions = padTo(jobs, this.batchSize).flatMap(({ direction }) => [...direction]);
    this.program.write(this.#carriers, Float32Array.from(directions));
    if (this.#grey) {
      const pixels = grey.reduce((sum, { image }) => sum + image.width * image.height, 0);
      this.program.write(this.#grey, Uint32Array.of(pixels));
    }
    if (this.#encoding)
      this.#writeCodings(
        this.#encoding,
        images,
        jobs.map(({ coding }) => coding),
      );
    for (let iteration = 1; iteration <= recipe.iterations; iteration++) {
      options.signal?.throwIfAborted();
      const seen = this.#handle(images, iteration);
      const rounding = iteration === recipe.iterations || iteration % recipe.roundEvery === 0;
      this.program.write(this.#rounding, Uint32Array.of(rounding ? 1 : 0));
      if (recipe.crop)
        this.program.write(
          this.#crops,
          pack(
            jobs.map((job, i) => this.#draw(job.id, seen[i], recipe.crop!, iteration)),
            seen,
          ),
        );
      else if (this.#handling.sizes)
        this.program.write(
          this.#crops,
          pack(
            seen.map((size) => evaluationCrop(size, config)),
            seen,
          ),
        );
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

  #draw(id: string, { height, width }: Size, options: RandomCropOptions, iteration: number): Crop {
    return randomCrop(height, width, options, derive(this.#recipe.seed, 'mark', id, iteration));
  }

  #writeCodings(
    { pictures, tables }: BatchCodings,
    images: readonly Size[],
    codings: readonly (JpegCoding | undefined)[],
  ): void {
    const packed = packPictures(images, codings, this.#model.config.channels, this.batchSize);
    this.program.write(pictures, packed.pictures);
    this.program.write(tables, packed.tables);
  }

  /** Says what happens to images in an iteration; returns their sizes thereafter. */
  #handle(images: readonly Size[], iteration: number): readonly Size[] {
    const turns = survivalsOf(this.#recipe);
    const turn = turns[(iteration - 1) % (turns.length + 1)] as Transformation | undefined;
    const { jpeg, sizes } = this.#handling;
    const coding = turn?.kind === 'jpeg' ? jpegCoding({ quality: turn.quality, halfColours: true }) : undefined;
    if (jpeg)
      this.#writeCodings(
        jpeg,
        images,
        images.map(() => coding),
      );
    if (!sizes) return images;
    const after = images.map((image) => (turn?.kind === 'resize' ? resizedTo(image, turn.side) : image));
    this.program.write(sizes, packSizes(images, after, this.batchSize));
    return after;
  }
}

/** Pixels across and down. */
type Size = Pick<Image8, 'width' | 'height'>;

const survivalsOf = ({ survive = [] }: MarkingRecipe): Transformation[] =>
  survive.flatMap((text) => parseTransformation(text) ?? []);

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
