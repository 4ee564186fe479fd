import type { Loader } from '../datasets/loader.ts';
import { InputError } from '../errors.ts';
import { type Key, keyCarriers } from '../marking/key.ts';
import { infer, type OnProgress } from '../nn/inference.ts';
import type { Model } from '../nn/model.ts';
import { type WhiteBoxResult, whiteBoxTest } from './whitebox.ts';

export interface DetectOptions {
  readonly key: Key;
  /** The key's marking network, and held-out vanilla images as it takes them. */
  readonly marking: { readonly model: Model; readonly heldOut: Loader };
  /** The model under test, and the same images as it takes them. */
  readonly suspect: { readonly model: Model; readonly heldOut: Loader };
  readonly onProgress?: OnProgress;
  readonly signal?: AbortSignal;
}

/**
 * The white-box test of a suspect whose weights are at hand (docs/method.md, 4): features of both networks on held-out vanilla
 * images, alignment, cosines with the carriers, Fisher. Throws InputError where the suspect's classes are not the key's.
 */
export async function detect(options: DetectOptions): Promise<WhiteBoxResult> {
  const { key, marking, suspect, signal } = options;
  const n = marking.heldOut.dataset.length;
  const follow =
    (offset: number): OnProgress =>
    (done) =>
      options.onProgress?.(offset + done, 2 * n);
  checkClasses(key, suspect.model);
  const { features: featuresMarking } = await infer(marking.model, marking.heldOut, { signal, onProgress: follow(0) });
  const { features } = await infer(suspect.model, suspect.heldOut, { signal, onProgress: follow(n) });
  return await testFeatures(key, featuresMarking, { features, model: suspect.model });
}

/**
 * The same from features that are at hand: of the marking network [n, d] and of the suspect [n, dt] on the same held-out
 * vanilla images.
 */
export async function testFeatures(
  key: Key,
  featuresMarking: Float32Array,
  suspect: { readonly features: Float32Array; readonly model: Model },
): Promise<WhiteBoxResult> {
  checkClasses(key, suspect.model);
  const d = key.model.featureDimension;
  return whiteBoxTest({
    featuresMarking,
    featuresSuspect: suspect.features,
    n: featuresMarking.length / d,
    d,
    dt: suspect.model.featureDimension,
    weight: await suspect.model.headWeight(),
    carriers: await keyCarriers(key),
    centre: key.statistic.centre,
    rcond: key.statistic.rcond,
    classes: key.classes,
  });
}

function checkClasses(key: Key, { config }: Model): void {
  if (config.numClasses !== key.classes.length) {
    throw new InputError(
      `the suspect has ${config.numClasses} classes, the key ${key.classes.length}: ${key.classes.join(', ')}`,
    );
  }
}
