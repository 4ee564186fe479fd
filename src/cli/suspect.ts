import type { Dataset } from '../datasets/dataset.ts';
import { readBytes } from '../datasets/files.ts';
import type { Loader } from '../datasets/loader.ts';
import { hashBytes } from '../datasets/write.ts';
import type { HeldOut } from '../detection/detect.ts';
import { InputError, UsageError } from '../errors.ts';
import { parseNpy } from '../formats/npy.ts';
import { toFloat64 } from '../formats/safetensors.ts';
import { parseWeights } from '../nn/model_file.ts';
import type { Context, Values } from './command.ts';
import { load, networkOptions, networkOverrides, openNetwork } from './inputs.ts';

/** What is tested: a model that runs here, or what any framework made of the images. */
export const suspectOptions = {
  suspect: { type: 'string', value: 'MODEL', description: 'the model under test' },
  suspectFeatures: {
    type: 'string',
    value: 'FILE',
    description:
      'instead of --suspect: what its last layer is given, [N, dt] in the order of --data; .npy, or #NAME after a .safetensors or .pth file',
  },
  suspectClassifier: {
    type: 'string',
    value: 'FILE',
    description: "with --suspect-features: its last layer's weight, [K, dt] with the key's classes; likewise",
  },
  ...networkOptions,
} as const;

/** A suspect ready to be tested on held-out images. */
export interface OpenedSuspect {
  readonly suspect: HeldOut['suspect'];
  /** What it is, for the report: files with their SHA-256. */
  readonly record: Readonly<Record<string, string>>;
  destroy(): void;
}

/** Opens what `suspectOptions` name. Throws UsageError unless exactly one suspect is named, InputError where it does not fit the data. */
export async function openSuspect(
  context: Pick<Context<unknown>, 'openDevice' | 'progress' | 'log'>,
  options: Values<typeof suspectOptions>,
  classes: readonly string[],
  heldOut: Loader,
): Promise<OpenedSuspect> {
  const { suspect: path, suspectFeatures, suspectClassifier } = options;
  const { dataset } = heldOut;
  if ((suspectFeatures === undefined) !== (suspectClassifier === undefined))
    throw new UsageError('--suspect-features and --suspect-classifier go together');
  if ((path === undefined) === (suspectFeatures === undefined))
    throw new UsageError('give --suspect MODEL, or --suspect-features FILE with --suspect-classifier FILE');
  if (path === undefined) return await readFeatures(suspectFeatures!, suspectClassifier!, classes, dataset);
  const { model, sha256 } = await openNetwork(context, path, networkOverrides(options));
  try {
    if (model.config.numClasses !== classes.length) throw otherClasses(path, model.config.numClasses, classes);
    const same = model.config.channels === heldOut.channels;
    return {
      suspect: { model, heldOut: same ? heldOut : await load(dataset, model.config.channels, context.progress) },
      record: { path, sha256 },
      destroy: () => model.destroy(),
    };
  } catch (error) {
    model.destroy();
    throw error;
  }
}

async function readFeatures(
  featuresPath: string,
  classifierPath: string,
  classes: readonly string[],
  dataset: Dataset,
): Promise<OpenedSuspect> {
  const features = await readMatrix(featuresPath);
  const classifier = await readMatrix(classifierPath);
  const [n, dt] = features.shape;
  if (n !== dataset.length)
    throw new InputError(
      `${featuresPath}: has ${n} rows, ${dataset.path} ${dataset.length} images; give one row per image, in its order`,
    );
  const [K, columns] = classifier.shape;
  if (columns !== dt) {
    const cure = K === dt ? 'give its transpose, [classes, features]' : 'give the layer that takes these features';
    throw new InputError(`${classifierPath}: is [${K}, ${columns}], the features are [${n}, ${dt}]; ${cure}`);
  }
  if (K !== classes.length) throw otherClasses(classifierPath, K, classes);
  return {
    suspect: { features: features.data, weight: classifier.data },
    record: {
      features: featuresPath,
      featuresSha256: features.sha256,
      classifier: classifierPath,
      classifierSha256: classifier.sha256,
    },
    destroy: () => undefined,
  };
}

interface Matrix {
  readonly shape: readonly [number, number];
  readonly data: Float64Array;
  /** Of the file. */
  readonly sha256: string;
}

/** A matrix of floating-point numbers from `FILE.npy`, `FILE#NAME` of a file of weights, or such a `FILE` where it is the only one. */
async function readMatrix(given: string): Promise<Matrix> {
  const [, path, name] = /^(.*\.(?:safetensors|pth|pt))(?:#(.*))?$/s.exec(given) ?? [];
  const bytes = await readBytes(path ?? given);
  const { shape, data } = path === undefined ? npyArray(bytes, given) : await namedTensor(bytes, path, name);
  if (shape.length !== 2) throw new InputError(`${given}: is [${shape.join(', ')}]; give a matrix, a row each`);
  const bad = data.findIndex((value) => !Number.isFinite(value));
  if (bad >= 0) {
    const [row, column] = [Math.floor(bad / shape[1]!), bad % shape[1]!];
    throw new InputError(`${given}: row ${row}, column ${column} is ${data[bad]}; give finite numbers`);
  }
  return { shape: shape as readonly [number, number] & readonly number[], data, sha256: hashBytes(bytes) };
}

function npyArray(bytes: Uint8Array, path: string) {
  const { dtype, shape, data } = parseNpy(bytes, path);
  if (dtype !== 'f4' && dtype !== 'f8') throw new InputError(`${path}: holds integers; save float32 or float64`);
  return { shape, data: Float64Array.from(data as Float32Array | Float64Array) };
}

async function namedTensor(bytes: Uint8Array, path: string, name: string | undefined) {
  const { tensors } = await parseWeights(bytes, path);
  const matrices = [...tensors.values()].filter(({ shape }) => shape.length === 2).map((tensor) => tensor.name);
  const chosen = tensors.get(name ?? (matrices.length === 1 ? matrices[0]! : ''));
  if (chosen === undefined) {
    const what = name === undefined ? `has ${matrices.length} matrices` : `has no tensor ${name}`;
    throw new InputError(`${path}: ${what}; give ${path}#NAME with one of: ${matrices.slice(0, 8).join(', ')}`);
  }
  return { shape: chosen.shape, data: toFloat64(chosen) };
}

const otherClasses = (path: string, count: number, classes: readonly string[]): InputError =>
  new InputError(
    `${path}: has ${count} classes, expected ${classes.length} (${classes.join(', ')}); give a model of those`,
  );
