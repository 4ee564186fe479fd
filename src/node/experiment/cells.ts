/** What each model of an experiment is trained on and tested with, and the files that come of it. */

import { mkdir } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import * as v from 'valibot';
import type { ManifestImage } from '../../datasets/manifest.ts';
import type { Statistic } from '../../detection/statistic.ts';
import { TESTS, type TestName } from '../../detection/tests.ts';
import { readDocument } from '../../formats/document.ts';
import { jsonDocument } from '../../formats/json.ts';
import { serializeNpy } from '../../formats/npy.ts';
import { hashBytes } from '../../formats/sha256.ts';
import type { Device } from '../../gpu/device.ts';
import type { OnProgress } from '../../nn/inference.ts';
import type { Model } from '../../nn/model.ts';
import type { NetworkConfig } from '../../nn/networks.ts';
import { exists, readBytes } from '../files/files.ts';
import { readNpyMatrix } from '../files/matrix.ts';
import { writeWithFolders } from '../files/write.ts';
import { openModel } from '../runs/open_model.ts';
import { runTraining } from '../runs/training_run.ts';
import { type ExperimentConfig, type ExperimentSetting, resolveSetting } from './config.ts';
import type { Materials } from './materials.ts';
import { spread } from './results.ts';
import { type Keyed, type ModelOnDisk, statistics } from './statistics.ts';

/** One model that is trained: on data with a share marked by a key, or, with share 0 and key 0, on the unmarked data. */
export interface Cell {
  readonly setting: ExperimentSetting;
  readonly fraction: number;
  readonly key: number;
  readonly seed: number;
  /** With its tests. */
  readonly folder: string;
  /** With its model: where another setting trains it, that one's. */
  readonly modelFolder: string;
}

/** A test that a cell's model is put to. */
export interface CellTest {
  readonly statistic: TestName;
  /** Number of the key. */
  readonly key: number;
  readonly control: 'unmarked' | 'other key' | null;
  readonly file: string;
}

const CELL = 'cell.json';
const MODEL = 'model.safetensors';
const FEATURES = 'features_suspect.npy';
const CLASSIFIER = 'classifier_suspect.npy';

/** The key that stands for all others: the one before, whether or not it marked anything; of the first the second. */
const otherKey = (key: number): number => (key === 1 ? 2 : key - 1);

/** The cells of a configuration: of each setting first the controls, then key by key. */
export function cellsOf(config: ExperimentConfig, out: string): Cell[] {
  return config.settings.flatMap((each) => {
    const setting = resolveSetting(each, config);
    const cell = (fraction: number, key: number, seed: number): Cell => ({
      ...{ setting, fraction, key, seed },
      folder: folderOf(out, setting.name, { fraction, key, seed }),
      modelFolder: folderOf(out, setting.models ?? setting.name, { fraction, key, seed }),
    });
    const keys = Array.from({ length: config.keys }, (_, i) => i + 1);
    return [
      ...config.seeds.map((seed) => cell(0, 0, seed)),
      ...keys.flatMap((key) =>
        setting.fractions.flatMap((fraction) => config.seeds.map((seed) => cell(fraction, key, seed))),
      ),
    ];
  });
}

function folderOf(
  out: string,
  setting: string,
  { fraction, key, seed }: Pick<Cell, 'fraction' | 'key' | 'seed'>,
): string {
  const marked = key === 0 ? [] : [`key-${key}`];
  return join(out, 'cells', setting, `fraction-${fraction}`, ...marked, `seed-${seed}`);
}

/** The tests of a cell: the key that marked its data and another; the unmarked control with every key. */
export function testsOf({ fraction, key, folder }: Cell, config: ExperimentConfig): CellTest[] {
  const test = (statistic: TestName, tested: number, control: CellTest['control']): CellTest => ({
    statistic,
    key: tested,
    control,
    file: join(folder, `${statistic}.key-${tested}.json`),
  });
  return config.statistics.flatMap((statistic) =>
    fraction === 0
      ? Array.from({ length: config.keys }, (_, i) => test(statistic, i + 1, 'unmarked'))
      : [test(statistic, key, null), test(statistic, otherKey(key), 'other key')],
  );
}

/** `cell.json`: what a cell's model was trained on and what became of it. */
const CellSchema = v.looseObject({
  marked: v.number(),
  psnrMedian: v.nullable(v.number()),
  psnrMin: v.nullable(v.number()),
  accuracy: v.number(),
  trainingAccuracy: v.number(),
  data: v.looseObject({ sha256: v.string() }),
  model: v.looseObject({ sha256: v.string() }),
  /** Null where the training was interrupted. */
  seconds: v.nullable(v.number()),
  adapter: v.string(),
});
export type CellRecord = v.InferOutput<typeof CellSchema>;

const TestSchema = v.looseObject({
  statistics: v.array(v.any()),
  seconds: v.number(),
});
export interface TestRecord {
  readonly statistics: readonly Statistic[];
  readonly seconds: number;
}

