import { type Augment, ahead, type Loader } from '../datasets/loader.ts';
import { InputError } from '../errors.ts';
import { type Crop, randomCrop, shiftedCrop } from '../images/crop.ts';
import type { Image8 } from '../images/image.ts';
import { regionPixels } from '../images/region.ts';
import { evaluationCrop, infer, networkInput, type OnProgress, writeRegions } from '../nn/inference.ts';
import type { Model } from '../nn/model.ts';
import { Parameter } from '../nn/parameter.ts';
import { derive } from '../random.ts';
import { backward } from '../shaders/backward.ts';
import { clipScale } from '../shaders/clip_scale/clip_scale.ts';
import { mix } from '../shaders/mix/mix.ts';
import { scale } from '../shaders/scale/scale.ts';
import { sgd } from '../shaders/sgd/sgd.ts';
import { softmax } from '../shaders/softmax/softmax.ts';
import { softmaxCrossEntropy } from '../shaders/softmax_cross_entropy/softmax_cross_entropy.ts';
import { Program } from '../tensor/program.ts';
import { Tape } from '../tensor/tape.ts';
import type { Tensor } from '../tensor/tensor.ts';
import { WeightAverage } from './average.ts';
import { drawMixing, type Mixing, softTargets } from './mixing.ts';
import { checkRecipe, learningRateAt, type Recipe } from './recipe.ts';

/** Where a run is: with the weights, momenta and averages, all that is needed to go on. */
export interface TrainingState {
  /** Steps done. */
  readonly step: number;
  /** Mean loss of each finished epoch. */
  readonly epochLosses: readonly number[];
  /** Losses of the epoch under way. */
  readonly losses: readonly number[];
}

/** With the model's weights, what {@link train} goes on from. */
export interface TrainingCheckpoint {
  readonly state: TrainingState;
  /** By parameter name. */
  readonly momenta: ReadonlyMap<string, Float32Array>;
  /** Moving averages of the weights by parameter name; empty where the recipe has none. */
  readonly averages: ReadonlyMap<string, Float32Array>;
}

/**
 * A classifier whose outputs are learned in place of the labels: a model, which sees the very crops that the network is trained on, or
 * its logits for every image, [N, K] in the data set's order.
 */
export type Teacher = { readonly model: Model } | { readonly logits: Float32Array };

/** How {@link train} goes: recipe, what is learned from, progress, what to go on from. */
export interface TrainOptions {
  /** How: epochs, batches, learning rate. */
  readonly recipe: Recipe;
  /** `[N, d]`: the model's features of all images, where the last layer alone is trained and they are at hand. */
  readonly features?: Float32Array | undefined;
  /** Whose outputs are learned in place of the labels. */
  readonly teacher?: Teacher | undefined;
  readonly onProgress?: OnProgress | undefined;
  readonly signal?: AbortSignal | undefined;
  /** State to go on from. */
  readonly resume?: TrainingCheckpoint;
  /** Called every `checkpointSteps` steps, and before ending because of the signal, with what `resume` takes, after the weights of this moment can be read from the model. */
  readonly onCheckpoint?: (checkpoint: TrainingCheckpoint) => Promise<void>;
  /** Default 100. */
  readonly checkpointSteps?: number;
  /** Called at the end of an epoch with the number of epochs done, of the whole run, and its mean loss. */
  readonly onEpoch?: (epoch: number, loss: number) => void;
}

/** A training step made ready: `step` trains on one batch, `loss` reads its loss. */
interface TrainingStep {
  readonly program: Program;
  readonly learningRate: Tensor;
  readonly loss: Tensor;
  /** [2] of u32, where the whole network is trained: decides what dropouts drop. */
  readonly dropoutSeed?: Tensor;
  /** Decodes a batch; what it returns hands it to the program. */
  prepare(indices: readonly number[], epoch: number): Promise<() => void>;
}

