/** What is left of a marked data set's marks after what may happen to its images. */

import type { Dataset } from '../../datasets/dataset.ts';
import { InputError, IntegrityError } from '../../errors.ts';
import { contradiction, firstOfEachClass, measureChange, pairFinder } from '../../evidence/pairs.ts';
import type { DecodeOptions } from '../../images/decode.ts';
import { commitment, type Key } from '../../marking/key.ts';
import { measureSurvival, type SurvivalReport } from '../../marking/survival.ts';
import { survivalPlot } from '../../marking/survival_figure.ts';
import type { OnProgress } from '../../nn/inference.ts';
import type { Model } from '../../nn/model.ts';
import type { ConfigOverrides } from '../../nn/model_file.ts';
import { openDataset } from '../datasets/open.ts';
import { openMarked } from '../evidence/marked.ts';
import { requireNewFile } from '../files/files.ts';
import { writeAtomic } from '../files/write.ts';
import { nodeCodec } from '../images/codec.ts';
import { lateDisplay, type RunContext } from './context.ts';
import { openForMarking, openKey, openMarkingNetwork } from './inputs.ts';

/** The files that {@link runSurvival} works with, by their paths. */
export interface SurvivalFiles {
  readonly key: string;
  /** The key's marking network. */
  readonly model: string;
  readonly network?: ConfigOverrides | undefined;
  /** The marked data set, with its private part beside it. */
  readonly marked: string;
  /** The same before it was marked. */
  readonly original: string;
  readonly split?: 'train' | 'test' | undefined;
  readonly decode?: DecodeOptions | undefined;
  /** Most images to measure: the first of each class in the manifest's order, the classes in turn. */
  readonly images: number;
  /** An .svg file to write. */
  readonly output?: string | undefined;
}

/**
 * Measures what is left of a marked data set's marks, and draws it where a file for that is named.
 *
 * @throws as `datasetSurvival` does; InputError where the output exists.
 */
export async function runSurvival(files: SurvivalFiles, context: RunContext): Promise<SurvivalReport> {
  const { output, split = 'train', decode = {} } = files;
  if (output !== undefined) await requireNewFile(output);
  const key = await openKey(files.key);
  const original = await openForMarking(key, files.original, { split, decode });
  const marked = await openDataset(files.marked, { split, decode, keepFaults: true });
  const { model } = await openMarkingNetwork(context, files.model, key, original, files.network);
  try {
    const display = lateDisplay(context.progress, 'measuring', 'images');
    const { images } = files;
    const report = await datasetSurvival({
      ...{ key, model, marked, original, images },
      onProgress: display.update,
      signal: context.signal,
    });
    display.done();
    if (output !== undefined) await writeAtomic(output, new TextEncoder().encode(survivalPlot(report)));
    return report;
  } finally {
    model.destroy();
  }
}

/** What {@link datasetSurvival} measures. */
export interface DatasetSurvivalOptions {
  readonly key: Key;
  /** The key's marking network. */
  readonly model: Model;
  /** The marked data set, with its private part beside it. */
  readonly marked: Dataset;
  /** The same before it was marked. */
  readonly original: Dataset;
  /** Most images to measure: the first of each class in the manifest's order, the classes in turn. */
  readonly images: number;
  readonly onProgress?: OnProgress | undefined;
  readonly signal?: AbortSignal | undefined;
}

/**
 * Measures what is left of a marked data set's marks after what may happen to its images.
 *
 * @throws IntegrityError if it was marked with another key, or if an image or its original is missing or not what the manifest says;
 * InputError without a manifest.
 */
export async function datasetSurvival(options: DatasetSurvivalOptions): Promise<SurvivalReport> {
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
