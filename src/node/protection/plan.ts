/** What protecting a data set will do, decided from its images before anything is written. */

import { readFile } from 'node:fs/promises';
import { resolve } from 'node:path';
import * as v from 'valibot';
import type { Dataset } from '../../datasets/dataset.ts';
import { unlessFaulty } from '../../datasets/faults.ts';
import { hashDataset } from '../../datasets/hash.ts';
import { inParallel } from '../../datasets/loader.ts';
import { areSplits, isSplit } from '../../datasets/names.ts';
import type { TestName } from '../../detection/tests.ts';
import { InputError, UsageError } from '../../errors.ts';
import { type DocumentKind, readDocument } from '../../formats/document.ts';
import { count, positiveCount, hex32 as sha256, text } from '../../formats/fields.ts';
import type { DecodeOptions } from '../../images/decode.ts';
import type { Beacon } from '../../marking/beacon.ts';
import type { MarkingRecipe } from '../../marking/recipe.ts';
import type { OnProgress } from '../../nn/inference.ts';
import type { ConfigOverrides } from '../../nn/model_file.ts';
import type { Recipe } from '../../training/recipe.ts';
import { type OpenDatasetOptions, openDataset } from '../datasets/open.ts';
import { openIfMarked } from '../evidence/marked.ts';
import { measuredFiles } from '../experiment/measured_files.ts';
import { hashFile } from '../files/write.ts';
import type { FixedBlackBox } from '../runs/keygen.ts';
import { DEFAULT_DECOYS, DEFAULT_PROBES_PER_CLASS } from '../runs/make_probes.ts';
import { DEFAULT_PATTERNS } from '../runs/pattern_network.ts';
import { DEFAULT_GOAL, floorOf, type Outlook, outlookAt, shareFor } from './outlook.ts';

/** What {@link runProtection} protects, and how; what is absent is chosen from the images. */
export interface ProtectionFiles {
  /** The images, by path: some of them are marked, some held back. */
  readonly data: string;
  /** Which IDX files, where the folder holds both; default `train`. */
  readonly split?: 'train' | 'test' | undefined;
  readonly decode?: DecodeOptions | undefined;
  /** The new folder, to publish as it is. Everything else goes into its private part. */
  readonly output: string;
  /** Images to test on that were never published; absent: some of `data` are held back. */
  readonly heldOut?: { readonly path: string; readonly split?: 'train' | 'test' | undefined } | undefined;
  /** The p-value hoped for, which decides the share; default 1e-6. */
  readonly p?: number | undefined;
  /** Share of each class to mark; absent: what `p` needs by what was measured, at most a fifth. */
  readonly fraction?: number | undefined;
  /** A model of the same classes: the images are drawn from those that it finds hardest. */
  readonly hardest?: string | undefined;
  /** A marking network; absent: patterns for these images. Then `fraction` must be given. */
  readonly model?: string | undefined;
  /** What is said of it beside its file; of patterns their number and size. */
  readonly network?: ConfigOverrides | undefined;
  readonly carriers?: 'subspace' | 'uniform' | undefined;
  readonly dimension?: number | undefined;
  /** The test that counts; default the black-box test. */
  readonly statistic?: TestName | undefined;
  /** What the key fixes of the black-box test. */
  readonly blackBox?: FixedBlackBox | undefined;
  /** What the key waits for; default nothing. */
  readonly beacon?: (() => Beacon | null) | undefined;
  /** Reference models to train on the originals, for the key to fix; default none. */
  readonly references?: number | undefined;
  /** How they are trained. */
  readonly training?: ReferenceTraining | undefined;
  /** What differs from the recipe that goes with the marking network. */
  readonly recipe?: Partial<MarkingRecipe> | undefined;
  readonly format?: 'PNG' | undefined;
  readonly strip?: boolean | undefined;
  readonly copyUnmarked?: boolean | undefined;
  readonly batchSize?: number | undefined;
  /** Decide everything, and do nothing. */
  readonly dryRun?: boolean | undefined;
}

/** How reference models are trained; what is absent is the default for the images. */
export interface ReferenceTraining {
  readonly epochs?: number | undefined;
  readonly architecture?: 'resnet18' | 'resnet34' | 'resnet50' | undefined;
  readonly width?: number | undefined;
  readonly recipe?: Partial<Recipe> | undefined;
}