/**
 * Trains a model in place by SGD with momentum (docs/method.md, 3), on labels or on what a teacher says. Order, crops and all else that is drawn are
 * functions of the seed, the epoch and the image, so a run that was interrupted ends with the same bits as one that was not. Where the recipe
 * has a moving average, the model ends with that.
 * Throws InputError when the loss stops being finite, or the recipe contradicts itself.
 */
export async function train(model: Model, loader: Loader, options: TrainOptions): Promise<TrainingState> {
  const { recipe, signal } = options;
  checkRecipe(recipe);
  if (recipe.labelSmoothing && options.teacher)
    throw new InputError(
      "recipe: labelSmoothing smooths labels, and a teacher's answers take their place; leave one out",
    );
  const count = loader.dataset.length;
  if (loader.dataset.classes.length > model.config.numClasses) {
    throw new InputError(
      `${loader.dataset.path} has ${loader.dataset.classes.length} classes, the model ${model.config.numClasses}`,
    );
  }
  const batchSize = Math.min(recipe.batchSize, count);
  const stepsPerEpoch = Math.floor(count / batchSize);
  const total = stepsPerEpoch * recipe.epochs;
  const momenta = await createMomenta(model, recipe.freezeFeatures, options.resume?.momenta);
  let step: TrainingStep | undefined;
  let average: WeightAverage | undefined;
  try {
    const { ema, freezeFeatures } = recipe;
    average =
      ema === undefined ? undefined : await WeightAverage.create(model, freezeFeatures, ema, options.resume?.averages);
    step = recipe.freezeFeatures
      ? await linearStep(model, loader, momenta, batchSize, options)
      : await fullStep(model, loader, momenta, batchSize, options);

    let losses = [...(options.resume?.state.losses ?? [])];
    const epochLosses = [...(options.resume?.state.epochLosses ?? [])];
    const first = options.resume?.state.step ?? 0;
    const checkpoint = async (done: number): Promise<void> =>
      options.onCheckpoint?.({
        state: { step: done, epochLosses, losses },
        momenta: await readAll(momenta),
        averages: (await average?.read()) ?? new Map(),
      });
    const { prepare } = step;
    let done = first;
    const upcoming = batchOrder(recipe.seed, count, batchSize, first, total);
    for await (const load of ahead(upcoming, ({ indices, epoch }) => prepare(indices, epoch))) {
      if (signal?.aborted) {
        if (done > first) await checkpoint(done);
        signal.throwIfAborted();
      }
      load();
      if (step.dropoutSeed) {
        const random = derive(recipe.seed, 'dropout', done);
        step.program.write(step.dropoutSeed, Uint32Array.of(random.uint32(), random.uint32()));
      }
      step.program.write(step.learningRate, Float32Array.of(learningRateAt(done, stepsPerEpoch, recipe)));
      await step.program.run();
      await average?.update();
      if (!recipe.freezeFeatures) model.batchesTracked++;
      const [loss] = await step.program.read(step.loss);
      if (!Number.isFinite(loss))
        throw new InputError(
          `training diverged: the loss is ${loss} at step ${done + 1}; use a smaller learning rate than ${recipe.learningRate}`,
        );
      losses.push(loss);
      done++;
      if (done % stepsPerEpoch === 0) {
        epochLosses.push(losses.reduce((sum, value) => sum + value, 0) / losses.length);
        losses = [];
        options.onEpoch?.(done / stepsPerEpoch, epochLosses.at(-1)!);
      }
      options.onProgress?.(done * batchSize, total * batchSize);
      if (done % (options.checkpointSteps ?? 100) === 0 && done < total) await checkpoint(done);
    }
    await average?.write();
    return { step: total, epochLosses, losses };
  } finally {
    step?.program.destroy();
    average?.destroy();
    for (const momentum of momenta.values()) momentum.destroy();
  }
}

