/** Marks any number of images of a data set into a writer: in batches, verified on what was saved, journalled, resumable. */

import * as v from 'valibot';
import type { Dataset, DatasetWriter, WrittenItem } from '../../datasets/dataset.ts';
import { unlessFaulty } from '../../datasets/faults.ts';
import { ahead, checkChannels, chunks, inParallel, toChannels } from '../../datasets/loader.ts';
import { changeOf, SavedMarkSchema } from '../../datasets/manifest.ts';
import { DeviceError, InputError, IntegrityError } from '../../errors.ts';
import { text } from '../../formats/fields.ts';
import type { Image8 } from '../../images/image.ts';
import { psnr, ssim } from '../../images/metrics.ts';
import { cutRegion } from '../../images/region.ts';
import { Marker, type MarkingJob } from '../../marking/marker.ts';
import type { MarkingRecipe } from '../../marking/recipe.ts';
import { defaultBatchSize, evaluationCrop, FeatureExtractor, fitBatch, type OnProgress } from '../../nn/inference.ts';
import type { Model } from '../../nn/model.ts';
import type { Stopwatch } from '../../stopwatch.ts';
import type { ResumableFolder } from './resumable_folder.ts';

/** What became of an image that was to be marked. */
export const MarkOutcomeSchema = v.union([SavedMarkSchema, v.strictObject({ skipped: text })]);
export type MarkOutcome = v.InferOutput<typeof MarkOutcomeSchema>;

/** Pixels of items by index; undefined where they are not known. */
export type PixelCounts = Pick<ReadonlyMap<number, number>, 'get'>;

/** What all batches of a run share. */
export interface MarkingRun {
  readonly model: Model;
  readonly recipe: MarkingRecipe;
  /** The images to mark. Where it may have faults, an item that turns out to be damaged is skipped; otherwise it is refused. */
  readonly dataset: Dataset;
  /** What an item is marked towards, [d]. */
  readonly carrierOf: (index: number) => Float64Array;
  /** Names the item's stream of random crops. */
  readonly cropStreamOf: (index: number) => string;
  /** Pixels of each item. */
  readonly pixels: PixelCounts;
  readonly writer: DatasetWriter;
  /** Where outcomes are noted. */
  readonly folder: ResumableFolder;
  /** Outcomes so far, by index; grows. */
  readonly done: Map<number, MarkOutcome>;
  /** Images a batch; halved until it fits. */
  readonly batchSize?: number | undefined;
  /** Counts images to be marked: all of them, and those that the device is through with, now or in an earlier run. */
  readonly onProgress?: OnProgress | undefined;
  /** Called once, when the first images that are saved, eight or more, are all as they were: the rest will hardly be otherwise. */
  readonly onUnchanged?: ((count: number) => void) | undefined;
  /** Ends the work when the images under way are saved. */
  readonly signal?: AbortSignal | undefined;
  readonly stopwatch: Stopwatch;
}

/** Images from which it is told that marking changes nothing. */
const ENOUGH = 8;

/** A run that has begun. */
interface Underway extends MarkingRun {
  readonly counts: { readonly total: number; passed: number };
}

/**
 * Marks what is not done yet of the given items, smallest images first: one program serves images of up to twice the smallest
 * one's pixels. Images of the same size go in the order of their indices.
 *
 * Throws IntegrityError where a saved image breaks the radius; DeviceError where the device fails.
 */
export async function markImages(run: MarkingRun, indices: readonly number[]): Promise<void> {
  const { pixels, done } = run;
  if (indices.every((index) => done.has(index))) return;
  const sorted = indices.toSorted((a, b) => pixels.get(a)! - pixels.get(b)! || a - b);
  const counts = { total: indices.length, passed: done.size };
  run.onProgress?.(counts.passed, counts.total);
  while (sorted.length > 0) {
    const most = 2 * pixels.get(sorted[0])!;
    const end = sorted.findIndex((index) => pixels.get(index)! > most);
    await markSimilar({ ...run, counts }, sorted.splice(0, end < 0 ? sorted.length : end));
  }
}

