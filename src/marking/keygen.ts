import type { Dataset } from '../datasets/dataset.ts';
import { hashDataset } from '../datasets/hash.ts';
import { InputError } from '../errors.ts';
import { requireGuarded } from '../guarded.ts';
import type { InferenceOptions } from '../nn/inference.ts';
import type { Model } from '../nn/model.ts';
import type { ConfigOverrides } from '../nn/model_file.ts';
import { createKey, type HeldOutImages, type Key, type KeyOptions, keyBasis, type NamedImages } from './key.ts';
import { classIrrelevantSubspace, subspaceDistance } from './subspace.ts';
import { VanillaImages } from './vanilla.ts';

/** Directions of the subspace: the most whose response a suspect still reproduces well (docs/method.md, 5). */
export const DEFAULT_SUBSPACE_DIMENSION = 32;
/** The same for the black-box test, which needs a response to single directions. */
export const BLACK_BOX_SUBSPACE_DIMENSION = 12;

/** What {@link keygen} makes a key from. */
export interface KeygenOptions extends InferenceOptions {
  /** In the order of the data's labels. */
  readonly classes: readonly string[];
  /** The marking network. */
  readonly model: Model;
  /** SHA-256 of the marking network's file. */
  readonly modelSha256: string;
  /** What is said of the network beside its file, with which it was opened: the key fixes that too. */
  readonly network?: ConfigOverrides;
  /** Where carriers are drawn; absent: as `carrierSpace` says. */
  readonly carriers?: 'subspace' | 'uniform' | undefined;
  /** Directions of the subspace; absent: as `carrierSpace` says. */
  readonly dimension?: number | undefined;
  /** What the subspace is found on. Not needed without one. */
  readonly vanilla?: VanillaImages | undefined;
  /** The black-box test is the one that counts, with these options; absent: the white-box test. */
  readonly blackBox?: KeyOptions['blackBox'];
  /** The images to test on, see {@link HeldOutImages}; absent: left open. */
  readonly heldOut?: HeldOutImages | null | undefined;
  /** Randomness to come that the key waits for; absent: it has its carriers at once. */
  readonly beacon?: KeyOptions['beacon'];
}

/**
 * Where a key's carriers are drawn: in the directions that classes do not use, or everywhere, as published. Everywhere only where it
 * is asked for, or where there are half as many classes as features or more; of fewer classes the published test sees little.
 *
 * @returns directions of the subspace; null for carriers everywhere.
 */
export function carrierSpace(
  classCount: number,
  featureDimension: number,
  { carriers, dimension, blackBox }: Pick<KeygenOptions, 'carriers' | 'dimension' | 'blackBox'>,
): number | null {
  const few = 2 * classCount < featureDimension;
  const kind = carriers ?? (dimension !== undefined || few ? 'subspace' : 'uniform');
  if (kind === 'uniform') return null;
  return dimension ?? (blackBox ? BLACK_BOX_SUBSPACE_DIMENSION : DEFAULT_SUBSPACE_DIMENSION);
}

/**
 * A new key: fixes the subspace first, from public vanilla data only, and draws the secret afterwards, so that the null
 * distribution is exact (docs/method.md, 5). Throws InputError where fewer directions are left than asked for, or vanilla images
 * are missing.
 */
export async function keygen(options: KeygenOptions): Promise<Key> {
  const { classes, model, modelSha256, network = {}, vanilla, blackBox, heldOut, beacon } = options;
  const dimension = carrierSpace(classes.length, model.featureDimension, options);
  if (dimension !== null && !vanilla) throw new InputError('carriers in a subspace need unmarked images');
  const basis = dimension === null ? null : await vanillaSubspace(model, vanilla!, classes.length, dimension, options);
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
    vanilla: basis ? await nameImages(vanilla!.dataset) : null,
    centre: true,
    blackBox,
    heldOut,
    beacon,
  });
}

/** The `dimension` directions that carriers are drawn in, found on vanilla images: [dimension, d], see `classIrrelevantSubspace`. */
export async function vanillaSubspace(
  model: Model,
  vanilla: VanillaImages,
  classCount: number,
  dimension: number,
  options: InferenceOptions = {},
): Promise<Float64Array> {
  requireGuarded(vanilla, VanillaImages, 'VanillaImages');
  const { features } = await vanilla.infer(model, options);
  return classIrrelevantSubspace({
    features,
    labels: vanilla.dataset.labels,
    classCount,
    weight: await model.headWeight(),
    k: dimension,
  });
}

/** Images as a key names them. */
export async function nameImages(dataset: Dataset): Promise<NamedImages> {
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
  vanilla: VanillaImages,
  options: InferenceOptions = {},
): Promise<RecomputedSubspace> {
  const basis = keyBasis(key);
  const named = key.carriers.kind === 'subspace' ? key.carriers.vanilla : undefined;
  if (!basis || !named) throw new InputError('the key names no images that its subspace was found on');
  const { sha256 } = await nameImages(vanilla.dataset);
  const again = await vanillaSubspace(model, vanilla, key.classes.length, key.carriers.dimension, options);
  const sameImages = sha256 === named.sha256 && vanilla.dataset.length === named.count;
  const sine = subspaceDistance(basis, again, key.carriers.dimension);
  return { sameImages, sine, same: sameImages && sine <= SAME_SUBSPACE };
}