/** The batches of steps `first` to `total` − 1: every epoch has an order of its own, and leaves out what fills no batch. */
function* batchOrder(
  seed: number,
  count: number,
  batchSize: number,
  first: number,
  total: number,
): Generator<{ indices: number[]; epoch: number }> {
  const stepsPerEpoch = Math.floor(count / batchSize);
  let order: number[] = [];
  for (let step = first; step < total; step++) {
    const epoch = Math.floor(step / stepsPerEpoch);
    const position = step % stepsPerEpoch;
    if (position === 0 || step === first)
      order = derive(seed, 'order', epoch).shuffle(Array.from({ length: count }, (_, i) => i));
    yield { indices: order.slice(position * batchSize, (position + 1) * batchSize), epoch };
  }
}

async function readAll(parameters: ReadonlyMap<string, Parameter>): Promise<Map<string, Float32Array>> {
  const values = new Map<string, Float32Array>();
  for (const [name, parameter] of parameters) values.set(name, await parameter.read());
  return values;
}

/** What an image is to be classified as: on the tape, and written for the items of a batch. */
interface Targets {
  readonly labels: Tensor;
  write(program: Program, batch: readonly number[], mixing?: Mixing): void;
}

/** The labels; or probabilities, where logits [N, K] of all images stand for them, or the recipe smooths or mixes. */
function recordTargets(
  tape: Tape,
  { dataset }: Loader,
  batchSize: number,
  classes: number,
  logits: Float32Array | undefined,
  recipe: Recipe,
): Targets {
  const K = logits ? logits.length / dataset.length : classes;
  const { temperature, labelSmoothing = 0 } = recipe;
  const soft = labelSmoothing > 0 || mixes(recipe);
  if (!logits && !soft) {
    const labels = tape.input('labels', [batchSize], 'u32');
    const of = (index: number): number => dataset.labels[index];
    return { labels, write: (program, batch) => program.write(labels, Uint32Array.from(batch, of)) };
  }
  const answers = (index: number): Float32Array => logits!.subarray(index * K, (index + 1) * K);
  if (!soft) {
    const scores = tape.input('scores', [batchSize, K]);
    const rows = new Float32Array(batchSize * K);
    return {
      labels: softmax(scores, { temperature }),
      write: (program, batch) => {
        for (const [row, index] of batch.entries()) rows.set(answers(index), row * K);
        program.write(scores, rows);
      },
    };
  }
  const labels = tape.input('targets', [batchSize, K]);
  const oneHot = (index: number): Float32Array => {
    const row = new Float32Array(K);
    row[dataset.labels[index]] = 1;
    return row;
  };
  const rowOf = (index: number): ArrayLike<number> =>
    logits ? probabilitiesOf(answers(index), temperature) : oneHot(index);
  return {
    labels,
    write: (program, batch, mixing) =>
      program.write(labels, softTargets(batch.map(rowOf), labelSmoothing, mixing?.ownShare ?? 1)),
  };
}

/** What logits at a temperature stand for. */
function probabilitiesOf(logits: Float32Array, temperature: number): Float64Array {
  const most = logits.reduce((a, b) => Math.max(a, b));
  const odds = Float64Array.from(logits, (logit) => Math.exp((logit - most) / temperature));
  const sum = odds.reduce((a, b) => a + b, 0);
  return odds.map((value) => value / sum);
}

const mixes = ({ mixup, cutmix }: Recipe): boolean => mixup !== undefined || cutmix !== undefined;

/** Images of a batch mixed with each other: for each network that sees them, and how, written for a batch. */
function recordMixing(tape: Tape) {
  const lambda = tape.input('mix lambda', [1]);
  const boxes: Tensor[] = [];
  const sizes: number[] = [];
  return {
    mixed(images: Tensor): Tensor {
      const box = tape.input(`mix box ${boxes.length}`, [4], 'u32');
      boxes.push(box);
      sizes.push(images.shape[1]);
      return mix(images, lambda, box);
    },
    /** `size`: of the images that the box is drawn for. */
    write(program: Program, mixing: Mixing, size: number): void {
      program.write(lambda, Float32Array.of(mixing.lambda));
      for (const [i, box] of boxes.entries())
        program.write(
          box,
          Uint32Array.from(mixing.box, (edge) => Math.round((edge * sizes[i]) / size)),
        );
    },
  };
}

