import type { Dataset, DatasetWriter } from '../../datasets/dataset.ts';
import { unlessFaulty } from '../../datasets/faults.ts';
import { hashDataset } from '../../datasets/hash.ts';
import { checkChannels, inParallel } from '../../datasets/loader.ts';
import {
  changeOf,
  isManifestId,
  MANIFEST_NAME,
  type Manifest,
  type ManifestImage,
  manifestText,
  parseManifest,
  serializeManifest,
} from '../../datasets/manifest.ts';
import { merkleRoot } from '../../datasets/merkle.ts';
import { type Selection, selectLargest, selectStratified } from '../../datasets/select.ts';
import { InputError } from '../../errors.ts';
import { hashAside, hashBytes } from '../../formats/sha256.ts';
import { chooseForMarking } from '../../marking/choice.ts';
import { hardness } from '../../marking/hardness.ts';
import { commitment, type Key, keyCarriers } from '../../marking/key.ts';
import { type MarkingRecipe, recipeRecord } from '../../marking/recipe.ts';
import type { OnProgress } from '../../nn/inference.ts';
import type { Model } from '../../nn/model.ts';
import { Stopwatch } from '../../stopwatch.ts';
import { formatOf, openDatasetWriter } from '../datasets/write.ts';
import { openIfMarked } from '../evidence/marked.ts';
import { leaveOutChanged, type MarkOutcome, MarkOutcomeSchema, markImages, type PixelCounts } from './marking_run.ts';
import { type FolderKind, ResumableFolder } from './resumable_folder.ts';

/** What {@link markDataset} marks, how, and where the marked data set goes. */
export interface MarkDatasetOptions {
  /** Whose carriers the images are marked towards. */
  readonly key: Key;
  /** The key's marking network. */
  readonly model: Model;
  /** Opened with `keepFaults`, files that cannot be marked are skipped and reported; otherwise the first one is refused. */
  readonly dataset: Dataset;
  /** Share of each class's images to mark. */
  readonly fraction: number;
  /** Mark images among those that this classifier of the same classes finds hardest, see `hardness`; absent: among all. */
  readonly hardest?: { readonly classifier: Model; readonly sha256: string } | undefined;
  /** How they are marked. */
  readonly recipe: MarkingRecipe;
  /** The new data set's folder. Until everything is done it is called `<out>.partial`. */
  readonly out: string;
  /** Writes all images as PNG files; default each like its own file. */
  readonly format?: 'PNG' | undefined;
  /** Leaves out what files say beside their pictures, of all images alike. */
  readonly strip?: boolean | undefined;
  /** Keeps the bytes of unmarked files. It tells them from the marked ones, whatever else is done. */
  readonly copyUnmarked?: boolean | undefined;
  /** Names that the private part of `out` may hold before; anything else there is refused. */
  readonly keptPrivate?: readonly string[] | undefined;
  /** Images a batch; halved until it fits. */
  readonly batchSize?: number;
  /** Follows the marking; images of the batch under way count by their iterations. */
  readonly onProgress?: OnProgress;
  /** Follows the reading of all files before that. */
  readonly onRead?: OnProgress;
  /** Follows the classifier on all images, after that. */
  readonly onChoose?: OnProgress;
  /** Follows the writing of the unmarked images, after the marking. */
  readonly onWrite?: OnProgress;
  /** Called where files were copied that cannot be decoded, with their number. */
  readonly onCopied?: (count: number) => void;
  /** Called where the images are a marked data set's, with the path of its manifest. */
  readonly onMarkedBefore?: (manifest: string) => void;
  /** Called where a run goes on that was stopped, with the number of images that are marked already. */
  readonly onResume?: (done: number) => void;
  /** Called once, with their number, when the first images that are saved, eight or more, are all as they were. */
  readonly onUnchanged?: (count: number) => void;
  /** Ends the work when the images under way are saved. */
  readonly signal?: AbortSignal;
  /** Is told where the time goes. */
  readonly stopwatch?: Stopwatch;
}

/**
 * Marks a share of a data set and writes a data set of the same layout, which can be published as it is, and its private part with
 * the manifest beside it. All images, marked or not, are written in one way: in their own files' formats, decoded and encoded with
 * the same settings and metadata, under their own names, with one time. What is reported of an image (change, PSNR, SSIM, gain along
 * the carrier) is measured on the saved file, decoded again; the radius holds before a lossy encoding. Images keep their sizes;
 * images of nearly one size share a batch.
 *
 * Which images are marked is decided by the key's secret, see `chooseForMarking`, over all items of a class, sound or not, so that a
 * damaged file changes nothing for the others: it is reported, and copied if it can be read. With `hardest`
 * the secret chooses among those that a classifier finds hardest. For keys of version 1 to 3 the recipe's seed decides, or the
 * classifier alone.
 *
 * Killed at any moment and started again with the same arguments, it goes on and ends with the same bytes: every image is
 * journalled once it is safely written, and the folder gets its name only when it is complete.
 *
 * Throws InputError where `out` exists, the partial folder belongs to other arguments, or nothing can be marked;
 * IntegrityError where a saved image breaks the radius; DeviceError where the device fails.
 */
