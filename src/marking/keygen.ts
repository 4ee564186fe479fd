import type { Loader } from '../datasets/loader.ts';
import { type InferenceOptions, infer } from '../nn/inference.ts';
import type { Model } from '../nn/model.ts';
import type { ConfigOverrides } from '../nn/model_file.ts';
import { createKey, type HeldOutImages, type Key, type KeyOptions } from './key.ts';
import { classIrrelevantSubspace } from './subspace.ts';

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
}

/**
 * A new key: fixes the subspace first, from public vanilla data only, and draws the secret afterwards, so that the null
 * distribution is exact (docs/method.md, 5). Throws InputError where fewer directions are left than asked for.
 */
export async function keygen(options: KeygenOptions): Promise<Key> {
  const { classes, model, modelSha256, network = {}, subspace, blackBox, heldOut } = options;
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
    centre: true,
    blackBox,
    heldOut,
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
