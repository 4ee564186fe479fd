import { hashBytes } from '../../formats/sha256.ts';
import { frequencyModel } from '../../marking/frequency_model.ts';
import { serializeModelFile } from '../../nn/model_file.ts';
import { openDataset } from '../datasets/open.ts';
import { requireNewFile } from '../files/files.ts';
import { writeAtomic } from '../files/write.ts';
import { defineCommand } from './command.ts';
import { decodeOptions, imageOptions, splitOption } from './inputs.ts';

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
    patterns: { type: 'integer', value: 'K', default: 48, minimum: 2, maximum: 4096, description: 'features' },
    split: splitOption,
    ...imageOptions,
  },
  examples: ['--like images -o frequencies.safetensors', '--like images --patterns 32 -o frequencies.safetensors'],
  async run({ options }) {
    await requireNewFile(options.output);
    const dataset = await openDataset(options.like, { split: options.split, decode: decodeOptions(options) });
    const { width, height, channels } = await dataset.shape(0);
    const size = Math.min(width, height);
    const { config, tensors } = frequencyModel({
      inputSize: size,
      channels,
      numClasses: dataset.classes.length,
      patterns: options.patterns,
    });
    const bytes = serializeModelFile({ config, tensors });
    await writeAtomic(options.output, bytes);
    const sha256 = hashBytes(bytes);
    return {
      json: { output: options.output, sha256, network: config },
      text: `${options.output}: ${options.patterns} patterns for images of ${size}x${size}, ${channels === 1 ? 'grey' : 'colour'}; sha256 ${sha256}\nMake keys for it with --carriers uniform --statistic black-box.`,
    };
  },
});
