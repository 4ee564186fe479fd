import { type FileHandle, open, readFile, rename, rm, truncate } from 'node:fs/promises';
import { join } from 'node:path';
import type { Dataset } from '../datasets/dataset.ts';
import { exists, fileError } from '../datasets/files.ts';
import { ahead, checkChannels, chunks, inParallel, toChannels } from '../datasets/loader.ts';
import {
  MANIFEST_NAME,
  type Manifest,
  type ManifestImage,
  parseManifest,
  serializeManifest,
} from '../datasets/manifest.ts';
import { merkleRoot } from '../datasets/merkle.ts';
import { selectStratified } from '../datasets/select.ts';
import {
  createOutputFolder,
  type DatasetWriter,
  hashDataset,
  openDatasetWriter,
  writeAtomic,
} from '../datasets/write.ts';
import { DeviceError, InputError, IntegrityError } from '../errors.ts';
import type { Image8 } from '../images/image.ts';
import { psnr, ssim } from '../images/metrics.ts';
import { cutRegion } from '../images/region.ts';
import { defaultBatchSize, evaluationCrop, FeatureExtractor, fitBatch, type OnProgress } from '../nn/inference.ts';
import type { Model } from '../nn/model.ts';
import { Stopwatch } from '../stopwatch.ts';
import { commitment, type Key, keyCarriers } from './key.ts';
import { Marker, type MarkingJob, type MarkingRecipe } from './marker.ts';

export interface MarkDatasetOptions {
  readonly key: Key;
  /** The key's marking network. */
  readonly model: Model;
  /** Opened with `keepFaults`, files that cannot be marked are skipped and reported; otherwise the first one is refused. */
  readonly dataset: Dataset;
  /** Share of each class's images to mark. */
  readonly fraction: number;
  readonly recipe: MarkingRecipe;
  /** The new data set's folder. Until everything is done it is called `<out>.partial`. */
  readonly out: string;
  /** Images a batch; halved until it fits. */
  readonly batchSize?: number;
  /** Follows the marking; images of the batch under way count by their iterations. */
  readonly onProgress?: OnProgress;
  /** Follows the reading of all files before that. */
  readonly onRead?: OnProgress;
  readonly onResume?: (done: number) => void;
  /** Ends the work when the images under way are saved. */
  readonly signal?: AbortSignal;
  /** Is told where the time goes. */
  readonly stopwatch?: Stopwatch;
}

/** Name of the file, in the partial folder, that lists the marked images so far. */
const JOURNAL_NAME = '.journal.ndjson';

/** What became of an image that was selected. */
type Outcome = ManifestImage | { readonly skipped: string };

/**
 * Marks a share of a data set and writes a data set of the same layout beside a manifest. Images keep their sizes; images of
 * nearly one size share a batch. What is reported of an image (change, PSNR, SSIM, gain along the carrier) is measured on the
 * saved file, decoded again.
 *
 * Which images are marked is decided by the seed over all items of a class, sound or not, so that a damaged file changes nothing
 * for the others: it is reported, and copied like an unmarked image if it can be read.
 *
 * Killed at any moment and started again with the same arguments, it goes on and ends with the same bytes: every image is
 * journalled once it is safely written, and the folder gets its name only when it is complete.
 *
 * Throws InputError where `out` exists, the partial folder belongs to other arguments, or nothing can be marked;
 * IntegrityError where a saved image breaks the radius; DeviceError where the device fails.
 */
