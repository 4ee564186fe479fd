import { Loader } from '../../datasets/loader.ts';
import { type BlackBoxDetection, keyCombination, probeScores, testScores } from '../../detection/detect_blackbox.ts';
import { type ModelScores, probeRows } from '../../detection/scores.ts';
import { InputError, UsageError } from '../../errors.ts';
import type { Key } from '../../marking/key.ts';
import { probeLayout } from '../../marking/probe_manifest.ts';
import type { ConfigOverrides } from '../../nn/model_file.ts';
import { joinReferences, type StatisticRecord } from '../evidence/result.ts';
import { saveScores } from '../evidence/saved.ts';
import { type OpenedProbes, openProbeImages, openProbes } from '../runs/make_probes.ts';
import { type Context, columns, flagOf, type Values } from './command.ts';
import type { Tested } from './detect.ts';
import { type networkOptions, networkOverrides, openNetwork } from './inputs.ts';
import { readScores } from './scores.ts';

/** What the black-box test of a suspect is made from. */
export const blackBoxOptions = {
  blackBox: { type: 'flag', description: 'the black-box test: from scores alone' },
  probes: { type: 'string', value: 'PROBES', description: "with --black-box: the key's probes" },
  scores: {
    type: 'string',
    value: 'FILE',
    description:
      "with --black-box, instead of --suspect: what the model says of every probe, in the list's order; .csv with a column a class, or .npy",
  },
  labelOnly: { type: 'flag', description: 'with --black-box: look at nothing but the predicted classes' },
  reference: {
    type: 'string',
    value: 'MODEL,…',
    description: 'with --black-box: models that never saw the mark, as a control; they raise the power much',
  },
  referenceScores: { type: 'string', value: 'FILE,…', description: 'likewise, as --scores' },
} as const;

type BlackBoxValues = Values<typeof blackBoxOptions> & { readonly suspect: string | undefined } & Values<
    typeof networkOptions
  >;

/** Refuses options that go with the other test, or are missing for this one. Throws UsageError. */
export function checkTestOptions(
  options: BlackBoxValues & {
    readonly model: string | undefined;
    readonly data: string | undefined;
    readonly suspectFeatures: string | undefined;
    readonly suspectClassifier: string | undefined;
    readonly suspectClasses: string | undefined;
  },
): void {
  const given = (names: readonly (keyof typeof options)[]): string | undefined => {
    const name = names.find((each) => options[each] !== undefined && options[each] !== false);
    return name && flagOf(name);
  };
  if (options.blackBox) {
    const stray = given(['model', 'data', 'suspectFeatures', 'suspectClassifier']);
    if (stray) throw new UsageError(`${stray} goes without --black-box, which takes its images from --probes`);
    if (options.suspectClasses !== undefined)
      throw new UsageError(
        "--suspect-classes goes without --black-box; of a model that knows other classes give --scores FILE.csv with a column for each of the key's",
      );
    if (options.probes === undefined) throw new UsageError('--probes PROBES is missing');
    if ((options.suspect === undefined) === (options.scores === undefined))
      throw new UsageError('give --suspect MODEL, or --scores FILE');
    return;
  }
  const stray = given(['probes', 'scores', 'labelOnly', 'reference', 'referenceScores']);
  if (stray) throw new UsageError(`${stray} goes with --black-box`);
  if (options.model === undefined) throw new UsageError('--model MARKER is missing');
  if (options.data === undefined) throw new UsageError('--data HELDOUT is missing');
}

/** Scores on probes, with what they are of. */
export interface GatheredScores {
  readonly probes: OpenedProbes;
  readonly suspect: ModelScores;
  readonly references: readonly ModelScores[];
  /** Files with their SHA-256. */
  readonly suspectRecord: Readonly<Record<string, string>>;
  readonly referenceRecords: readonly Readonly<Record<string, string>>[];
  /** Of the device, where one was needed. */
  readonly adapter: string;
}

/** Scores, and the files they are of with their SHA-256. */
interface Answers {
  readonly scores: ModelScores;
  readonly record: Readonly<Record<string, string>>;
}

/** Runs or reads everything that `blackBoxOptions` name, once `checkTestOptions` has let them pass. */
export async function gatherScores(
  context: Pick<Context<unknown>, 'openDevice' | 'progress' | 'log' | 'signal'>,
  options: BlackBoxValues,
  key: Key,
): Promise<GatheredScores> {
  const { suspect: suspectPath, scores: scoresPath } = options;
  const [modelPaths, scorePaths] = [listOf(options.reference), listOf(options.referenceScores)];
  const probes = await openProbes(options.probes!);
  const read = async (path: string): Promise<Answers> => {
    const { scores, sha256 } = await readScores(path, probes);
    return { scores, record: { scores: path, scoresSha256: sha256 } };
  };
  // Files first: what is wrong with them is found at once.
  const told = scoresPath === undefined ? undefined : await read(scoresPath);
  const toldReferences: Answers[] = [];
  for (const path of scorePaths) toldReferences.push(await read(path));
  const ask = modelsOn(context, probes, key, modelPaths.length + (suspectPath === undefined ? 0 : 1));
  const suspect = told ?? (await ask(suspectPath!, networkOverrides(options)));
  const references: Answers[] = [];
  for (const path of modelPaths) references.push(await ask(path));
  references.push(...toldReferences);
  return {
    probes,
    suspect: suspect.scores,
    references: references.map(({ scores }) => scores),
    suspectRecord: suspect.record,
    referenceRecords: references.map(({ record }) => record),
    adapter: suspectPath === undefined && modelPaths.length === 0 ? 'none' : (await context.openDevice()).name,
  };
}

