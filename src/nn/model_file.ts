import { InputError } from '../errors.ts';
import { isPth, PTH_EXTENSION, parsePth } from '../formats/pth.ts';
import {
  parseSafetensors,
  type SafetensorsTensor,
  serializeSafetensors,
  type TensorData,
  toNumbers,
} from '../formats/safetensors.ts';
import { checkStateDict, MisfitError, type Model, OTHER_NETWORKS, parameterSpecs, stateDictProblems } from './model.ts';
import { chooseReading, type Normaliser, type Reading, readingsOf } from './names.ts';
import { defaultOf, type Network, type NetworkOption, parseOption, type ShapeOf } from './network.ts';
import {
  checkOptionNames,
  type NetworkConfig,
  type NetworkOptionValues,
  networkOf,
  networks,
  optionNames,
} from './networks.ts';
import type { ParameterSpec } from './recorder.ts';

/** What flags may say about a file that does not say it itself; they win over the file. */
export type ConfigOverrides = Partial<NetworkConfig>;

/** What a model file holds, and what had to be concluded of it. */
export interface ModelFile {
  /** How it is stored. `legacy` is PyTorch's own format before 1.6. */
  readonly container: 'safetensors' | 'pth' | 'legacy pth';
  /** What network it is, and for what images. */
  readonly config: NetworkConfig;
  /** By torchvision's names. */
  readonly tensors: ReadonlyMap<string, SafetensorsTensor>;
  /** What neither the file nor the flags said and was concluded from names and shapes, for the user to see: `stem imagenet`. */
  readonly inferred: readonly string[];
  /** What the file says of itself where a flag said otherwise, by the names of `NetworkConfig`. */
  readonly contradicted: Readonly<Record<string, unknown>>;
}

/** `ModelFile.inferred` as a line for the user. */
export const describeInferred = (file: string, inferred: readonly string[]): string =>
  `${file}: concluded from its names and shapes: ${inferred.join(', ')}`;

const IMAGENET_MEAN = [0.485, 0.456, 0.406];
const IMAGENET_STD = [0.229, 0.224, 0.225];

/** What a file of weights holds, whatever network they are of. */
export interface StoredWeights extends Pick<ModelFile, 'container' | 'tensors'> {
  /** What the file says of itself; empty for `.pth`. */
  readonly metadata: Readonly<Record<string, string>>;
  /** The key of a checkpoint that the weights stand under; null where they are all there is. */
  readonly entry: string | null;
  /** What a checkpoint holds beside them, in words. */
  readonly beside: Readonly<Record<string, string>>;
  /** What stood before all names and is left out: `module.`; empty where nothing did. */
  readonly prefix: string;
}

/** What wrappers put before every name: DataParallel, torch.compile, Lightning modules. */
const PREFIXES = ['module.', '_orig_mod.', 'model.'];

/**
 * Reads a file of weights: safetensors, or a state dict or checkpoint of torch.save, which of both is told by its first bytes.
 *
 * @throws InputError if the file is damaged, or asks for something to be executed, which nothing here is.
 */
export async function parseWeights(bytes: Uint8Array, file: string): Promise<StoredWeights> {
  if (!isPth(bytes) && !PTH_EXTENSION.test(file)) {
    const { metadata, tensors } = parseSafetensors(bytes, file);
    return { container: 'safetensors', metadata, entry: null, beside: {}, ...withoutPrefix(tensors) };
  }
  const { container, entry, tensors, beside } = await parsePth(bytes, file);
  return {
    container: container === 'zip' ? 'pth' : 'legacy pth',
    metadata: {},
    entry,
    beside,
    ...withoutPrefix(tensors),
  };
}

function withoutPrefix(tensors: ReadonlyMap<string, SafetensorsTensor>) {
  let prefix = '';
  for (;;) {
    const next = PREFIXES.find((part) => [...tensors.keys()].every((name) => name.startsWith(prefix + part)));
    if (!next || tensors.size === 0) break;
    prefix += next;
  }
  return { prefix, tensors: new Map([...tensors].map(([name, tensor]) => [name.slice(prefix.length), tensor])) };
}