export async function markDataset(options: MarkDatasetOptions): Promise<Manifest> {
  const folder = await ResumableFolder.open(options.out, options.dataset, {
    published: true,
    keptPrivate: options.keptPrivate,
  });
  try {
    return await markInto(folder, options);
  } finally {
    await folder.close();
  }
}

async function markInto(folder: ResumableFolder, options: MarkDatasetOptions): Promise<Manifest> {
  const { key, model, dataset, fraction, hardest, recipe, signal } = options;
  const stopwatch = options.stopwatch ?? new Stopwatch();
  const { format, strip, copyUnmarked } = options;
  const markedBefore = await openIfMarked(dataset.root);
  if (markedBefore) options.onMarkedBefore?.(markedBefore.path);
  const { sha256, pixels, faults } = await stopwatch.time('reading', survey(options));
  const { selected, rest } = await stopwatch.time('choosing', choose(options, sha256, faults));
  if (selected.length === 0)
    throw new InputError(`${dataset.path}: a fraction of ${fraction} marks no image; give a larger one`);
  const head = {
    format: 'radioactive-manifest' as const,
    version: 2 as const,
    source: { layout: formatOf(dataset).name, count: dataset.length, sha256 },
    keyCommitment: await commitment(key),
    options: {
      fraction,
      ...recipeRecord(recipe),
      // Marks of another precision are other marks.
      ...(model.device.precision !== 'f32' && { precision: model.device.precision }),
      modelSha256: key.model.sha256,
      // Unless files are as they were.
      ...(format && { format }),
      ...(strip && { strip }),
      ...(copyUnmarked && { copyUnmarked }),
      // The choice depends on the adapter's rounding: a run is not gone on with after another one.
      ...(hardest && { classifierSha256: hardest.sha256, chosenSha256: hashBytes(encode(selected.join())) }),
    },
    classes: [...dataset.classes],
  };
  // What a manifest cannot say is found before the work.
  serializeManifest({ ...head, summary: {}, merkleRoot: merkleRoot([]), images: [] });

  const begun = await folder.begin(head, MARKED_FOLDER);
  if (begun.last) {
    options.onResume?.(begun.last.images.length);
    await folder.complete();
    return begun.last;
  }
  const { done } = begun;
  const writer = await openDatasetWriter(dataset, folder.partial, { resume: true, format, strip });
  try {
    const sound = [...selected].filter((index) => !faults.has(index));
    await leaveOutChanged(done, sound, writer);
    if (begun.resumed) options.onResume?.(done.size);
    if (sound.some((index) => !done.has(index))) {
      const { directions, featureDimension: d } = await keyCarriers(key);
      const carriers = dataset.classes.map((_, c) => directions.slice(c * d, (c + 1) * d));
      await markImages(
        {
          model,
          recipe,
          dataset,
          carrierOf: (index) => carriers[dataset.labels[index]],
          cropStreamOf: (index) => dataset.id(index),
          pixels,
          writer,
          folder,
          done,
          batchSize: options.batchSize,
          onProgress: options.onProgress,
          onUnchanged: options.onUnchanged,
          signal,
          stopwatch,
        },
        sound,
      );
    }
    const images: ManifestImage[] = [];
    for (const index of sound) {
      const outcome = done.get(index)!;
      if ('skipped' in outcome) faults.set(index, outcome.skipped);
      else {
        const source = dataset.id(index);
        const { id, ...measured } = outcome;
        images.push({
          id,
          ...(id !== source && { source }),
          class: dataset.classes[dataset.labels[index]],
          ...measured,
        });
      }
    }
    if (images.length === 0) {
      const [[index, reason]] = faults;
      throw new InputError(
        `${dataset.path}: none of the selected images can be marked: ${dataset.id(index)}: ${reason}`,
      );
    }
    const unmarked = writer.beginsAsCopy ? [] : [...rest, ...selected.filter((index) => faults.has(index))];
    const { leftOut, copied } = await stopwatch.time(
      'writing the others',
      writeUnmarked(unmarked, { ...options, writer, faults }),
    );
    if (copied > 0 && !copyUnmarked) options.onCopied?.(copied);
    const skipped = [...faults].sort(([a], [b]) => a - b).map(([index, reason]) => ({ id: dataset.id(index), reason }));
    const marked = new Set(images.map((image) => image.class));
    const unmarkedClasses = dataset.classes.filter((name) => !marked.has(name));
    const manifest: Manifest = {
      ...head,
      summary: summariseMarks(images, dataset.length),
      ...(skipped.length > 0 && { skipped }),
      ...(unmarkedClasses.length > 0 && { unmarkedClasses }),
      merkleRoot: merkleRoot(images),
      images,
    };
    await writer.finish(leftOut);
    await folder.complete({ name: MANIFEST_NAME, text: manifestText(manifest) });
    return manifest;
  } finally {
    await writer.close().catch(() => undefined);
  }
}

