/** Everything that an owner does about a suspect, in one run that can be stopped anywhere. */

import { basename, dirname, join, resolve } from 'node:path';
import type { DoubtName } from '../../detection/doubts.ts';
import type { TestName } from '../../detection/tests.ts';
import { InputError, IntegrityError, UsageError } from '../../errors.ts';
import { RESULT_NAME, type Result } from '../../evidence/result.ts';
import type { DecodeOptions } from '../../images/decode.ts';
import { commitment, type Key } from '../../marking/key.ts';
import { PROBES_NAME } from '../../marking/probe_manifest.ts';
import type { ConfigOverrides } from '../../nn/model_file.ts';
import { openDataset } from '../datasets/open.ts';
import { leaveOut, readHeldBack } from '../evidence/held_back.ts';
import { folderOf, openIfMarked } from '../evidence/marked.ts';
import { registerPath } from '../evidence/register.ts';
import { readResult } from '../evidence/result.ts';
import { exists, requireNewFile } from '../files/files.ts';
import { PRIVATE_FILE_MODE, privatePart } from '../files/private_part.ts';
import { hashFile, makePrivateFolder, writeAtomic } from '../files/write.ts';
import { assembleReport } from '../report/assemble.ts';
import type { RunContext } from '../runs/context.ts';
import { type DetectionFiles, runDetection } from '../runs/detect.ts';
import { openKey } from '../runs/inputs.ts';
import { LIST_NAME, type OpenedProbes, openProbes } from '../runs/make_probes.ts';
import type { MarkedFiles } from '../runs/overlap.ts';
import type { AskedModel } from '../runs/probe_scores.ts';
import { runProbes } from '../runs/probes.ts';
import type { SuspectFiles } from '../runs/suspect.ts';
import { keptIn, PROBES_FOLDER, TESTS_FOLDER } from './layout.ts';
import { type Protection, type ReferenceTraining, readProtection } from './plan.ts';
import { findReferences, trainReferences } from './references.ts';
import { inSteps, type Step } from './steps.ts';

/** What {@link runCheck} tests, and with what; what is absent is found where the key is. */
export interface CheckFiles {
  /** The key's file. What `runProtection` left beside it is used. */
  readonly key: string;
  /** A model, what it made of the held-out images, or its answers to the probes. Absent: what the test needs is made. */
  readonly suspect?: SuspectFiles | { readonly scores: string } | undefined;
  /** Default: the test that the key fixes, and for answers the black-box test. */
  readonly test?: TestName | undefined;
  /** The key's marking network. */
  readonly model?: string | undefined;
  /** Images that were never published, none of them marked. */
  readonly data?: string | undefined;
  /** Which IDX files of `data`, where the folder holds both; default `test`. */
  readonly split?: 'train' | 'test' | undefined;
  readonly decode?: DecodeOptions | undefined;
  /** The key's probes; default a folder beside the key, where they are made once. */
  readonly probes?: string | undefined;
  /** The marked data set, which images to test on are compared with; default what was published, where it is beside the key's folder. */
  readonly marked?: string | undefined;
  /** The images before they were marked: compared likewise, and what references are trained on. */
  readonly original?: string | undefined;
  /** Which IDX files of these two, where a folder holds both; default those that were protected, or `train`. */
  readonly markedSplit?: 'train' | 'test' | undefined;
  /** Go on although these are doubtful: the result says so for ever. */
  readonly despite?: readonly DoubtName[] | undefined;
  /** Reference models to train on those, unless they are there; default none. */
  readonly references?: number | undefined;
  readonly training?: ReferenceTraining | undefined;
  /** Other reference models. */
  readonly given?: readonly AskedModel[] | undefined;
  /** Look at nothing but predicted classes. */
  readonly labelOnly?: boolean | undefined;
  readonly freshKeys?: number | undefined;
  readonly register?: string | undefined;
  readonly newRegister?: boolean | undefined;
  /** Test a suspect again that was tested before: it counts as another test. */
  readonly again?: boolean | undefined;
  readonly batchSize?: number | undefined;
}

/** What {@link runCheck} did. */
export interface CheckReport {
  /** `prepared`: there is no suspect yet. `known`: it was tested before, and this is what was found then. */
  readonly state: 'prepared' | 'tested' | 'known';
  readonly key: Key;
  readonly test: TestName;
  /** What to ask a suspect that does not run here. */
  readonly probes?: { readonly path: string; readonly list: string; readonly images: number } | undefined;
  /** Files of the reference models that were used, or are there. */
  readonly references: readonly string[];
  readonly result?: Result | undefined;
  /** The folder of the result and what it was made from. */
  readonly evidence?: string | undefined;
  /** The page about it. */
  readonly report?: string | undefined;
  /** Arguments of the command that checks it with all that is at hand. */
  readonly verify?: readonly string[] | undefined;
}

