/** Probes from files to a folder. */

import type { FormatName } from '../../datasets/format.ts';
import { describeOverlap } from '../../datasets/overlap.ts';
import { type DoubtName, refuseDoubts } from '../../detection/doubts.ts';
import type { DecodeOptions } from '../../images/decode.ts';
import type { Key } from '../../marking/key.ts';
import type { ProbeManifest } from '../../marking/probe_manifest.ts';
import type { MarkingRecipe } from '../../marking/recipe.ts';
import type { ConfigOverrides } from '../../nn/model_file.ts';
import { Stopwatch } from '../../stopwatch.ts';
import type { RunContext } from './context.ts';
import { openHeldOut, openKey, openMarkingNetwork } from './inputs.ts';
import { makeProbes, probeDefaults } from './make_probes.ts';
import { compareWithMarked, type MarkedFiles } from './overlap.ts';

/** What {@link runProbes} makes probes from, and where they go. */
export interface ProbeFiles {
  readonly key: string;
  readonly model: string;
  readonly network?: ConfigOverrides | undefined;
  /** Unmarked images that were never published. */
  readonly data: string;
  /** The marked data set, to compare the images with: ones that are among them are refused. */
  readonly marked?: MarkedFiles | undefined;
  /** Take images although they are doubtful: `overlap`, `held-out`. */
  readonly despite?: readonly DoubtName[] | undefined;
  /** Which IDX files, where the folder holds both; default `test`. */
  readonly split?: 'train' | 'test' | undefined;
  readonly decode?: DecodeOptions | undefined;
  /** Absent: the key's, or the default. */
  readonly decoys?: number | undefined;
  readonly perClass?: number | undefined;
  /** What differs from the key's recipe. */
  readonly recipe?: Partial<MarkingRecipe> | undefined;
  readonly layout?: FormatName | undefined;
  readonly batchSize?: number | undefined;
  readonly output: string;
}

/** What {@link runProbes} made. */
export interface ProbesReport {
  readonly key: Key;
  readonly manifest: ProbeManifest;
  /** All of them, vanilla ones too. */
  readonly images: number;
  /** Images that this run marked. */
  readonly marked: number;
  readonly timing: ReturnType<Stopwatch['report']>;
}

/** Makes a key's probes, see `makeProbes`; what is not said is as the key fixes it. */
export async function runProbes(files: ProbeFiles, context: RunContext): Promise<ProbesReport> {
  const { progress, log, signal } = context;
  const key = await openKey(files.key);
  const heldOut = await openHeldOut(files.data, {
    split: files.split ?? 'test',
    classes: key.classes,
    ...(files.decode && { decode: files.decode }),
  });
  if (files.marked) {
    const overlap = await compareWithMarked(heldOut.dataset, files.marked, key, context, files.decode);
    refuseDoubts({ overlap }, key.classes, files.despite);
    log(describeOverlap(overlap));
  }
  const { model } = await openMarkingNetwork(context, files.model, key, heldOut.dataset, files.network);
  try {
    const usual = probeDefaults(key, model.config);
    const { decoys = usual.decoys, perClass = usual.perClass } = files;
    const recipe = { ...usual.recipe, ...files.recipe };
    const total = key.classes.length * perClass * (decoys + 1);
    log(
      `${total} images: ${perClass} of each of ${key.classes.length} classes towards ${decoys + 1} carrier sets, ${recipe.iterations} iterations each`,
    );
    const stopwatch = new Stopwatch();
    const display = progress('marking', total, 'images');
    let resumed = 0;
    const manifest = await makeProbes({
      key,
      model,
      heldOut,
      despite: files.despite,
      decoys,
      perClass,
      recipe,
      layout: files.layout,
      out: files.output,
      batchSize: files.batchSize,
      stopwatch,
      onResume: (done) => {
        resumed = done;
        log(`${files.output}.partial: going on after ${done} images`);
      },
      onProgress: (done) => display.update(done),
      signal,
    });
    display.done();
    const images = manifest.images.length * (manifest.sets + 1);
    return { key, manifest, images, marked: total - resumed, timing: stopwatch.report() };
  } finally {
    model.destroy();
  }
}
