import { type FileHandle, open, readFile, rename, rm, truncate } from 'node:fs/promises';
import { join } from 'node:path';
import type { Dataset } from '../datasets/dataset.ts';
import { exists } from '../datasets/files.ts';
import { chunks, Loader } from '../datasets/loader.ts';
import {
  MANIFEST_NAME,
  type Manifest,
  type ManifestImage,
  parseManifest,
  serializeManifest,
} from '../datasets/manifest.ts';
import { selectStratified } from '../datasets/select.ts';
import {
  createOutputFolder,
  type DatasetWriter,
  hashDataset,
  openDatasetWriter,
  writeAtomic,
} from '../datasets/write.ts';
import { InputError, IntegrityError } from '../errors.ts';
import type { Image8 } from '../images/image.ts';
import { psnr } from '../images/metrics.ts';
import { defaultBatchSize, FeatureExtractor, fitBatch, type OnProgress } from '../nn/inference.ts';
import type { Model } from '../nn/model.ts';
import { commitment, type Key, keyCarriers } from './key.ts';
import { Marker, type MarkingJob, type MarkingRecipe } from './marker.ts';

export interface MarkDatasetOptions {
  readonly key: Key;
  /** The key's marking network. */
  readonly model: Model;
  readonly dataset: Dataset;
  /** Share of each class's images to mark. */
  readonly fraction: number;
  readonly recipe: MarkingRecipe;
  /** The new data set's folder. Until everything is done it is called `<out>.partial`. */
  readonly out: string;
  /** Images a batch; halved until it fits. */
  readonly batchSize?: number;
  readonly onProgress?: OnProgress;
  readonly onResume?: (done: number) => void;
  readonly signal?: AbortSignal;
}

/** Name of the file, in the partial folder, that lists the marked images so far. */
const JOURNAL_NAME = '.journal.ndjson';

/**
 * Marks a share of a data set and writes a data set of the same layout beside a manifest. What is reported of an image (change,
 * PSNR, gain along the carrier) is measured on the saved file, decoded again.
 *
 * Killed at any moment and started again with the same arguments, it goes on and ends with the same bytes: every image is
 * journalled once it is safely written, and the folder gets its name only when it is complete.
 *
 * Throws InputError where `out` exists, the partial folder belongs to other arguments, or nothing is to be marked;
 * IntegrityError where a saved image breaks the radius; DeviceError where the device fails.
 */
export async function markDataset(options: MarkDatasetOptions): Promise<Manifest> {
  const { key, model, dataset, fraction, recipe, out } = options;
  const partial = `${out}.partial`;
  if (await exists(out)) throw new InputError(`${out}: exists already; choose another folder, or remove it`);
  const { selected, rest } = selectStratified(dataset.labels, dataset.classes.length, { fraction }, recipe.seed);
  if (selected.length === 0)
    throw new InputError(`${dataset.path}: a fraction of ${fraction} marks no image; give a larger one`);

  const sourceHash = await hashDataset(dataset);
  const head = {
    format: 'radioactive-manifest' as const,
    version: 1 as const,
    source: { layout: dataset.layout, count: dataset.length, sha256: sourceHash },
    keyCommitment: await commitment(key),
    options: optionsRecord(recipe, fraction, key.model.sha256),
    classes: [...dataset.classes],
  };

  const loader = await Loader.open(dataset, model.config.channels);
  const journalPath = join(partial, JOURNAL_NAME);
  const found = (await readJournal(journalPath)) ?? (await readFinished(join(partial, MANIFEST_NAME), selected));
  if (found && JSON.stringify(found.head) !== JSON.stringify(head)) {
    throw new InputError(
      `${partial}: was begun with another key, data set or options; finish it with those, or remove it`,
    );
  }
  const done = new Map(found?.entries ?? []);
  if (found) options.onResume?.(done.size);
  else {
    // The journal comes before everything else: what a killed run leaves in the folder is always known to be its own.
    const names = await createOutputFolder(dataset, partial);
    if (names.length > 0) throw new InputError(`${partial}: not empty and not from this command; remove it`);
    await writeAtomic(journalPath, encode(`${JSON.stringify(head)}\n`));
  }
  const writer = await openDatasetWriter(dataset, partial, { resume: true });
  try {
    const todo = [...selected].filter((index) => !done.has(index));
    await markAll(options, loader, writer, journalPath, todo, done, selected.length);
    for (const index of dataset.layout === 'folder' ? rest : []) {
      options.signal?.throwIfAborted();
      await writer.copy(index);
    }
    const images = [...selected].map((index) => done.get(index)!);
    const manifest: Manifest = { ...head, summary: summarise(images, dataset.length), images };
    await writer.finish();
    await writeAtomic(join(partial, MANIFEST_NAME), encode(serializeManifest(manifest)));
    await rm(journalPath, { force: true });
    await rename(partial, out);
    return manifest;
  } finally {
    await writer.close().catch(() => undefined);
  }
}