/**
 * Reads a model file: weights with torchvision names (see `parseWeights`) and, in safetensors, our metadata (architecture, its options
 * like width and stem, num_classes, input_size, channels, mean, std). What is missing is concluded from the tensors' names and shapes
 * where they decide it.
 * Throws InputError where the file is damaged, something can be neither read nor concluded, or the names and shapes are not the
 * architecture's.
 */
export async function parseModelFile(
  bytes: Uint8Array,
  file: string,
  overrides: ConfigOverrides = {},
): Promise<ModelFile> {
  return describeModel(await parseWeights(bytes, file), file, overrides);
}

/** What model weights are of, as `parseModelFile` finds it. */
export function describeModel(weights: StoredWeights, file: string, overrides: ConfigOverrides = {}): ModelFile {
  const { container, metadata, tensors: stored, entry, prefix } = weights;
  const inferred: string[] = [];
  if (entry !== null) inferred.push(`state dict ${entry}`);
  if (prefix) inferred.push(`names without ${prefix}`);
  const infer = <T>(what: string, value: T): T => {
    inferred.push(`${what} ${Array.isArray(value) ? value.join(',') : value}`);
    return value;
  };
  const normalised = (what: string, { name, values }: Normaliser): readonly number[] => {
    inferred.push(`${what} ${values.map((value) => Number(value.toFixed(6))).join(',')} of ${name}`);
    return values;
  };
  const missing = (what: string, flag: string): never => {
    throw new InputError(
      `${file}: the file does not tell its ${what}; give ${flag}, or write it into the file with: radioactive weights`,
    );
  };

  const architecture = overrides.architecture ?? text(metadata.architecture);
  if (architecture !== undefined) checkOptionNames(networkOf(architecture, `${file}: `), overrides);
  const size = {
    inputSize: overrides.inputSize ?? count(metadata.input_size, 'input_size', file),
    channels: overrides.channels ?? count(metadata.channels, 'channels', file),
  };
  const { network, reading } = recognise(stored, file, architecture, size);
  checkOptionNames(network, overrides);
  inferred.push(...reading.notes);
  if (architecture === undefined) infer('architecture', network.name);
  const { tensors } = reading;
  const shapeOf: ShapeOf = (name) => tensors.get(name)?.shape;

  const channels =
    overrides.channels ??
    count(metadata.channels, 'channels', file) ??
    infer('channels', firstShape(network, shapeOf)![1]);
  const numClasses =
    overrides.numClasses ??
    count(metadata.num_classes, 'num_classes', file) ??
    infer('classes', headShape(network, shapeOf)![0]);
  const optionValue = (name: string, option: NetworkOption): number | string => {
    const given = overrides[name as keyof NetworkOptionValues] ?? text(metadata[name]);
    if (given !== undefined) return parseOption(option, given, `${file}: ${name}`);
    if (!option.infer) return infer(name, defaultOf(option, 224));
    const shown = option.infer(shapeOf);
    if (shown !== undefined) return infer(name, shown);
    return missing(name, `--${name}${option.type === 'choice' ? ` (${option.choices.join(', ')})` : ''}`);
  };
  const options: NetworkOptionValues = Object.fromEntries(
    Object.entries(network.options).map(([name, option]) => [name, optionValue(name, option)]),
  );
  const colour = channels === 3 && (options.stem ?? 'imagenet') === 'imagenet';
  const inputSize =
    overrides.inputSize ??
    count(metadata.input_size, 'input_size', file) ??
    (colour ? infer('input size', 224) : missing('input size', '--input-size'));
  const mean =
    overrides.mean ??
    numbers(metadata.mean, 'mean', file) ??
    (reading.mean && normalised('mean', reading.mean)) ??
    (colour ? infer('mean', IMAGENET_MEAN) : missing('mean', '--mean'));
  const std =
    overrides.std ??
    numbers(metadata.std, 'std', file) ??
    (reading.std && normalised('std', reading.std)) ??
    (colour ? infer('std', IMAGENET_STD) : missing('std', '--std'));
  for (const [what, values] of Object.entries({ mean, std })) {
    if (values.length !== channels)
      throw new InputError(`${file}: ${what} has ${values.length} values for ${channels} channels`);
  }
  if (std.some((value) => value <= 0)) throw new InputError(`${file}: std must be positive, it is ${std.join(', ')}`);
  const config = { architecture: network.name, ...options, numClasses, inputSize, channels, mean, std };
  checkStateDict(config, tensors, file);
  return { container, config, tensors, inferred, contradicted: contradictions(overrides, metadata, config, file) };
}

