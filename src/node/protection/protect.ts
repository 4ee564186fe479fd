/** Everything that an owner of images does before publishing them, in one run that can be stopped anywhere. */

import { rename } from 'node:fs/promises';
import { type Dataset, subset } from '../../datasets/dataset.ts';
import { inParallel } from '../../datasets/loader.ts';
import type { Manifest } from '../../datasets/manifest.ts';
import { InputError, IntegrityError } from '../../errors.ts';
import { datasetCommitment } from '../../evidence/commitment.ts';
import { timeStampRequest } from '../../evidence/timestamp.ts';
import { canonicalJson } from '../../formats/canonical.ts';
import { hashBytes } from '../../formats/sha256.ts';
import { awaitsBeacon, commitment, type Key } from '../../marking/key.ts';
import { type MarkingRecipe, markingRecipeFor } from '../../marking/recipe.ts';
import { type ConfigOverrides, parseModelFile } from '../../nn/model_file.ts';
import { derive } from '../../random.ts';
import { openDatasetWriter, requireOutside } from '../datasets/write.ts';
import { readHeldBack } from '../evidence/held_back.ts';
import { openMarked } from '../evidence/marked.ts';
import { registerPath, removeUnusedRegister } from '../evidence/register.ts';
import { exists, outputPath, readBytes } from '../files/files.ts';
import { PRIVATE_FILE_MODE } from '../files/private_part.ts';
import { hashFile, writeAtomic } from '../files/write.ts';
import type { RunContext } from '../runs/context.ts';
import { openKey } from '../runs/inputs.ts';
import { type FixedBlackBox, runKeygen } from '../runs/keygen.ts';
import { lockOutput } from '../runs/lock.ts';
import { probeRecipeOf } from '../runs/make_probes.ts';
import { runMarking } from '../runs/mark.ts';
import { patternNetwork } from '../runs/pattern_network.ts';
import { createPrivate } from '../runs/resumable_folder.ts';
import { KEPT_NAMES, type PrivatePaths, privatePaths } from './layout.ts';
import {
  type Planned,
  type Protection,
  type ProtectionFiles,
  type ProtectionPlan,
  planProtection,
  readProtection,
} from './plan.ts';
import { trainReferences } from './references.ts';
import { inSteps, type Step } from './steps.ts';

/** What {@link runProtection} did, or would do. */
export interface ProtectionReport {
  readonly plan: ProtectionPlan;
  /** Where everything is that is kept. */
  readonly kept: PrivatePaths;
  /** `planned`: nothing was written. `waiting`: the key waits for its beacon. */
  readonly state: 'planned' | 'waiting' | 'protected';
  /** Once there is one. */
  readonly key?: Key | undefined;
  /** Of the key, to be published or stamped before the images. */
  readonly commitment?: string | undefined;
  /** Once the images are marked. */
  readonly marked?: { readonly manifest: Manifest; readonly commitment: string } | undefined;
}

/**
 * Protects a data set: holds images back for the test, makes a marking network, a key and its commitment, and marks. Writes `output`,
 * which can be published, and its private part, which is kept. Every step is one of the library's runs.
 *
 * Stopped anywhere and started again with the same arguments, it goes on. Nothing that is there is written again; what was begun with
 * other arguments is refused.
 *
 * @throws InputError where the images cannot be protected, or `output` is something else; the errors of the steps
 */
export async function runProtection(
  files: ProtectionFiles,
  context: RunContext,
  options: { readonly onPlan?: (plan: ProtectionPlan) => void } = {},
): Promise<ProtectionReport> {
  const output = outputPath(files.output);
  const kept = privatePaths(output);
  const reading = context.progress;
  let display: ReturnType<RunContext['progress']> | undefined;
  const planned = await planProtection(files, (done, total) => {
    display ??= reading(`reading ${files.data}`, total, 'images');
    display.update(done);
  });
  display?.done();
  const { plan, dataset } = planned;
  options.onPlan?.(plan);
  if (files.dryRun) return { plan, kept, state: 'planned' };
  for (const path of [output, kept.folder]) await requireOutside(dataset, path);
  const release = await lockOutput(kept.folder);
  try {
    await begin(output, kept, plan.protection);
    return await protectInto(output, kept, files, planned, inSteps(context, stepsOf(plan)));
  } finally {
    await release();
  }
}

