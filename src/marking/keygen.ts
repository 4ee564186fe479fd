import type { Loader } from '../datasets/loader.ts';
import { classIrrelevantSubspace } from '../detection/subspace.ts';
import { type InferenceOptions, infer } from '../nn/inference.ts';
import type { Model } from '../nn/model.ts';
import { createKey, type Key } from './key.ts';

/** Directions of the subspace: the most whose response a suspect still reproduces well (METHOD section 5). */
export const DEFAULT_SUBSPACE_DIMENSION = 32;

export interface KeygenOptions extends InferenceOptions {
  /** In the order of the data's labels. */
  readonly classes: readonly string[];
  readonly model: Model;
  /** SHA-256 of the marking network's file. */
  readonly modelSha256: string;
  /** Draw the carriers in this many directions of the feature space, found on vanilla images; absent: in all of it. */
  readonly subspace?: { readonly dimension: number; readonly vanilla: Loader };
}

/**
 * A new key: fixes the subspace first, from public vanilla data only, and draws the secret afterwards, so that the null
 * distribution is exact (METHOD section 5). Throws InputError where fewer directions are left than asked for.
 */
export async function keygen(options: KeygenOptions): Promise<Key> {
  const { classes, model, modelSha256, subspace } = options;
  let basis: Float64Array | null = null;
  if (subspace) {
    const { features } = await infer(model, subspace.vanilla, options);
    const { labels } = subspace.vanilla.dataset;
    basis = classIrrelevantSubspace({
      features,
      labels,
      classCount: classes.length,
      weight: await model.headWeight(),
      k: subspace.dimension,
    });
  }
  return await createKey({
    classes,
    model: { sha256: modelSha256, architecture: model.config.architecture, featureDimension: model.featureDimension },
    basis,
    centre: true,
  });
}
