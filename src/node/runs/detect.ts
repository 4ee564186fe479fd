/** A test of a suspect, from files to a finished result that is entered in the key's register. */

import { join } from 'node:path';
import { hashDataset } from '../../datasets/hash.ts';
import type { Overlap } from '../../datasets/overlap.ts';
import { type ArrayFiles, serializeFeatures, serializeScores } from '../../detection/arrays.ts';
import { arraysOf, heldOutFeatures, testFeatures } from '../../detection/detect.ts';
import { testScores } from '../../detection/detect_blackbox.ts';
import { type DoubtName, refuseDoubts } from '../../detection/doubts.ts';
import type { Finding } from '../../detection/statistic.ts';
import { blackBoxOptions, type TestName, whiteBoxOptions } from '../../detection/tests.ts';
import { UsageError } from '../../errors.ts';
import {
  type Circumstances,
  concludeTest,
  parseStoredResult,
  RESULT_NAME,
  type Result,
  TAKEN_FOR,
} from '../../evidence/result.ts';
import { jsonDocument } from '../../formats/json.ts';
import type { DecodeOptions } from '../../images/decode.ts';
import { commitment, type Key } from '../../marking/key.ts';
import { PROBES_NAME, vanillaImages } from '../../marking/probe_manifest.ts';
import type { VanillaImages } from '../../marking/vanilla.ts';
import type { OnProgress } from '../../nn/inference.ts';
import type { Model } from '../../nn/model.ts';
import { saveArrays } from '../evidence/arrays.ts';
import { beginRegister, enterLook, readRegister, registerPath, requireRegister } from '../evidence/register.ts';
import { exists, readBytes, requireNewFile } from '../files/files.ts';
import { PRIVATE_FILE_MODE } from '../files/private_part.ts';
import { writeAtomic } from '../files/write.ts';
import { assembleReport } from '../report/assemble.ts';
import type { RunContext } from './context.ts';
import { loadHeldOut, openHeldOut, openKey, openMarkingNetwork } from './inputs.ts';
import { lockOutput } from './lock.ts';
import { openProbeImages, openProbes } from './make_probes.ts';
import { compareWithMarked, type MarkedFiles } from './overlap.ts';
import { type AskedModel, gatherScores } from './probe_scores.ts';
import { type OpenedSuspect, openSuspect, type SuspectFiles } from './suspect.ts';

/** What the white-box test is made from. */
export interface WhiteBoxFiles {
  readonly test: 'white-box';
  /** The key's marking network. */
  readonly model: string;
  /** Held-out images, none of them marked. */
  readonly data: string;
  /** Which IDX files, where the folder holds both; default `test`. */
  readonly split?: 'train' | 'test' | undefined;
  readonly decode?: DecodeOptions | undefined;
  readonly suspect: SuspectFiles;
}

/** What the black-box test is made from. */
export interface BlackBoxFiles {
  readonly test: 'black-box';
  /** The folder of the key's probes. */
  readonly probes: string;
  readonly suspect: AskedModel;
  /** Models that never saw the mark. */
  readonly references?: readonly AskedModel[] | undefined;
  /** Look at nothing but the suspect's predicted classes. */
  readonly labelOnly?: boolean | undefined;
}

/** What becomes of a test. */
export interface DetectionOutputs {
  /** The key's file. */
  readonly key: string;
  /** The list of all tests with the key; default `KEY.register.jsonl`. */
  readonly register?: string | undefined;
  /** Begin that list where it is lost; every report will say so. */
  readonly newRegister?: boolean | undefined;
  /** New folder for the result and the arrays it was made from. */
  readonly save?: string | undefined;
  /** New file for the result. */
  readonly output?: string | undefined;
  /** New page about the result; needs one of the two before. */
  readonly report?: string | undefined;
  /** The command line, as the result records it; default: one that does the same. */
  readonly command?: readonly string[] | undefined;
}