/** Where flags and metadata differ: what the metadata say. */
function contradictions(
  overrides: ConfigOverrides,
  metadata: Readonly<Record<string, string>>,
  config: NetworkConfig,
  file: string,
): Record<string, unknown> {
  const said: Readonly<Record<string, () => unknown>> = {
    architecture: () => text(metadata.architecture),
    numClasses: () => count(metadata.num_classes, 'num_classes', file),
    inputSize: () => count(metadata.input_size, 'input_size', file),
    channels: () => count(metadata.channels, 'channels', file),
    mean: () => numbers(metadata.mean, 'mean', file),
    std: () => numbers(metadata.std, 'std', file),
  };
  const found: Record<string, unknown> = {};
  for (const [name, value] of Object.entries(overrides)) {
    if (value === undefined) continue;
    const own = Object.hasOwn(said, name) ? said[name]() : text(metadata[name]);
    if (own === undefined) continue;
    const used = config[name as keyof NetworkConfig];
    // Options of networks are texts in metadata.
    const same = typeof own === 'string' ? own === String(used) : JSON.stringify(own) === JSON.stringify(used);
    if (!same) found[name] = own;
  }
  return found;
}

/** What is said of the images beside the weights; some shapes depend on it. */
interface ImageSize {
  readonly inputSize: number | undefined;
  readonly channels: number | undefined;
}

/** A reading of a state dict, and how far it is from a network's. */
interface Fit {
  readonly network: Network;
  readonly reading: Reading;
  /** What keeps it from being the network's, with those of its options that fit best. */
  readonly problems: readonly string[];
  /** Tensors that are the network's by name and shape. */
  readonly matches: number;
}

/**
 * The network that has these names and shapes, of all or of one architecture. Throws InputError, with what is wrong by the nearest,
 * where none has.
 */
function recognise(
  stored: ReadonlyMap<string, SafetensorsTensor>,
  file: string,
  architecture: string | undefined,
  size: ImageSize,
): Fit {
  const candidates = architecture === undefined ? Object.values(networks) : [networkOf(architecture, `${file}: `)];
  let nearest: Fit | undefined;
  for (const network of candidates) {
    const fits = fitsOf(network, stored, size);
    const fitting = fits.filter(({ problems }) => problems.length === 0);
    if (fitting.length > 0) {
      const reading = chooseReading(
        fitting.map((fit) => fit.reading),
        file,
      );
      return fitting.find((fit) => fit.reading === reading)!;
    }
    for (const fit of fits) if (isNearer(fit, nearest)) nearest = fit;
  }
  if (architecture !== undefined) throw new MisfitError(file, architecture, nearest!.problems);
  if (nearest && 2 * nearest.matches >= stored.size)
    throw new MisfitError(file, `any network known here, nearest ${nearest.network.name}`, nearest.problems);
  throw new InputError(
    `${file}: its tensors are of no network known here; known are ${Object.keys(networks).join(', ')}; ${OTHER_NETWORKS}`,
  );
}

const isNearer = (fit: Fit, nearest: Fit | undefined): boolean =>
  !nearest ||
  fit.matches > nearest.matches ||
  (fit.matches === nearest.matches && fit.problems.length < nearest.problems.length);

/** Every reading of a state dict as a network's. */
function fitsOf(network: Network, stored: ReadonlyMap<string, SafetensorsTensor>, size: ImageSize): Fit[] {
  // For names alone, at a size that every network takes.
  const [named] = specsOf(network, () => undefined, { inputSize: undefined, channels: undefined });
  return readingsOf(network, named, stored, toNumbers).map((reading) => {
    const { tensors } = reading;
    let best: Fit | undefined;
    for (const specs of specsOf(network, (name) => tensors.get(name)?.shape, size)) {
      const problems = stateDictProblems(specs, tensors);
      const matches = specs.filter(({ name, shape }) => tensors.get(name)?.shape.join() === shape.join()).length;
      const fit = { network, reading, problems, matches };
      if (isNearer(fit, best)) best = fit;
    }
    // Shapes that no network of this architecture can have.
    const problems = [...tensors.keys()].map((name) => `${name} has another shape`);
    return best ?? { network, reading, problems, matches: 0 };
  });
}