/** Name of the page in the folder of evidence. */
const REPORT_NAME = 'report.html';

/**
 * Tests a suspect with all that is at hand: makes the key's probes once, trains references once if they are asked for, makes the test
 * that the key fixes, enters it in the key's register, and writes result, arrays and report into a folder of their own. Every step is
 * one of the library's runs.
 *
 * Stopped anywhere and started again with the same arguments, it goes on. A suspect that was tested before is not tested again unless
 * `again` says so: every test counts.
 *
 * @throws InputError where something is missing that the test needs; the errors of the steps
 */
export async function runCheck(files: CheckFiles, context: RunContext): Promise<CheckReport> {
  const key = await openKey(files.key);
  const home = await homeOf(files, key, context);
  const { suspect } = files;
  const isScores = suspect !== undefined && 'scores' in suspect;
  const test = files.test ?? (isScores ? 'black-box' : key.statistic.kind);
  if (isScores && test === 'white-box')
    throw new UsageError('the white-box test looks at weights: give the model, or its features and its last layer');
  if (suspect && 'features' in suspect && test === 'black-box')
    throw new UsageError('the black-box test asks for answers to probes: give the model, or a file of its answers');
  const trained = await findReferences(home.references);
  const missing = test === 'black-box' ? Math.max(0, (files.references ?? 0) - trained.length) : 0;
  const steps = inSteps(context, await stepsOf(test, home, missing, suspect !== undefined));
  if (test === 'white-box') {
    if (!suspect)
      throw new UsageError(
        `the key's test looks at the weights of a suspect, and needs nothing made before: give SUSPECT`,
      );
    return await testSuspect({ files, key, home, test, references: [], suspect }, steps);
  }
  const probes = await probesFor(files, key, home, steps);
  const references = missing > 0 ? await train(files, key, home, steps) : trained;
  if (!suspect) {
    const { manifest, path } = probes;
    const images = manifest.images.length * (manifest.sets + 1);
    return {
      state: 'prepared',
      key,
      test,
      probes: { path, list: join(path, LIST_NAME), images },
      references,
    };
  }
  return await testSuspect({ files, key, home, test, references, suspect, probes }, steps);
}

/** Where things are that belong to a key. */
interface Home {
  /** The folder that tests, probes and references are in. */
  readonly folder: string;
  readonly probes: string;
  readonly references: string;
  readonly tests: string;
  readonly model: string | undefined;
  readonly network: ConfigOverrides | undefined;
  readonly heldOut: { readonly path: string; readonly split: 'train' | 'test' } | undefined;
  readonly protection: Protection | undefined;
  /** What images to test on are compared with. */
  readonly marked: MarkedFiles | undefined;
}

/** Beside a key that `protect` made is all that there is; of another key a folder `KEY.check` takes what is made. */
async function homeOf(files: CheckFiles, key: Key, { log }: RunContext): Promise<Home> {
  const beside = keptIn(dirname(files.key));
  const protection =
    (await exists(beside.protection)) && basename(files.key) === basename(beside.key)
      ? await readProtection(beside.protection)
      : undefined;
  const folder = protection ? beside.folder : `${files.key}.check`;
  const { data, split } = files;
  const given = data === undefined ? undefined : { path: data, split: split ?? ('test' as const) };
  const heldOut =
    protection &&
    (protection.heldOut.kind === 'given'
      ? { path: protection.heldOut.path, split: protection.heldOut.split }
      : { path: beside.heldOut, split: protection.data.split });
  if (protection && canonicalClasses(protection.classes) !== canonicalClasses(key.classes))
    throw new IntegrityError(`${files.key}: is not the key of ${beside.protection}; restore it`);
  const network = protection?.network.kind === 'given' ? protection.network : undefined;
  return {
    folder,
    probes: files.probes ?? join(folder, PROBES_FOLDER),
    references: protection ? beside.references : join(folder, basename(beside.references)),
    tests: join(folder, TESTS_FOLDER),
    model: files.model ?? network?.path ?? (protection && beside.network),
    network: network?.overrides as ConfigOverrides | undefined,
    heldOut: given ?? heldOut,
    protection,
    marked: await markedOf(files, folder, protection, log),
  };
}

