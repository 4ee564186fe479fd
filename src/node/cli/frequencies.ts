import { openDataset } from '../datasets/open.ts';
import { DEFAULT_PATTERNS, writePatternNetwork } from '../runs/pattern_network.ts';
import { defineCommand } from './command.ts';
import { decodeOptions, imageOptions, splitOption } from './inputs.ts';

/** How many features a network of patterns has. */
export const patternsOption = {
  type: 'integer',
  value: 'K',
  default: DEFAULT_PATTERNS,
  minimum: 2,
  maximum: 4096,
  description: 'cosine patterns, the features of the marking network',
} as const;

export const frequencies = defineCommand({
  name: 'frequencies',
  summary:
    'Writes a marking network whose features are cosine patterns: for suspects that are trained from scratch, with the black-box test',
  options: {
    like: { type: 'string', value: 'DATASET', required: true, description: 'images of the size it is to be for' },
    output: {
      type: 'string',
      short: 'o',
      value: 'MODEL',
      required: true,
      description: 'the .safetensors file to write',
    },
    patterns: patternsOption,
    split: splitOption,
    ...imageOptions,
  },
  examples: ['--like images -o frequencies.safetensors', '--like images --patterns 32 -o frequencies.safetensors'],
  async run({ options }) {
    const { output } = options;
    const like = await openDataset(options.like, { split: options.split, decode: decodeOptions(options) });
    const { sha256, network } = await writePatternNetwork(output, like, options.patterns);
    const size = `${network.inputSize}x${network.inputSize}`;
    return {
      json: { output, sha256, network },
      text: `${output}: ${options.patterns} patterns for images of ${size}, ${network.channels === 1 ? 'grey' : 'colour'}; sha256 ${sha256}\nMake keys for it with --carriers uniform --statistic black-box.`,
    };
  },
});