/** The crop that is trained on. */
function trainingCropOf(image: Image8, model: Model, { crop, seed }: Recipe, epoch: number, index: number): Crop {
  if (!crop) return evaluationCrop(image, model.config);
  const random = derive(seed, 'crop', epoch, index);
  return 'padding' in crop
    ? shiftedCrop(evaluationCrop(image, model.config), crop, random)
    : randomCrop(image.height, image.width, crop, random);
}

/** What becomes of a crop before a network sees it; undefined: nothing, and the device resizes it. */
async function augmentOf(
  { randAugment: options, trivialAugment: trivial, seed }: Recipe,
  epoch: number,
): Promise<Augment | undefined> {
  if (!options && !trivial) return undefined;
  const { randAugment, trivialAugment } = await import('../images/augment.ts');
  const random = (index: number) => derive(seed, 'augment', epoch, index);
  if (options) return (crop, index) => randAugment(crop, options, random(index));
  return (crop, index) => trivialAugment(crop, random(index));
}

/** Forward, cross-entropy, gradients, SGD: the whole network. */
async function fullStep(
  model: Model,
  loader: Loader,
  momenta: ReadonlyMap<string, Parameter>,
  batchSize: number,
  { recipe, teacher }: TrainOptions,
): Promise<TrainingStep> {
  const { channels } = model.config;
  const watching = teacher && 'model' in teacher ? teacher.model : undefined;
  // Regions hold what the one that takes more pixels needs.
  const inputSize = Math.max(model.config.inputSize, watching?.config.inputSize ?? 0);
  const tape = new Tape(model.device, { precision: model.device.precision });
  const levels = tape.input('levels', [batchSize * regionPixels(inputSize, loader.pixels), channels]);
  const crops = tape.input('crops', [batchSize, 5], 'u32');
  const { temperature } = recipe;
  const mixer = mixes(recipe) ? recordMixing(tape) : undefined;
  const seenBy = (network: Model): Tensor => {
    const input = networkInput(network, levels, crops);
    return mixer ? mixer.mixed(input) : input;
  };
  const answers = watching?.logits(watching.features(seenBy(watching)));
  const scores = teacher && 'logits' in teacher ? teacher.logits : undefined;
  const targets: Targets = answers
    ? { labels: softmax(answers, { temperature }), write: () => undefined }
    : recordTargets(tape, loader, batchSize, model.config.numClasses, scores, recipe);
  const { labels } = targets;
  const learningRate = tape.input('learning rate', [1]);
  const dropoutSeed = tape.input('dropout seed', [2], 'u32');
  const logits = model.logits(model.features(seenBy(model), { training: true, seed: dropoutSeed }));
  const loss = recordDescent(model, { logits, labels, learningRate }, momenta, descentOf(recipe, teacher));
  const program = await Program.build(model.device, tape, { name: 'training', outputs: [loss] });
  return {
    program,
    learningRate,
    loss,
    dropoutSeed,
    async prepare(indices, epoch) {
      const batch = await loader.batch(
        indices,
        (image, index) => trainingCropOf(image, model, recipe, epoch, index),
        inputSize,
        await augmentOf(recipe, epoch),
      );
      const size = model.config.inputSize;
      const mixing = drawMixing(recipe, size, derive(recipe.seed, 'mix', epoch, indices[0]));
      return () => {
        writeRegions(program, { levels, crops }, batch.regions);
        if (mixing) mixer?.write(program, mixing, size);
        targets.write(program, indices, mixing);
      };
    },
  };
}

