/** Marks any number of images of a data set into a writer: in batches, verified on what was saved, journalled, resumable. */

import { type FileHandle, open, readFile, truncate } from 'node:fs/promises';
import type { Dataset } from '../../datasets/dataset.ts';
import { unlessFaulty } from '../../datasets/faults.ts';
import { ahead, checkChannels, chunks, inParallel, toChannels } from '../../datasets/loader.ts';
import type { ManifestImage } from '../../datasets/manifest.ts';
import { DeviceError, InputError, IntegrityError } from '../../errors.ts';
import type { Image8 } from '../../images/image.ts';
import { psnr, ssim } from '../../images/metrics.ts';
import { cutRegion } from '../../images/region.ts';
import { Marker, type MarkingJob } from '../../marking/marker.ts';
import type { MarkingRecipe } from '../../marking/recipe.ts';
import { defaultBatchSize, evaluationCrop, FeatureExtractor, fitBatch, type OnProgress } from '../../nn/inference.ts';
import type { Model } from '../../nn/model.ts';
import type { Stopwatch } from '../../stopwatch.ts';
import type { DatasetWriter } from '../datasets/write.ts';
import { exists, fileError } from '../files/files.ts';

/** Name of the file, in a folder that is not complete, that lists the images done so far. */
export const JOURNAL_NAME = '.journal.ndjson';

/** A marked image as it was saved and measured. */
export type SavedMark = Pick<ManifestImage, 'id' | 'psnr' | 'ssim' | 'maxChangeLevels' | 'gain' | 'sha256'>;

/** What became of an image that was to be marked. */
export type Outcome = SavedMark | { readonly skipped: string };

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
  readonly pixels: ReadonlyMap<number, number>;
  readonly writer: DatasetWriter;
  readonly journalPath: string;
  /** Outcomes so far, by index; grows. */
  readonly done: Map<number, Outcome>;
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

/** A run with its journal open. */
interface Underway extends MarkingRun {
  readonly journal: FileHandle;
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
  const journal = await open(run.journalPath, 'a');
  try {
    run.onProgress?.(counts.passed, counts.total);
    while (sorted.length > 0) {
      const most = 2 * pixels.get(sorted[0])!;
      const end = sorted.findIndex((index) => pixels.get(index)! > most);
      await markSimilar({ ...run, journal, counts }, sorted.splice(0, end < 0 ? sorted.length : end));
    }
  } finally {
    await journal.close();
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
    const most = Math.max(...chunks(indices, size).map(pixelsOf));
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
interface Decoded {
  readonly jobs: readonly { readonly index: number; readonly carrier: Float64Array; readonly job: MarkingJob }[];
  readonly skipped: readonly (readonly [index: number, outcome: Outcome])[];
}

async function decode(run: Underway, batch: readonly number[]): Promise<Decoded> {
  const { dataset, model } = run;
  const faults = new Map<number, string>();
  const found: (Decoded['jobs'][number] | undefined)[] = new Array(batch.length);
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
  { jobs, skipped }: Decoded,
  marked: readonly Image8[],
): Promise<void> {
  const { model, recipe, stopwatch, writer } = run;
  const { config, featureDimension: d } = model;
  const saved: { id: string; sha256: string; image: Image8 }[] = new Array(jobs.length);
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
  const outcomes: (readonly [number, Outcome])[] = [...skipped];
  for (const [row, { index, carrier, job }] of jobs.entries()) {
    const { id, sha256, image } = saved[row];
    const maxChangeLevels = largestChange(job.image, image);
    if (maxChangeLevels > recipe.radiusLevels) {
      throw new IntegrityError(
        `${id}: the saved image differs by ${maxChangeLevels} levels, the radius is ${recipe.radiusLevels}`,
      );
    }
    let gain = 0;
    for (let i = 0; i < d; i++) gain += (after![row * d + i] - before![row * d + i]) * carrier[i];
    const ratio = psnr(job.image, image);
    // It takes a while: the device is given its next iteration in between.
    const similarity = await stopwatch.time(
      'similarity*',
      new Promise<number>((resolve) => {
        setImmediate(() => resolve(ssim(job.image, image)));
      }),
    );
    const finite = Number.isFinite(ratio) ? ratio : null;
    outcomes.push([index, { id, psnr: finite, ssim: similarity, maxChangeLevels, gain, sha256 }]);
  }
  await note(run, outcomes);
}

/** Journals what became of images. Only then does a run that is started again count them as done. */
async function note(
  { journal, journalPath, done, onUnchanged }: Underway,
  outcomes: readonly (readonly [number, Outcome])[],
): Promise<void> {
  try {
    await journal.writeFile(outcomes.map((outcome) => `${JSON.stringify(outcome)}\n`).join(''));
    await journal.datasync();
  } catch (error) {
    throw fileError(journalPath, error);
  }
  const before = done.size;
  for (const [index, outcome] of outcomes) done.set(index, outcome);
  if (before < ENOUGH && done.size >= ENOUGH) {
    const changes = [...done.values()].flatMap((outcome) => ('skipped' in outcome ? [] : [outcome.maxChangeLevels]));
    if (changes.length > 0 && changes.every((levels) => levels === 0)) onUnchanged?.(changes.length);
  }
}

/** What an earlier run left: what it was begun with, and the images that are done. */
export interface Begun {
  readonly head: unknown;
  readonly entries: readonly (readonly [index: number, outcome: Outcome])[];
}

/** The journal; undefined where there is none. A last line that was cut off is removed, for the next to begin a line of its own. */
export async function readJournal(path: string): Promise<Begun | undefined> {
  if (!(await exists(path))) return undefined;
  const bytes = await readFile(path);
  const end = bytes.lastIndexOf('\n') + 1;
  if (end < bytes.length) await truncate(path, end);
  const lines = bytes.toString('utf8', 0, end).trimEnd().split('\n');
  try {
    const [head, ...entries] = lines.map((line) => JSON.parse(line) as unknown);
    return { head, entries: entries as [number, Outcome][] };
  } catch {
    throw new InputError(`${path}: damaged; remove the folder and mark again`);
  }
}

function largestChange(a: Image8, b: Image8): number {
  let largest = 0;
  for (let i = 0; i < a.data.length; i++) largest = Math.max(largest, Math.abs(a.data[i] - b.data[i]));
  return largest;
}