const optional = <const S extends v.GenericSchema>(schema: S) => v.exactOptional(schema);
const share = v.pipe(v.number(), v.minValue(0), v.maxValue(1));
const options = v.record(v.string(), v.unknown());

const ProtectionSchema = v.strictObject({
  format: v.literal('radioactive-protection'),
  version: v.literal(1),
  /** What is protected; the path is where it was. */
  data: v.strictObject({ path: text, split: v.picklist(['train', 'test']), count: positiveCount, sha256 }),
  classes: v.array(text),
  /** The images to test on: held back from the data, or others. */
  heldOut: v.variant('kind', [
    v.strictObject({ kind: v.literal('held back'), perClass: positiveCount }),
    v.strictObject({ kind: v.literal('given'), path: text, split: v.picklist(['train', 'test']), count, sha256 }),
  ]),
  network: v.variant('kind', [
    v.strictObject({
      kind: v.literal('patterns'),
      patterns: positiveCount,
      inputSize: positiveCount,
      channels: v.picklist([1, 3]),
    }),
    v.strictObject({ kind: v.literal('given'), path: text, sha256, overrides: options }),
  ]),
  key: v.strictObject({
    statistic: v.picklist(['white-box', 'black-box']),
    carriers: optional(v.picklist(['subspace', 'uniform'])),
    dimension: optional(positiveCount),
    blackBox: optional(options),
    awaitsBeacon: v.boolean(),
  }),
  references: count,
  training: options,
  marking: v.strictObject({
    fraction: share,
    hardestSha256: optional(sha256),
    recipe: options,
    format: optional(v.literal('PNG')),
    strip: v.boolean(),
    copyUnmarked: v.boolean(),
    accept: v.array(v.string()),
  }),
});

/** What a data set is protected with, as its private part tells. */
export interface Protection extends v.InferOutput<typeof ProtectionSchema> {}

const PROTECTION = {
  name: 'record of a protection',
  cure: 'give the file that protect wrote, unchanged',
  schema: ProtectionSchema,
  header: { format: 'radioactive-protection', versions: [1] },
} satisfies DocumentKind;

/** Reads what a data set is protected with. Throws InputError if the file is none of these. */
export async function readProtection(path: string): Promise<Protection> {
  return readDocument(PROTECTION, await readFile(path, 'utf8'), path);
}

/** A class, with how many of its images there are and what becomes of them. */
export interface PlannedClass {
  readonly name: string;
  readonly images: number;
  /** Those that seem sound. */
  readonly sound: number;
  readonly heldBack: number;
  readonly marked: number;
}

/** What will be done, and what is known of the images. */
export interface ProtectionPlan {
  readonly protection: Protection;
  readonly classes: readonly PlannedClass[];
  readonly images: ImageSurvey;
  /** Images that probes will be, and roughly their bytes as PNG files; absent where the key's test needs none. */
  readonly probes?: {
    readonly images: number;
    readonly bytes: number;
    readonly sets: number;
    readonly perClass: number;
  };
  /** What was measured at that share; null for a marking network that nothing was measured of. */
  readonly outlook: Outlook | null;
  readonly goal: number;
  /** What the owner should know before, a line each. */
  readonly warnings: readonly string[];
}

/** Sizes of a data set's images. */
export interface ImageSurvey {
  /** Of those that seem sound. */
  readonly shorterSide: { readonly smallest: number; readonly median: number; readonly largest: number };
  readonly pixelsMedian: number;
  readonly channels: 1 | 3;
  /** Those that cannot be used. */
  readonly faults: number;
}

/** Largest pattern matrix, in bytes: what the software adapter binds, 128 MiB, less a quarter. */
const MOST_PATTERN_BYTES = 96 * 2 ** 20;
/** At most one in so many images of the smallest class is held back. */
const HELD_BACK_OF = 5;
/** Fewer probes of a class make a weak test. */
const FEW_PROBES = 10;
/** The test's smallest p-value should lie so many decades below the one hoped for. */
const DECADES_TO_SPARE = 2;
/** Carrier sets that a test has at least and at most. */
const SETS = { least: 20, most: 1000 } as const;
/** Pixels of all probes: what more carrier sets than needed may take, from where fewer images of a class must do, and at most. */
const PROBE_PIXELS = { spare: 2e8, fewer: 1e9, most: 2e9 } as const;
/** Probe images of a class in the experiments that docs/power.md reports. */
const MEASURED_PROBES = 15;
/** Bytes of a PNG file for each level: photographs shrink to about half. */
const PNG_BYTES = 0.55;

