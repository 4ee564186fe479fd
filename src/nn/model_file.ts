import { InputError } from '../errors.ts';
import { parseSafetensors, type SafetensorsTensor, serializeSafetensors } from '../formats/safetensors.ts';
import { type Model, parameterSpecs, stateDictProblems } from './model.ts';
import { defaultOf, type Network, type NetworkOption, parseOption, type ShapeOf } from './network.ts';
import {
  checkOptionNames,
  type NetworkConfig,
  type NetworkOptionValues,
  networkOf,
  networks,
  optionNames,
} from './networks.ts';

/** What flags may say about a file that does not say it itself; they win over the file. */
export type ConfigOverrides = Partial<NetworkConfig>;

export interface ModelFile {
  readonly config: NetworkConfig;
  readonly tensors: ReadonlyMap<string, SafetensorsTensor>;
  /** What neither the file nor the flags said and was concluded from the shapes, for the user to see: `stem imagenet`. */
  readonly inferred: readonly string[];
}

const IMAGENET_MEAN = [0.485, 0.456, 0.406];
const IMAGENET_STD = [0.229, 0.224, 0.225];

/**
 * Reads a model file: safetensors with torchvision names and our metadata (architecture, its options like width and stem,
 * num_classes, input_size, channels, mean, std). What is missing is concluded from the tensors' names and shapes where they decide it.
 * Throws InputError where the file is damaged or something can be neither read nor concluded.
 */
export function parseModelFile(bytes: Uint8Array, file: string, overrides: ConfigOverrides = {}): ModelFile {
  const { metadata, tensors: stored } = parseSafetensors(bytes, file);
  const inferred: string[] = [];
  const infer = <T>(what: string, value: T): T => {
    inferred.push(`${what} ${Array.isArray(value) ? value.join(',') : value}`);
    return value;
  };
  const missing = (what: string, flag: string): never => {
    throw new InputError(`${file}: the file does not tell its ${what}; give ${flag}`);
  };

  const architecture =
    overrides.architecture ??
    text(metadata.architecture) ??
    recognise(stored, infer) ??
    missing('architecture, nor do its tensors', `--arch (${Object.keys(networks).join(', ')})`);
  const network = networkOf(architecture, `${file}: `);
  checkOptionNames(network, overrides);
  const tensors = renamed(network, stored);
  const shapeOf: ShapeOf = (name) => tensors.get(name)?.shape;

  const channels =
    overrides.channels ??
    count(metadata.channels, 'channels', file) ??
    mapped(firstShape(network, shapeOf)?.[1], (shown) => infer('channels', shown)) ??
    missing('channels', '--channels');
  const numClasses =
    overrides.numClasses ??
    count(metadata.num_classes, 'num_classes', file) ??
    mapped(headShape(network, shapeOf)?.[0], (shown) => infer('classes', shown)) ??
    missing('number of classes', '--classes');
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
    (colour ? infer('mean', IMAGENET_MEAN) : missing('mean', '--mean'));
  const std =
    overrides.std ??
    numbers(metadata.std, 'std', file) ??
    (colour ? infer('std', IMAGENET_STD) : missing('std', '--std'));
  for (const [what, values] of Object.entries({ mean, std })) {
    if (values.length !== channels)
      throw new InputError(`${file}: ${what} has ${values.length} values for ${channels} channels`);
  }
  if (std.some((value) => value <= 0)) throw new InputError(`${file}: std must be positive, it is ${std.join(', ')}`);
  return { config: { architecture, ...options, numClasses, inputSize, channels, mean, std }, tensors, inferred };
}

/** The architecture whose tensors these are, by all names and shapes; undefined where none has exactly these. */
function recognise(
  stored: ReadonlyMap<string, SafetensorsTensor>,
  infer: (what: string, value: string) => string,
): string | undefined {
  const found = Object.values(networks).find((network) => {
    const tensors = renamed(network, stored);
    const shapeOf: ShapeOf = (name) => tensors.get(name)?.shape;
    const channels = firstShape(network, shapeOf)?.[1];
    const numClasses = headShape(network, shapeOf)?.[0];
    if (!channels || !numClasses) return false;
    const config = { architecture: network.name, numClasses, inputSize: 224, channels, mean: [], std: [] };
    return possibleOptions(network, shapeOf).some((options) => {
      try {
        return stateDictProblems(parameterSpecs({ ...config, ...options }), tensors).length === 0;
      } catch (error) {
        // Shapes that no network of this architecture can have.
        if (error instanceof InputError) return false;
        throw error;
      }
    });
  });
  return found && infer('architecture', found.name);
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
  return shape?.length === 4 ? shape : undefined;
};
const headShape = ({ head }: Network, shapeOf: ShapeOf): readonly number[] | undefined => {
  const shape = shapeOf(`${head}.weight`);
  return shape?.length === 2 ? shape : undefined;
};

function renamed(
  { rename }: Network,
  tensors: ReadonlyMap<string, SafetensorsTensor>,
): ReadonlyMap<string, SafetensorsTensor> {
  return rename ? new Map([...tensors].map(([name, tensor]) => [rename(name), tensor])) : tensors;
}

const mapped = <T>(value: T | undefined, map: (value: T) => T): T | undefined =>
  value === undefined ? undefined : map(value);

/** A model as a file. `notes` become further metadata: what the model was made from. */
export async function serializeModel(model: Model, notes: Readonly<Record<string, string>> = {}): Promise<Uint8Array> {
  const { config } = model;
  return serializeSafetensors(await model.stateDict(), {
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
