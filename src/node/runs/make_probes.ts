import { join } from 'node:path';
import { type Dataset, type DatasetWriter, subset, type WrittenItem } from '../../datasets/dataset.ts';
import { DATASET_FORMATS, type FormatName } from '../../datasets/format.ts';
import { hashDataset, hashListing } from '../../datasets/hash.ts';
import { inParallel, Loader } from '../../datasets/loader.ts';
import type { SavedMark } from '../../datasets/manifest.ts';
import { selectStratified } from '../../datasets/select.ts';
import { type DoubtName, refuseDoubts } from '../../detection/doubts.ts';
import { heldOutMarks } from '../../detection/held_out_marks.ts';
import { InputError } from '../../errors.ts';
import { serializeCsv } from '../../formats/csv.ts';
import { hashBytes } from '../../formats/sha256.ts';
import type { ImageShape } from '../../images/image.ts';
import { commitment, type Key, keyCarriers, keyProbeOrders } from '../../marking/key.ts';
import {
  PROBES_NAME,
  type ProbeManifest,
  parseProbeManifest,
  serializeProbeManifest,
} from '../../marking/probe_manifest.ts';
import { type MarkingRecipe, markingRecipeFor, recipeRecord } from '../../marking/recipe.ts';
import type { VanillaImages } from '../../marking/vanilla.ts';
import { defaultBatchSize, infer, type OnProgress } from '../../nn/inference.ts';
import type { Model } from '../../nn/model.ts';
import { Stopwatch } from '../../stopwatch.ts';
import { DATASET_OPENERS, openDataset } from '../datasets/open.ts';
import type { NewDataset } from '../datasets/opener.ts';
import { formatOf, openDatasetWriter } from '../datasets/write.ts';
import { readBytes } from '../files/files.ts';
import { writeAtomic } from '../files/write.ts';
import { leaveOutChanged, type MarkOutcome, MarkOutcomeSchema, markImages } from './marking_run.ts';
import { type FolderKind, ResumableFolder } from './resumable_folder.ts';

/** Decoys that the true set is compared with: a class alone can reach p = 0.01. */
export const DEFAULT_DECOYS = 99;
/** Images of each class that are marked. */
export const DEFAULT_PROBES_PER_CLASS = 30;

/** Table of all images, for whoever runs a model on them. */
export const LIST_NAME = 'list.csv';
const IMAGES_NAME = 'images';

/** Iterations that probes are marked with at most. */
const PROBE_ITERATIONS = 30;

/** The recipe for probes: fewer iterations than for data to publish, and no random crops, since no training crops them. */
export const probeRecipeOf = (recipe: MarkingRecipe): MarkingRecipe => ({
  ...recipe,
  iterations: Math.min(PROBE_ITERATIONS, recipe.iterations),
  crop: null,
});

/** The same from the recipe that goes with a network. */
export const probeRecipeFor = (config: Parameters<typeof markingRecipeFor>[0]): MarkingRecipe =>
  probeRecipeOf(markingRecipeFor(config));

/** What a key fixes of its probes, and what else is usual with its marking network. */
export function probeDefaults({ statistic }: Key, config: Parameters<typeof markingRecipeFor>[0]) {
  const fixed = statistic.kind === 'black-box' ? statistic : undefined;
  return {
    decoys: fixed?.decoys ?? DEFAULT_DECOYS,
    perClass: fixed?.perClass ?? DEFAULT_PROBES_PER_CLASS,
    recipe: fixed?.recipe ?? probeRecipeFor(config),
  };
}

/** What {@link makeProbes} makes probes from, and where. */
export interface MakeProbesOptions {
  /** Whose carriers the images are marked towards. */
  readonly key: Key;
  /** The key's marking network. */
  readonly model: Model;
  /** Held-out images that were never marked, classes in the key's order. */
  readonly heldOut: VanillaImages;
  /** Take the images although they are doubtful: `held-out`, where they carry the key's mark. */
  readonly despite?: readonly DoubtName[] | undefined;
  /** Carrier sets beside the true one. */
  readonly decoys: number;
  /** Images of each class, chosen by the recipe's seed. */
  readonly perClass: number;
  /** How they are marked. */
  readonly recipe: MarkingRecipe;
  /** PNG files, or IDX files, which need images of one size. Default: as the data set stores images. */
  readonly layout?: FormatName | undefined;
  /** The new folder. Until everything is done it is called `<out>.partial`. */
  readonly out: string;
  /** Images a batch; halved until it fits. */
  readonly batchSize?: number | undefined;
  /** Follows the marking; images of the batch under way count by their iterations. */
  readonly onProgress?: OnProgress | undefined;
  /** Called where a run goes on that was stopped, with the number of images that are marked already. */
  readonly onResume?: ((done: number) => void) | undefined;
  /** Ends the work when the images under way are saved. */
  readonly signal?: AbortSignal | undefined;
  /** Is told where the time goes. */
  readonly stopwatch?: Stopwatch;
}