/** What is read, and what is decided. */
export interface Planned {
  readonly plan: ProtectionPlan;
  /** All of the data, with faulty items. */
  readonly dataset: Dataset;
}

/**
 * Decides what {@link runProtection} will do. Reads every image's header, writes nothing, needs no device.
 *
 * @throws InputError where the images cannot be protected: one class, classes of too few images, splits for classes, images that are
 * marked
 */
export async function planProtection(files: ProtectionFiles, onRead?: OnProgress): Promise<Planned> {
  const { split = 'train', decode = {}, statistic = 'black-box' } = files;
  if (files.model !== undefined && files.fraction === undefined)
    throw new UsageError('--model needs --fraction: which share will do was measured for patterns alone');
  const dataset = await openDataset(files.data, { split, decode, keepFaults: true });
  await refuseUnfit(dataset);
  const { survey, sound, sizes } = await surveyOf(dataset, onRead);
  const K = dataset.classes.length;
  const network = await networkOf(files, survey);
  const heldOut = await heldOutOf(files, dataset, sound);
  const fixed = files.blackBox ?? {};
  const usual = probesFor(K, heldOut.perClass, survey);
  const perClass = fixed.perClass ?? usual.perClass;
  const sets = fixed.decoys === undefined ? usual.sets : fixed.decoys + 1;
  const blackBox = statistic === 'black-box';
  const measured = await measuredFiles();
  const outlookPlan = {
    classCount: K,
    sets,
    dimension: network.kind === 'patterns' ? network.patterns : -1,
    marked: files.hardest === undefined ? ('random' as const) : ('hardest' as const),
  };
  const goal = files.p ?? DEFAULT_GOAL;
  const fraction = files.fraction ?? shareFor(measured, outlookPlan, goal);
  const outlook = network.kind === 'patterns' && blackBox ? outlookAt(measured, outlookPlan, fraction) : null;
  const carriers = files.carriers ?? (network.kind === 'patterns' ? ('uniform' as const) : undefined);
  const { references, labelOnly, combine } = fixed;
  const protection: Protection = {
    format: 'radioactive-protection',
    version: 1,
    data: { path: resolved(files.data), split, count: dataset.length, sha256: await hashDataset(dataset) },
    classes: [...dataset.classes],
    heldOut: heldOut.record,
    network,
    key: {
      statistic,
      ...(carriers && { carriers }),
      ...(files.dimension !== undefined && { dimension: files.dimension }),
      ...(blackBox && { blackBox: defined({ decoys: sets - 1, perClass, combine, labelOnly, references }) }),
      awaitsBeacon: files.beacon !== undefined,
    },
    references: files.references ?? 0,
    training: defined(files.training ?? {}),
    marking: {
      fraction,
      ...(files.hardest !== undefined && { hardestSha256: await hashFile(files.hardest) }),
      recipe: defined(files.recipe ?? {}),
      ...(files.format && { format: files.format }),
      strip: files.strip ?? false,
      copyUnmarked: files.copyUnmarked ?? false,
      accept: [...(decode.accept ?? [])],
    },
  };
  const heldBack = heldOut.record.kind === 'held back' ? heldOut.record.perClass : 0;
  const classes = dataset.classes.map((name, c) => {
    const left = sizes[c] - heldBack;
    const marked = fraction === 0 ? 0 : Math.min(left, Math.max(1, Math.round(fraction * left)));
    return { name, images: sizes[c], sound: sound[c], heldBack, marked };
  });
  const probeImages = K * perClass * (sets + 1);
  const plan: ProtectionPlan = {
    protection,
    classes,
    images: survey,
    ...(blackBox && {
      probes: {
        images: probeImages,
        bytes: Math.round(probeImages * survey.pixelsMedian * survey.channels * PNG_BYTES),
        sets,
        perClass,
      },
    }),
    outlook,
    goal,
    warnings: warningsOf({ dataset, survey, classes, network, perClass, sets, goal, blackBox, fraction }),
  };
  return { plan, dataset };
}

