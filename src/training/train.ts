import { ahead, type Loader } from '../datasets/loader.ts';
import { InputError } from '../errors.ts';
import { randomCrop } from '../images/crop.ts';
import { regionPixels } from '../images/region.ts';
import { evaluationCrop, infer, networkInput, type OnProgress, writeRegions } from '../nn/inference.ts';
import type { Model } from '../nn/model.ts';
import { Parameter } from '../nn/parameter.ts';
import { derive } from '../random.ts';
import { backward } from '../shaders/backward.ts';
import { scale } from '../shaders/scale/scale.ts';
import { sgd } from '../shaders/sgd/sgd.ts';
import { softmax } from '../shaders/softmax/softmax.ts';
import { softmaxCrossEntropy } from '../shaders/softmax_cross_entropy/softmax_cross_entropy.ts';
import { Program } from '../tensor/program.ts';
import { Tape } from '../tensor/tape.ts';
import type { Tensor } from '../tensor/tensor.ts';
import { learningRateAt, type Recipe } from './recipe.ts';

/** Where a run is: with the weights and momenta, all that is needed to go on. */
export interface TrainingState {
  /** Steps done. */
  readonly step: number;
  /** Mean loss of each finished epoch. */
  readonly epochLosses: readonly number[];
  /** Losses of the epoch under way. */
  readonly losses: readonly number[];
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
  /** State to go on from; `momenta` by parameter name. */
  readonly resume?: { readonly state: TrainingState; readonly momenta: ReadonlyMap<string, Float32Array> };
  /** Called every `checkpointSteps` steps, and before ending because of the signal, with what `resume` takes, after the weights of this moment can be read from the model. */
  readonly onCheckpoint?: (state: TrainingState, momenta: ReadonlyMap<string, Float32Array>) => Promise<void>;
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
 * Trains a model in place by SGD with momentum (docs/method.md, 3), on labels or on what a teacher says. Order and crops are functions of the seed,
 * the epoch and the image, so a run that was interrupted ends with the same bits as one that was not.
 * Throws InputError when the loss stops being finite.
 */
export async function train(model: Model, loader: Loader, options: TrainOptions): Promise<TrainingState> {
  const { recipe, signal } = options;
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
  try {
    step = recipe.freezeFeatures
      ? await linearStep(model, loader, momenta, batchSize, options)
      : await fullStep(model, loader, momenta, batchSize, options);

    let losses = [...(options.resume?.state.losses ?? [])];
    const epochLosses = [...(options.resume?.state.epochLosses ?? [])];
    const first = options.resume?.state.step ?? 0;
    const checkpoint = async (done: number): Promise<void> =>
      options.onCheckpoint?.({ step: done, epochLosses, losses }, await readAll(momenta));
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
    return { step: total, epochLosses, losses };
  } finally {
    step?.program.destroy();
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
  write(program: Program, batch: readonly number[]): void;
}

/** The labels; or probabilities that logits [N, K] of all images stand for. */
function recordTargets(
  tape: Tape,
  { dataset }: Loader,
  batchSize: number,
  logits: Float32Array | undefined,
  temperature: number,
): Targets {
  if (!logits) {
    const labels = tape.input('labels', [batchSize], 'u32');
    const of = (index: number): number => dataset.labels[index];
    return { labels, write: (program, batch) => program.write(labels, Uint32Array.from(batch, of)) };
  }
  const K = logits.length / dataset.length;
  const scores = tape.input('scores', [batchSize, K]);
  const rows = new Float32Array(batchSize * K);
  return {
    labels: softmax(scores, { temperature }),
    write: (program, batch) => {
      batch.forEach((index, row) => {
        rows.set(logits.subarray(index * K, (index + 1) * K), row * K);
      });
      program.write(scores, rows);
    },
  };
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
  const answers = watching?.logits(watching.features(networkInput(watching, levels, crops)));
  const targets: Targets = answers
    ? { labels: softmax(answers, { temperature }), write: () => undefined }
    : recordTargets(tape, loader, batchSize, teacher && 'logits' in teacher ? teacher.logits : undefined, temperature);
  const { labels } = targets;
  const learningRate = tape.input('learning rate', [1]);
  const dropoutSeed = tape.input('dropout seed', [2], 'u32');
  const input = networkInput(model, levels, crops);
  const logits = model.logits(model.features(input, { training: true, seed: dropoutSeed }));
  const loss = recordDescent(model, { logits, labels, learningRate }, momenta, recipe);
  const program = await Program.build(model.device, tape, { name: 'training', outputs: [loss] });
  return {
    program,
    learningRate,
    loss,
    dropoutSeed,
    async prepare(indices, epoch) {
      const { crop, seed } = recipe;
      const batch = await loader.batch(
        indices,
        (image, index) =>
          crop
            ? randomCrop(image.height, image.width, crop, derive(seed, 'crop', epoch, index))
            : evaluationCrop(image, model.config),
        inputSize,
      );
      return () => {
        writeRegions(program, { levels, crops }, batch.regions);
        targets.write(program, indices);
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
  const targets = recordTargets(tape, loader, batchSize, scores, recipe.temperature);
  const { labels } = targets;
  const learningRate = tape.input('learning rate', [1]);
  const loss = recordDescent(model, { logits: model.logits(features), labels, learningRate }, momenta, recipe);
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

/**
 * Records cross-entropy of logits [N, K] against `labels`, u32 [N], or a teacher's probabilities, f32 [N, K]; the gradients of the
 * parameters that have a momentum; and a step of SGD for each. Returns the loss [1]. At a temperature T the logits are divided by it, as
 * the teacher's were, and the loss is multiplied by T², which keeps gradients about as large (Hinton et al. 2015, section 2).
 */
export function recordDescent(
  model: Model,
  { logits, labels, learningRate }: Readonly<Record<'logits' | 'labels' | 'learningRate', Tensor>>,
  momenta: ReadonlyMap<string, Parameter>,
  recipe: Pick<Recipe, 'momentum' | 'weightDecay' | 'nesterov'> & Partial<Pick<Recipe, 'temperature'>>,
): Tensor {
  const { tape } = logits;
  const { momentum, weightDecay, nesterov } = recipe;
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
  weights.forEach(({ name, ...tensors }, index) => {
    tape.scope(name, () =>
      sgd({ ...tensors, gradient: gradients[index], learningRate }, { momentum, weightDecay, nesterov }),
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
