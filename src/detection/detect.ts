/** The white-box test from models or from features. */

import { amongClasses, type Dataset } from '../datasets/dataset.ts';
import { InputError } from '../errors.ts';
import { requireGuarded } from '../guarded.ts';
import { type Key, keyAlignment, keyCarriers, keySource } from '../marking/key.ts';
import { VanillaImages } from '../marking/vanilla.ts';
import type { Elements } from '../maths/linalg.ts';
import type { OnProgress } from '../nn/inference.ts';
import type { Model } from '../nn/model.ts';
import { type Agreement, agreement, linearLogits } from './agreement.ts';
import { ClassMapping, isSingleLogit } from './class_mapping.ts';
import { type DoubtName, refuseDoubts } from './doubts.ts';
import { DEFAULT_FRESH_KEYS } from './fresh_keys.ts';
import { heldOutMarks } from './held_out_marks.ts';
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
      /** [n, outputs] what it answers; default: the features times the last layer, without its bias */
      readonly logits?: Elements | undefined;
    }
);

/** A suspect as the white-box test sees it, whatever framework it is of. */
export interface SuspectFeatures {
  /** `[n, dt]`: before its last layer, of the held-out images in their order */
  readonly features: Elements;
  /** `[K, dt]`: its last layer, classes in the key's order */
  readonly weight: Elements;
  /** `[n, K]`: what it answers, likewise; absent where its bias is not known */
  readonly logits?: Elements | undefined;
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
  /** What to overlook, see {@link testFeatures}. */
  readonly despite?: readonly DoubtName[] | undefined;
}

/** What the white-box test finds, beside what it gives of the same suspect under keys that marked nothing. */
export type WhiteBoxFinding = Omit<WhiteBoxResult, 'rows'> & Finding & WhiteBoxAssumptions;

/** What of a white-box test can be doubted, see {@link doubtsOf}. */
export interface WhiteBoxAssumptions {
  /** How often the suspect is right about the images; absent of a single class. */
  readonly agreement?: Agreement;
  /** log10 p of `heldOutMarks`; likewise. */
  readonly heldOutMarks?: number;
}

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
            ...(await heldOut.infer(suspect.model, { signal, onProgress: follow(n) })),
            weight: await suspect.model.headWeight(),
          }
        : suspect,
  };
}

/** The plain arrays of held-out features, the suspect's classes in the key's order: what is kept as evidence. */
export function arraysOf({ images, marking, suspect }: HeldOutFeatures): WhiteBoxArrays {
  const n = images.dataset.length;
  const { features, weight, logits, classes } = suspect;
  if (features.length % n !== 0)
    throw new InputError(`the suspect's features are ${features.length} numbers, which are no rows of ${n} images`);
  return {
    marking,
    suspect: {
      features,
      weight: classes.rowsOf(weight, features.length / n),
      ...(logits && { logits: classes.logitsOf(logits, logits.length / n) }),
    },
    n,
  };
}

/** How the white-box test is made of features. */
export interface TestFeaturesOptions {
  readonly freshKeys?: number | undefined;
  /** Make the test although these are doubtful: a deviation of its result. */
  readonly despite?: readonly DoubtName[] | undefined;
  readonly signal?: AbortSignal | undefined;
}

/**
 * The same from features that are at hand.
 *
 * @throws InputError where the suspect's classes are not the key's, or the features are not of as many images; IntegrityError where the
 * suspect knows nothing of the images, its features nothing of the marking network's, or the images carry the mark (`doubtsOf`).
 */
export async function testFeatures(
  key: Key,
  features: HeldOutFeatures,
  options: TestFeaturesOptions = {},
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
  const arrays = arraysOf(features);
  const labels = keyLabels(key, features.images.dataset);
  const { weight, logits = linearLogits(arrays.suspect.features, weight, n) } = features.suspect;
  const marks = await heldOutMarks(key, features.marking, labels);
  const mapping = features.suspect.classes;
  const outputs = logits.length / n;
  // A single logit stands for two classes.
  const found = isSingleLogit(outputs, key.classes.length)
    ? agreement(mapping.logitsOf(logits, outputs), { classes: mapping.classes, outputs: [0, 1] }, labels)
    : agreement(logits, mapping, labels);
  const assumed: WhiteBoxAssumptions = {
    ...(found && { agreement: found }),
    ...(marks !== undefined && { heldOutMarks: marks }),
  };
  refuseDoubts(assumed, key.classes, options.despite);
  const finding = await testArrays(key, arrays, options);
  refuseDoubts(finding, key.classes, options.despite);
  return { ...finding, ...assumed };
}

/** Labels of images in the key's order of classes. */
function keyLabels({ classes }: Key, dataset: Dataset): Uint32Array {
  return amongClasses(dataset, classes).labels;
}

/**
 * The numbers of the white-box test alone: it takes the arrays on trust. For those whose origin is proved otherwise, as of the
 * evidence that `verify` computes again.
 */
export async function testArrays(
  key: Key,
  { marking, suspect, n }: WhiteBoxArrays,
  options: { readonly freshKeys?: number | undefined; readonly signal?: AbortSignal | undefined } = {},
): Promise<Omit<WhiteBoxFinding, keyof WhiteBoxAssumptions>> {
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