const listOf = (paths: string | undefined): string[] => paths?.split(',') ?? [];

/** What runs models on probes: `count` of them, under one progress display. */
function modelsOn(
  { openDevice, progress, log, signal }: Pick<Context<unknown>, 'openDevice' | 'progress' | 'log' | 'signal'>,
  probes: OpenedProbes,
  key: Key,
  count: number,
): (path: string, overrides?: ConfigOverrides) => Promise<Answers> {
  const rows = probeRows(probeLayout(probes.manifest));
  /** By channels. */
  const loaders = new Map<number, Loader>();
  let display: ReturnType<typeof progress> | undefined;
  let asked = 0;
  return async (path, overrides = {}) => {
    const { model, sha256 } = await openNetwork({ openDevice, log }, path, overrides);
    try {
      const { channels } = model.config;
      const loader = loaders.get(channels) ?? (await Loader.open(await openProbeImages(probes), channels));
      loaders.set(channels, loader);
      display ??= progress('scores', count * rows, 'images');
      const before = rows * asked++;
      const onProgress = (done: number): void => display!.update(before + done);
      const scores = await probeScores(key, model, loader, { onProgress, signal });
      if (asked === count) display.done();
      return { scores, record: { path, sha256 } };
    } catch (error) {
      throw error instanceof InputError ? new InputError(`${path}: ${error.message}`, { cause: error }) : error;
    } finally {
      model.destroy();
    }
  };
}

/** The black-box test as `detect` runs it. */
export async function detectBlackBox(
  context: Pick<Context<unknown>, 'openDevice' | 'progress' | 'log' | 'signal'>,
  options: BlackBoxValues,
  key: Key,
): Promise<Tested> {
  const gathered = await gatherScores(context, options, key);
  const { probes, referenceRecords } = gathered;
  const { labelOnly } = options;
  const rows = probeRows(probeLayout(probes.manifest));
  const finding = await testScores(key, probes.manifest, gathered.suspect, gathered.references, { labelOnly });
  const references = referenceRecords.map((record) => record.sha256 ?? record.scoresSha256);
  const used: StatisticRecord = {
    kind: 'black-box',
    combine: keyCombination(key),
    ...probes.manifest.options,
    scores: finding.blackBox.scores,
    probesSha256: probes.sha256,
    references: joinReferences(references),
  };
  const complete = {
    ...finding,
    blackBox: {
      ...finding.blackBox,
      probes: { path: probes.path, sha256: probes.sha256 },
      references: referenceRecords,
    },
  };
  return {
    finding: complete,
    test: 'black-box',
    options: used,
    suspect: gathered.suspectRecord,
    data: {
      path: probes.path,
      count: probes.manifest.source.count,
      sha256: probes.manifest.source.sha256,
    },
    adapter: gathered.adapter,
    save: (folder) => saveScores(folder, { ...gathered, rows }),
    text: describeFinding(finding, rows, references.length),
  };
}

function describeFinding({ statistics, blackBox }: BlackBoxDetection, images: number, references: number): string[] {
  const { sets, imagesPerClass, scores, control } = blackBox;
  const models = references === 1 ? '1 reference model' : `${references} reference models`;
  const explained =
    references === 0
      ? 'no reference model'
      : `${models} explain ${(100 * control.explained).toFixed(0)} % of the variation`;
  const [deciding] = statistics;
  return [
    ...(deciding?.null
      ? [`${deciding.null.atMost} of its ${sets - 1} decoys, taken for the true set, give as much`]
      : []),
    `${scores} of ${images} images: ${imagesPerClass} a class, each towards ${sets} carrier sets; ${explained}`,
    ...columns(
      statistics.map(({ name, log10p, exact }) => [
        name,
        `log10 p ${log10p.toFixed(3)}${exact ? '' : '  an approximation, no p-value'}`,
      ]),
    ),
    ...columns(
      (deciding?.perClass ?? []).map((entry) => [
        entry.class,
        `response ${entry.score.toFixed(2)} standard deviations  log10 p ${(entry.log10p ?? 0).toFixed(3)}`,
      ]),
    ),
  ];
}
