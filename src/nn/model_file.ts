import { InputError } from '../errors.ts';
import { parseSafetensors, type SafetensorsTensor, serializeSafetensors } from '../formats/safetensors.ts';
import type { Model } from './model.ts';
import { type NetworkConfig, networks, type Stem } from './networks.ts';

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
 * Reads a model file: safetensors with torchvision names and our metadata (architecture, width, stem, num_classes, input_size,
 * channels, mean, std). What is missing is taken from the shapes where they decide it.
 * Throws InputError where the file is damaged or something can be neither read nor concluded.
 */
export function parseModelFile(bytes: Uint8Array, file: string, overrides: ConfigOverrides = {}): ModelFile {
  const { metadata, tensors } = parseSafetensors(bytes, file);
  const inferred: string[] = [];
  const infer = <T>(what: string, value: T): T => {
    inferred.push(`${what} ${Array.isArray(value) ? value.join(',') : value}`);
    return value;
  };
  const missing = (what: string, flag: string): never => {
    throw new InputError(`${file}: the file does not tell its ${what}; give ${flag}`);
  };
  const stemWeight = [tensors.get('conv1.weight')].find((tensor) => tensor?.shape.length === 4);
  const head = [...tensors]
    .filter(([name, tensor]) => name.endsWith('.weight') && tensor.shape.length === 2)
    .at(-1)?.[1];

  const architecture =
    overrides.architecture ??
    text(metadata.architecture) ??
    missing('architecture', `--arch (${Object.keys(networks).join(', ')})`);
  if (!Object.hasOwn(networks, architecture)) {
    throw new InputError(
      `${file}: architecture ${architecture} is not known; there are: ${Object.keys(networks).join(', ')}`,
    );
  }
  const width =
    overrides.width ?? count(metadata.width, 'width', file) ?? (stemWeight ? infer('width', stemWeight.shape[0]) : 64);
  const channels =
    overrides.channels ??
    count(metadata.channels, 'channels', file) ??
    (stemWeight ? infer('channels', stemWeight.shape[1]) : missing('channels', '--channels'));
  const numClasses =
    overrides.numClasses ??
    count(metadata.num_classes, 'num_classes', file) ??
    (head ? infer('classes', head.shape[0]) : missing('number of classes', '--classes'));
  const stem =
    overrides.stem ??
    stemOf(metadata.stem, file) ??
    (stemWeight?.shape[2] === 7
      ? infer('stem', 'imagenet' as const)
      : missing('stem', '--stem (imagenet, cifar or small)'));
  const colour = channels === 3 && stem === 'imagenet';
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
  return { config: { architecture, width, stem, numClasses, inputSize, channels, mean, std }, tensors, inferred };
}

/** A model as a file. `notes` become further metadata: what the model was made from. */
export async function serializeModel(model: Model, notes: Readonly<Record<string, string>> = {}): Promise<Uint8Array> {
  const { config } = model;
  return serializeSafetensors(await model.stateDict(), {
    ...notes,
    architecture: config.architecture,
    width: String(config.width),
    stem: config.stem,
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

function stemOf(value: string | undefined, file: string): Stem | undefined {
  const stem = text(value);
  if (stem === undefined || stem === 'imagenet' || stem === 'cifar' || stem === 'small') return stem;
  throw new InputError(`${file}: metadata stem is ${JSON.stringify(stem)}; it must be imagenet, cifar or small`);
}
