import type { Dataset } from '../datasets/dataset.ts';
import { hashDataset } from '../datasets/hash.ts';
import type { Loader } from '../datasets/loader.ts';
import { InputError } from '../errors.ts';
import { type InferenceOptions, infer } from '../nn/inference.ts';
import type { Model } from '../nn/model.ts';
import type { ConfigOverrides } from '../nn/model_file.ts';
import { createKey, type HeldOutImages, type Key, type KeyOptions, keyBasis, type VanillaImages } from './key.ts';
import { classIrrelevantSubspace, subspaceDistance } from './subspace.ts';

/** Directions of the subspace: the most whose response a suspect still reproduces well (docs/method.md, 5). */
export const DEFAULT_SUBSPACE_DIMENSION = 32;
/** The same for the black-box test, which needs a response to single directions. */
export const BLACK_BOX_SUBSPACE_DIMENSION = 12;

/** What {@link keygen} makes a key from. */
export interface KeygenOptions extends InferenceOptions {
  /** In the order of the data's labels. */
  readonly classes: readonly string[];
  readonly model: Model;
  /** SHA-256 of the marking network's file. */
  readonly modelSha256: string;
  /** What is said of the network beside its file, with which it was opened: the key fixes that too. */
  readonly network?: ConfigOverrides;
  /** Draw the carriers in this many directions of the feature space, found on vanilla images; absent: in all of it. */
  readonly subspace?: { readonly dimension: number; readonly vanilla: Loader };
  /** The black-box test is the one that counts, with these options; absent: the white-box test. */
  readonly blackBox?: KeyOptions['blackBox'];
  /** The images to test on, see {@link HeldOutImages}; absent: left open. */
  readonly heldOut?: HeldOutImages | null | undefined;
  /** Randomness to come that the key waits for; absent: it has its carriers at once. */
  readonly beacon?: KeyOptions['beacon'];
}

/**
 * A new key: fixes the subspace first, from public vanilla data only, and draws the secret afterwards, so that the null
 * distribution is exact (docs/method.md, 5). Throws InputError where fewer directions are left than asked for.
 */
export async function keygen(options: KeygenOptions): Promise<Key> {
  const { classes, model, modelSha256, network = {}, subspace, blackBox, heldOut, beacon } = options;
  const basis = subspace
    ? await vanillaSubspace(model, subspace.vanilla, classes.length, subspace.dimension, options)
    : null;
  const { architecture } = model.config;
  return await createKey({
    classes,
    model: {
      sha256: modelSha256,
      architecture,
      featureDimension: model.featureDimension,
      ...(Object.keys(network).length > 0 && { network: network as NonNullable<Key['model']['network']> }),
    },
    basis,
    vanilla: subspace ? await vanillaImages(subspace.vanilla.dataset) : null,
    centre: true,
    blackBox,
    heldOut,
    beacon,
  });
}

/** The `dimension` directions that carriers are drawn in, found on vanilla images: [dimension, d], see `classIrrelevantSubspace`. */
export async function vanillaSubspace(
  model: Model,
  vanilla: Loader,
  classCount: number,
  dimension: number,
  options: InferenceOptions = {},
): Promise<Float64Array> {
  const { features } = await infer(model, vanilla, options);
  return classIrrelevantSubspace({
    features,
    labels: vanilla.dataset.labels,
    classCount,
    weight: await model.headWeight(),
    k: dimension,
  });
}

/** Vanilla images as a key names them. */
export async function vanillaImages(dataset: Dataset): Promise<VanillaImages> {
  const { length } = dataset;
  return { count: length, sha256: await hashDataset(dataset), first: dataset.id(0), last: dataset.id(length - 1) };
}

/**
 * Sines up to this count as the same subspace. Another adapter's rounding turns directions whose variances are nearly equal; within
 * that little there is nothing to gain, since carriers follow from the subspace's every bit.
 */
export const SAME_SUBSPACE = 0.05;

/** A key's subspace beside the one that its marking network and its vanilla images give. */
export interface RecomputedSubspace {
  /** Whether the images are those that the key names. */
  readonly sameImages: boolean;
  /** See `subspaceDistance`. */
  readonly sine: number;
  /** Both: the images are those, and the sine is at most {@link SAME_SUBSPACE}. */
  readonly same: boolean;
}

/**
 * Computes a key's subspace again, with its marking network from the vanilla images that it names.
 * @throws InputError if the key has no subspace or does not name its images, or as {@link vanillaSubspace} does
 */
export async function recomputeSubspace(
  key: Key,
  model: Model,
  vanilla: Loader,
  options: InferenceOptions = {},
): Promise<RecomputedSubspace> {
  const basis = keyBasis(key);
  const named = key.carriers.kind === 'subspace' ? key.carriers.vanilla : undefined;
  if (!basis || !named) throw new InputError('the key names no images that its subspace was found on');
  const { sha256 } = await vanillaImages(vanilla.dataset);
  const again = await vanillaSubspace(model, vanilla, key.classes.length, key.carriers.dimension, options);
  const sameImages = sha256 === named.sha256 && vanilla.dataset.length === named.count;
  const sine = subspaceDistance(basis, again, key.carriers.dimension);
  return { sameImages, sine, same: sameImages && sine <= SAME_SUBSPACE };
}