/** What {@link runDetection} tests, and what becomes of it. */
export type DetectionFiles = DetectionOutputs & {
  /** Keys that marked nothing, which a white-box result is compared with; default 1 000. */
  readonly freshKeys?: number | undefined;
  /** The marked data set, to compare the images to test on with: one that is among them is refused. */
  readonly marked?: MarkedFiles | undefined;
  /** Make the test although these are doubtful: its result says so for ever. */
  readonly despite?: readonly DoubtName[] | undefined;
} & (WhiteBoxFiles | BlackBoxFiles);

/** What a test found, with everything that a result tells of it. */
export interface Tested extends Omit<Circumstances, 'key' | 'command' | 'saved' | 'runtime'> {
  readonly finding: Finding;
  /** What it was made from. */
  readonly arrays: () => ArrayFiles;
}

/**
 * Tests a suspect and enters the test in the key's register. Everything that can be refused is refused before long work is done, and what
 * is doubtful (`doubtsOf`) before the test is counted.
 *
 * @throws InputError or IntegrityError where a file cannot be worked with or does not belong to the others, or a test would mean nothing
 * for what it rests on; UsageError for a
 * report without a result that is kept.
 */
export async function runDetection(files: DetectionFiles, context: RunContext): Promise<Result> {
  const releases: (() => Promise<void>)[] = [];
  try {
    for (const path of [files.output, files.save]) {
      if (path === undefined) continue;
      await requireNewFile(path);
      releases.push(await lockOutput(path));
      await requireNewFile(path);
    }
    return await testFiles(files, context);
  } finally {
    for (const release of releases) await release();
  }
}

async function testFiles(files: DetectionFiles, context: RunContext): Promise<Result> {
  if (files.report !== undefined) {
    if (files.save === undefined && files.output === undefined)
      throw new UsageError('--report goes with --save DIR or -o FILE: the page is about a result that is kept');
    await requireNewFile(files.report);
  }
  const key = await openKey(files.key);
  await openRegister(files, key, context.log);
  const tested =
    files.test === 'white-box'
      ? await testWhiteBoxFiles(key, files, context)
      : await usedBefore(key, files, await testBlackBoxFiles(key, files, context));
  return await concludeDetection(key, tested, { ...files, command: files.command ?? detectCommand(files) });
}

/** Says where the probes were used in an earlier test: whoever saw its result may know which sets are true. */
async function usedBefore(key: Key, outputs: DetectionOutputs, tested: Tested): Promise<Tested> {
  const { looks } = await readRegister(registerOf(outputs), await commitment(key));
  const before = looks.find(({ options }) => options.probesSha256 === tested.options?.probesSha256);
  if (!before) return tested;
  const warning = `these probes were used in test ${before.index} with this key: whoever saw its result can tell which of them are true, and answer accordingly`;
  return { ...tested, finding: { ...tested.finding, warnings: [...tested.finding.warnings, warning] } };
}

/** Makes sure, before long work, that the test can be registered. Keys of version 1 come without a register. */
async function openRegister(outputs: DetectionOutputs, key: Key, log: RunContext['log']): Promise<void> {
  const path = registerOf(outputs);
  const keyCommitment = await commitment(key);
  if (outputs.newRegister || (key.version === 1 && !(await exists(path)))) {
    await beginRegister(path, keyCommitment, false);
    log(`${path}: begun; tests made before are not in it`);
  }
  await requireRegister(path, keyCommitment);
}

const registerOf = ({ register, key }: DetectionOutputs): string => register ?? registerPath(key);

async function testWhiteBoxFiles(
  key: Key,
  files: WhiteBoxFiles & Pick<DetectionFiles, 'freshKeys' | 'marked' | 'despite'>,
  context: RunContext,
): Promise<Tested> {
  const { progress, signal } = context;
  const heldOut = await openHeldOut(files.data, {
    split: files.split ?? 'test',
    classes: key.classes,
    ...(files.decode && { decode: files.decode }),
  });
  const { dataset } = heldOut;
  const { freshKeys, despite } = files;
  const overlap = files.marked && (await compareWithMarked(dataset, files.marked, key, context, files.decode));
  refuseDoubts({ overlap }, key.classes, despite);
  const marking = await openMarkingNetwork(context, files.model, key, dataset);
  try {
    await loadHeldOut(heldOut, marking.model.config.channels, progress);
    const suspect = await openSuspect(context, files.suspect, key.classes, heldOut);
    try {
      const passes = 'model' in suspect.suspect ? 2 : 1;
      const display = progress('features', passes * dataset.length, 'images');
      const adapter = (await context.openDevice()).name;
      return await testWhiteBox(
        key,
        { heldOut, marking: marking.model, suspect, path: files.data, adapter },
        {
          freshKeys,
          despite,
          overlap,
          onProgress: (done) => display.update(done),
          onFeatures: () => display.done(),
          signal,
        },
      );
    } finally {
      suspect.destroy();
    }
  } finally {
    marking.model.destroy();
  }
}

