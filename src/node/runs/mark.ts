/** Marking from files to files, with what there is to say on the way. */

import { join } from 'node:path';
import type { Dataset } from '../../datasets/dataset.ts';
import { changeOf, MANIFEST_NAME, type Manifest } from '../../datasets/manifest.ts';
import { datasetCommitment } from '../../evidence/commitment.ts';
import type { DecodeOptions } from '../../images/decode.ts';
import { type MarkingRecipe, markingRecipeFor } from '../../marking/recipe.ts';
import type { Model } from '../../nn/model.ts';
import type { ConfigOverrides } from '../../nn/model_file.ts';
import { Stopwatch } from '../../stopwatch.ts';
import { openMarked } from '../evidence/marked.ts';
import { privatePart } from '../files/private_part.ts';
import { lateDisplay, type RunContext } from './context.ts';
import { openForMarking, openKey, openMarkingNetwork, openNetwork } from './inputs.ts';
import { markDataset } from './mark_dataset.ts';

/** Why marking may change nothing, and what helps. */
export const UNCHANGED =
  'steps that small are lost in rounding to whole levels; with radioactive preview, find a larger --lr, and a smaller --lambda-image, which holds the image back';

/** What is wrong with copies. */
export const COPIED = 'whoever looks at the files can tell the marked ones, which are written anew';

/** Skipped images that are named; the manifest has all. */
const SHOWN = 20;

/** What {@link runMarking} marks, and where the marked data set goes. */
export interface MarkingFiles {
  /** The key's file. */
  readonly key: string;
  /** The key's marking network. */
  readonly model: string;
  /** What is said of it beside its file. */
  readonly network?: ConfigOverrides | undefined;
  /** The images, by path, or open with the key's classes. */
  readonly data: string | Dataset;
  /** Which IDX files of a path, where the folder holds both; default `train`. */
  readonly split?: 'train' | 'test' | undefined;
  readonly decode?: DecodeOptions | undefined;
  /** Share of each class's images to mark. */
  readonly fraction: number;
  /** A model of the same classes: the images are drawn from those that it finds hardest. */
  readonly hardest?: string | undefined;
  /** What differs from the recipe that goes with the network. */
  readonly recipe?: Partial<MarkingRecipe> | undefined;
  /** The new folder, to publish as it is. */
  readonly output: string;
  /** Writes all images as PNG files; default each like its own file. */
  readonly format?: 'PNG' | undefined;
  readonly strip?: boolean | undefined;
  readonly copyUnmarked?: boolean | undefined;
  readonly batchSize?: number | undefined;
  /** Names that the private part of the output may hold before, from the program that marks. */
  readonly keptPrivate?: readonly string[] | undefined;
}

/** What {@link runMarking} did. */
export interface MarkingReport {
  readonly manifest: Manifest;
  /** Of the marked data set, to be time-stamped: it covers the key and which images are marked. */
  readonly commitment: string;
  /** Files of the data set's folder that are no images, and are not in the new one. */
  readonly leftBehind: readonly string[];
  /** Images that this run marked. */
  readonly marked: number;
  readonly timing: ReturnType<Stopwatch['report']>;
}

/** Marks a data set, see `markDataset`, and logs what its owner should know. */
export async function runMarking(files: MarkingFiles, context: RunContext): Promise<MarkingReport> {
  const { progress, log, signal } = context;
  const key = await openKey(files.key);
  const dataset = typeof files.data === 'string' ? await openForMarking(key, files.data, files) : files.data;
  const { model } = await openMarkingNetwork(context, files.model, key, dataset, files.network);
  let hardest: { readonly classifier: Model; readonly sha256: string } | undefined;
  try {
    if (files.hardest !== undefined) {
      const opened = await openNetwork(context, files.hardest);
      hardest = { classifier: opened.model, sha256: opened.sha256 };
    }
    const reading = lateDisplay(progress, `reading ${dataset.path}`, 'images', { endsFull: true });
    const choosing = lateDisplay(progress, 'choosing', 'images', { endsFull: true });
    const marking = lateDisplay(progress, 'marking', 'images');
    const writing = lateDisplay(progress, 'writing the others', 'images', { endsFull: true });
    if (files.copyUnmarked) log(`unmarked images keep their bytes: ${COPIED}`);
    const stopwatch = new Stopwatch();
    let resumed = 0;
    let warned = false;
    const manifest = await markDataset({
      key,
      model,
      dataset,
      fraction: files.fraction,
      hardest,
      recipe: { ...markingRecipeFor(model.config), ...files.recipe },
      out: files.output,
      format: files.format,
      strip: files.strip,
      copyUnmarked: files.copyUnmarked,
      keptPrivate: files.keptPrivate,
      ...(files.batchSize !== undefined && { batchSize: files.batchSize }),
      stopwatch,
      onRead: reading.update,
      onChoose: choosing.update,
      onResume: (done) => {
        resumed = done;
        log(`${files.output}.partial: going on after ${done} images`);
      },
      onUnchanged: (count) => {
        warned = true;
        log(`the first ${count} images are as they were: ${UNCHANGED}`);
      },
      onProgress: marking.update,
      onWrite: writing.update,
      onCopied: (count) =>
        log(
          `${count} files that cannot be decoded are copied as they are; they are seen to be none of the marked ones: repair or remove them`,
        ),
      onMarkedBefore: (path) =>
        log(
          `${dataset.path}: is a marked data set, says ${path}: marks add up, and its images were not the originals; mark those`,
        ),
      ...(signal && { signal }),
    });
    marking.done();
    logRemarks(files.output, manifest, dataset.otherFiles ?? [], log);
    const unchanged = manifest.images.filter((image) => changeOf(image) === 0).length;
    if (unchanged > 0 && !warned) log(`${unchanged} marked images are as they were: ${UNCHANGED}`);
    return {
      manifest,
      commitment: datasetCommitment(await openMarked(files.output)),
      leftBehind: dataset.otherFiles ?? [],
      marked: manifest.images.length - resumed,
      timing: stopwatch.report(),
    };
  } finally {
    hardest?.classifier.destroy();
    model.destroy();
  }
}

/** What was skipped, left behind, and has no mark. */
function logRemarks(
  output: string,
  { skipped = [], unmarkedClasses = [], classes }: Manifest,
  otherFiles: readonly string[],
  log: RunContext['log'],
): void {
  for (const { id, reason } of skipped.slice(0, SHOWN)) log(`skipped ${JSON.stringify(id)}: ${reason}`);
  if (skipped.length > SHOWN)
    log(`skipped ${skipped.length - SHOWN} more: see ${join(privatePart(output), MANIFEST_NAME)}`);
  if (otherFiles.length > 0)
    log(
      `left behind ${otherFiles.length} files that are no images: ${named(otherFiles)}; copy those that belong to what you publish`,
    );
  if (unmarkedClasses.length > 0)
    log(
      `no image is marked of ${unmarkedClasses.length} of ${classes.length} classes: ${named(unmarkedClasses)}; they weaken the test: give a larger --fraction, or a key without them`,
    );
}

/** Some of many names, quoted: they come from files. */
export const named = (names: readonly string[]): string =>
  [...names.slice(0, 3).map((name) => JSON.stringify(name)), ...(names.length > 3 ? ['…'] : [])].join(', ');
