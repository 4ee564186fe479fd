/** The flags of recipes. What they may be follows from the recipes' schemas. */

import * as v from 'valibot';
import { UsageError } from '../../errors.ts';
import { positiveCount } from '../../formats/fields.ts';
import { defaultMarkingRecipe, type MarkingRecipe, MarkingRecipeSchema } from '../../marking/recipe.ts';
import { type Recipe, TrainingRecipeSchema } from '../../training/recipe.ts';
import { numberOption, type Values } from './command.ts';
import { numberList } from './inputs.ts';

const { entries: marking } = MarkingRecipeSchema;
const { entries: training } = TrainingRecipeSchema;
const defaults = defaultMarkingRecipe(28);

export const DEFAULT_RADIUS = defaults.radiusLevels;

/** How far images are marked. A radius of less than a level would be rounded away. */
export const radiusOption = numberOption(marking.radiusLevels, {
  value: 'R',
  default: DEFAULT_RADIUS,
  minimum: 1,
  description: 'largest change of a pixel, in 8-bit levels',
});

/** How images are marked, besides the radius. */
export const recipeOptions = {
  iterations: numberOption(marking.iterations, {
    description:
      'gradient steps an image; default 90 for photographs, 60 for images up to 64 pixels, 10 for the network frequencies',
  }),
  lr: numberOption(marking.learningRate, {
    description: `step size, in normalised pixel units; default ${defaults.learningRate}, for frequencies what fits it`,
  }),
  lambdaFeatures: numberOption(marking.lambdaFeatures, {
    description: `weight of the features' whole change; default ${defaults.lambdaFeatures}, for frequencies what fits it`,
  }),
  lambdaImage: numberOption(marking.lambdaImage, {
    description: `weight of the image's change; default ${defaults.lambdaImage}, for frequencies what fits it`,
  }),
  cropScale: {
    type: 'string',
    value: 'MIN,MAX',
    description:
      'area of the random crops it must survive, or none; default 0.08,1 for photographs, none for images up to 64 pixels',
  },
  vanillaCrop: {
    type: 'string',
    value: 'KIND',
    choices: marking.vanillaCrop.options,
    default: 'same',
    description: "what the original's features are taken of; evaluation is the authors' way",
  },
  seed: numberOption(marking.seed, {
    default: 0,
    description: 'of the crops, and of the images that preview takes; which images are marked the key decides',
  }),
} as const;

/** How probes are marked. What is not given is as the key fixes it, or else the default. */
export const probeRecipeOptions = {
  radius: numberOption(marking.radiusLevels, {
    value: 'R',
    minimum: 1,
    description: `largest change of a pixel of a probe, in 8-bit levels; default ${DEFAULT_RADIUS}, or the key's`,
  }),
  iterations: numberOption(marking.iterations, {
    description: "gradient steps a probe image; default 30, or the key's",
  }),
  lr: numberOption(marking.learningRate, { description: 'step size, in normalised pixel units' }),
  lambdaFeatures: numberOption(marking.lambdaFeatures, { description: "weight of the features' whole change" }),
  lambdaImage: numberOption(marking.lambdaImage, { description: "weight of the image's change" }),
  seed: numberOption(marking.seed, { description: 'of the choice of the probe images' }),
} as const;

/** How a network is trained. What is not given is the default of the setting. */
export const trainingOptions = {
  epochs: numberOption(training.epochs, {
    description: 'default 10 for images up to 64 pixels, else 90, or 30 with --init; 30 with --freeze-features',
  }),
  batchSize: numberOption(training.batchSize, { minimum: 2, description: 'default 128' }),
  lr: numberOption(training.learningRate, {
    minimum: 0,
    description: 'peak learning rate; default 0.1, or 0.01 with --init',
  }),
  weightDecay: numberOption(training.weightDecay, {
    description: 'default 5e-4 for images up to 64 pixels, else 1e-4',
  }),
  seed: numberOption(training.seed, { default: 0, description: 'of the initial weights, the order and the crops' }),
  temperature: numberOption(training.temperature, {
    value: 'T',
    minimum: 0.01,
    description: "divides the teacher's logits and those that learn them; default 1",
  }),
  cropScale: {
    type: 'string',
    value: 'MIN,MAX',
    description:
      'area of the random crops of training images, or none; default 0.7,1 for images up to 64 pixels, else 0.08,1',
  },
  cropRatio: {
    type: 'string',
    value: 'MIN,MAX',
    description: 'with --crop-scale: width over height of the crops; default 3/4 to 4/3',
  },
  padCrop: numberOption(positiveCount, {
    value: 'PIXELS',
    description: 'in place of those crops: the whole image, moved by up to so many pixels, black beyond its edges',
  }),
  noFlip: { type: 'flag', description: 'do not mirror every other crop' },
  randAugment: {
    type: 'string',
    value: 'N,M',
    description: 'N random operations of magnitude M (0 to 30) on each crop (RandAugment; usual: 2,9)',
  },
  trivialAugment: { type: 'flag', description: 'one random operation on each crop (TrivialAugment, wide)' },
  mixup: numberOption(training.mixup.wrapped, {
    value: 'ALPHA',
    minimum: 0.001,
    description: 'mix the images of a batch with each other, by shares from Beta(ALPHA, ALPHA)',
  }),
  cutmix: numberOption(training.cutmix.wrapped, {
    value: 'ALPHA',
    minimum: 0.001,
    description: 'put a rectangle of another image into each; with --mixup, one of the two is drawn for each batch',
  }),
  labelSmoothing: numberOption(training.labelSmoothing.wrapped, {
    maximum: 0.999,
    description: 'share of each label that is spread over all classes',
  }),
  ema: numberOption(training.ema.wrapped, {
    value: 'DECAY',
    minimum: 0.001,
    maximum: 0.999999,
    description: 'save and measure a moving average of the weights, of which each step keeps DECAY',
  }),
  clipNorm: numberOption(training.clipNorm.wrapped, {
    minimum: 0.000001,
    description: 'shorten gradients that are longer together than this (L2)',
  }),
} as const;

