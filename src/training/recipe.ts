import * as v from 'valibot';
import { count, notNegative, positive, positiveCount, randomCrop } from '../formats/fields.ts';
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
  /** Random crops of the training images; null: the evaluation crop. */
  crop: v.nullable(randomCrop),
  seed: count,
  /** Train the last layer only, on features computed once (the paper's linear setting). */
  freezeFeatures: v.boolean(),
  /** Begin the last layer anew where weights are given; always so where features are frozen or the classes are not as many. */
  newLastLayer: v.boolean(),
  /** Of a teacher's outputs, and of the network's that learn them: the higher, the softer. Nothing without a teacher. */
  temperature: positive,
});

/** Everything that decides a training run besides the data and the initial weights. */
export interface Recipe extends Readonly<v.InferOutput<typeof TrainingRecipeSchema>> {}

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