/**
 * Marks held-out images towards the key's carriers and, each anew, towards those of decoys drawn the same way: the probes of the
 * black-box test, made once and put before any suspect. Writes `images/` with, one after another, every vanilla image and its
 * versions, `list.csv` with a row for each, and `probes.json`.
 *
 * The sets come in an order of the key's secret, another one for each class, and are marked in that order in the same batches:
 * neither names nor times tell which is the true one.
 *
 * Killed at any moment and started again with the same arguments, it goes on and ends with the same bytes.
 *
 * Throws InputError where `out` exists, the partial folder belongs to other arguments, a class has too few images or one of them
 * cannot be marked; IntegrityError where the images carry the key's mark, or a saved image breaks the radius; DeviceError where the device fails.
 */
export async function makeProbes(options: MakeProbesOptions): Promise<ProbeManifest> {
  const folder = await ResumableFolder.open(options.out, options.heldOut.dataset);
  try {
    return await makeInto(folder, options);
  } finally {
    await folder.close();
  }
}

async function makeInto(folder: ResumableFolder, options: MakeProbesOptions): Promise<ProbeManifest> {
  const { key, model, decoys, perClass, recipe, signal } = options;
  const { dataset } = options.heldOut;
  const { partial } = folder;
  const stopwatch = options.stopwatch ?? new Stopwatch();
  const S = decoys + 1;
  const { name } = formatOf(dataset);
  const chosen = chooseVanilla(dataset, perClass, recipe.seed);
  const head = {
    format: 'radioactive-probes' as const,
    version: 1 as const,
    source: { layout: name, count: dataset.length, sha256: await hashDataset(dataset) },
    keyCommitment: await commitment(key),
    options: { decoys, perClass, ...recipeRecord(recipe), modelSha256: key.model.sha256 },
    classes: [...dataset.classes],
    sets: S,
    layout: options.layout ?? layoutLike(name),
    images: chosen.map((index) => ({ class: dataset.classes[dataset.labels[index]], id: dataset.id(index) })),
  };
  // What the manifest cannot say is found before the work.
  const nothing = classesBySets(head.classes.length, S);
  serializeProbeManifest({ ...head, sha256: hashListing([]), marks: { changeLevels: nothing, gain: nothing } });

  const begun = await folder.begin(head, PROBE_FOLDER);
  if (begun.last) {
    await folder.complete();
    return begun.last;
  }
  const { done } = begun;
  const loader = await Loader.open(subset(dataset, chosen), model.config.channels);
  const { features } = await infer(model, loader, {
    batchSize: options.batchSize ?? defaultBatchSize(model.config),
    signal,
  });
  refuseDoubts(
    { heldOutMarks: await heldOutMarks(key, features, loader.dataset.labels) },
    key.classes,
    options.despite,
  );
  const { grid, fileOf } = await gridOf(loader, dataset, head.layout, S);
  const writer = await openDatasetWriter(grid, join(partial, IMAGES_NAME), {
    resume: true,
    format: 'PNG',
    strip: true,
  });
  try {
    const marked = Array.from({ length: grid.length }, (_, row) => row).filter((row) => row % (S + 1) > 0);
    await leaveOutChanged(done, marked, writer);
    if (begun.resumed) options.onResume?.(done.size);
    const vanilla = await stopwatch.time('vanilla images', writeVanilla(loader, writer, S));
    await markImages(
      {
        model,
        recipe,
        dataset: grid,
        carrierOf: await carriersOf(key, grid, S),
        cropStreamOf: (row) => loader.dataset.id(Math.floor(row / (S + 1))),
        pixels: await pixelsOf(grid, marked, S),
        writer,
        folder,
        done,
        batchSize: options.batchSize,
        onProgress: options.onProgress,
        signal,
        stopwatch,
      },
      marked,
    );
    const items = Array.from({ length: grid.length }, (_, row): WrittenItem => {
      if (row % (S + 1) === 0) return vanilla[row / (S + 1)];
      const outcome = done.get(row)!;
      if (!('skipped' in outcome)) return outcome;
      throw new InputError(`${loader.dataset.id(Math.floor(row / (S + 1)))}: ${outcome.skipped}`);
    });
    const listing = items.map((item, row) => ({ ...item, class: head.classes[grid.labels[row]] }));
    const manifest: ProbeManifest = {
      ...head,
      sha256: hashListing(listing),
      marks: meanMarks(grid, done as ReadonlyMap<number, SavedMark>, head.classes.length, S),
    };
    await writer.finish();
    await writeAtomic(join(partial, LIST_NAME), encode(listOf(manifest, items, fileOf)));
    await folder.complete({ name: PROBES_NAME, text: serializeProbeManifest(manifest) });
    return manifest;
  } finally {
    await writer.close().catch(() => undefined);
  }
}