async function markAll(
  options: MarkDatasetOptions,
  loader: Loader,
  writer: DatasetWriter,
  journalPath: string,
  todo: readonly number[],
  done: Map<number, ManifestImage>,
  total: number,
): Promise<void> {
  if (todo.length === 0) return;
  const { key, model, dataset, recipe, signal } = options;
  const { directions, featureDimension: d } = await keyCarriers(key);
  const carriers = dataset.classes.map((_, c) => Float64Array.from(directions.subarray(c * d, (c + 1) * d)));
  // Of all images, not of those that are left: resumed or not, the device runs the same programs.
  const wanted = Math.min(options.batchSize ?? defaultBatchSize(model.config), total);
  const { built, batchSize } = await fitBatch(wanted, async (size) => {
    const marker = await Marker.create(model, loader.canvas, size, recipe);
    try {
      return { marker, extractor: await FeatureExtractor.create(model, loader.canvas, size) };
    } catch (error) {
      marker.destroy();
      throw error;
    }
  });
  const { marker, extractor } = built;
  let journal: FileHandle | undefined;
  try {
    journal = await open(journalPath, 'a');
    options.onProgress?.(done.size, total);
    for (const indices of chunks(todo, batchSize)) {
      const jobs: MarkingJob[] = [];
      for (const index of indices) {
        jobs.push({
          id: dataset.id(index),
          image: await loader.image(index),
          direction: Float32Array.from(carriers[dataset.labels[index]]),
        });
      }
      const marked = await marker.mark(jobs, signal);
      const saved: { id: string; sha256: string; image: Image8 }[] = [];
      for (const [row, index] of indices.entries()) {
        const written = await writer.writeImage(index, marked[row]);
        saved.push({ ...written, image: await writer.read(index) });
      }
      const { features: before } = await extractor.run(jobs.map(({ image }) => image));
      const { features: after } = await extractor.run(saved.map(({ image }) => image));
      const lines: string[] = [];
      for (const [row, index] of indices.entries()) {
        const { id, sha256, image } = saved[row];
        const maxChangeLevels = largestChange(jobs[row].image, image);
        if (maxChangeLevels > recipe.radiusLevels) {
          throw new IntegrityError(
            `${id}: the saved image differs by ${maxChangeLevels} levels, the radius is ${recipe.radiusLevels}`,
          );
        }
        const carrier = carriers[dataset.labels[index]];
        let gain = 0;
        for (let i = 0; i < d; i++) gain += (after[row * d + i] - before[row * d + i]) * carrier[i];
        const ratio = psnr(jobs[row].image, image);
        const entry = {
          id,
          class: dataset.classes[dataset.labels[index]],
          psnr: Number.isFinite(ratio) ? ratio : null,
          maxChangeLevels,
          gain,
          sha256,
        };
        done.set(index, entry);
        lines.push(JSON.stringify([index, entry]));
      }
      await journal.writeFile(`${lines.join('\n')}\n`);
      await journal.datasync();
      options.onProgress?.(done.size, total);
    }
  } finally {
    await journal?.close();
    extractor.destroy();
    marker.destroy();
  }
}

/** What an earlier run left: what it was begun with, and the images that are done. */
interface Begun {
  readonly head: unknown;
  readonly entries: readonly (readonly [index: number, image: ManifestImage])[];
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
    return { head, entries: entries as [number, ManifestImage][] };
  } catch {
    throw new InputError(`${path}: damaged; remove the folder and mark again`);
  }
}

/** The manifest where it has outlived the journal: a run was killed between removing that and naming the folder. */
async function readFinished(path: string, selected: Uint32Array): Promise<Begun | undefined> {
  if (!(await exists(path))) return undefined;
  const { summary, images, ...head } = parseManifest(await readFile(path, 'utf8'), path);
  return { head, entries: images.map((image, position) => [selected[position], image]) };
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