/** The tensors of a network with the options that shapes show, with every choice where they show none. */
function specsOf(network: Network, shapeOf: ShapeOf, size: ImageSize): (readonly ParameterSpec[])[] {
  const channels = size.channels ?? firstShape(network, shapeOf)?.[1] ?? 3;
  const numClasses = headShape(network, shapeOf)?.[0] ?? 1000;
  const config = {
    architecture: network.name,
    numClasses,
    inputSize: size.inputSize ?? 224,
    channels,
    mean: [],
    std: [],
  };
  return possibleOptions(network, shapeOf).flatMap((options) => {
    try {
      return [parameterSpecs({ ...config, ...options })];
    } catch (error) {
      if (!(error instanceof InputError)) throw error;
      return [];
    }
  });
}

/** The options that a state dict shows, with every choice where it shows none. */
function possibleOptions(network: Network, shapeOf: ShapeOf): NetworkOptionValues[] {
  let possible: NetworkOptionValues[] = [{}];
  for (const [name, option] of Object.entries(network.options)) {
    const shown = option.infer?.(shapeOf);
    const values = shown !== undefined ? [shown] : option.type === 'choice' ? option.choices : [defaultOf(option, 224)];
    possible = possible.flatMap((options) => values.map((value) => ({ ...options, [name]: value })));
  }
  return possible;
}

const firstShape = ({ first }: Network, shapeOf: ShapeOf): readonly number[] | undefined => {
  const shape = shapeOf(`${first}.weight`);
  return shape && shape.length >= 2 ? shape : undefined;
};
const headShape = ({ head }: Network, shapeOf: ShapeOf): readonly number[] | undefined => {
  const shape = shapeOf(`${head}.weight`);
  return shape?.length === 2 ? shape : undefined;
};

/** A model as a safetensors file. `notes` become further metadata: what the model was made from. */
export async function serializeModel(model: Model, notes: Readonly<Record<string, string>> = {}): Promise<Uint8Array> {
  return serializeModelFile({ config: model.config, tensors: await model.stateDict() }, notes);
}

/** Weights with what they are of as a safetensors file; the element types stay. `notes` become further metadata. */
export function serializeModelFile(
  { config, tensors }: { readonly config: NetworkConfig; readonly tensors: Iterable<readonly [string, TensorData]> },
  notes: Readonly<Record<string, string>> = {},
): Uint8Array {
  return serializeSafetensors(tensors, {
    ...notes,
    architecture: config.architecture,
    ...Object.fromEntries(optionNames(config).map((name) => [name, String(config[name as keyof NetworkOptionValues])])),
    num_classes: String(config.numClasses),
    input_size: String(config.inputSize),
    channels: String(config.channels),
    mean: JSON.stringify(config.mean),
    std: JSON.stringify(config.std),
  });
}

/** Metadata values are strings; some writers put JSON strings into them. */
function text(value: string | undefined): string | undefined {
  return value?.replace(/^"(.*)"$/, '$1');
}

function count(value: string | undefined, name: string, file: string): number | undefined {
  if (value === undefined) return undefined;
  const number = Number(value);
  if (!Number.isSafeInteger(number) || number < 1 || number > 1e6)
    throw new InputError(`${file}: metadata ${name} is ${JSON.stringify(value)}, not a count`);
  return number;
}

function numbers(value: string | undefined, name: string, file: string): readonly number[] | undefined {
  if (value === undefined) return undefined;
  let parsed: unknown;
  try {
    parsed = JSON.parse(value);
  } catch {
    parsed = undefined;
  }
  if (!Array.isArray(parsed) || !parsed.every((entry) => Number.isFinite(entry))) {
    throw new InputError(`${file}: metadata ${name} is ${JSON.stringify(value)}, not a list of numbers`);
  }
  return parsed as number[];
}
