import * as v from 'valibot';
import { InputError } from '../errors.ts';
import { count, notNegative, positive, positiveCount, trainingCrop } from '../formats/fields.ts';
import { MAGNITUDE_BINS } from '../images/magnitudes.ts';
import type { NetworkConfig } from '../nn/networks.ts';

/** The one place that says which fields a training recipe has: the configuration of experiments and the flags follow from it. */
export const TrainingRecipeSchema = v.strictObject({
  epochs: positiveCount,
  batchSize: positiveCount,
  /** Peak learning rate: reached after the warm-up, then following half a cosine down to 0. */
  learningRate: positive,
  warmupEpochs: notNegative,
  momentum: notNegative,
  weightDecay: notNegative,
  nesterov: v.boolean(),
  /**
   * Random crops of the training images, resized (torchvision's RandomResizedCrop), or with a `padding` moved beyond the edges (RandomCrop);
   * null: the evaluation crop.
   */
  crop: v.nullable(trainingCrop),
  seed: count,
  /** Train the last layer only, on features computed once (the paper's linear setting). */
  freezeFeatures: v.boolean(),
  /** Begin the last layer anew where weights are given; always so where features are frozen or the classes are not as many. */
  newLastLayer: v.boolean(),
  /** Of a teacher's outputs, and of the network's that learn them: the higher, the softer. Nothing without a teacher. */
  temperature: positive,
  /** What is done to each crop: so many random operations of one magnitude. */
  randAugment: v.exactOptional(
    v.strictObject({ operations: positiveCount, magnitude: v.pipe(count, v.maxValue(MAGNITUDE_BINS - 1)) }),
  ),
  /** What is done to each crop: one random operation of any magnitude (TrivialAugmentWide). */
  trivialAugment: v.exactOptional(v.boolean()),
  /** Mixup: images and labels of a batch are mixed by a share from Beta(α, α). With `cutmix` besides, one of them is drawn for each batch. */
  mixup: v.exactOptional(positive),
  /** CutMix: a rectangle of every image is another's; its share of the area follows from one from Beta(α, α). */
  cutmix: v.exactOptional(positive),
  /** Share of each label that is spread over all classes. */
  labelSmoothing: v.exactOptional(v.pipe(notNegative, v.ltValue(1, 'expected less than 1'))),
  /** Share of the moving average of weights and running statistics that each step keeps; that average is what a run ends with. */
  ema: v.exactOptional(v.pipe(positive, v.ltValue(1, 'expected less than 1'))),
  /** Longest that all gradients together may be, in the L2 norm; longer ones are shortened. */
  clipNorm: v.exactOptional(positive),
});

/** Everything that decides a training run besides the data and the initial weights. */
export interface Recipe extends Readonly<v.InferOutput<typeof TrainingRecipeSchema>> {}

/** What changes the images or mixes them, which frozen features cannot follow. */
const OF_IMAGES = ['crop', 'randAugment', 'trivialAugment', 'mixup', 'cutmix'] as const;

/** What of a recipe contradicts itself, as a phrase for messages; undefined where nothing does. */
export function recipeProblem(recipe: Partial<Recipe>): string | undefined {
  const changed = OF_IMAGES.find((field) => recipe[field]);
  if (recipe.freezeFeatures && changed) return `${changed} changes images, and frozen features are computed once`;
  if (recipe.randAugment && recipe.trivialAugment) return 'randAugment and trivialAugment exclude each other';
  return undefined;
}

/** Throws InputError for a recipe that contradicts itself. */
export function checkRecipe(recipe: Partial<Recipe>): void {
  const problem = recipeProblem(recipe);
  if (problem) throw new InputError(`recipe: ${problem}; leave one out`);
}

/** How a network comes about: a new last layer on features that stay, everything from fresh weights, or from weights that are there. */
export type Setting = 'linear' | 'from scratch' | 'fine-tuning';

/** Defaults for a setting. */
export function defaultRecipe(config: NetworkConfig, setting: Setting): Recipe {
  const common = {
    momentum: 0.9,
    nesterov: false,
    seed: 0,
    freezeFeatures: setting === 'linear',
    newLastLayer: setting === 'linear',
    temperature: 1,
  };
  if (setting === 'linear') {
    return { ...common, epochs: 30, batchSize: 128, learningRate: 0.1, warmupEpochs: 0, weightDecay: 1e-4, crop: null };
  }
  const small = config.inputSize <= 64;
  const scratch = setting === 'from scratch';
  return {
    ...common,
    epochs: small ? 10 : scratch ? 90 : 30,
    batchSize: 128,
    learningRate: scratch ? 0.1 : 0.01,
    warmupEpochs: 1,
    weightDecay: small ? 5e-4 : 1e-4,
    crop: { scale: small ? [0.7, 1] : [0.08, 1], ratio: small ? [7 / 8, 8 / 7] : [3 / 4, 4 / 3], flip: true },
  };
}

/** The learning rate of a step: linear warm-up, then half a cosine to 0. */
export function learningRateAt(step: number, stepsPerEpoch: number, recipe: Recipe): number {
  const warmup = recipe.warmupEpochs * stepsPerEpoch;
  if (step < warmup) return (recipe.learningRate * (step + 1)) / warmup;
  const total = recipe.epochs * stepsPerEpoch;
  return recipe.learningRate * 0.5 * (1 + Math.cos((Math.PI * (step - warmup)) / Math.max(1, total - warmup)));
}