const MARKED_FOLDER: FolderKind<MarkOutcome, Manifest> = {
  entry: MarkOutcomeSchema,
  lastName: MANIFEST_NAME,
  readLast: parseManifest,
  headOf: ({ summary, skipped, unmarkedClasses, merkleRoot, images, ...head }) => head,
};

/** What is known of a data set's files before anything is decoded. */
interface Survey {
  readonly sha256: string;
  /** Pixels of each item that seems sound. */
  readonly pixels: PixelCounts;
  /** Why an item cannot be marked, by index. */
  readonly faults: Map<number, string>;
}

/** Reads every file: its hash, its size, and what its header and its end tell of damage. */
async function survey({ dataset, model, onRead }: MarkDatasetOptions): Promise<Survey> {
  const faults = new Map(dataset.faults);
  // A map would take ten times as much memory.
  const counts = new Float64Array(dataset.length);
  let done = 0;
  await inParallel(dataset.length, async (index) => {
    if (!faults.has(index)) {
      const shape = await unlessFaulty(dataset, index, faults, async () => {
        const found = await dataset.shape(index);
        checkChannels(found.channels, model.config.channels, dataset.id(index));
        if (!isManifestId(dataset.id(index)))
          throw new InputError(`${dataset.id(index)}: a name that no manifest can hold; rename it`);
        return found;
      });
      if (shape) counts[index] = shape.width * shape.height;
    }
    onRead?.(++done, dataset.length);
  });
  return { sha256: await hashDataset(dataset), pixels: { get: (index) => counts[index] || undefined }, faults };
}

/** Which items are marked: by the secret; for keys of version 1 to 3 by the seed, or the hardest. */
async function choose(
  options: MarkDatasetOptions,
  dataSha256: string,
  faults: Map<number, string>,
): Promise<Selection> {
  const { key, dataset, fraction, hardest, recipe, signal } = options;
  const { labels } = dataset;
  const values =
    hardest && (await hardness(hardest.classifier, dataset, faults, { signal, onProgress: options.onChoose }));
  if (key.version >= 4) return await chooseForMarking({ key, labels, fraction, dataSha256, hardness: values });
  const classCount = dataset.classes.length;
  return values
    ? selectLargest(labels, classCount, { fraction }, values)
    : selectStratified(labels, classCount, { fraction }, recipe.seed);
}

/**
 * Writes items with their own pixels, in the way of the marked ones; what was written by a run before this one stays. Copies those that
 * cannot be decoded, and notes why, or all where that is asked for. Returns how many were copied, and which had to be left out
 * because they cannot be read or may not be followed.
 */
async function writeUnmarked(
  indices: readonly number[],
  {
    dataset,
    copyUnmarked,
    signal,
    onWrite,
    writer,
    faults,
  }: MarkDatasetOptions & { readonly writer: DatasetWriter; readonly faults: Map<number, string> },
): Promise<{ leftOut: ReadonlySet<number>; copied: number }> {
  const leftOut = new Set<number>();
  const damaged = new Map<number, string>();
  let copied = 0;
  let done = 0;
  const writeOne = async (index: number): Promise<void> => {
    const isFile = !dataset.faults?.has(index);
    const image =
      isFile && !copyUnmarked ? await unlessFaulty(dataset, index, damaged, () => dataset.image(index)) : undefined;
    if (image) await writer.writeImage(index, image);
    else if (isFile || (await dataset.bytes(index).then(Boolean, () => false))) {
      await writer.copy(index);
      copied++;
    } else leftOut.add(index);
  };
  // A name stands for a whole file alone. What was copied is looked at again, for why.
  const isWritten = async (index: number): Promise<boolean> => {
    const stored = await writer.stored(index);
    return stored !== undefined && stored.sha256 !== (await dataset.bytes(index).then(hashAside));
  };
  await inParallel(indices.length, async (position) => {
    signal?.throwIfAborted();
    const index = indices[position];
    if (copyUnmarked || !(await isWritten(index))) await writeOne(index);
    onWrite?.(++done, indices.length);
  });
  for (const [index, reason] of damaged) if (!faults.has(index)) faults.set(index, reason);
  return { leftOut, copied };
}

function summariseMarks(images: readonly ManifestImage[], count: number): Record<string, number> {
  const ratios = images.flatMap(({ psnr }) => (psnr === null ? [] : [psnr])).sort((a, b) => a - b);
  const mean = (values: readonly number[]): number => values.reduce((sum, value) => sum + value, 0) / values.length;
  return {
    marked: images.length,
    share: images.length / count,
    ...(ratios.length > 0 && { psnrMedian: ratios[ratios.length >> 1], psnrMin: ratios[0] }),
    ssimMean: mean(images.map(({ ssim = 0 }) => ssim)),
    gainMean: mean(images.map(({ gain }) => gain)),
    maxChangeLevels: images.reduce((most, { maxChangeLevels }) => Math.max(most, maxChangeLevels), 0),
    ...(images.some(({ changeBeforeEncoding }) => changeBeforeEncoding !== undefined) && {
      changeBeforeEncoding: images.reduce((most, image) => Math.max(most, changeOf(image)), 0),
    }),
  };
}

const encode = (text: string): Uint8Array => new TextEncoder().encode(text);
