import { rm } from 'node:fs/promises';
import type { Dataset } from '../../datasets/dataset.ts';
import { hashDataset } from '../../datasets/hash.ts';
import { Loader } from '../../datasets/loader.ts';
import { InputError } from '../../errors.ts';
import {
  parseSafetensors,
  type SafetensorsTensor,
  serializeSafetensors,
  type TensorData,
  toFloat32,
} from '../../formats/safetensors.ts';
import { hashBytes } from '../../formats/sha256.ts';
import type { Device } from '../../gpu/device.ts';
import { accuracy, headLogits, infer, type OnProgress } from '../../nn/inference.ts';
import { initialStateDict, Model } from '../../nn/model.ts';
import { describeInferred, parseModelFile, serializeModel } from '../../nn/model_file.ts';
import { type NetworkConfig, networkOf, optionsOf } from '../../nn/networks.ts';
import { checkRecipe, defaultRecipe, type Recipe } from '../../training/recipe.ts';
import { type TrainingState, train } from '../../training/train.ts';
import { exists, outputPath, readBytes, requireNewFile } from '../files/files.ts';
import { writeAtomic } from '../files/write.ts';
import { lockOutput } from './lock.ts';
import { type OpenedTeacher, openTeacher, type TeacherFile } from './teacher.ts';

/** What {@link runTraining} trains, on what, and where the model goes. */
export interface TrainingRunOptions {
  /** Where it trains. */
  readonly device: Device;
  /** What it trains on. */
  readonly dataset: Dataset;
  /** Images the accuracy is measured on afterwards. */
  readonly validation?: Dataset | undefined;
  /** The model file to write; `<out>.json` beside it tells everything that decided the run. */
  readonly out: string;
  /** A model file to start from. Its last layer is replaced where the recipe says so, features are frozen, or the classes are not as many. */
  readonly init?: string | undefined;
  /** Whose outputs are learned in place of the labels. */
  readonly teacher?: TeacherFile | undefined;
  /** What the network is, as far as the data or `init` do not say it. */
  readonly network?: Partial<NetworkConfig>;
  /** What differs from the default recipe. */
  readonly recipe?: Partial<Recipe>;
  /** Where the features are frozen: those of `init` on the data sets [N, d], where they are at hand; else they are computed once. */
  readonly features?: { readonly training?: Float32Array; readonly validation?: Float32Array } | undefined;
  /** Go on from `<out>.checkpoint`, where there is one. */
  readonly resume?: boolean;
  /** Steps between two checkpoints, default 100. */
  readonly checkpointSteps?: number;
  readonly onProgress?: OnProgress;
  /** Called at the end of an epoch with the number of epochs done, of the whole run, and its mean loss. */
  readonly onEpoch?: (epoch: number, loss: number) => void;
  /** Is told what was concluded of a file that does not say it, a line each. */
  readonly onRemark?: (line: string) => void;
  readonly signal?: AbortSignal;
}

/** What decided a training run and what came of it: the JSON beside the model file. */
export interface TrainingReport {
  /** The model file. */
  readonly model: string;
  /** Of the model file, in hex. */
  readonly sha256: string;
  /** What was trained. */
  readonly network: NetworkConfig;
  /** How. */
  readonly recipe: Recipe;
  /** On what: its number of images, and the hash of its listing (see `hashDataset`). */
  readonly data: { readonly path: string; readonly count: number; readonly sha256: string };
  /** What it began from; null: from fresh weights. */
  readonly init: { readonly path: string; readonly sha256: string } | null;
  /** Whose outputs were learned; null: the labels. */
  readonly teacher: OpenedTeacher['record'] | null;
  /** Mean loss of each epoch. */
  readonly epochLosses: readonly number[];
  /** Shares of images classified rightly. */
  readonly accuracy: { readonly training: number; readonly validation: number | null };
  /** Name of the adapter. */
  readonly adapter: string;
}

const STATE_KEY = 'training_state';
const MOMENTUM_PREFIX = 'momentum.';
const AVERAGE_PREFIX = 'average.';

/**
 * Trains a model on a data set and writes it. Every `checkpointSteps` steps everything needed to go on is written to
 * `<out>.checkpoint`; a run that goes on from there ends with the same bytes as an undisturbed one on the same adapter.
 * Throws InputError where `out` or a checkpoint exists already, the checkpoint belongs to another run, or training diverges.
 */
export async function runTraining(options: TrainingRunOptions): Promise<TrainingReport> {
  const out = outputPath(options.out);
  await requireNewFile(out);
  const release = await lockOutput(out);
  try {
    return await trainInto(out, options);
  } finally {
    await release();
  }
}