/** The marked data set and its originals: those that are named, else those of the protection that are still there. */
async function markedOf(
  files: CheckFiles,
  folder: string,
  protection: Protection | undefined,
  log: RunContext['log'],
): Promise<MarkedFiles | undefined> {
  const split = files.markedSplit ?? protection?.data.split;
  if (files.marked !== undefined) return { marked: files.marked, original: files.original, split };
  if (!protection) return undefined;
  const published = publishedOf(folder);
  if (published === undefined || !(await exists(published))) {
    log(
      `${published ?? folder}: the published images are not beside their private part, so images to test on are not compared with them, and reports say nothing of them`,
    );
    return undefined;
  }
  const original = files.original ?? protection.data.path;
  if (files.original !== undefined || (await exists(await folderOf(original))))
    return { marked: published, original, split };
  log(`${original}: is not there, so images to test on are compared with the marked images alone`);
  return { marked: published, split };
}

const canonicalClasses = (classes: readonly string[]): string => JSON.stringify(classes);

async function stepsOf(test: TestName, home: Home, missing: number, tested: boolean): Promise<Step[]> {
  const comparing = home.marked ? [{ title: 'comparing', kind: 'comparing', amount: 2 }] : [];
  if (test === 'white-box')
    return [
      ...comparing,
      { title: 'reading', kind: 'reading', amount: 1 },
      { title: 'features', kind: 'testing', amount: 5 },
    ];
  const made = await exists(join(home.probes, PROBES_NAME));
  return [
    ...(made ? [] : [...comparing, { title: 'marking', kind: 'marking', amount: 10 }]),
    ...Array.from({ length: missing }, () => ({ title: 'training', kind: 'training', amount: 20 })),
    ...(tested ? [...comparing, { title: 'scores', kind: 'testing', amount: 5 }] : []),
  ];
}

/** The key's probes, made where they are missing. */
async function probesFor(files: CheckFiles, key: Key, home: Home, context: RunContext): Promise<OpenedProbes> {
  if (!(await exists(join(home.probes, PROBES_NAME)))) {
    const { model, heldOut } = home;
    if (model === undefined || heldOut === undefined)
      throw new InputError(
        `${home.probes}: there are no probes yet; to make them give ${model === undefined ? 'the marking network with --model' : 'images that were never published with --data'}, or give them with --probes`,
      );
    await makePrivateFolder(dirname(home.probes));
    await runProbes(
      {
        key: files.key,
        model,
        network: home.network,
        data: heldOut.path,
        split: heldOut.split,
        decode: decodeOf(files, home),
        marked: home.marked,
        despite: files.despite,
        batchSize: files.batchSize,
        output: home.probes,
      },
      context,
    );
  }
  const probes = await openProbes(home.probes);
  if (probes.manifest.keyCommitment !== (await commitment(key)))
    throw new IntegrityError(`${home.probes}: was made with another key; give the probes of this one with --probes`);
  return probes;
}

/** What was accepted when the images were protected is accepted now. */
function decodeOf({ decode }: CheckFiles, { protection }: Home): DecodeOptions | undefined {
  if (decode?.accept || !protection) return decode;
  return { ...decode, accept: protection.marking.accept as NonNullable<DecodeOptions['accept']> };
}

/** References, trained on the images that were published, before they were marked. */
async function train(files: CheckFiles, key: Key, home: Home, context: RunContext): Promise<string[]> {
  const { protection } = home;
  const path = files.original ?? protection?.data.path;
  if (path === undefined)
    throw new UsageError('--references needs the images before they were marked: give --original DATASET');
  const split = files.markedSplit ?? protection?.data.split ?? 'train';
  const decode = decodeOf(files, home);
  const dataset = await openDataset(path, { split, classes: key.classes, keepFaults: true, ...(decode && { decode }) });
  const marked = await openIfMarked(dataset.root);
  if (marked)
    throw new InputError(
      `${path}: is a marked data set, says ${marked.path}; references must never see a mark: give the originals`,
    );
  const heldBack = await readHeldBack(home.folder);
  return await trainReferences(
    home.references,
    heldBack ? leaveOut(dataset, heldBack) : dataset,
    files.references!,
    files.training ?? (protection?.training as ReferenceTraining | undefined),
    context,
  );
}

/** A test of a suspect, with what it is made from. */
interface Asked {
  readonly files: CheckFiles;
  readonly key: Key;
  readonly home: Home;
  readonly test: TestName;
  readonly references: readonly string[];
  readonly suspect: NonNullable<CheckFiles['suspect']>;
  readonly probes?: OpenedProbes;
}