/** What takes long, in order. Amounts between kinds are rough. */
function stepsOf({ classes, protection }: ProtectionPlan): Step[] {
  const sum = (of: 'heldBack' | 'marked' | 'images'): number => classes.reduce((total, each) => total + each[of], 0);
  const published = sum('images') - sum('heldBack');
  const training = Array.from({ length: protection.references }, () => ({
    title: 'training',
    kind: 'training',
    amount: 100 * published,
  }));
  return [
    ...(sum('heldBack') > 0 ? [{ title: 'holding back', kind: 'copying', amount: sum('heldBack') }] : []),
    ...training,
    { title: 'reading', kind: 'reading', amount: published },
    ...(protection.marking.hardestSha256 === undefined
      ? []
      : [{ title: 'choosing', kind: 'choosing', amount: published }]),
    { title: 'marking', kind: 'marking', amount: 10 * sum('marked') },
    { title: 'writing the others', kind: 'writing', amount: 2 * (published - sum('marked')) },
  ];
}

/** Begins the private part, or finds that it was begun with the same. */
async function begin(output: string, kept: PrivatePaths, protection: Protection): Promise<void> {
  if (await exists(kept.protection)) {
    const there = await readProtection(kept.protection);
    if (canonicalJson(withoutPlaces(there)) !== canonicalJson(withoutPlaces(protection)))
      throw new InputError(
        `${kept.folder}: was begun with other images or options; finish it with those, or choose another folder with -o`,
      );
    return;
  }
  if (await exists(output)) throw new InputError(`${output}: exists already; choose another folder, or remove it`);
  await createPrivate(kept.folder);
  await writePrivate(kept.protection, `${JSON.stringify(protection, null, 2)}\n`);
}

/** What decides the result: not where files are. */
const withoutPlaces = ({ data, heldOut, network, ...rest }: Protection): object => ({
  ...rest,
  data: { ...data, path: '' },
  heldOut: heldOut.kind === 'given' ? { ...heldOut, path: '' } : heldOut,
  network: network.kind === 'given' ? { ...network, path: '' } : network,
});

async function protectInto(
  output: string,
  kept: PrivatePaths,
  files: ProtectionFiles,
  { plan, dataset }: Planned,
  context: RunContext,
): Promise<ProtectionReport> {
  const { protection } = plan;
  const rest = await holdBack(kept, dataset, protection, context);
  const model = await writeNetwork(kept, files, protection);
  const references =
    protection.references > 0
      ? await trainReferences(kept.references, rest, protection.references, files.training, context)
      : undefined;
  await makeKey(kept, files, protection, { model, references }, context);
  const key = await openKey(kept.key, { waiting: true });
  const keyCommitment = await commitment(key);
  await writeOnce(kept.keyRequest, () => timeStampRequest(keyCommitment));
  await writePrivate(kept.commitment, `key ${keyCommitment}\n`);
  const report = { plan, kept, key, commitment: keyCommitment };
  if (awaitsBeacon(key)) return { ...report, state: 'waiting' };
  const { marking, network } = protection;
  if (!(await exists(output)))
    await runMarking(
      {
        key: kept.key,
        model,
        ...(network.kind === 'given' && { network: network.overrides as ConfigOverrides }),
        data: rest,
        fraction: marking.fraction,
        hardest: files.hardest,
        recipe: marking.recipe as Partial<MarkingRecipe>,
        output,
        format: marking.format,
        strip: marking.strip,
        copyUnmarked: marking.copyUnmarked,
        batchSize: files.batchSize,
        keptPrivate: KEPT_NAMES,
      },
      context,
    );
  const folder = await openMarked(output);
  if (folder.manifest.keyCommitment !== keyCommitment)
    throw new IntegrityError(`${output}: was not marked with ${kept.key}; choose another folder with -o`);
  const marked = { manifest: folder.manifest, commitment: datasetCommitment(folder) };
  await writeOnce(kept.dataRequest, () => timeStampRequest(marked.commitment));
  await writePrivate(kept.commitment, `key ${keyCommitment}\nmarked data set ${marked.commitment}\n`);
  return { ...report, state: 'protected', marked };
}

/**
 * Holds images back for the test: writes the list of them, then copies of their files. Returns the others.
 *
 * The choice follows from the images alone: whoever protects the same folder twice holds the same ones back, so that none of them is
 * published the second time.
 */
async function holdBack(
  kept: PrivatePaths,
  dataset: Dataset,
  { heldOut, data }: Protection,
  { progress, signal }: RunContext,
): Promise<Dataset> {
  if (heldOut.kind === 'given') return dataset;
  let ids = await readHeldBack(kept.folder);
  if (!ids) {
    const chosen = await chooseHeldBack(dataset, heldOut.perClass, data.sha256);
    ids = new Set(chosen.map((index) => dataset.id(index)));
    await writePrivate(kept.heldOutList, `${[...ids].join('\n')}\n`);
  }
  const all = Array.from({ length: dataset.length }, (_, index) => index);
  const held = subset(
    dataset,
    all.filter((index) => ids.has(dataset.id(index))),
  );
  if (held.length !== ids.size)
    throw new IntegrityError(`${kept.heldOutList}: is not the list that was written; restore it`);
  if (!(await exists(kept.heldOut))) {
    const partial = `${kept.heldOut}.partial`;
    const display = progress('holding back', held.length, 'images');
    const writer = await openDatasetWriter(held, partial, { resume: true });
    try {
      let done = 0;
      await inParallel(held.length, async (index) => {
        signal?.throwIfAborted();
        await writer.copy(index);
        display.update(++done);
      });
      await writer.finish();
    } finally {
      await writer.close().catch(() => undefined);
    }
    await rename(partial, kept.heldOut);
    display.done();
  }
  return subset(
    dataset,
    all.filter((index) => !ids.has(dataset.id(index))),
  );
}

