/** The white-box test from models or from features. */

import { InputError } from '../errors.ts';
import { requireGuarded } from '../guarded.ts';
import { type Key, keyAlignment, keyCarriers, keySource } from '../marking/key.ts';
import { VanillaImages } from '../marking/vanilla.ts';
import type { Elements } from '../maths/linalg.ts';
import type { OnProgress } from '../nn/inference.ts';
import type { Model } from '../nn/model.ts';
import { ClassMapping } from './class_mapping.ts';
import { DEFAULT_FRESH_KEYS } from './fresh_keys.ts';
import { type Finding, nullSample } from './statistic.ts';
import { freshKeyTests, requireEnoughImages, type WhiteBoxResult, whiteBoxTest } from './whitebox.ts';

/** A model under test: one that runs here, or what another framework made of the held-out images in their order. */
export type Suspect = { readonly classes: ClassMapping } & (
  | { readonly model: Model }
  | {
      /** [n, dt] before its last layer */
      readonly features: Elements;
      /** [outputs, dt] its last layer */
      readonly weight: Elements;
    }
);

/** A suspect as the white-box test sees it, whatever framework it is of. */
export interface SuspectFeatures {
  /** `[n, dt]`: before its last layer, of the held-out images in their order */
  readonly features: Elements;
  /** `[K, dt]`: its last layer, classes in the key's order */
  readonly weight: Elements;
}

/** Everything that the white-box test looks at, beside the key. */
export interface WhiteBoxArrays {
  /** [n, d] under the marking network */
  readonly marking: Elements;
  readonly suspect: SuspectFeatures;
  readonly n: number;
}

/** The same, of images that were checked and with the suspect's classes mapped. */
export interface HeldOutFeatures {
  readonly images: VanillaImages;
  /** `[n, d]` of the images, in their order, under the key's marking network */
  readonly marking: Elements;
  readonly suspect: Extract<Suspect, { readonly features: Elements }>;
}

/** A marking network and a suspect on the same images. */
export interface HeldOutModels {
  readonly heldOut: VanillaImages;
  /** The key's marking network. */
  readonly marking: Model;
  readonly suspect: Suspect;
  readonly onProgress?: OnProgress;
  readonly signal?: AbortSignal | undefined;
}

/** What {@link detect} tests: the key, its marking network and the suspect on held-out images. */
export interface DetectOptions extends HeldOutModels {
  readonly key: Key;
  /** How many fresh keys the result is compared with; default 1 000. */
  readonly freshKeys?: number | undefined;
}

/** What the white-box test finds, beside what it gives of the same suspect under keys that marked nothing. */
export type WhiteBoxFinding = Omit<WhiteBoxResult, 'rows'> & Finding;

/**
 * The white-box test of a suspect whose weights are at hand (docs/method.md, 4): features of both networks on held-out vanilla
 * images, alignment, cosines with the carriers, Fisher. Throws InputError where the suspect's classes are not the key's.
 */
export async function detect(options: DetectOptions): Promise<WhiteBoxFinding> {
  return await testFeatures(options.key, await heldOutFeatures(options), options);
}

/** Features of held-out images under both networks, and the suspect's last layer: all that a white-box test looks at. */
export async function heldOutFeatures(options: HeldOutModels): Promise<HeldOutFeatures> {
  const { heldOut, marking, suspect, signal } = options;
  requireGuarded(heldOut, VanillaImages, 'VanillaImages');
  const n = heldOut.dataset.length;
  requireEnoughImages(n, marking.featureDimension);
  const total = 'model' in suspect ? 2 * n : n;
  const follow =
    (offset: number): OnProgress =>
    (done) =>
      options.onProgress?.(offset + done, total);
  const { features } = await heldOut.infer(marking, { signal, onProgress: follow(0) });
  return {
    images: heldOut,
    marking: features,
    suspect:
      'model' in suspect
        ? {
            classes: suspect.classes,
            features: (await heldOut.infer(suspect.model, { signal, onProgress: follow(n) })).features,
            weight: await suspect.model.headWeight(),
          }
        : suspect,
  };
}

/** The plain arrays of held-out features, the suspect's classes in the key's order: what is kept as evidence. */
export function arraysOf({ images, marking, suspect }: HeldOutFeatures): WhiteBoxArrays {
  const n = images.dataset.length;
  const { features, weight, classes } = suspect;
  if (features.length % n !== 0)
    throw new InputError(`the suspect's features are ${features.length} numbers, which are no rows of ${n} images`);
  return { marking, suspect: { features, weight: classes.rowsOf(weight, features.length / n) }, n };
}

/**
 * The same from features that are at hand.
 *
 * @throws InputError where the suspect's classes are not the key's, or the features are not of as many images.
 */
export async function testFeatures(
  key: Key,
  features: HeldOutFeatures,
  options: { readonly freshKeys?: number | undefined; readonly signal?: AbortSignal | undefined } = {},
): Promise<WhiteBoxFinding> {
  requireGuarded(features.images, VanillaImages, 'VanillaImages');
  requireGuarded(features.suspect.classes, ClassMapping, 'ClassMapping');
  const { classes } = features.suspect.classes;
  if (classes.length !== key.classes.length || classes.some((name, c) => name !== key.classes[c]))
    throw otherClasses(key, classes.length);
  const n = features.images.dataset.length;
  if (features.marking.length !== n * key.model.featureDimension)
    throw new InputError(
      `the marking network's features are ${features.marking.length} numbers, ${n} images have ${n * key.model.featureDimension}`,
    );
  return await testArrays(key, arraysOf(features), options);
}

/**
 * The numbers of the white-box test alone: it takes the arrays on trust. For those whose origin is proved otherwise, as of the
 * evidence that `verify` computes again.
 */
export async function testArrays(
  key: Key,
  { marking, suspect, n }: WhiteBoxArrays,
  options: { readonly freshKeys?: number | undefined; readonly signal?: AbortSignal | undefined } = {},
): Promise<WhiteBoxFinding> {
  const d = key.model.featureDimension;
  const dt = suspect.features.length / n;
  const K = key.classes.length;
  if (!(Number.isInteger(dt) && dt > 0 && suspect.weight.length % dt === 0))
    throw new InputError(
      `the suspect's last layer has ${suspect.weight.length} numbers, its features of ${n} images ${suspect.features.length}: they do not fit`,
    );
  if (suspect.weight.length !== K * dt) throw otherClasses(key, suspect.weight.length / dt);
  const { rows, ...result } = whiteBoxTest({
    featuresMarking: marking,
    featuresSuspect: suspect.features,
    n,
    d,
    dt,
    weight: suspect.weight,
    carriers: await keyCarriers(key),
    ...keyAlignment(key),
    classes: key.classes,
  });
  const like = await keySource(key);
  const fresh = await freshKeyTests(rows, K, options.freshKeys ?? DEFAULT_FRESH_KEYS, { ...options, like });
  return {
    ...result,
    statistics: [
      {
        name: 'white-box',
        log10p: result.log10p,
        exact: true,
        perClass: result.perClass.map(({ cosine, log10p }, c) => ({ class: key.classes[c], score: cosine, log10p })),
        null: nullSample('fresh keys', fresh.combined, result.log10p),
      },
    ],
  };
}

const otherClasses = (key: Key, count: number): InputError =>
  new InputError(`the suspect has ${count} classes, the key ${key.classes.length}: ${key.classes.join(', ')}`);