export const cellFile = ({ modelFolder }: Cell): string => join(modelFolder, CELL);
export const featuresFile = ({ modelFolder }: Cell): string => join(modelFolder, CLASSIFIER);
const modelFile = ({ modelFolder }: Cell): string => join(modelFolder, MODEL);
const ownFeaturesFile = ({ modelFolder }: Cell): string => join(modelFolder, FEATURES);

export async function readCell(cell: Cell): Promise<CellRecord> {
  return await readRecord(cellFile(cell), CellSchema);
}

export async function readTest({ file }: CellTest): Promise<TestRecord> {
  const record = await readRecord(file, TestSchema);
  const statistics = (record.statistics as Statistic[]).map((each) => ({
    ...each,
    log10p: Number(each.log10p),
    perClass: each.perClass.map((entry) => ({ ...entry, score: Number(entry.score) })),
  }));
  return { statistics, seconds: record.seconds };
}

async function readRecord<T extends v.GenericSchema>(file: string, schema: T): Promise<v.InferOutput<T>> {
  const text = new TextDecoder().decode(await readBytes(file));
  return readDocument({ name: "cell's record", cure: 'remove it, and it is made again', schema }, text, file);
}

const document = (value: unknown): Uint8Array => new TextEncoder().encode(jsonDocument(value));

/** What the steps of a cell need. */
export interface CellContext {
  readonly device: Device;
  readonly config: ExperimentConfig;
  readonly materials: Materials;
  readonly out: string;
  readonly signal?: AbortSignal | undefined;
}

/** Trains a cell's model and writes `cell.json`. */
export async function trainCell(context: CellContext, cell: Cell, onProgress: OnProgress): Promise<void> {
  const { materials } = context;
  const { setting, fraction, key, seed } = cell;
  const nested = fraction === 0 ? undefined : await materials.marked(key, fraction);
  const { distil } = setting;
  const unmarked = distil && distil.images !== 'marked' ? materials[distil.images] : undefined;
  const { dataset } = unmarked ?? nested ?? materials.owner;
  const teacher = distil && { model: join(folderOf(context.out, distil.from, cell), MODEL) };
  const init = setting.init === undefined ? undefined : await materials.network(setting.init);
  const frozen = init && setting.recipe.freezeFeatures && !unmarked;
  const features = frozen && {
    training:
      fraction === 0 ? await materials.features(init, 'owner') : await materials.markedFeatures(key, fraction, init),
    validation: await materials.features(init, 'heldOut'),
  };
  const out = modelFile(cell);
  const report = await train(context, setting, { dataset, teacher, out, seed, features, onProgress });
  const { model: _, ...kept } = report;
  await writeWithFolders(
    cellFile(cell),
    document({
      format: 'radioactive-experiment-cell',
      version: 1,
      setting: setting.name,
      fraction,
      key: key === 0 ? null : key,
      seed,
      ...qualityOf(nested?.images ?? []),
      accuracy: kept.accuracy.validation,
      trainingAccuracy: kept.accuracy.training,
      data: { count: kept.data.count, sha256: kept.data.sha256 },
      model: { file: MODEL, sha256: kept.sha256 },
      seconds: report.seconds,
      adapter: kept.adapter,
    }),
  );
}

/** Trains a model of a setting, or takes the one that is there. Seconds are null where the run was not a single one. */
export async function train(
  { device, materials, signal }: CellContext,
  setting: ExperimentSetting,
  run: {
    readonly dataset: Materials['owner']['dataset'];
    readonly teacher?: { readonly model: string } | undefined;
    readonly out: string;
    readonly seed: number;
    readonly features?: { readonly training: Float32Array; readonly validation: Float32Array } | undefined | false;
    readonly onProgress: OnProgress;
  },
) {
  const { dataset, teacher, out, seed, features, onProgress } = run;
  if (await exists(out)) {
    // Killed between the model and what tells of it.
    const report = JSON.parse(new TextDecoder().decode(await readBytes(`${out}.json`))) as Awaited<
      ReturnType<typeof runTraining>
    >;
    return { ...report, seconds: null };
  }
  const resumed = await exists(`${out}.checkpoint`);
  await mkdir(dirname(out), { recursive: true });
  const start = performance.now();
  const report = await runTraining({
    device,
    dataset,
    validation: materials.heldOut.dataset,
    out,
    init: setting.init === undefined ? undefined : (await materials.network(setting.init)).path,
    ...(setting.network && { network: setting.network as Partial<NetworkConfig> }),
    recipe: { ...setting.recipe, seed },
    ...(teacher && { teacher }),
    ...(features && { features }),
    resume: true,
    onProgress,
    ...(signal && { signal }),
  });
  return { ...report, seconds: resumed ? null : (performance.now() - start) / 1000 };
}

