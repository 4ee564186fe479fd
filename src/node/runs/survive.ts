import type { Dataset } from '../../datasets/dataset.ts';
import { InputError, IntegrityError } from '../../errors.ts';
import { contradiction, firstOfEachClass, measureChange, pairFinder } from '../../evidence/pairs.ts';
import { commitment, type Key } from '../../marking/key.ts';
import { measureSurvival, type SurvivalReport } from '../../marking/survival.ts';
import type { OnProgress } from '../../nn/inference.ts';
import type { Model } from '../../nn/model.ts';
import { openMarked } from '../evidence/marked.ts';
import { nodeCodec } from '../images/codec.ts';

/** What {@link runSurvival} measures. */
export interface SurvivalRunOptions {
  readonly key: Key;
  /** The key's marking network. */
  readonly model: Model;
  /** The marked data set, with its private part beside it. */
  readonly marked: Dataset;
  /** The same before it was marked. */
  readonly original: Dataset;
  /** Most images to measure: the first of each class in the manifest's order, the classes in turn. */
  readonly images: number;
  readonly onProgress?: OnProgress;
  readonly signal?: AbortSignal;
}

/**
 * Measures what is left of a marked data set's marks after what may happen to its images.
 *
 * @throws IntegrityError if it was marked with another key, or if an image or its original is missing or not what the manifest says;
 * InputError without a manifest.
 */
export async function runSurvival(options: SurvivalRunOptions): Promise<SurvivalReport> {
  const { key, model, marked, original, images, onProgress, signal } = options;
  const { manifest, folder } = await openMarked(marked.root);
  if (manifest.keyCommitment !== (await commitment(key)))
    throw new IntegrityError(`${folder}: was marked with another key; give that one`);
  const chosen = firstOfEachClass(manifest.images, manifest.classes, images);
  if (chosen.length === 0) throw new InputError(`${folder}: has no marked image`);
  const placesOf = pairFinder(manifest, marked, original);
  const pair = async (index: number) => {
    const claim = chosen[index];
    const fail = (what: string): never => {
      throw new IntegrityError(`${folder}: ${what}; give the data set that was marked, and the one that came of it`);
    };
    const places = placesOf(claim) ?? fail(`${claim.id} or its original in ${original.path} is missing`);
    const [before, after] = [await original.image(places.original), await marked.image(places.marked)];
    const differs = contradiction(claim, measureChange(before, after));
    if (differs !== undefined) fail(`beside ${original.path} ${differs}`);
    return { id: claim.id, label: key.classes.indexOf(claim.class), original: before, marked: after };
  };
  return await measureSurvival({
    key,
    model,
    count: chosen.length,
    pair,
    codec: await nodeCodec(),
    onProgress,
    signal,
  });
}