/** Marks images of similar size, sorted. Those too large for the device are skipped, unless nothing at all fits. */
async function markSimilar(run: Underway, indices: readonly number[]): Promise<void> {
  const { model, recipe, signal, stopwatch, pixels, done, counts } = run;
  // The batches are those of all images, whichever are left: resumed or not, the device runs the same programs.
  if (indices.every((index) => done.has(index))) return;
  signal?.throwIfAborted();
  const pixelsOf = (batch: readonly number[]): number => batch.reduce((sum, index) => sum + pixels.get(index)!, 0);
  const build = async (size: number) => {
    const most = chunks(indices, size).reduce((largest, batch) => Math.max(largest, pixelsOf(batch)), 0);
    const marker = await Marker.create(model, most, size, recipe);
    try {
      return { marker, extractor: await FeatureExtractor.create(model, pixels.get(indices.at(-1)!)!, size) };
    } catch (error) {
      marker.destroy();
      throw error;
    }
  };
  const wanted = Math.min(run.batchSize ?? defaultBatchSize(model.config), indices.length);
  let built: Awaited<ReturnType<typeof build>>;
  let batchSize: number;
  try {
    ({ built, batchSize } = await stopwatch.time('preparing', fitBatch(wanted, build)));
  } catch (error) {
    model.device.check();
    const anyFits = [...done.values()].some((outcome) => !('skipped' in outcome));
    if (!(error instanceof DeviceError) || (indices.length === 1 && !anyFits)) throw error;
    if (indices.length > 1) {
      const middle = Math.ceil(indices.length / 2);
      await markSimilar(run, indices.slice(0, middle));
      return markSimilar(run, indices.slice(middle));
    }
    const reason = `its ${pixelsOf(indices)} pixels are too many for the device; scale it down, or use an adapter or a --memory that allows more`;
    return note(run, [[indices[0], { skipped: reason }]]);
  }
  const { marker, extractor } = built;
  const todo = chunks(indices, batchSize)
    .map((batch) => batch.filter((index) => !done.has(index)))
    .filter((batch) => batch.length > 0);
  // While the device marks a batch, the next one is decoded and the one before is saved.
  let saving = Promise.resolve();
  try {
    const batches = ahead(todo, (batch) => stopwatch.time('decoding*', decode(run, batch)));
    for (;;) {
      const { value: batch, done: ended } = await stopwatch.time('waiting for images', batches.next());
      if (ended) break;
      signal?.throwIfAborted();
      const jobs = batch.jobs.map(({ job }) => job);
      const onIteration = (iteration: number): void =>
        run.onProgress?.(counts.passed + Math.floor((jobs.length * iteration) / (recipe.iterations + 1)), counts.total);
      const marked = jobs.length > 0 ? await stopwatch.time('device', marker.mark(jobs, { onIteration })) : [];
      await stopwatch.time('waiting for saving', saving);
      saving = stopwatch.time('saving*', save(run, extractor, batch, marked));
      saving.catch(() => undefined);
      counts.passed += jobs.length + batch.skipped.length;
      if (counts.passed < counts.total) run.onProgress?.(counts.passed, counts.total);
    }
    await stopwatch.time('waiting for saving', saving);
    run.onProgress?.(counts.passed, counts.total);
  } finally {
    await saving.catch(() => undefined);
    extractor.destroy();
    marker.destroy();
  }
}

/** Images of a batch, decoded, and those that turned out to be damaged. */
interface DecodedBatch {
  readonly jobs: readonly { readonly index: number; readonly carrier: Float64Array; readonly job: MarkingJob }[];
  readonly skipped: readonly (readonly [index: number, outcome: MarkOutcome])[];
}

async function decode(run: Underway, batch: readonly number[]): Promise<DecodedBatch> {
  const { dataset, model } = run;
  const faults = new Map<number, string>();
  const found: (DecodedBatch['jobs'][number] | undefined)[] = new Array(batch.length);
  await inParallel(batch.length, async (row) => {
    const index = batch[row];
    const image = await unlessFaulty(dataset, index, faults, async () => {
      const decoded = await dataset.image(index);
      checkChannels(decoded.channels, model.config.channels, dataset.id(index));
      return decoded;
    });
    const carrier = run.carrierOf(index);
    const job = { id: run.cropStreamOf(index), direction: Float32Array.from(carrier) };
    if (image) found[row] = { index, carrier, job: { ...job, image } };
  });
  return {
    jobs: found.filter((entry) => entry !== undefined),
    skipped: batch.flatMap((index) => (faults.has(index) ? [[index, { skipped: faults.get(index)! }] as const] : [])),
  };
}

