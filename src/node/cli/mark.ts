import { join } from 'node:path';
import { changeOf, MANIFEST_NAME } from '../../datasets/manifest.ts';
import { datasetCommitment } from '../../evidence/commitment.ts';
import type { Model } from '../../nn/model.ts';
import { Stopwatch } from '../../stopwatch.ts';
import { openMarked } from '../evidence/marked.ts';
import { privatePart } from '../files/private_part.ts';
import { openKey, openMarkingNetwork, openNetwork } from '../runs/inputs.ts';
import { markDataset } from '../runs/mark_dataset.ts';
import { defineCommand, precisionOption } from './command.ts';
import {
  DATASETS,
  formatOption,
  imageOptions,
  networkOptions,
  networkOverrides,
  openForMarking,
  splitOption,
} from './inputs.ts';
import { describeTiming } from './output.ts';
import { lateProgress } from './progress.ts';
import { markingRecipe, radiusOption, recipeOptions, UNCHANGED } from './recipe.ts';

/** Skipped images that are named on the terminal; the manifest has all. */
const SHOWN = 20;

/** Some of many names, quoted: they come from files. */
const named = (names: readonly string[]): string =>
  [...names.slice(0, 3).map((name) => JSON.stringify(name)), ...(names.length > 3 ? ['…'] : [])].join(', ');

/** What is wrong with copies. */
const COPIED = 'whoever looks at the files can tell the marked ones, which are written anew';

export const mark = defineCommand({
  name: 'mark',
  summary:
    'Marks a share of a data set and writes a data set of the same layout to publish, with a private part beside it; goes on where it was stopped',
  options: {
    key: { type: 'string', value: 'KEY', required: true, description: 'the key file' },
    model: { type: 'string', value: 'MARKER', required: true, description: "the key's marking network" },
    data: { type: 'string', value: 'DATASET', required: true, description: DATASETS },
    fraction: {
      type: 'number',
      value: 'Q',
      required: true,
      minimum: 0,
      maximum: 1,
      description: "share of each class's images to mark, one at least; the key's secret decides which",
    },
    hardest: {
      type: 'string',
      value: 'CLASSIFIER',
      description:
        'draw the images to mark from those of each class that this model of the same classes, trained on others, finds hardest, three times as many: they leave more of a trace. Default: from all',
    },
    output: {
      type: 'string',
      short: 'o',
      value: 'OUT',
      required: true,
      description: 'the new folder, to publish as it is; OUT.partial until it is complete. OUT.private is yours alone',
    },
    radius: radiusOption,
    ...recipeOptions,
    batch: { type: 'integer', value: 'N', minimum: 1, description: 'images a batch; does not change the result' },
    format: formatOption,
    strip: {
      type: 'flag',
      description: 'leave EXIF, XMP, colour profiles, resolution and comments out of all images',
    },
    copyUnmarked: {
      type: 'flag',
      description: `keep the bytes of unmarked images: ${COPIED}`,
    },
    split: splitOption,
    ...imageOptions,
    ...networkOptions,
    ...precisionOption,
  },
  afterInterrupt: 'run the same command again to go on',
  examples: [
    '--key owner.key --model weights/marker.safetensors --data data --fraction 0.02 --hardest weights/marker.safetensors -o marked',
    '--key owner.key --model weights/marker.safetensors --data data --fraction 0.1 -o marked',
  ],
  async run(context) {
    const { options, progress, log, signal } = context;
    const key = await openKey(options.key);
    const dataset = await openForMarking(key, options.data, options);
    const { model } = await openMarkingNetwork(context, options.model, key, dataset, networkOverrides(options));
    let hardest: { readonly classifier: Model; readonly sha256: string } | undefined;
    try {
      if (options.hardest !== undefined) {
        const opened = await openNetwork(context, options.hardest);
        hardest = { classifier: opened.model, sha256: opened.sha256 };
      }
      const reading = lateProgress(progress, `reading ${dataset.path}`, 'images', { endsFull: true });
      const choosing = lateProgress(progress, 'choosing', 'images', { endsFull: true });
      const marking = lateProgress(progress, 'marking', 'images');
      const writing = lateProgress(progress, 'writing the others', 'images', { endsFull: true });
      if (options.copyUnmarked) log(`unmarked images keep their bytes: ${COPIED}`);
      const stopwatch = new Stopwatch();
      let resumed = 0;
      let warned = false;
      const manifest = await markDataset({
        key,
        model,
        dataset,
        fraction: options.fraction,
        hardest,
        recipe: { ...markingRecipe(options, model.config), radiusLevels: options.radius },
        out: options.output,
        ...(options.format === 'png' && { format: 'PNG' }),
        strip: options.strip,
        copyUnmarked: options.copyUnmarked,
        ...(options.batch !== undefined && { batchSize: options.batch }),
        stopwatch,
        onRead: reading.update,
        onChoose: choosing.update,
        onResume: (done) => {
          resumed = done;
          log(`${options.output}.partial: going on after ${done} images`);
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
        signal,
      });
      marking.done();
      const published = datasetCommitment(await openMarked(options.output));
      const { marked, psnrMedian, ssimMean, gainMean, maxChangeLevels, changeBeforeEncoding } = manifest.summary;
      const { skipped = [], unmarkedClasses = [] } = manifest;
      const { otherFiles = [] } = dataset;
      const timing = stopwatch.report();
      for (const { id, reason } of skipped.slice(0, SHOWN)) log(`skipped ${JSON.stringify(id)}: ${reason}`);
      if (skipped.length > SHOWN)
        log(`skipped ${skipped.length - SHOWN} more: see ${join(privatePart(options.output), MANIFEST_NAME)}`);
      if (otherFiles.length > 0)
        log(
          `left behind ${otherFiles.length} files that are no images: ${named(otherFiles)}; copy those that belong to what you publish`,
        );
      if (unmarkedClasses.length > 0)
        log(
          `no image is marked of ${unmarkedClasses.length} of ${manifest.classes.length} classes: ${named(unmarkedClasses)}; they weaken the test: give a larger --fraction, or a key without them`,
        );
      const unchanged = manifest.images.filter((image) => changeOf(image) === 0).length;
      if (unchanged > 0 && !warned) log(`${unchanged} marked images are as they were: ${UNCHANGED}`);
      log(describeTiming(timing, Number(marked) - resumed));
      return {
        json: {
          output: options.output,
          private: privatePart(options.output),
          options: manifest.options,
          summary: manifest.summary,
          skipped,
          unmarkedClasses,
          leftBehind: otherFiles,
          timing,
          keyCommitment: manifest.keyCommitment,
          merkleRoot: manifest.merkleRoot,
          commitment: published,
        },
        text: `commitment ${published}\n${options.output}: ${marked} of ${manifest.source.count} images marked${skipped.length > 0 ? `, ${skipped.length} skipped` : ''}; ${psnrMedian === undefined ? 'none changed' : `median PSNR ${Number(psnrMedian).toFixed(1)} dB`}, mean SSIM ${Number(ssimMean).toFixed(4)}, largest change ${changeBeforeEncoding === undefined ? '' : `${changeBeforeEncoding} levels and in lossy files `}${maxChangeLevels} levels, mean gain ${Number(gainMean).toFixed(3)}\nPublish ${options.output} as it is. Keep ${privatePart(options.output)}: it tells which images are marked.`,
        ...(skipped.length > 0 && { exitCode: 3 }),
      };
    } finally {
      hardest?.classifier.destroy();
      model.destroy();
    }
  },
});
