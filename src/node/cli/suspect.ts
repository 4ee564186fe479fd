import type { Dataset } from '../../datasets/dataset.ts';
import type { Loader } from '../../datasets/loader.ts';
import { type HeldOut, selectRows } from '../../detection/detect.ts';
import { InputError, UsageError } from '../../errors.ts';
import { parseNpy } from '../../formats/npy.ts';
import { toFloat64 } from '../../formats/safetensors.ts';
import { hashBytes } from '../../formats/sha256.ts';
import { parseWeights } from '../../nn/model_file.ts';
import { readBytes } from '../files/files.ts';
import type { Context, Values } from './command.ts';
import { load, networkOptions, networkOverrides, openNetwork, readClasses } from './inputs.ts';

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
  suspectClasses: {
    type: 'string',
    value: 'FILE|DATASET',
    description:
      "the suspect's classes in the order of its outputs, where they are not the key's: a .txt file with one a line, or a data set; the key's must be among them",
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
  const { suspect: path, suspectFeatures, suspectClassifier, suspectClasses } = options;
  const { dataset } = heldOut;
  if ((suspectFeatures === undefined) !== (suspectClassifier === undefined))
    throw new UsageError('--suspect-features and --suspect-classifier go together');
  if ((path === undefined) === (suspectFeatures === undefined))
    throw new UsageError('give --suspect MODEL, or --suspect-features FILE with --suspect-classifier FILE');
  const own = suspectClasses === undefined ? undefined : await outputsOf(suspectClasses, classes);
  if (path === undefined) return await readFeatures(suspectFeatures!, suspectClassifier!, classes, own, dataset);
  const { model, sha256 } = await openNetwork(context, path, networkOverrides(options));
  try {
    checkClassCount(path, model.config.numClasses, classes, own);
    const same = model.config.channels === heldOut.channels;
    return {
      suspect: {
        model,
        heldOut: same ? heldOut : await load(dataset, model.config.channels, context.progress),
        outputs: own?.outputs,
      },
      record: { path, sha256, ...own?.record },
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
  own: OwnClasses | undefined,
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
  checkClassCount(classifierPath, K, classes, own);
  return {
    suspect: {
      features: features.data,
      weight: own ? selectRows(classifier.data, columns, own.outputs) : classifier.data,
    },
    record: {
      features: featuresPath,
      featuresSha256: features.sha256,
      classifier: classifierPath,
      classifierSha256: classifier.sha256,
      ...own?.record,
    },
    destroy: () => undefined,
  };
}

/** A suspect's own classes. */
interface OwnClasses {
  readonly path: string;
  readonly count: number;
  /** Which of its outputs are the key's classes, in the key's order. */
  readonly outputs: readonly number[];
  /** For the report. */
  readonly record: Readonly<Record<string, string>>;
}

async function outputsOf(path: string, classes: readonly string[]): Promise<OwnClasses> {
  const { classes: names } = await readClasses(path, 'train', {});
  const outputs = classes.map((name) => names.indexOf(name));
  const missing = classes.find((_, i) => outputs[i] === -1);
  if (missing !== undefined)
    throw new InputError(
      `${path}: has no class ${missing}, which the key has; give the suspect's classes by the key's names`,
    );
  const sha256 = hashBytes(new TextEncoder().encode(`${names.join('\n')}\n`));
  return { path, count: names.length, outputs, record: { classes: path, classesSha256: sha256 } };
}

/** Throws InputError where a suspect has not as many outputs as it should. */
function checkClassCount(path: string, count: number, classes: readonly string[], own: OwnClasses | undefined): void {
  if (own && count !== own.count)
    throw new InputError(
      `${own.path}: names ${own.count} classes, ${path} has ${count}; give all of them, in the order of its outputs`,
    );
  if (own || count === classes.length) return;
  const [first, more] = [classes.slice(0, 5).join(', '), classes.length > 5 ? ', …' : ''];
  throw new InputError(
    `${path}: has ${count} classes, expected ${classes.length} (${first}${more}); name its classes with --suspect-classes, or give a model of those`,
  );
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
    const [row, column] = [Math.floor(bad / shape[1]), bad % shape[1]];
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
  const chosen = tensors.get(name ?? (matrices.length === 1 ? matrices[0] : ''));
  if (chosen === undefined) {
    const what = name === undefined ? `has ${matrices.length} matrices` : `has no tensor ${name}`;
    throw new InputError(`${path}: ${what}; give ${path}#NAME with one of: ${matrices.slice(0, 8).join(', ')}`);
  }
  return { shape: chosen.shape, data: toFloat64(chosen) };
}