async function trainInto(out: string, options: TrainingRunOptions): Promise<TrainingReport> {
  const { device, dataset, signal } = options;
  const checkpointPath = `${out}.checkpoint`;
  const begun = await exists(checkpointPath);
  if (!options.resume && begun) {
    throw new InputError(`${checkpointPath}: a run was interrupted here; go on with --resume, or remove it`);
  }

  const init = options.init === undefined ? null : await readInit(options.init, options.network);
  if (init && init.inferred.length > 0) options.onRemark?.(describeInferred(options.init!, init.inferred));
  const loader = await Loader.open(dataset, options.network?.channels ?? init?.config.channels);
  const { channels } = loader;
  const network = await configure(loader, channels, init?.config, options.network ?? {});
  const setting = options.recipe?.freezeFeatures ? 'linear' : init ? 'fine-tuning' : 'from scratch';
  const recipe: Recipe = { ...defaultRecipe(network, setting), ...options.recipe };
  checkRecipe(recipe);
  const data = { path: dataset.path, count: dataset.length, sha256: await hashDataset(dataset) };
  const taught = options.teacher && (await openTeacher(device, options.teacher, dataset, channels));
  if (taught?.remark) options.onRemark?.(taught.remark);
  let model: Model | undefined;
  try {
    const identity = JSON.stringify({
      network,
      recipe,
      data: data.sha256,
      init: init?.sha256 ?? null,
      teacher: taught?.record.sha256 ?? null,
      precision: device.precision,
    });

    const checkpoint = begun ? await readCheckpoint(checkpointPath, identity) : undefined;
    const tensors = checkpoint?.tensors ?? startingWeights(network, recipe, init?.tensors, init?.config);
    const trained = await Model.load(
      device,
      network,
      tensors,
      checkpoint ? checkpointPath : (options.init ?? 'fresh weights'),
    );
    model = trained;
    const frozen = recipe.freezeFeatures;
    const featuresOf = async (images: Loader): Promise<Float32Array> =>
      (await infer(trained, images, { signal })).features;
    const trainingFeatures = frozen ? (options.features?.training ?? (await featuresOf(loader))) : undefined;
    const state = await train(trained, loader, {
      recipe,
      features: trainingFeatures,
      teacher: taught?.teacher,
      onProgress: options.onProgress,
      ...(options.onEpoch && { onEpoch: options.onEpoch }),
      signal,
      ...(checkpoint && { resume: checkpoint }),
      checkpointSteps: options.checkpointSteps ?? 100,
      onCheckpoint: async ({ state, momenta, averages }) => {
        const tensors = (prefix: string, values: ReadonlyMap<string, Float32Array>): [string, TensorData][] =>
          [...values].map(([name, data]) => [prefix + name, { dtype: 'F32', shape: [data.length], data }]);
        const extra = [...tensors(MOMENTUM_PREFIX, momenta), ...tensors(AVERAGE_PREFIX, averages)];
        const metadata = { [STATE_KEY]: JSON.stringify({ identity, state }) };
        await writeAtomic(checkpointPath, serializeSafetensors([...(await trained.stateDict()), ...extra], metadata));
      },
    });
    const accuracyOf = async (loader: Loader, features: Float32Array | undefined): Promise<number> => {
      const logits = features ? await headLogits(trained, features) : (await infer(trained, loader, { signal })).logits;
      return accuracy(logits, loader.dataset.labels);
    };
    const validation = options.validation && (await Loader.open(options.validation, channels));
    const validationFeatures = frozen ? options.features?.validation : undefined;
    if (
      validation &&
      validationFeatures &&
      validationFeatures.length !== validation.dataset.length * trained.featureDimension
    )
      throw new InputError(
        `${validation.dataset.path}: ${validationFeatures.length} feature values for ${validation.dataset.length} images of ${trained.featureDimension}`,
      );
    const bytes = await serializeModel(trained);
    const report: TrainingReport = {
      model: out,
      sha256: hashBytes(bytes),
      network,
      recipe,
      data,
      init: init ? { path: options.init!, sha256: init.sha256 } : null,
      teacher: taught?.record ?? null,
      epochLosses: state.epochLosses,
      accuracy: {
        training: await accuracyOf(loader, trainingFeatures),
        validation: validation ? await accuracyOf(validation, validationFeatures) : null,
      },
      adapter: device.name,
    };
    // Without the path: the file is the same after every such run on the same adapter, wherever it writes.
    const text = `${JSON.stringify({ ...report, model: undefined }, null, 2)}\n`;
    await writeAtomic(`${out}.json`, new TextEncoder().encode(text));
    await writeAtomic(out, bytes);
    await rm(checkpointPath, { force: true });
    return report;
  } finally {
    model?.destroy();
    taught?.destroy();
  }
}