export async function markDataset(options: MarkDatasetOptions): Promise<Manifest> {
  const { key, dataset, fraction, recipe, out, signal } = options;
  const stopwatch = options.stopwatch ?? new Stopwatch();
  const partial = `${out}.partial`;
  if (await exists(out)) throw new InputError(`${out}: exists already; choose another folder, or remove it`);
  const { selected, rest } = selectStratified(dataset.labels, dataset.classes.length, { fraction }, recipe.seed);
  if (selected.length === 0)
    throw new InputError(`${dataset.path}: a fraction of ${fraction} marks no image; give a larger one`);

  const { sha256, pixels, faults } = await stopwatch.time('reading', survey(options));
  const head = {
    format: 'radioactive-manifest' as const,
    version: 2 as const,
    source: { layout: dataset.layout, count: dataset.length, sha256 },
    keyCommitment: await commitment(key),
    options: optionsRecord(recipe, fraction, key.model.sha256),
    classes: [...dataset.classes],
  };

  const journalPath = join(partial, JOURNAL_NAME);
  const found =
    (await readJournal(journalPath)) ?? (await readFinished(join(partial, MANIFEST_NAME), dataset, selected));
  if (found && JSON.stringify(found.head) !== JSON.stringify(head)) {
    throw new InputError(
      `${partial}: was begun with another key, data set or options; finish it with those, or remove it`,
    );
  }
  const done = new Map<number, Outcome>(found?.entries ?? []);
  if (found) options.onResume?.(done.size);
  else {
    // The journal comes before everything else: what a killed run leaves in the folder is always known to be its own.
    const names = await createOutputFolder(dataset, partial);
    if (names.length > 0) throw new InputError(`${partial}: not empty and not from this command; remove it`);
    await writeAtomic(journalPath, encode(`${JSON.stringify(head)}\n`));
  }
  const writer = await openDatasetWriter(dataset, partial, { resume: true });
  try {
    const sound = [...selected].filter((index) => !faults.has(index));
    if (sound.some((index) => !done.has(index))) {
      const { directions, featureDimension: d } = await keyCarriers(key);
      const carriers = dataset.classes.map((_, c) => Float64Array.from(directions.subarray(c * d, (c + 1) * d)));
      const counts = { total: sound.length, passed: done.size };
      const journal = await open(journalPath, 'a');
      try {
        await markAll({ options, stopwatch, writer, journal, carriers, pixels, done, counts }, sound);
      } finally {
        await journal.close();
      }
    }
    const images: ManifestImage[] = [];
    for (const index of sound) {
      const outcome = done.get(index)!;
      if ('skipped' in outcome) faults.set(index, outcome.skipped);
      else images.push(outcome);
    }
    if (images.length === 0) {
      const [[index, reason]] = faults;
      throw new InputError(
        `${dataset.path}: none of the selected images can be marked: ${dataset.id(index)}: ${reason}`,
      );
    }
    const unmarked = dataset.layout === 'folder' ? [...rest, ...selected.filter((index) => faults.has(index))] : [];
    const leftOut = await stopwatch.time('copying', copyAll(dataset, writer, unmarked, signal));
    const skipped = [...faults].sort(([a], [b]) => a - b).map(([index, reason]) => ({ id: dataset.id(index), reason }));
    const summary = summarise(images, dataset.length);
    const root = merkleRoot(images);
    const manifest: Manifest = { ...head, summary, ...(skipped.length > 0 && { skipped }), merkleRoot: root, images };
    await writer.finish(leftOut);
    await writeAtomic(join(partial, MANIFEST_NAME), encode(serializeManifest(manifest)));
    await rm(journalPath, { force: true });
    await rename(partial, out);
    return manifest;
  } finally {
    await writer.close().catch(() => undefined);
  }
}

/** What is known of a data set's files before anything is decoded. */
interface Survey {
  readonly sha256: string;
  /** Pixels of each item that seems sound. */
  readonly pixels: ReadonlyMap<number, number>;
  /** Why an item cannot be marked, by index. */
  readonly faults: Map<number, string>;
}

/** Reads every file: its hash, its size, and what its header and its end tell of damage. */
async function survey({ dataset, model, onRead }: MarkDatasetOptions): Promise<Survey> {
  const faults = new Map(dataset.faults);
  const pixels = new Map<number, number>();
  let done = 0;
  await inParallel(dataset.length, async (index) => {
    if (!faults.has(index)) {
      const shape = await unlessFaulty(dataset, index, faults, async () => {
        const found = await dataset.shape(index);
        checkChannels(found.channels, model.config.channels, dataset.id(index));
        return found;
      });
      if (shape) pixels.set(index, shape.width * shape.height);
    }
    onRead?.(++done, dataset.length);
  });
  return { sha256: await hashDataset(dataset), pixels, faults };
}

/** Does `work`; where an item turns out to be faulty this is noted, if the data set may have faults, and else thrown. */
async function unlessFaulty<T>(
  dataset: Dataset,
  index: number,
  faults: Map<number, string>,
  work: () => Promise<T>,
): Promise<T | undefined> {
  try {
    return await work();
  } catch (error) {
    if (!dataset.faults || !(error instanceof InputError)) throw error;
    // Without the file's name, which stands beside it in reports.
    const at = error.message.indexOf(`${dataset.id(index)}: `);
    faults.set(index, at < 0 ? error.message : error.message.slice(at + dataset.id(index).length + 2));
    return undefined;
  }
}

