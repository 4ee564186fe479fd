import type { Dataset } from '../../datasets/dataset.ts';
import { amongClasses } from '../../datasets/dataset.ts';
import { Loader } from '../../datasets/loader.ts';
import { InputError, IntegrityError, RadioactiveError, UsageError } from '../../errors.ts';
import { DEFAULT_MAX_PIXELS, type DecodeOptions } from '../../images/decode.ts';
import { UNUSUAL } from '../../images/header.ts';
import { checkKeyMatches, type Key, parseKey } from '../../marking/key.ts';
import { type ConfigOverrides, describeInferred } from '../../nn/model_file.ts';
import type { NetworkOption } from '../../nn/network.ts';
import { type NetworkConfig, type NetworkOptionValues, networks } from '../../nn/networks.ts';
import { readClassNames } from '../datasets/idx.ts';
import { openIfMarked } from '../datasets/marked_folder.ts';
import { openDataset } from '../datasets/open.ts';
import { readBytes } from '../files/files.ts';
import { type OpenedModel, openModel } from '../runs/open_model.ts';
import type { Context, Option, Values } from './command.ts';
import type { Progress } from './progress.ts';

/** Options that several commands share: what the files they name are. */
export const splitOption = {
  type: 'string',
  value: 'NAME',
  choices: ['train', 'test'],
  default: 'train',
  description: 'which IDX files, where a folder holds both',
} as const;

/** How new images are written. */
export const formatOption = {
  type: 'string',
  value: 'FORMAT',
  choices: ['png'],
  description:
    'png: all images as PNG files, lossless; default each in its own format, with its settings and under its name',
} as const;

/** Which images of a data set are decoded besides the usual ones. */
export const imageOptions = {
  maxPixels: {
    type: 'integer',
    value: 'N',
    default: DEFAULT_MAX_PIXELS,
    minimum: 1,
    description: 'largest image that is decoded, in pixels',
  },
  accept: {
    type: 'string',
    value: 'LIST',
    description: `images to decode that are refused otherwise: ${UNUSUAL.join(',')}`,
  },
} as const;

/** Values of `imageOptions` as the library takes them. */
export function decodeOptions(options: {
  readonly maxPixels: number;
  readonly accept: string | undefined;
}): DecodeOptions {
  const accept = options.accept?.split(',').map((name) => {
    const known = UNUSUAL.find((candidate) => candidate === name);
    if (!known) throw new UsageError(`--accept ${options.accept}: must be some of ${UNUSUAL.join(',')}`);
    return known;
  });
  return { maxPixels: options.maxPixels, ...(accept && { accept }) };
}

/** An option of networks as a flag; options of the same name mean the same in all networks. */
function networkFlag(option: NetworkOption, names: readonly string[]): Option {
  const description = names.length > 0 ? `${option.description}, of ${names.join(', ')}` : option.description;
  switch (option.type) {
    case 'choice':
      return { type: 'string', value: 'NAME', choices: option.choices, description };
    case 'count':
      return { type: 'integer', value: 'N', minimum: 1, description };
    case 'share':
      return { type: 'number', value: 'X', minimum: 0, maximum: 1, description };
  }
}

const networkFlags: Readonly<Record<string, Option>> = Object.fromEntries(
  Object.values(networks).flatMap(({ options }) =>
    Object.entries(options).map(([name, option]) => {
      const having = Object.values(networks).filter((network) => Object.hasOwn(network.options, name));
      return [
        name,
        networkFlag(option, having.length === Object.keys(networks).length ? [] : having.map((n) => n.name)),
      ];
    }),
  ),
);

const describedOptions = {
  arch: { type: 'string', value: 'NAME', choices: Object.keys(networks), description: 'architecture' },
  inputSize: {
    type: 'integer',
    value: 'N',
    minimum: 1,
    maximum: 4096,
    description: 'height and width the network takes',
  },
  mean: { type: 'string', value: 'LIST', description: 'mean by channel for pixels in 0-1, like 0.485,0.456,0.406' },
  std: { type: 'string', value: 'LIST', description: 'standard deviation by channel, likewise' },
} as const;

/** What a model file may not say itself, the options of every network among it. `networkOverrides` reads the values. */
export const networkOptions: typeof describedOptions = { ...describedOptions, ...networkFlags };

/** Values of `networkOptions` as the library takes them. */
export function networkOverrides(options: Values<typeof describedOptions>): ConfigOverrides {
  const mean = options.mean === undefined ? undefined : numberList('--mean', options.mean);
  const std = options.std === undefined ? undefined : numberList('--std', options.std);
  const given = Object.entries(options).filter(([name, value]) => name in networkFlags && value !== undefined);
  return {
    ...(options.arch !== undefined && { architecture: options.arch }),
    ...(Object.fromEntries(given) as NetworkOptionValues),
    ...(options.inputSize !== undefined && { inputSize: options.inputSize }),
    ...(mean && { mean }),
    ...(std && { std }),
  };
}