/** Initial weights; of what they are the flags may say what the file does not. */
async function readInit(path: string, network: Partial<NetworkConfig> = {}) {
  const bytes = await readBytes(path);
  return { ...(await parseModelFile(bytes, path, network)), sha256: hashBytes(bytes) };
}

/** The network: what the flags say, else what the initial weights say, else what the images say. */
async function configure(
  loader: Loader,
  channels: number,
  init: NetworkConfig | undefined,
  flags: Partial<NetworkConfig>,
): Promise<NetworkConfig> {
  const { height, width } = loader.extent;
  const inputSize = flags.inputSize ?? init?.inputSize ?? (height <= 64 && height === width ? height : 224);
  const statistics = flags.mean && flags.std ? undefined : (init ?? (await pixelStatistics(loader, channels)));
  const network = networkOf(flags.architecture ?? init?.architecture ?? 'resnet18');
  return {
    architecture: network.name,
    ...optionsOf(network, { ...init, ...flags, inputSize }),
    numClasses: loader.dataset.classes.length,
    inputSize,
    channels,
    mean: flags.mean ?? statistics!.mean,
    std: flags.std ?? statistics!.std,
  };
}

/** Mean and standard deviation of the pixels of up to 1 000 images, by channel, for pixels scaled to 0–1, to four digits. */
async function pixelStatistics(loader: Loader, channels: number): Promise<{ mean: number[]; std: number[] }> {
  const every = Math.max(1, Math.floor(loader.dataset.length / 1000));
  const sum = new Float64Array(channels);
  const squares = new Float64Array(channels);
  let pixels = 0;
  for (let index = 0; index < loader.dataset.length; index += every) {
    const { data } = await loader.image(index);
    for (let i = 0; i < data.length; i++) {
      sum[i % channels] += data[i] / 255;
      squares[i % channels] += (data[i] / 255) ** 2;
    }
    pixels += data.length / channels;
  }
  const round = (value: number): number => Math.round(value * 1e4) / 1e4;
  return {
    mean: Array.from(sum, (value) => round(value / pixels)),
    std: Array.from(squares, (value, c) => Math.max(1e-4, round(Math.sqrt(value / pixels - (sum[c] / pixels) ** 2)))),
  };
}

/** Fresh weights, or those given with a fresh last layer where that one is to be learned anew. */
function startingWeights(
  network: NetworkConfig,
  recipe: Recipe,
  init: ReadonlyMap<string, SafetensorsTensor> | undefined,
  initConfig: NetworkConfig | undefined,
): ReadonlyMap<string, SafetensorsTensor> {
  if (recipe.freezeFeatures && !init)
    throw new InputError('freezing the features needs weights to start from: give --init');
  const fresh = initialStateDict(network, recipe.seed);
  if (!init) return fresh;
  const keepHead = !recipe.freezeFeatures && !recipe.newLastLayer && initConfig?.numClasses === network.numClasses;
  const head = [...fresh.keys()].slice(-2);
  return new Map([...init, ...(keepHead ? [] : head.map((name) => [name, fresh.get(name)!] as const))]);
}

async function readCheckpoint(path: string, identity: string) {
  const { metadata, tensors } = parseSafetensors(await readBytes(path), path);
  let saved: { identity: string; state: TrainingState };
  try {
    saved = JSON.parse(metadata[STATE_KEY]) as typeof saved;
  } catch {
    throw new InputError(`${path}: is no checkpoint of a training run; remove it and start again`);
  }
  if (saved.identity !== identity)
    throw new InputError(`${path}: belongs to a run with other data, network or recipe; use those, or remove it`);
  const momenta = new Map<string, Float32Array>();
  const averages = new Map<string, Float32Array>();
  const weights = new Map<string, SafetensorsTensor>();
  for (const [name, tensor] of tensors) {
    if (name.startsWith(MOMENTUM_PREFIX)) momenta.set(name.slice(MOMENTUM_PREFIX.length), toFloat32(tensor));
    else if (name.startsWith(AVERAGE_PREFIX)) averages.set(name.slice(AVERAGE_PREFIX.length), toFloat32(tensor));
    else weights.set(name, tensor);
  }
  return { state: saved.state, momenta, averages, tensors: weights };
}