/** Writes a cell's features of the held-out images and its last layer. */
export async function extractCell(context: CellContext, cell: Cell, onProgress: OnProgress): Promise<void> {
  const { materials, device, signal } = context;
  const { model } = await openModel(device, modelFile(cell));
  try {
    const d = model.featureDimension;
    if (!(await sharedFeatures(context, cell))) {
      const { features } = await materials.heldOut.infer(model, { onProgress, signal });
      await writeWithFolders(ownFeaturesFile(cell), serializeNpy([features.length / d, d], features));
    }
    await writeWithFolders(featuresFile(cell), serializeNpy([model.config.numClasses, d], await model.headWeight()));
  } finally {
    model.destroy();
  }
}

/** The network whose features the cell's model has, where these were not trained. */
async function sharedFeatures({ materials }: CellContext, { setting }: Cell) {
  return setting.recipe.freezeFeatures ? await materials.network(setting.init!) : undefined;
}

/** Models that never saw a mark, for the statistics that compare with some: path, and setting, data and seed of each. */
export function referencesOf(setting: ExperimentSetting, config: ExperimentConfig, out: string) {
  const { references } = setting;
  if (!references) return [];
  const { data, seeds, setting: like = setting.models ?? setting.name } = references;
  return seeds.map((seed) => ({
    setting: config.settings.find(({ name }) => name === like)!,
    data,
    seed,
    path: join(out, 'references', like, `${data}-seed-${seed}`, MODEL),
  }));
}

/** What a statistic prepares for a key. */
export async function prepareKey(
  context: CellContext,
  statistic: TestName,
  { setting }: Cell,
  key: number,
  onProgress: OnProgress,
): Promise<void> {
  await statistics[statistic].prepare!.make(await keyed(context, setting, key, onProgress));
}

async function keyed(
  { materials, signal }: CellContext,
  setting: ExperimentSetting,
  key: number,
  onProgress: OnProgress,
): Promise<Keyed> {
  const { marker, vanilla } = materials;
  return {
    key: await materials.key(key),
    marking: { model: marker.model, features: await materials.features(marker, 'heldOut') },
    vanilla,
    probes: materials.probesOf(setting),
    keyFolder: materials.keyFolder(key),
    onProgress,
    signal,
  };
}

/** Tests a cell's model with one statistic and one key, and writes what came of it. */
export async function testCell(
  context: CellContext,
  cell: Cell,
  test: CellTest,
  onProgress: OnProgress,
): Promise<void> {
  const { materials, device, out } = context;
  const statistic = statistics[test.statistic];
  const opened: Model[] = [];
  const onDisk = async (path: string): Promise<ModelOnDisk> => {
    let model: Promise<Model> | undefined;
    const open = async (): Promise<Model> => {
      const found = (await openModel(device, path)).model;
      opened.push(found);
      return found;
    };
    return {
      path,
      sha256: hashBytes(await readBytes(path)),
      model: () => {
        model ??= open();
        return model;
      },
    };
  };
  const network = await sharedFeatures(context, cell);
  const suspectFeatures = network ? materials.featuresFile(network, 'heldOut') : ownFeaturesFile(cell);
  const arrays = [materials.featuresFile(materials.marker, 'heldOut'), suspectFeatures, featuresFile(cell)];
  const start = performance.now();
  try {
    const classifier = await readNpyMatrix(featuresFile(cell));
    const found = await statistic.run({
      ...(await keyed(context, cell.setting, test.key, onProgress)),
      answers: cell.setting.answers ?? 'scores',
      heldOut: materials.heldOut,
      suspect: {
        ...(await onDisk(modelFile(cell))),
        features: (await readNpyMatrix(suspectFeatures)).data as Float32Array,
        weight: classifier.data as Float32Array,
        classCount: classifier.rows,
      },
      references: TESTS[test.statistic].needs.references
        ? await Promise.all(referencesOf(cell.setting, context.config, out).map(({ path }) => onDisk(path)))
        : [],
      sharedFolder: join(out, 'shared'),
      async save(name, shape, values) {
        const file = join(cell.folder, `${test.statistic}.key-${test.key}.${name}.npy`);
        await writeWithFolders(file, serializeNpy(shape, values));
        arrays.push(file);
      },
    });
    const files = await Promise.all(
      arrays.map(async (file) => [file.slice(out.length + 1), hashBytes(await readBytes(file))] as const),
    );
    await writeWithFolders(
      test.file,
      document({
        format: 'radioactive-experiment-test',
        version: 1,
        test: test.statistic,
        key: test.key,
        control: test.control,
        statistics: found.statistics,
        warnings: found.warnings,
        ...found.details,
        arrays: Object.fromEntries(files),
        seconds: (performance.now() - start) / 1000,
        adapter: device.name,
      }),
    );
  } finally {
    for (const model of opened) model.destroy();
  }
}

/** How many images are marked, and how well the marks are hidden: dB of the saved images. */
function qualityOf(images: readonly ManifestImage[]) {
  const ratios = images.flatMap(({ psnr }) => (psnr === null ? [] : [psnr]));
  const { median = null, min = null } = ratios.length > 0 ? spread(ratios) : {};
  return { marked: images.length, psnrMedian: median, psnrMin: min };
}