async function testSuspect(asked: Asked, context: RunContext): Promise<CheckReport> {
  const { files, key, home, test, references, probes } = asked;
  const { evidence, known } = await evidenceOf(asked);
  const report = join(evidence, REPORT_NAME);
  const register = files.register ?? registerPath(files.key);
  const about = {
    key,
    test,
    references,
    ...(probes && {
      probes: {
        path: probes.path,
        list: join(probes.path, LIST_NAME),
        images: probes.manifest.images.length * (probes.manifest.sets + 1),
      },
    }),
  };
  let result: Result;
  if (known) result = (await readResult(join(evidence, RESULT_NAME))).value;
  else {
    await makePrivateFolder(home.tests);
    result = await runDetection(detectionOf(asked, evidence), context);
  }
  if (!(await exists(report))) await writeReport(evidence, report, register, home, key);
  return {
    ...about,
    state: known ? 'known' : 'tested',
    result,
    evidence,
    report,
    verify: verifyArguments(asked, evidence),
  };
}

/**
 * The folder for a test of this suspect: named by the file and its content. One without a result is of a run that was killed after
 * its test may have been entered: the next number is taken.
 */
async function evidenceOf({ files, home, test, suspect }: Asked): Promise<{ evidence: string; known: boolean }> {
  const file = 'scores' in suspect ? suspect.scores : 'model' in suspect ? suspect.model : suspect.features;
  const name = `${basename(file).replaceAll(/[^\w.-]/g, '_')}-${(await hashFile(file)).slice(0, 8)}-${test}`;
  let newest: string | undefined;
  for (let number = 1; ; number++) {
    const evidence = join(home.tests, number === 1 ? name : `${name}-${number}`);
    if (await exists(join(evidence, RESULT_NAME))) newest = evidence;
    else if (!(await exists(evidence)))
      return newest !== undefined && !files.again ? { evidence: newest, known: true } : { evidence, known: false };
  }
}

function detectionOf({ files, home, test, references, suspect, probes }: Asked, save: string): DetectionFiles {
  const outputs = {
    key: files.key,
    register: files.register,
    newRegister: files.newRegister,
    save,
    marked: home.marked,
    despite: files.despite,
  };
  if (test === 'white-box') {
    const { model, heldOut } = home;
    if (model === undefined) throw new UsageError('--model MARKER is missing');
    if (heldOut === undefined) throw new UsageError('--data HELDOUT is missing');
    return {
      ...outputs,
      test,
      model,
      data: heldOut.path,
      split: heldOut.split,
      decode: decodeOf(files, home),
      suspect: suspect as SuspectFiles,
      freshKeys: files.freshKeys,
    };
  }
  return {
    ...outputs,
    test,
    probes: probes!.path,
    suspect: suspect as AskedModel,
    references: [...references.map((model) => ({ model })), ...(files.given ?? [])],
    labelOnly: files.labelOnly,
  };
}

/** The page about a result, with the marked images where they are. */
async function writeReport(
  evidence: string,
  report: string,
  register: string,
  { marked: files }: Home,
  { classes }: Key,
): Promise<void> {
  await requireNewFile(report);
  const folder = files && (await openIfMarked(files.marked));
  const marked = folder && {
    folder,
    dataset: await openDataset(files.marked, { split: files.split ?? 'train', classes, keepFaults: true }),
  };
  const { page } = await assembleReport({ result: await readResult(join(evidence, RESULT_NAME)), register, marked });
  await writeAtomic(report, new TextEncoder().encode(page), PRIVATE_FILE_MODE);
}

function verifyArguments({ files, home, probes, suspect, references }: Asked, evidence: string): string[] {
  const { model, heldOut, marked } = home;
  return [
    ...['verify', '--key', files.key, '--result', join(evidence, RESULT_NAME)],
    ...(model === undefined ? [] : ['--model', model]),
    ...(probes ? ['--probes', probes.path] : []),
    ...(heldOut ? ['--data', heldOut.path, '--data-split', heldOut.split] : []),
    ...(marked ? ['--marked', marked.marked] : []),
    ...(marked?.original === undefined ? [] : ['--original', marked.original]),
    ...(marked?.split === 'test' ? ['--split', marked.split] : []),
    ...('model' in suspect ? ['--suspect', suspect.model] : []),
    ...(references.length > 0 ? ['--reference', references.join(',')] : []),
  ];
}

/** The folder whose private part is in `folder`. */
function publishedOf(folder: string): string | undefined {
  const kept = folder === '.' ? resolve(folder) : folder;
  const published = kept.replace(/\.private$/, '');
  return published !== kept && privatePart(published) === kept ? published : undefined;
}