/** `0.5,0.25` as numbers. Throws UsageError for anything else. */
export function numberList(flag: string, text: string): number[] {
  const values = text.split(',').map(Number);
  if (text.trim() === '' || values.some((value) => !Number.isFinite(value)))
    throw new UsageError(`${flag} ${text}: must be numbers separated by commas`);
  return values;
}

export async function openKey(path: string): Promise<Key> {
  return await parseKey(new TextDecoder().decode(await readBytes(path)), path);
}

/** Opens a model file, and tells what it does not say itself. */
export async function openNetwork(
  { openDevice, log }: Pick<Context<unknown>, 'openDevice' | 'log'>,
  path: string,
  overrides?: ConfigOverrides,
  check?: (sha256: string) => void,
): Promise<OpenedModel> {
  const opened = await openModel(await openDevice(), path, overrides, check);
  if (opened.inferred.length > 0) log(describeInferred(path, opened.inferred));
  return opened;
}

/** Opens a data set to be marked with a key. Class folders may be some of the key's classes; damaged files are kept as such. */
export async function openForMarking(
  key: Key,
  path: string,
  options: { readonly split: 'train' | 'test' } & Parameters<typeof decodeOptions>[0],
): Promise<Dataset> {
  const dataset = await openDataset(path, { split: options.split, decode: decodeOptions(options), keepFaults: true });
  const some = dataset.format?.classesBy === 'name' && dataset.classes.length < key.classes.length;
  return some ? amongClasses(dataset, key.classes) : dataset;
}

/**
 * Opens a key's marking network as the key describes it. Refuses another file, a data set that is not the key's, and flags that
 * contradict the key.
 */
export async function openMarkingNetwork(
  context: Pick<Context<unknown>, 'openDevice' | 'log'>,
  path: string,
  key: Key,
  dataset: Dataset,
  flags: ConfigOverrides = {},
): Promise<OpenedModel> {
  const belong = (modelSha256: string): void => {
    try {
      checkKeyMatches(key, { modelSha256, classes: dataset.classes });
    } catch (error) {
      if (error instanceof IntegrityError)
        throw withContext(error, `${path}: `, 'give the network that the key was made with');
      throw withContext(error, `${dataset.path}: `, 'give a data set of those classes, or make a key for these');
    }
  };
  const opened = await openNetwork(context, path, { ...flags, ...key.model.network }, belong);
  for (const [name, value] of Object.entries(flags)) {
    const used = opened.model.config[name as keyof NetworkConfig];
    if (JSON.stringify(used) === JSON.stringify(value)) continue;
    opened.model.destroy();
    throw new IntegrityError(
      `${path}: ${name} is ${String(value)} by a flag and ${String(used)} by the key; leave the flag out`,
    );
  }
  return opened;
}

/**
 * Refuses images that their manifest lists as marked: aligned on them, an innocent suspect looks guilty.
 * @throws InputError naming the first
 */
export async function requireVanilla(dataset: Dataset): Promise<void> {
  const found = await openIfMarked(dataset.root);
  if (!found) return;
  const { path, manifest } = found;
  const marked = new Set(manifest.images.map(({ id }) => id));
  const ids = Array.from({ length: dataset.length }, (_, index) => dataset.id(index)).filter((id) => marked.has(id));
  if (ids.length > 0)
    throw new InputError(
      `${dataset.path}: ${ids.length} of its images are marked, says ${path}, the first is ${ids[0]}; give images that never were`,
    );
}

/** An error of this project with the file it is about and what to do. */
function withContext(error: unknown, file: string, advice: string): unknown {
  return error instanceof RadioactiveError
    ? new RadioactiveError(`${file}${error.message}; ${advice}`, error.exitCode, { cause: error })
    : error;
}

/** Decodes a data set under a progress display. */
export async function load(
  dataset: Dataset,
  channels: number,
  progress: (title: string, total: number, unit: string) => Progress,
): Promise<Loader> {
  const display = progress(`reading ${dataset.path}`, dataset.length, 'images');
  const loader = await Loader.open(dataset, channels, (done) => display.update(done));
  display.done();
  return loader;
}

/** Class names from a data set, or from a text file with one a line. */
export async function readClasses(
  path: string,
  split: 'train' | 'test',
  decode: DecodeOptions,
): Promise<{ classes: readonly string[]; dataset?: Dataset }> {
  if (/\.txt$/i.test(path)) return { classes: await readClassNames(path) };
  const dataset = await openDataset(path, { split, decode });
  return { classes: dataset.classes, dataset };
}
