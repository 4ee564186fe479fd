import { DOUBTS, type DoubtName } from '../../detection/doubts.ts';
import { UsageError } from '../../errors.ts';
import { DEFAULT_MAX_PIXELS, type DecodeOptions } from '../../images/decode.ts';
import { UNUSUAL } from '../../images/header.ts';
import type { ConfigOverrides } from '../../nn/model_file.ts';
import type { NetworkOption } from '../../nn/network.ts';
import { type NetworkOptionValues, networks } from '../../nn/networks.ts';
import type { ReferenceTraining } from '../protection/plan.ts';
import { COPIED } from '../runs/mark.ts';
import type { MarkedFiles } from '../runs/overlap.ts';
import type { Option, Values } from './command.ts';

/** What a data set may be, for help. */
export const DATASETS =
  'a folder of class folders, WebDataset shards, parquet files, a list of files, IDX files or CIFAR (docs/scale.md)';

/** Options that several commands share: what the files they name are. */
export const splitOption = {
  type: 'string',
  value: 'NAME',
  choices: ['train', 'test'],
  default: 'train',
  description: 'which IDX files or shards, where a folder holds both',
} as const;

/** How new images are written. */
export const formatOption = {
  type: 'string',
  value: 'FORMAT',
  choices: ['png'],
  description:
    'png: all images as PNG files, lossless; default each in its own format, with its settings and under its name',
} as const;

/** What works with a key on images: the key, its marking network, and the images. */
export const keyOptions = {
  key: { type: 'string', value: 'KEY', required: true, description: 'the key file' },
  model: { type: 'string', value: 'MARKER', required: true, description: "the key's marking network" },
  data: { type: 'string', value: 'DATASET', required: true, description: DATASETS },
} as const;

/** Images a batch, of what marks. */
export const batchOption = {
  type: 'integer',
  value: 'N',
  minimum: 1,
  description: 'images a batch; does not change the result',
} as const;

/** How a data set to publish is written. */
export const publishedOptions = {
  batch: batchOption,
  format: formatOption,
  strip: {
    type: 'flag',
    description: 'leave EXIF, XMP, colour profiles, resolution and comments out of all images',
  },
  copyUnmarked: {
    type: 'flag',
    description: `keep the bytes of unmarked images: ${COPIED}`,
  },
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

/** The marked data set that images to test on are compared with, and what is to be overlooked. */
export const doubtOptions = {
  marked: {
    type: 'string',
    value: 'OUT',
    description: 'the marked data set: images to test on that show the same as its marked ones are refused',
  },
  original: {
    type: 'string',
    value: 'DATASET',
    description: 'with --marked: the same before it was marked, likewise',
  },
  markedSplit: { ...splitOption, description: 'of --marked and --original, where a folder holds both' },
  despite: {
    type: 'string',
    value: 'LIST',
    description: `go on although these are doubtful, as a deviation from what the key fixes: ${DOUBTS.join(',')}`,
  },
} as const;

/** Values of `doubtOptions` as the library takes them. */
export function doubtValues(options: Values<typeof doubtOptions>): {
  readonly marked: MarkedFiles | undefined;
  readonly despite: readonly DoubtName[] | undefined;
} {
  const { marked, original, markedSplit, despite } = options;
  if (original !== undefined && marked === undefined) throw new UsageError('--original goes with --marked');
  return {
    marked: marked === undefined ? undefined : { marked, original, split: markedSplit },
    despite: despiteValue(despite),
  };
}

/** What `--despite` names. */
export function despiteValue(despite: string | undefined): readonly DoubtName[] | undefined {
  return despite?.split(',').map((name) => {
    const known = DOUBTS.find((each) => each === name);
    if (!known) throw new UsageError(`--despite ${despite}: must be some of ${DOUBTS.join(',')}`);
    return known;
  });
}

/** Reference models that are trained where they are asked for. */
export const referenceOptions = {
  references: {
    type: 'integer',
    value: 'N',
    minimum: 0,
    maximum: 20,
    description: 'reference models to train on the unmarked images, once; they raise the power much. Default none',
  },
  referenceArch: {
    type: 'string',
    value: 'NAME',
    choices: ['resnet18', 'resnet34', 'resnet50'],
    description: 'their architecture; default resnet18',
  },
  referenceWidth: {
    type: 'integer',
    value: 'N',
    minimum: 1,
    description: 'their width; default 16 for images up to 64 pixels, else 64',
  },
  epochs: {
    type: 'integer',
    value: 'N',
    minimum: 1,
    description: 'epochs of their training; default 10 for images up to 64 pixels, else 90',
  },
} as const;

/** Values of `referenceOptions` as the library takes them. */
export const referenceTraining = (options: Values<typeof referenceOptions>): ReferenceTraining => ({
  epochs: options.epochs,
  architecture: options.referenceArch,
  width: options.referenceWidth,
});