/** The white-box test of what is open: several tests on the same images compute features of each network once. */
export async function testWhiteBox(
  key: Key,
  opened: {
    readonly heldOut: VanillaImages;
    /** Where these are, as the user named it. */
    readonly path: string;
    /** The key's marking network. */
    readonly marking: Model;
    readonly suspect: OpenedSuspect;
    readonly adapter: string;
  },
  options: {
    readonly freshKeys?: number | undefined;
    /** As `testFeatures` takes it. */
    readonly despite?: readonly DoubtName[] | undefined;
    /** Of the images with marked ones, where they were compared. */
    readonly overlap?: Overlap | undefined;
    readonly onProgress?: OnProgress;
    /** When the networks have run. */
    readonly onFeatures?: () => void;
    readonly signal?: AbortSignal | undefined;
  } = {},
): Promise<Tested> {
  const { heldOut, path, marking, suspect, adapter } = opened;
  const { freshKeys, despite, overlap, onProgress, signal } = options;
  const features = await heldOutFeatures({
    heldOut,
    marking,
    suspect: suspect.suspect,
    ...(onProgress && { onProgress }),
    signal,
  });
  options.onFeatures?.();
  const finding = await testFeatures(key, features, { freshKeys, despite, signal });
  return {
    finding: { ...finding, ...(overlap && { overlap }) } as Finding,
    test: 'white-box',
    options: {
      ...whiteBoxOptions(key),
      outputs: suspect.suspect.classes.outputs.join(' '),
      ...(suspect.record[TAKEN_FOR] !== undefined && { [TAKEN_FOR]: suspect.record[TAKEN_FOR] }),
    },
    suspect: suspect.record,
    data: { path, count: heldOut.dataset.length, sha256: await hashDataset(heldOut.dataset) },
    adapter,
    arrays: () => serializeFeatures(arraysOf(features)),
  };
}

async function testBlackBoxFiles(
  key: Key,
  files: BlackBoxFiles & Pick<DetectionFiles, 'marked' | 'despite'>,
  context: RunContext,
): Promise<Tested> {
  const { references = [], labelOnly = false, despite } = files;
  const overlap = files.marked && (await compareProbes(key, files.probes, files.marked, context));
  refuseDoubts({ overlap }, key.classes, despite);
  const gathered = await gatherScores(context, key, { ...files, references });
  const { probes, referenceRecords } = gathered;
  const { manifest } = probes;
  const finding = await testScores(key, manifest, gathered.suspect, gathered.references, { labelOnly, despite });
  const probesFile = await readBytes(join(probes.path, PROBES_NAME));
  return {
    finding: {
      ...finding,
      ...(overlap && { overlap }),
      blackBox: {
        ...finding.blackBox,
        probes: { path: probes.path, sha256: probes.sha256 },
        references: referenceRecords,
      },
    } as Finding,
    test: 'black-box',
    options: blackBoxOptions(key, manifest, {
      scores: finding.blackBox.scores,
      probesSha256: probes.sha256,
      references: referenceRecords.map((record) => record.sha256 ?? record.scoresSha256),
      taken: gathered.suspectRecord[TAKEN_FOR],
    }),
    suspect: gathered.suspectRecord,
    data: { path: probes.path, count: manifest.source.count, sha256: manifest.source.sha256 },
    adapter: gathered.adapter,
    arrays: () => serializeScores(gathered.suspect, gathered.references, probesFile),
  };
}