/** The format that new images are made in, beside a data set of another: files lie in folders of their own, not in shards or lists. */
const layoutLike = (name: FormatName): FormatName => (DATASET_FORMATS[name].stores === 'files' ? 'folder' : name);

const PROBE_FOLDER: FolderKind<MarkOutcome, ProbeManifest> = {
  entry: MarkOutcomeSchema,
  lastName: PROBES_NAME,
  readLast: parseProbeManifest,
  headOf: ({ sha256, marks, ...head }) => head,
};

/** Indices of the vanilla images, class by class. */
function chooseVanilla(dataset: Dataset, perClass: number, seed: number): number[] {
  const sizes = new Array<number>(dataset.classes.length).fill(0);
  for (const label of dataset.labels) sizes[label]++;
  const few = sizes.findIndex((size) => size < perClass);
  if (few >= 0)
    throw new InputError(
      `${dataset.path}: class ${dataset.classes[few]} has ${sizes[few]} images, ${perClass} are asked for; give more images, or ask for fewer of each class`,
    );
  const { selected } = selectStratified(dataset.labels, sizes.length, { perClass }, seed);
  return [...selected].sort((a, b) => dataset.labels[a] - dataset.labels[b] || a - b);
}

/**
 * The probes as a data set: row b(S + 1) is vanilla image b of the loader, the S rows after it the same image again, each to be marked
 * towards a carrier of its own. Folders are named by the class's number, so that their order is the key's.
 */
async function gridOf(
  loader: Loader,
  source: Dataset,
  layout: FormatName,
  S: number,
): Promise<{ grid: Dataset; fileOf: NewDataset['file'] }> {
  const base = loader.dataset;
  const vanillaOf = (row: number): number => Math.floor(row / (S + 1));
  const perClass = base.length / base.classes.length;
  // Names of one length each, so that their order as texts is that of the rows.
  const pad = (value: number, end: number): string => String(value).padStart(Math.max(4, String(end - 1).length), '0');
  const pathOf = (row: number): string => {
    const b = vanillaOf(row);
    return `${pad(base.labels[b], base.classes.length)}/${pad(b % perClass, perClass)}-${pad(row % (S + 1), S + 1)}`;
  };
  // Decodes every image once: a damaged one is found before the long work.
  const shapes: ImageShape[] = new Array(base.length);
  await inParallel(base.length, async (b) => {
    const { width, height, channels } = await loader.image(b);
    shapes[b] = { width, height, channels };
  });
  let made: NewDataset;
  try {
    made = DATASET_OPENERS[layout].begin(shapes);
  } catch (error) {
    throw error instanceof InputError ? new InputError(`${source.path}: ${error.message}`, { cause: error }) : error;
  }
  const grid: Dataset = {
    path: source.path,
    root: source.root,
    format: made.format,
    classes: base.classes,
    length: base.length * (S + 1),
    labels: Uint32Array.from({ length: base.length * (S + 1) }, (_, row) => base.labels[vanillaOf(row)]),
    id: (row) => made.id(row, pathOf(row)),
    shape: async (row) => shapes[vanillaOf(row)],
    image: (row) => loader.image(vanillaOf(row)),
    bytes: async (row) => (await loader.image(vanillaOf(row))).data,
  };
  return { grid, fileOf: made.file };
}

