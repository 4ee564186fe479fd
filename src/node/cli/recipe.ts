/** The flags of recipes. What they may be follows from the recipes' schemas. */

import * as v from 'valibot';
import { UsageError } from '../../errors.ts';
import {
  defaultMarkingRecipe,
  type MarkingRecipe,
  MarkingRecipeSchema,
  markingRecipeFor,
} from '../../marking/recipe.ts';
import { survivals, TRANSFORMATIONS } from '../../marking/transformation.ts';
import type { NetworkConfig } from '../../nn/networks.ts';
import { type Recipe, TrainingRecipeSchema } from '../../training/recipe.ts';
import { numberOption, type Values } from './command.ts';
import { numberList } from './inputs.ts';

const { entries: marking } = MarkingRecipeSchema;
const { entries: training } = TrainingRecipeSchema;
const defaults = defaultMarkingRecipe(28);

export const DEFAULT_RADIUS = defaults.radiusLevels;

/** Why marking may change nothing, and what helps. */
export const UNCHANGED =
  'steps that small are lost in rounding to whole levels; with radioactive preview, find a larger --lr, and a smaller --lambda-image, which holds the image back';

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
  jpeg: {
    type: 'string',
    value: 'HOW',
    choices: ['through', 'before'],
    default: 'through',
    description: 'marks of JPEG files are found through their encoding, or before it',
  },
  survive: {
    type: 'string',
    value: 'LIST',
    description: `what marks are to survive: some of ${TRANSFORMATIONS}, with commas between; each takes its turns in the iterations`,
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
} as const;

/** Fields whose flags have other names. */
const FIELD_OF: Readonly<Record<string, string>> = { radius: 'radiusLevels', lr: 'learningRate' };

/** The fields of a recipe that the flags of a table give. */
function given<T extends object>(table: T, options: { readonly [Flag in keyof T]?: unknown }): Record<string, unknown> {
  return Object.fromEntries(
    Object.keys(table).flatMap((flag) => {
      const value = options[flag as keyof T];
      return value === undefined || ['cropScale', 'jpeg', 'survive'].includes(flag)
        ? []
        : [[FIELD_OF[flag] ?? flag, value]];
    }),
  );
}

/** Values of `recipeOptions` as the library takes them, with the default radius. */
export function markingRecipe(options: Values<typeof recipeOptions>, config: NetworkConfig): MarkingRecipe {
  const base = markingRecipeFor(config);
  return {
    ...base,
    ...given(recipeOptions, options),
    crop: cropOf(options.cropScale, base.crop),
    ...(options.jpeg === 'through' && { throughEncoding: true }),
    ...(options.survive !== undefined && { survive: survivalsOf(options.survive) }),
  };
}

function survivalsOf(list: string): string[] {
  const parsed = v.safeParse(survivals, list.split(','));
  if (!parsed.success) throw new UsageError(`--survive ${list}: ${parsed.issues[0].message}`);
  return parsed.output;
}

function cropOf(cropScale: string | undefined, byDefault: MarkingRecipe['crop']): MarkingRecipe['crop'] {
  if (cropScale === undefined) return byDefault;
  if (cropScale === 'none') return null;
  const [smallest, largest = 1] = numberList('--crop-scale', cropScale);
  return { scale: [smallest, largest], ratio: [3 / 4, 4 / 3], flip: true };
}

/** Values of `probeRecipeOptions` over a recipe. */
export function probeRecipe(options: Values<typeof probeRecipeOptions>, base: MarkingRecipe): MarkingRecipe {
  return { ...base, ...given(probeRecipeOptions, options) };
}

/** Values of `trainingOptions` as the library takes them. */
export function trainingRecipe(options: Values<typeof trainingOptions>): Partial<Recipe> {
  return given(trainingOptions, options);
}