/** The last layer alone, on features computed once. */
async function linearStep(
  model: Model,
  loader: Loader,
  momenta: ReadonlyMap<string, Parameter>,
  batchSize: number,
  { recipe, teacher, signal, features: known }: TrainOptions,
): Promise<TrainingStep> {
  const all = known ?? (await infer(model, loader, { signal })).features;
  // Nothing is random here: a teacher says the same of an image every time.
  const scores =
    teacher && ('logits' in teacher ? teacher.logits : (await infer(teacher.model, loader, { signal })).logits);
  const d = model.featureDimension;
  if (all.length !== loader.dataset.length * d) {
    throw new InputError(
      `${loader.dataset.path}: ${all.length} feature values for ${loader.dataset.length} images of ${d}`,
    );
  }
  const tape = new Tape(model.device, { precision: 'f32' });
  const features = tape.input('features', [batchSize, d]);
  const targets = recordTargets(tape, loader, batchSize, model.config.numClasses, scores, recipe);
  const { labels } = targets;
  const learningRate = tape.input('learning rate', [1]);
  const loss = recordDescent(
    model,
    { logits: model.logits(features), labels, learningRate },
    momenta,
    descentOf(recipe, teacher),
  );
  const program = await Program.build(model.device, tape, { name: 'training', outputs: [loss] });
  const rows = new Float32Array(batchSize * d);
  return {
    program,
    learningRate,
    loss,
    prepare: async (indices) => () => {
      indices.forEach((index, row) => {
        rows.set(all.subarray(index * d, (index + 1) * d), row * d);
      });
      program.write(features, rows);
      targets.write(program, indices);
    },
  };
}

/** A temperature is a teacher's: smoothed and mixed labels are probabilities too, and have none. */
const descentOf = (recipe: Recipe, teacher: Teacher | undefined): Recipe =>
  teacher ? recipe : { ...recipe, temperature: 1 };

/**
 * Records cross-entropy of logits [N, K] against `labels`, u32 [N], or a teacher's probabilities, f32 [N, K]; the gradients of the
 * parameters that have a momentum; and a step of SGD for each. Returns the loss [1]. At a temperature T the logits are divided by it, as
 * the teacher's were, and the loss is multiplied by T², which keeps gradients about as large (Hinton et al. 2015, section 2). With `clipNorm`, gradients that are
 * longer together are shortened (`torch.nn.utils.clip_grad_norm_`).
 */
export function recordDescent(
  model: Model,
  { logits, labels, learningRate }: Readonly<Record<'logits' | 'labels' | 'learningRate', Tensor>>,
  momenta: ReadonlyMap<string, Parameter>,
  recipe: Pick<Recipe, 'momentum' | 'weightDecay' | 'nesterov'> & Partial<Pick<Recipe, 'temperature' | 'clipNorm'>>,
): Tensor {
  const { tape } = logits;
  const { momentum, weightDecay, nesterov, clipNorm } = recipe;
  const temperature = labels.dtype === 'f32' ? (recipe.temperature ?? 1) : 1;
  const loss = scale(softmaxCrossEntropy(scale(logits, 1 / temperature), labels), temperature ** 2);
  const parameters = model.trainable().filter(({ spec }) => momenta.has(spec.name));
  const weights = parameters.flatMap(({ spec, parts }) =>
    parts.map((part, index) => ({
      name: spec.name,
      parameter: tape.variable(part),
      momentum: tape.variable(momenta.get(spec.name)!.parts[index]),
    })),
  );
  const gradients = backward(
    loss,
    weights.map(({ parameter }) => parameter),
  );
  const gradientScale = clipNorm === undefined ? undefined : clipScale(gradients, clipNorm);
  weights.forEach(({ name, ...tensors }, index) => {
    tape.scope(name, () =>
      sgd({ ...tensors, gradient: gradients[index], learningRate, gradientScale }, { momentum, weightDecay, nesterov }),
    );
  });
  return loss;
}

/** A zeroed momentum for each parameter that is trained, or the values given, as PyTorch has them. */
export async function createMomenta(
  model: Model,
  freezeFeatures: boolean,
  values?: ReadonlyMap<string, Float32Array>,
): Promise<Map<string, Parameter>> {
  const momenta = new Map<string, Parameter>();
  try {
    for (const { spec } of model.trainable(freezeFeatures)) {
      const name = `${spec.name} momentum`;
      momenta.set(spec.name, await Parameter.create(model.device, spec, values?.get(spec.name), name));
    }
    return momenta;
  } catch (error) {
    for (const momentum of momenta.values()) momentum.destroy();
    throw error;
  }
}