/** What all batches of a run share. */
interface Run {
  readonly options: MarkDatasetOptions;
  readonly stopwatch: Stopwatch;
  readonly writer: DatasetWriter;
  readonly journal: FileHandle;
  /** By class, [d] each. */
  readonly carriers: readonly Float64Array[];
  readonly pixels: ReadonlyMap<number, number>;
  readonly done: Map<number, Outcome>;
  /** Counts images to be marked: all of them, and those that the device is through with, now or in an earlier run. */
  readonly counts: { readonly total: number; passed: number };
}

/** Marks what is not done yet, smallest images first: one program serves images of up to twice the smallest one's pixels. */
async function markAll(run: Run, indices: readonly number[]): Promise<void> {
  const { options, pixels, counts } = run;
  const sorted = indices.toSorted((a, b) => pixels.get(a)! - pixels.get(b)! || a - b);
  options.onProgress?.(counts.passed, counts.total);
  while (sorted.length > 0) {
    const most = 2 * pixels.get(sorted[0])!;
    const end = sorted.findIndex((index) => pixels.get(index)! > most);
    await markSimilar(run, sorted.splice(0, end < 0 ? sorted.length : end));
  }
}

/** Marks images of similar size, sorted. Those too large for the device are skipped, unless nothing at all fits. */
async function markSimilar(run: Run, indices: readonly number[]): Promise<void> {
  const { options, stopwatch, pixels, done, counts } = run;
  const { model, recipe, signal } = options;
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
  const wanted = Math.min(options.batchSize ?? defaultBatchSize(model.config), indices.length);
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
        options.onProgress?.(
          counts.passed + Math.floor((jobs.length * iteration) / (recipe.iterations + 1)),
          counts.total,
        );
      const marked = jobs.length > 0 ? await stopwatch.time('device', marker.mark(jobs, { onIteration })) : [];
      await stopwatch.time('waiting for saving', saving);
      saving = stopwatch.time('saving*', save(run, extractor, batch, marked));
      saving.catch(() => undefined);
      counts.passed += jobs.length + batch.skipped.length;
      if (counts.passed < counts.total) options.onProgress?.(counts.passed, counts.total);
    }
    await stopwatch.time('waiting for saving', saving);
    options.onProgress?.(counts.passed, counts.total);
  } finally {
    await saving.catch(() => undefined);
    extractor.destroy();
    marker.destroy();
  }
}

/** Images of a batch, decoded, and those that turned out to be damaged. */
interface Decoded {
  readonly jobs: readonly { readonly index: number; readonly job: MarkingJob }[];
  readonly skipped: readonly (readonly [index: number, outcome: Outcome])[];
}

async function decode({ options: { dataset, model }, carriers }: Run, batch: readonly number[]): Promise<Decoded> {
  const faults = new Map<number, string>();
  const found: ({ index: number; job: MarkingJob } | undefined)[] = new Array(batch.length);
  await inParallel(batch.length, async (row) => {
    const index = batch[row];
    const image = await unlessFaulty(dataset, index, faults, async () =>
      toChannels(await dataset.image(index), model.config.channels, dataset.id(index)),
    );
    const direction = Float32Array.from(carriers[dataset.labels[index]]);
    if (image) found[row] = { index, job: { id: dataset.id(index), image, direction } };
  });
  return {
    jobs: found.filter((entry) => entry !== undefined),
    skipped: batch.flatMap((index) => (faults.has(index) ? [[index, { skipped: faults.get(index)! }] as const] : [])),
  };
}

/** Writes marked images, reads them back, measures what was written, and journals it. */
async function save(
  run: Run,
  extractor: FeatureExtractor,
  { jobs, skipped }: Decoded,
  marked: readonly Image8[],
): Promise<void> {
  const { options, stopwatch, writer, carriers } = run;
  const { dataset, model, recipe } = options;
  const { config, featureDimension: d } = model;
  const saved: { id: string; sha256: string; image: Image8 }[] = new Array(jobs.length);
  await inParallel(jobs.length, async (row) => {
    const { index } = jobs[row];
    const written = await stopwatch.time('encoding and writing*', writer.writeImage(index, marked[row]));
    const image = toChannels(await stopwatch.time('reading back*', writer.read(index)), config.channels, written.id);
    saved[row] = { ...written, image };
  });
  const features = async (images: readonly Image8[]): Promise<Float32Array> =>
    (await extractor.run(images.map((image) => cutRegion(image, evaluationCrop(image, config), config.inputSize))))
      .features;
  const [before, after] =
    jobs.length === 0
      ? []
      : [await features(jobs.map(({ job }) => job.image)), await features(saved.map(({ image }) => image))];
  const outcomes: (readonly [number, Outcome])[] = [...skipped];
  for (const [row, { index, job }] of jobs.entries()) {
    const { id, sha256, image } = saved[row];
    const maxChangeLevels = largestChange(job.image, image);
    if (maxChangeLevels > recipe.radiusLevels) {
      throw new IntegrityError(
        `${id}: the saved image differs by ${maxChangeLevels} levels, the radius is ${recipe.radiusLevels}`,
      );
    }
    const carrier = carriers[dataset.labels[index]];
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
    outcomes.push([
      index,
      {
        id,
        ...(id !== job.id && { source: job.id }),
        class: dataset.classes[dataset.labels[index]],
        psnr: Number.isFinite(ratio) ? ratio : null,
        ssim: similarity,
        maxChangeLevels,
        gain,
        sha256,
      },
    ]);
  }
  await note(run, outcomes);
}

