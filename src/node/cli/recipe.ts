import { defaultMarkingRecipe, type MarkingRecipe, markingRecipeFor } from '../../marking/marker.ts';
import type { NetworkConfig } from '../../nn/networks.ts';
import type { Values } from './command.ts';
import { numberList } from './inputs.ts';

const defaults = defaultMarkingRecipe(28);

export const DEFAULT_RADIUS = defaults.radiusLevels;

/** Why marking may change nothing, and what helps. */
export const UNCHANGED =
  'steps that small are lost in rounding to whole levels; with radioactive preview, find a larger --lr, and a smaller --lambda-image, which holds the image back';

/** How images are marked, besides the radius. */
export const recipeOptions = {
  iterations: {
    type: 'integer',
    value: 'N',
    minimum: 1,
    description:
      'gradient steps an image; default 90 for photographs, 60 for images up to 64 pixels, 10 for the network frequencies',
  },
  lr: {
    type: 'number',
    value: 'X',
    minimum: 0,
    description: `step size, in normalised pixel units; default ${defaults.learningRate}, for frequencies what fits it`,
  },
  lambdaFeatures: {
    type: 'number',
    value: 'X',
    minimum: 0,
    description: `weight of the features' whole change; default ${defaults.lambdaFeatures}, for frequencies what fits it`,
  },
  lambdaImage: {
    type: 'number',
    value: 'X',
    minimum: 0,
    description: `weight of the image's change; default ${defaults.lambdaImage}, for frequencies what fits it`,
  },
  cropScale: {
    type: 'string',
    value: 'MIN,MAX',
    description:
      'area of the random crops it must survive, or none; default 0.08,1 for photographs, none for images up to 64 pixels',
  },
  vanillaCrop: {
    type: 'string',
    value: 'KIND',
    choices: ['same', 'evaluation'],
    default: 'same',
    description: "what the original's features are taken of; evaluation is the authors' way",
  },
  seed: {
    type: 'integer',
    value: 'N',
    default: 0,
    minimum: 0,
    description: 'of the crops, and of the images that preview takes; which images are marked the key decides',
  },
} as const;

/** Values of `recipeOptions` as the library takes them, with the default radius. */
export function markingRecipe(
  options: {
    readonly iterations: number | undefined;
    readonly lr: number | undefined;
    readonly lambdaFeatures: number | undefined;
    readonly lambdaImage: number | undefined;
    readonly cropScale: string | undefined;
    readonly vanillaCrop: 'same' | 'evaluation';
    readonly seed: number;
  },
  config: NetworkConfig,
): MarkingRecipe {
  const base = markingRecipeFor(config);
  const { cropScale } = options;
  const [smallest, largest = 1] = cropScale && cropScale !== 'none' ? numberList('--crop-scale', cropScale) : [];
  const ratio = [3 / 4, 4 / 3] as const;
  return {
    ...base,
    iterations: options.iterations ?? base.iterations,
    learningRate: options.lr ?? base.learningRate,
    lambdaFeatures: options.lambdaFeatures ?? base.lambdaFeatures,
    lambdaImage: options.lambdaImage ?? base.lambdaImage,
    crop:
      smallest === undefined
        ? cropScale === 'none'
          ? null
          : base.crop
        : { scale: [smallest, largest], ratio, flip: true },
    vanillaCrop: options.vanillaCrop,
    seed: options.seed,
  };
}

/** How probes are marked. What is not given is as the key fixes it, or else the default. */
export const probeRecipeOptions = {
  radius: {
    type: 'number',
    value: 'R',
    minimum: 1,
    maximum: 255,
    description: `largest change of a pixel of a probe, in 8-bit levels; default ${DEFAULT_RADIUS}, or the key's`,
  },
  iterations: {
    type: 'integer',
    value: 'N',
    minimum: 1,
    description: "gradient steps a probe image; default 30, or the key's",
  },
  lr: { type: 'number', value: 'X', minimum: 0, description: 'step size, in normalised pixel units' },
  lambdaFeatures: { type: 'number', value: 'X', minimum: 0, description: "weight of the features' whole change" },
  lambdaImage: { type: 'number', value: 'X', minimum: 0, description: "weight of the image's change" },
  seed: { type: 'integer', value: 'N', minimum: 0, description: 'of the choice of the probe images' },
} as const;

/** Values of `probeRecipeOptions` over a recipe. */
export function probeRecipe(options: Values<typeof probeRecipeOptions>, base: MarkingRecipe): MarkingRecipe {
  return {
    ...base,
    radiusLevels: options.radius ?? base.radiusLevels,
    iterations: options.iterations ?? base.iterations,
    learningRate: options.lr ?? base.learningRate,
    lambdaFeatures: options.lambdaFeatures ?? base.lambdaFeatures,
    lambdaImage: options.lambdaImage ?? base.lambdaImage,
    seed: options.seed ?? base.seed,
  };
}