/** What cannot be protected, whatever its images are. */
async function refuseUnfit(dataset: Dataset): Promise<void> {
  const { path, root, classes } = dataset;
  const marked = await openIfMarked(root);
  if (marked)
    throw new InputError(
      `${path}: is a marked data set, says ${marked.path}: marks would add up, and its images are not the originals; protect those`,
    );
  if (areSplits(classes))
    throw new InputError(
      `${path}: its class folders are ${classes.join(' and ')}: these are splits, not classes; give ${path}/${classes.find((name) => /^train/i.test(name)) ?? classes[0]}, and one that you do not publish with --held-out`,
    );
  if (classes.length < 2)
    throw new InputError(
      `${path}: has one class, ${classes[0]}: a classifier of one class learns nothing; give a folder with a folder for each class`,
    );
}

async function surveyOf(dataset: Dataset, onRead?: OnProgress) {
  const faults = new Map(dataset.faults);
  const sides: number[] = [];
  const pixels: number[] = [];
  let channels: 1 | 3 = 1;
  let done = 0;
  const sound = new Array<number>(dataset.classes.length).fill(0);
  const sizes = sound.slice();
  await inParallel(dataset.length, async (index) => {
    sizes[dataset.labels[index]]++;
    const shape = faults.has(index)
      ? undefined
      : await unlessFaulty(dataset, index, faults, () => dataset.shape(index));
    if (shape) {
      sound[dataset.labels[index]]++;
      sides.push(Math.min(shape.width, shape.height));
      pixels.push(shape.width * shape.height);
      if (shape.channels === 3) channels = 3;
    }
    onRead?.(++done, dataset.length);
  });
  sides.sort((a, b) => a - b);
  pixels.sort((a, b) => a - b);
  const middle = sides.length >> 1;
  if (sides.length === 0) throw new InputError(`${dataset.path}: none of its images can be read; give others`);
  const shorterSide = { smallest: sides[0], median: sides[middle], largest: sides.at(-1)! };
  const survey: ImageSurvey = { shorterSide, pixelsMedian: pixels[middle], channels, faults: faults.size };
  return { survey, sound, sizes };
}

async function networkOf(
  { model, network: overrides = {} }: ProtectionFiles,
  { shorterSide, channels }: ImageSurvey,
): Promise<Protection['network']> {
  if (model !== undefined)
    return { kind: 'given', path: resolve(model), sha256: await hashFile(model), overrides: defined(overrides) };
  const given = overrides as { readonly patterns?: number };
  const available = (size: number): number => size * Math.ceil(size / 2) - 1;
  const patterns = given.patterns ?? Math.max(2, Math.min(DEFAULT_PATTERNS, available(shorterSide.median)));
  const largest = Math.floor(Math.sqrt(MOST_PATTERN_BYTES / (4 * channels * patterns)));
  const inputSize = overrides.inputSize ?? Math.min(shorterSide.median, largest);
  return { kind: 'patterns', patterns, inputSize, channels };
}

/** Which images suspects will be tested on, and how many of a class there are at least. */
async function heldOutOf(
  { heldOut, blackBox, decode = {} }: ProtectionFiles,
  dataset: Dataset,
  sound: readonly number[],
): Promise<{ record: Protection['heldOut']; perClass: number }> {
  if (heldOut !== undefined) {
    const split = heldOut.split ?? 'test';
    const opening: OpenDatasetOptions = { split, classes: dataset.classes, decode };
    const given = await openDataset(heldOut.path, opening);
    const sizes = new Array<number>(dataset.classes.length).fill(0);
    for (const label of given.labels) sizes[label]++;
    const perClass = Math.min(...sizes);
    if (perClass === 0)
      throw new InputError(
        `${heldOut.path}: has no image of class ${dataset.classes[sizes.indexOf(0)]}; give some of every class`,
      );
    const sha = await hashDataset(given);
    const record = { kind: 'given' as const, path: resolved(heldOut.path), split, count: given.length, sha256: sha };
    return { record, perClass };
  }
  const smallest = Math.min(...sound);
  const few = dataset.classes[sound.indexOf(smallest)];
  if (smallest < 2)
    throw new InputError(
      `${dataset.path}: class ${few} has ${smallest === 1 ? 'one image' : 'no image'} that can be read: one is held back for the test, and one is marked at least; add images, remove the class, or give others to test on with --held-out`,
    );
  const perClass =
    blackBox?.perClass ?? Math.min(DEFAULT_PROBES_PER_CLASS, Math.max(1, Math.floor(smallest / HELD_BACK_OF)));
  if (perClass >= smallest)
    throw new InputError(
      `${dataset.path}: class ${few} has ${smallest} images, of which ${perClass} cannot be held back; give a smaller --per-class, or others to test on with --held-out`,
    );
  return { record: { kind: 'held back', perClass }, perClass };
}