/** Journals what became of images. Only then does a run that is started again count them as done. */
async function note({ journal, writer, done }: Run, outcomes: readonly (readonly [number, Outcome])[]): Promise<void> {
  try {
    await journal.writeFile(outcomes.map((outcome) => `${JSON.stringify(outcome)}\n`).join(''));
    await journal.datasync();
  } catch (error) {
    throw fileError(join(writer.root, JOURNAL_NAME), error);
  }
  for (const [index, outcome] of outcomes) done.set(index, outcome);
}

/** Copies items as they are. Returns those that had to be left out because they cannot be read or may not be followed. */
async function copyAll(
  dataset: Dataset,
  writer: DatasetWriter,
  indices: readonly number[],
  signal: AbortSignal | undefined,
): Promise<ReadonlySet<number>> {
  const leftOut = new Set<number>();
  await inParallel(indices.length, async (position) => {
    signal?.throwIfAborted();
    const index = indices[position];
    const known = dataset.faults?.has(index) ?? false;
    const readable = !known || (await dataset.bytes(index).then(Boolean, () => false));
    if (readable) await writer.copy(index);
    else leftOut.add(index);
  });
  return leftOut;
}

/** What an earlier run left: what it was begun with, and the images that are done. */
interface Begun {
  readonly head: unknown;
  readonly entries: readonly (readonly [index: number, outcome: Outcome])[];
}

/** The journal; undefined where there is none. A last line that was cut off is removed, for the next to begin a line of its own. */
async function readJournal(path: string): Promise<Begun | undefined> {
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

/** The manifest where it has outlived the journal: a run was killed between removing that and naming the folder. */
async function readFinished(path: string, dataset: Dataset, selected: Uint32Array): Promise<Begun | undefined> {
  if (!(await exists(path))) return undefined;
  const { summary, skipped = [], merkleRoot: _, images, ...head } = parseManifest(await readFile(path, 'utf8'), path);
  const outcomes = new Map<string, Outcome>([
    ...skipped.map(({ id, reason }) => [id, { skipped: reason }] as const),
    ...images.map((image) => [image.source ?? image.id, image] as const),
  ]);
  const entries = [...selected].flatMap((index) => {
    const outcome = outcomes.get(dataset.id(index));
    return outcome ? [[index, outcome] as const] : [];
  });
  return { head, entries };
}

function optionsRecord(
  recipe: MarkingRecipe,
  fraction: number,
  modelSha256: string,
): Record<string, string | number | boolean> {
  const { crop, ...rest } = recipe;
  return {
    fraction,
    ...rest,
    crop: crop ? `scale ${crop.scale.join('-')} ratio ${crop.ratio.join('-')}${crop.flip ? ' flip' : ''}` : 'none',
    modelSha256,
  };
}

function summarise(images: readonly ManifestImage[], count: number): Record<string, number> {
  const ratios = images.flatMap(({ psnr }) => (psnr === null ? [] : [psnr])).sort((a, b) => a - b);
  const mean = (values: readonly number[]): number => values.reduce((sum, value) => sum + value, 0) / values.length;
  return {
    marked: images.length,
    share: images.length / count,
    ...(ratios.length > 0 && { psnrMedian: ratios[ratios.length >> 1], psnrMin: ratios[0] }),
    ssimMean: mean(images.map(({ ssim = 0 }) => ssim)),
    gainMean: mean(images.map(({ gain }) => gain)),
    maxChangeLevels: Math.max(...images.map(({ maxChangeLevels }) => maxChangeLevels)),
  };
}

function largestChange(a: Image8, b: Image8): number {
  let largest = 0;
  for (let i = 0; i < a.data.length; i++) largest = Math.max(largest, Math.abs(a.data[i] - b.data[i]));
  return largest;
}

const encode = (text: string): Uint8Array => new TextEncoder().encode(text);