/** Flags that a recipe does not have under their names: together they say its crops and operations. */
const COMPOSED = ['cropScale', 'cropRatio', 'padCrop', 'noFlip', 'randAugment', 'trivialAugment'];

/** Fields whose flags have other names. */
const FIELD_OF: Readonly<Record<string, string>> = { radius: 'radiusLevels', lr: 'learningRate' };

/** The fields of a recipe that the flags of a table give. */
function given<T extends object>(table: T, options: { readonly [Flag in keyof T]?: unknown }): Record<string, unknown> {
  return Object.fromEntries(
    Object.keys(table).flatMap((flag) => {
      const value = options[flag as keyof T];
      return value === undefined || COMPOSED.includes(flag) ? [] : [[FIELD_OF[flag] ?? flag, value]];
    }),
  );
}

/** Values of `recipeOptions` as the library takes them: what differs from the recipe that goes with a network. */
export function markingRecipe(options: Values<typeof recipeOptions>): Partial<MarkingRecipe> {
  const { cropScale } = options;
  return { ...given(recipeOptions, options), ...(cropScale !== undefined && { crop: cropOf(cropScale) }) };
}

function cropOf(cropScale: string): MarkingRecipe['crop'] {
  if (cropScale === 'none') return null;
  const [smallest, largest = 1] = numberList('--crop-scale', cropScale);
  return { scale: [smallest, largest], ratio: [3 / 4, 4 / 3], flip: true };
}

/** Values of `probeRecipeOptions` as the library takes them: what differs from the recipe that the key fixes, or the default. */
export function probeRecipe(options: Values<typeof probeRecipeOptions>): Partial<MarkingRecipe> {
  return given(probeRecipeOptions, options);
}

/** Values of `trainingOptions` as the library takes them. */
export function trainingRecipe(options: Values<typeof trainingOptions>): Partial<Recipe> {
  const { randAugment, trivialAugment } = options;
  const crop = trainingCropOf(options);
  if (randAugment !== undefined && trivialAugment)
    throw new UsageError('--rand-augment and --trivial-augment exclude each other');
  return {
    ...given(trainingOptions, options),
    ...(crop !== undefined && { crop }),
    ...(randAugment !== undefined && { randAugment: randAugmentOf(randAugment) }),
    ...(trivialAugment && { trivialAugment }),
  };
}

/** The crops that flags ask for; undefined where none does. */
function trainingCropOf(options: Values<typeof trainingOptions>): Recipe['crop'] | undefined {
  const { cropScale, cropRatio, padCrop, noFlip } = options;
  const cropped = cropScale !== undefined && cropScale !== 'none';
  if (cropRatio !== undefined && !cropped) throw new UsageError('--crop-ratio goes with --crop-scale');
  if (noFlip && !cropped && padCrop === undefined)
    throw new UsageError('--no-flip goes with --crop-scale or --pad-crop');
  if (padCrop !== undefined) {
    if (cropScale !== undefined) throw new UsageError('--pad-crop and --crop-scale exclude each other');
    return { padding: padCrop, flip: !noFlip };
  }
  if (!cropped) return cropScale === undefined ? undefined : null;
  const [smallest, largest = 1] = numberList('--crop-scale', cropScale);
  const [narrowest, widest = narrowest] = numberList('--crop-ratio', cropRatio ?? '0.75,1.3333333333333333');
  const crop = { scale: [smallest, largest], ratio: [narrowest, widest], flip: !noFlip } as const;
  if (v.is(training.crop, crop) && largest <= 1) return crop;
  throw new UsageError(
    `--crop-scale ${cropScale}${cropRatio === undefined ? '' : ` --crop-ratio ${cropRatio}`}: must be two numbers each, the smaller first; scales are above 0 and at most 1`,
  );
}

function randAugmentOf(text: string): NonNullable<Recipe['randAugment']> {
  const [operations, magnitude = 9] = numberList('--rand-augment', text);
  const found = { operations, magnitude };
  if (v.is(training.randAugment, found)) return found;
  throw new UsageError(`--rand-augment ${text}: must be how many operations, and a whole magnitude from 0 to 30`);
}
