/**
 * How images are marked. The schema is the one place that says which fields a recipe has and what they may be: a key's field, the
 * configuration of experiments and the flags of the command line follow from it.
 */

import * as v from 'valibot';
import { count, notNegative, positiveCount, randomCrop } from '../formats/fields.ts';
import type { NetworkConfig } from '../nn/networks.ts';
import { survivals } from './transformation.ts';

export const MarkingRecipeSchema = v.strictObject({
  /** L∞ bound of the mark, in 8-bit levels. */
  radiusLevels: v.pipe(notNegative, v.maxValue(255, 'expected 255 or less')),
  iterations: positiveCount,
  /** Step of the gradient descent, in normalised pixel units ((x/255 − mean)/std). */
  learningRate: notNegative,
  /** Weight of ‖φ(x̃) − φ(x)‖. */
  lambdaFeatures: notNegative,
  /** Weight of ‖x̃ − x‖², in normalised pixel units. */
  lambdaImage: notNegative,
  /** Iterations between roundings to whole levels; the last iteration always rounds. */
  roundEvery: positiveCount,
  /** Random crops, a fresh one an image and iteration; null: the crop that evaluation uses. */
  crop: v.nullable(randomCrop),
  /** What φ(x) is taken of: the same crop as φ(x̃), or the evaluation crop, as the authors' code does. */
  vanillaCrop: v.picklist(['same', 'evaluation']),
  seed: count,
  /** Finds the mark of an image that is saved as a JPEG file through that encoding; absent: as if it were saved without loss. */
  throughEncoding: v.exactOptional(v.boolean()),
  /**
   * What happens to published images that marks are to survive, like `jpeg:75` and `resize:224`: iterations take turns with each of them
   * and with none. φ(x) is then taken of the original after the same. Absent: nothing.
   */
  survive: v.exactOptional(survivals),
});

/** How images are marked ("Radioactive data", section 3; docs/method.md, 2). */
export interface MarkingRecipe extends Readonly<v.InferOutput<typeof MarkingRecipeSchema>> {}

/** The published recipe; for small images without random crops, which cost power there and protect against nothing used. */
export function defaultMarkingRecipe(inputSize: number): MarkingRecipe {
  return {
    radiusLevels: 10,
    iterations: inputSize <= 64 ? 60 : 90,
    learningRate: 1,
    lambdaFeatures: 0.01,
    lambdaImage: 0.0005,
    roundEvery: 10,
    crop: inputSize <= 64 ? null : { scale: [0.08, 1], ratio: [3 / 4, 4 / 3], flip: true },
    vanillaCrop: 'same',
    seed: 0,
  };
}

/** A recipe as plain values, for manifests, keys' options and reports. */
export function recipeRecord({ crop, survive, ...rest }: MarkingRecipe): Record<string, string | number | boolean> {
  return {
    ...rest,
    ...(survive && { survive: survive.join() }),
    crop: crop ? `scale ${crop.scale.join('-')} ratio ${crop.ratio.join('-')}${crop.flip ? ' flip' : ''}` : 'none',
  };
}

const CROP_TEXT = /^scale ([\d.e-]+)-([\d.e-]+) ratio ([\d.e-]+)-([\d.e-]+)( flip)?$/;

/** The recipe that {@link recipeRecord} wrote, among other values; undefined where there is none. */
export function recipeOfRecord(record: Readonly<Record<string, unknown>>): MarkingRecipe | undefined {
  const { crop } = record;
  const parts = typeof crop === 'string' ? CROP_TEXT.exec(crop) : null;
  if (crop !== 'none' && !parts) return undefined;
  const [, ...bounds] = parts?.map(Number) ?? [];
  const fields = Object.keys(MarkingRecipeSchema.entries).filter((name) => record[name] !== undefined);
  const { survive } = record;
  const found = v.safeParse(MarkingRecipeSchema, {
    ...Object.fromEntries(fields.map((name) => [name, record[name]])),
    ...(typeof survive === 'string' && { survive: survive.split(',') }),
    crop: parts && { scale: [bounds[0], bounds[1]], ratio: [bounds[2], bounds[3]], flip: parts[5] !== undefined },
  });
  return found.success ? found.output : undefined;
}

/** The same mark so many times as strong: radius and step times the amplitude, the weight that holds the image back divided by it. */
export const amplify = (recipe: MarkingRecipe, amplitude: number): MarkingRecipe => ({
  ...recipe,
  radiusLevels: Math.min(255, recipe.radiusLevels * amplitude),
  learningRate: recipe.learningRate * amplitude,
  lambdaImage: recipe.lambdaImage / amplitude,
});

/** RMS of a mark along a pattern of the network `frequencies` where nothing cuts it off, in 8-bit levels. */
const PATTERN_LEVELS = 10;

/**
 * How images are marked with a network: the recipe above, but for `frequencies`. There the features are linear, the loss has its
 * minimum at the pattern times 1/(2 λ_img), and a mark is within 1 % of it after 10 iterations at a learning rate of 1/(4 λ_img).
 */
export function markingRecipeFor(
  config: Pick<NetworkConfig, 'architecture' | 'inputSize' | 'channels' | 'std'>,
): MarkingRecipe {
  const recipe = defaultMarkingRecipe(config.inputSize);
  if (config.architecture !== 'frequencies') return recipe;
  const meanStd = config.std.reduce((sum, std) => sum + std, 0) / config.std.length;
  const pixels = Math.sqrt(config.channels) * config.inputSize;
  const lambdaImage = (255 * meanStd) / (2 * PATTERN_LEVELS * pixels);
  return {
    ...recipe,
    iterations: 10,
    learningRate: 1 / (4 * lambdaImage),
    lambdaFeatures: 0,
    lambdaImage,
    crop: null,
  };
}
