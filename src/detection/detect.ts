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
 * The white-box test of a suspect whose weights are at hand (METHOD section 4): features of both networks on held-out vanilla
 * images, alignment, cosines with the carriers, Fisher. Throws InputError where the suspect's classes are not the key's.
 */
export async function detect(options: DetectOptions): Promise<WhiteBoxResult> {
  const { key, marking, suspect, signal } = options;
  if (suspect.model.config.numClasses !== key.classes.length) {
    throw new InputError(
      `the suspect has ${suspect.model.config.numClasses} classes, the key ${key.classes.length}: ${key.classes.join(', ')}`,
    );
  }
  const n = marking.heldOut.dataset.length;
  const follow =
    (offset: number): OnProgress =>
    (done) =>
      options.onProgress?.(offset + done, 2 * n);
  const { features: featuresMarking } = await infer(marking.model, marking.heldOut, { signal, onProgress: follow(0) });
  const { features: featuresSuspect } = await infer(suspect.model, suspect.heldOut, { signal, onProgress: follow(n) });
  return whiteBoxTest({
    featuresMarking,
    featuresSuspect,
    n,
    d: marking.model.featureDimension,
    dt: suspect.model.featureDimension,
    weight: await suspect.model.headWeight(),
    carriers: await keyCarriers(key),
    centre: key.statistic.centre,
    rcond: key.statistic.rcond,
    classes: key.classes,
  });
}