async function writeVanilla(loader: Loader, writer: DatasetWriter, S: number): Promise<WrittenItem[]> {
  const written: WrittenItem[] = new Array(loader.dataset.length);
  await inParallel(written.length, async (b) => {
    written[b] = await writer.writeImage(b * (S + 1), await loader.image(b));
  });
  return written;
}

/** The carrier of each row: of its class and of the draw at its position. */
async function carriersOf(key: Key, grid: Dataset, S: number): Promise<(row: number) => Float64Array> {
  const orders = await keyProbeOrders(key, S);
  const draws = [await keyCarriers(key)];
  for (let m = 0; m < S - 1; m++) draws.push(await keyCarriers(key, 'decoy', m));
  const d = key.model.featureDimension;
  return (row) => {
    const c = grid.labels[row];
    return draws[orders[c][(row % (S + 1)) - 1]].directions.subarray(c * d, (c + 1) * d);
  };
}

async function pixelsOf(grid: Dataset, rows: readonly number[], S: number): Promise<ReadonlyMap<number, number>> {
  const pixels = new Map<number, number>();
  for (const row of rows) {
    const known = row % (S + 1) > 1 ? pixels.get(row - 1) : undefined;
    if (known !== undefined) pixels.set(row, known);
    else {
      const { width, height } = await grid.shape(row);
      pixels.set(row, width * height);
    }
  }
  return pixels;
}

/** Means over the images of a class, sets in the order of the list. */
function meanMarks(grid: Dataset, done: ReadonlyMap<number, SavedMark>, K: number, S: number): ProbeManifest['marks'] {
  const perClass = grid.length / (S + 1) / K;
  const [changeLevels, gain] = [classesBySets(K, S), classesBySets(K, S)];
  for (let row = 0; row < grid.length; row++) {
    if (row % (S + 1) === 0) continue;
    const [c, s] = [grid.labels[row], (row % (S + 1)) - 1];
    const mark = done.get(row)!;
    changeLevels[c][s] += (mark.psnr === null ? 0 : 255 * 10 ** (-mark.psnr / 20)) / perClass;
    gain[c][s] += mark.gain / perClass;
  }
  return { changeLevels, gain };
}

/** Zeros [K][S]. */
const classesBySets = (K: number, S: number): number[][] =>
  Array.from({ length: K }, () => new Array<number>(S).fill(0));

function listOf({ images, sets }: ProbeManifest, items: readonly WrittenItem[], fileOf: NewDataset['file']): string {
  return serializeCsv([
    ['index', 'file', 'class', 'image', 'version'],
    ...items.map(({ id }, row) => {
      const image = images[Math.floor(row / (sets + 1))];
      return [String(row), `${IMAGES_NAME}/${fileOf(id)}`, image.class, image.id, String(row % (sets + 1))];
    }),
  ]);
}

/** A folder of probes. */
export interface OpenedProbes {
  /** The folder. */
  readonly path: string;
  /** Its `probes.json`. */
  readonly manifest: ProbeManifest;
  /** Of `probes.json`, which covers the images. */
  readonly sha256: string;
}

/** What a folder of probes says of itself. Throws InputError if it is none. */
export async function openProbes(path: string): Promise<OpenedProbes> {
  const file = join(path, PROBES_NAME);
  const bytes = await readBytes(file);
  return { path, manifest: parseProbeManifest(new TextDecoder().decode(bytes), file), sha256: hashBytes(bytes) };
}

/** The images of a folder of probes, in the order of its list. Throws InputError where there are others, or not so many. */
export async function openProbeImages({ path, manifest }: OpenedProbes): Promise<Dataset> {
  const root = join(path, IMAGES_NAME);
  // Class folders have the classes' numbers for names.
  const numbered = DATASET_FORMATS[manifest.layout].classesBy === 'number';
  const images = await openDataset(root, { split: 'test', ...(numbered && { classes: manifest.classes }) });
  const rows = manifest.images.length * (manifest.sets + 1);
  if (images.length !== rows)
    throw new InputError(`${root}: has ${images.length} images, ${rows} belong there; copy the folder again`);
  return { ...images, classes: manifest.classes };
}

const encode = (text: string): Uint8Array => new TextEncoder().encode(text);