/** So many sound images of each class, decoded to be sure. */
async function chooseHeldBack(dataset: Dataset, perClass: number, dataSha256: string): Promise<number[]> {
  // 48 bits of what the images are.
  const seed = Number.parseInt(dataSha256.slice(0, 12), 16);
  const members: number[][] = dataset.classes.map(() => []);
  for (const [index, label] of dataset.labels.entries()) members[label].push(index);
  const chosen: number[] = [];
  for (const [label, indices] of members.entries()) {
    derive(seed, 'hold back', label).shuffle(indices);
    let found = 0;
    for (const index of indices) {
      if (found === perClass) break;
      if (!(await isSound(dataset, index))) continue;
      chosen.push(index);
      found++;
    }
    if (found < perClass)
      throw new InputError(
        `${dataset.path}: class ${dataset.classes[label]} has ${found} images that can be read, ${perClass} are to be held back; add images, or give a smaller --per-class`,
      );
  }
  return chosen.sort((a, b) => a - b);
}

async function isSound(dataset: Dataset, index: number): Promise<boolean> {
  if (dataset.faults?.has(index)) return false;
  return await dataset.image(index).then(
    () => true,
    (error: unknown) => {
      if (error instanceof InputError) return false;
      throw error;
    },
  );
}

/** The marking network's file: the patterns, which are written, or the one that was given. */
async function writeNetwork(kept: PrivatePaths, files: ProtectionFiles, { network, classes }: Protection) {
  if (network.kind === 'given') return files.model!;
  const { patterns, inputSize, channels } = network;
  const { bytes, sha256 } = patternNetwork({ patterns, inputSize, channels, numClasses: classes.length });
  if (!(await exists(kept.network))) await writePrivate(kept.network, bytes);
  else if ((await hashFile(kept.network)) !== sha256)
    throw new IntegrityError(`${kept.network}: is not the network that was written; restore it, or remove it`);
  return kept.network;
}

/** Makes the key, unless it is there. */
async function makeKey(
  kept: PrivatePaths,
  files: ProtectionFiles,
  { key, classes, heldOut, network, marking }: Protection,
  made: { readonly model: string; readonly references: readonly string[] | undefined },
  context: RunContext,
): Promise<void> {
  if (await exists(kept.key)) return;
  await removeUnusedRegister(registerPath(kept.key));
  const overrides = network.kind === 'given' ? (network.overrides as ConfigOverrides) : undefined;
  const { config } = await parseModelFile(await readBytes(made.model), made.model, overrides);
  const recipe = { ...markingRecipeFor(config), ...(marking.recipe as Partial<MarkingRecipe>) };
  const fixed = key.blackBox as FixedBlackBox | undefined;
  const { decode, split, dimension, carriers } = { ...files, ...key };
  const needsVanilla = carriers !== 'uniform';
  await runKeygen(
    {
      classes: [...classes],
      split,
      decode,
      model: made.model,
      network: overrides,
      carriers,
      dimension,
      vanilla: needsVanilla ? files.data : undefined,
      blackBox: fixed && {
        ...fixed,
        recipe: probeRecipeOf(recipe),
        ...(made.references && { references: [...made.references, ...(fixed.references ?? [])] }),
      },
      heldOut:
        heldOut.kind === 'given'
          ? { path: files.heldOut!.path, split: heldOut.split }
          : { path: kept.heldOut, split: files.split ?? 'train' },
      beacon: files.beacon?.(),
      output: kept.key,
    },
    context,
  );
}

async function writeOnce(path: string, bytes: () => Uint8Array): Promise<void> {
  if (!(await exists(path))) await writePrivate(path, bytes());
}

/** Writes a file for the owner alone; one that says the same stays. */
async function writePrivate(path: string, content: string | Uint8Array): Promise<void> {
  const bytes = typeof content === 'string' ? new TextEncoder().encode(content) : content;
  if ((await exists(path)) && (await hashFile(path)) === hashBytes(bytes)) return;
  await writeAtomic(path, bytes, PRIVATE_FILE_MODE);
}