/** Writes marked images, reads them back, measures what was written, and journals it. */
async function save(
  run: Underway,
  extractor: FeatureExtractor,
  { jobs, skipped }: DecodedBatch,
  marked: readonly Image8[],
): Promise<void> {
  const { model, recipe, stopwatch, writer } = run;
  const { config, featureDimension: d } = model;
  const saved: (WrittenItem & { readonly image: Image8 })[] = new Array(jobs.length);
  await inParallel(jobs.length, async (row) => {
    const { index } = jobs[row];
    const written = await stopwatch.time('encoding and writing*', writer.writeImage(index, marked[row]));
    saved[row] = { ...written, image: await stopwatch.time('reading back*', writer.read(index)) };
  });
  const regionOf = (image: Image8) =>
    cutRegion(toChannels(image, config.channels, 'an image'), evaluationCrop(image, config), config.inputSize);
  const features = async (images: readonly Image8[]): Promise<Float32Array> =>
    (await extractor.run(images.map(regionOf))).features;
  const [before, after] =
    jobs.length === 0
      ? []
      : [await features(jobs.map(({ job }) => job.image)), await features(saved.map(({ image }) => image))];
  const outcomes: (readonly [number, MarkOutcome])[] = [...skipped];
  for (const [row, { index, carrier, job }] of jobs.entries()) {
    const { id, sha256, image, lossy = false } = saved[row];
    const changeBeforeEncoding = largestChange(job.image, marked[row]);
    if (changeBeforeEncoding > recipe.radiusLevels)
      throw new IntegrityError(
        `${id}: the marked image differs by ${changeBeforeEncoding} levels, the radius is ${recipe.radiusLevels}`,
      );
    if (!lossy && largestChange(marked[row], image) > 0)
      throw new IntegrityError(`${id}: the saved image is not what was written; check the disk, and resume the run`);
    const maxChangeLevels = largestChange(job.image, image);
    let gain = 0;
    for (let i = 0; i < d; i++) gain += (after![row * d + i] - before![row * d + i]) * carrier[i];
    if (!Number.isFinite(gain))
      throw new InputError(
        `${id}: the marking network's features are not finite; use another network or --precision f32`,
      );
    const ratio = psnr(job.image, image);
    // It takes a while: the device is given its next iteration in between.
    const similarity = await stopwatch.time(
      'similarity*',
      new Promise<number>((resolve) => {
        setImmediate(() => resolve(ssim(job.image, image)));
      }),
    );
    const finite = Number.isFinite(ratio) ? ratio : null;
    const change = { maxChangeLevels, ...(lossy && { changeBeforeEncoding }) };
    outcomes.push([index, { id, psnr: finite, ssim: similarity, ...change, gain, sha256 }]);
  }
  await note(run, outcomes);
}

/** Journals what became of images. Only then does a run that is started again count them as done. */
async function note(
  { folder, done, onUnchanged }: Underway,
  outcomes: readonly (readonly [number, MarkOutcome])[],
): Promise<void> {
  await folder.note(outcomes);
  const before = done.size;
  for (const [index, outcome] of outcomes) done.set(index, outcome);
  if (before < ENOUGH && done.size >= ENOUGH) {
    const changes = [...done.values()].flatMap((outcome) => ('skipped' in outcome ? [] : [changeOf(outcome)]));
    if (changes.length > 0 && changes.every((levels) => levels === 0)) onUnchanged?.(changes.length);
  }
}

/**
 * Of what an earlier run noted, leaves out what is not so: items that this run does not mark, and images of which something else is
 * stored now than was then. They are marked again. Returns how many.
 */
export async function leaveOutChanged(
  done: Map<number, MarkOutcome>,
  wanted: Iterable<number>,
  writer: DatasetWriter,
): Promise<number> {
  const known = new Set(wanted);
  const noted = [...done];
  let left = 0;
  await inParallel(noted.length, async (i) => {
    const [index, outcome] = noted[i];
    if (known.has(index)) {
      if ('skipped' in outcome) return;
      const stored = await writer.stored(index);
      if (stored?.id === outcome.id && stored.sha256 === outcome.sha256) return;
    }
    done.delete(index);
    left++;
  });
  return left;
}

function largestChange(a: Image8, b: Image8): number {
  let largest = 0;
  for (let i = 0; i < a.data.length; i++) largest = Math.max(largest, Math.abs(a.data[i] - b.data[i]));
  return largest;
}