/** The images that probes were made from, beside the marked ones. */
async function compareProbes(key: Key, path: string, marked: MarkedFiles, context: RunContext): Promise<Overlap> {
  const probes = await openProbes(path);
  return await compareWithMarked(vanillaImages(probes.manifest, await openProbeImages(probes)), marked, key, context);
}

/** Saves what a test was made from, enters it in the key's register, and writes the result and a page about it. */
export async function concludeDetection(
  key: Key,
  { finding, arrays, ...circumstances }: Tested,
  outputs: DetectionOutputs & { readonly command: readonly string[] },
): Promise<Result> {
  const { save, output, report, command } = outputs;
  const register = registerOf(outputs);
  const keyCommitment = await commitment(key);
  const saved = save === undefined ? undefined : await saveArrays(save, arrays());
  const result = await concludeTest(
    finding,
    { ...circumstances, key, runtime: process.versions.node, command, saved },
    (look) => enterLook(register, keyCommitment, look),
  );
  const text = jsonDocument(result);
  const document = new TextEncoder().encode(text);
  const kept = [...(save === undefined ? [] : [join(save, RESULT_NAME)]), ...(output === undefined ? [] : [output])];
  for (const path of kept) await writeAtomic(path, document, PRIVATE_FILE_MODE);
  if (report !== undefined) {
    const { page } = await assembleReport({ result: parseStoredResult(text, kept[0]), register });
    await writeAtomic(report, new TextEncoder().encode(page), PRIVATE_FILE_MODE);
  }
  return result;
}

/** The command line that makes a test again, without the files it wrote. */
export function detectCommand(files: DetectionFiles): string[] {
  const flags: Record<TestName, () => readonly (readonly [string, unknown])[]> = {
    'white-box': () => {
      const { model, data, split, decode, suspect } = files as WhiteBoxFiles;
      return [
        ['model', model],
        ['data', data],
        ['split', split],
        ['freshKeys', files.freshKeys],
        ['maxPixels', decode?.maxPixels],
        ['accept', decode?.accept],
        ...('model' in suspect
          ? ([['suspect', suspect.model], ...networkFlags(suspect.network)] as const)
          : ([
              ['suspectFeatures', suspect.features],
              ['suspectClassifier', suspect.classifier],
            ] as const)),
        ['suspectClasses', suspect.classes],
        ...doubtFlags(files),
      ];
    },
    'black-box': () => {
      const { probes, suspect, references = [], labelOnly } = files as BlackBoxFiles;
      const named = (kind: 'model' | 'scores') =>
        references.flatMap((each) => (kind in each ? [(each as Record<string, string>)[kind]] : []));
      const some = (paths: readonly string[]) => (paths.length === 0 ? undefined : paths);
      return [
        ['blackBox', true],
        ['probes', probes],
        ...('model' in suspect
          ? ([['suspect', suspect.model], ...networkFlags(suspect.network)] as const)
          : ([['scores', suspect.scores]] as const)),
        ['labelOnly', labelOnly],
        ['reference', some(named('model'))],
        ['referenceScores', some(named('scores'))],
        ...doubtFlags(files),
      ];
    },
  };
  return [
    'radioactive',
    'detect',
    ...[['key', files.key] as const, ...flags[files.test](), ['register', files.register] as const].flatMap(written),
  ];
}

const doubtFlags = ({ marked, despite }: DetectionFiles): readonly (readonly [string, unknown])[] => [
  ['marked', marked?.marked],
  ['original', marked?.original],
  ['markedSplit', marked?.split],
  ['despite', despite && despite.length > 0 ? despite : undefined],
];

const networkFlags = (network: object = {}): readonly (readonly [string, unknown])[] =>
  Object.entries(network).map(([name, value]) => [name === 'architecture' ? 'arch' : name, value] as const);

/** An option on a command line: nothing for one that is not given. */
function written([name, value]: readonly [string, unknown]): string[] {
  const flag = `--${name.replaceAll(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`)}`;
  if (value === undefined || value === false) return [];
  return value === true ? [flag] : [flag, String(value)];
}