/**
 * Carrier sets and probe images of a class, for K classes: so many sets that the test can give a p-value well below the one hoped for,
 * and as many more up to the usual number as probes of these sizes allow. Fewer of both where the probes would fill disks.
 */
function probesFor(K: number, available: number, { pixelsMedian }: ImageSurvey): { sets: number; perClass: number } {
  const usual = Math.min(DEFAULT_PROBES_PER_CLASS, available);
  const needed = Math.ceil(10 ** ((DECADES_TO_SPARE - Math.log10(DEFAULT_GOAL)) / K));
  const least = Math.min(SETS.most, Math.max(SETS.least, needed));
  const pixels = (sets: number, perClass: number): number => K * perClass * sets * pixelsMedian;
  const perClass = pixels(least, usual) > PROBE_PIXELS.fewer ? Math.min(MEASURED_PROBES, usual) : usual;
  const affordable = (most: number): number => Math.floor(most / pixels(1, perClass));
  const sets = Math.min(least, Math.max(SETS.least, affordable(PROBE_PIXELS.most)));
  return { sets: Math.max(sets, Math.min(DEFAULT_DECOYS + 1, affordable(PROBE_PIXELS.spare))), perClass };
}

function warningsOf(about: {
  readonly dataset: Dataset;
  readonly survey: ImageSurvey;
  readonly classes: readonly PlannedClass[];
  readonly network: Protection['network'];
  readonly perClass: number;
  readonly sets: number;
  readonly goal: number;
  readonly blackBox: boolean;
  readonly fraction: number;
}): string[] {
  const { dataset, survey, classes, network, perClass, sets, goal, blackBox, fraction } = about;
  const lines: string[] = [];
  if (survey.faults > 0)
    lines.push(`${survey.faults} of ${dataset.length} images cannot be read: they are neither marked nor held back`);
  const splits = classes.filter(({ name }) => isSplit(name)).map(({ name }) => JSON.stringify(name));
  if (splits.length > 0)
    lines.push(`class folders are called ${splits.join(', ')}: if these are splits, give the one to publish`);
  const poor = classes.filter(({ marked, images }) => marked === 1 && images > 1);
  if (poor.length > 0)
    lines.push(
      `${poor.length} of ${classes.length} classes have so few images that one is marked, ${poor
        .slice(0, 3)
        .map(({ name, images }) => `${JSON.stringify(name)} (${images})`)
        .join(', ')}${poor.length > 3 ? ', …' : ''}: they add more noise than evidence; add images, or leave them out`,
    );
  if (blackBox && perClass < FEW_PROBES)
    lines.push(
      `${perClass} images of a class to test on are few, ${FEW_PROBES} or more are better: give others with --held-out, or add images to the smallest class`,
    );
  const floor = floorOf({ classCount: classes.length, sets });
  if (blackBox && floor > Math.log10(goal) - DECADES_TO_SPARE)
    lines.push(
      `with ${classes.length} classes and ${sets} carrier sets the test can give no p-value below 1e${floor.toFixed(0)}: more --decoys, or more classes, allow less`,
    );
  if (network.kind === 'patterns' && survey.shorterSide.largest > 2 * network.inputSize)
    lines.push(
      `some images are more than twice as large as the ${network.inputSize} pixels that patterns are made for: between samples their pixels stay as they are, and scaling such images down weakens the mark; scale them down before`,
    );
  if (fraction > 0.2)
    lines.push(`${Math.round(100 * fraction)} % is much: models that learn from it become less accurate`);
  return lines;
}

/** An absolute path, with its range. */
function resolved(path: string): string {
  const [, folder, range = ''] = /^(.*?)(#\d*:\d*)?$/s.exec(path)!;
  return `${resolve(folder)}${range}`;
}

/** An object without what is undefined. */
function defined(object: object): Record<string, unknown> {
  return Object.fromEntries(Object.entries(object).filter(([, value]) => value !== undefined));
}
