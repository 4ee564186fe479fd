import { survivalTable } from '../../marking/survival_figure.ts';
import { runSurvival } from '../runs/survive.ts';
import { defineCommand } from './command.ts';
import { decodeOptions, imageOptions, networkOptions, networkOverrides, splitOption } from './inputs.ts';

export const survive = defineCommand({
  name: 'survive',
  summary:
    'Measures how much of the marks is left after what may happen to published images: saved again, resized, cropped, smoothed, recoloured',
  options: {
    key: { type: 'string', value: 'KEY', required: true, description: 'the key file' },
    model: { type: 'string', value: 'MARKER', required: true, description: "the key's marking network" },
    marked: {
      type: 'string',
      value: 'OUT',
      required: true,
      description: 'the marked data set, with OUT.private beside it',
    },
    original: { type: 'string', value: 'DATASET', required: true, description: 'the same before it was marked' },
    output: { type: 'string', short: 'o', value: 'FILE.svg', description: 'a plot to write' },
    images: {
      type: 'integer',
      value: 'N',
      default: 100,
      minimum: 1,
      description: 'most images to measure, of all classes in turn',
    },
    split: splitOption,
    ...imageOptions,
    ...networkOptions,
  },
  examples: [
    '--key owner.key --model weights/marker.safetensors --marked images-to-publish --original images',
    '--key owner.key --model weights/marker.safetensors --marked images-to-publish --original images --images 500 -o survive.svg',
  ],
  async run(context) {
    const { options } = context;
    const { key, model, marked, original, images, output, split } = options;
    const report = await runSurvival(
      {
        ...{ key, model, marked, original, images, output, split },
        network: networkOverrides(options),
        decode: decodeOptions(options),
      },
      context,
    );
    const { psnr, gain } = report;
    return {
      json: report,
      text: [
        `${marked}: ${report.images} marked images, ${psnr === null ? 'all unchanged' : `${psnr.toFixed(1)} dB`}, mean gain ${gain.toFixed(4)}`,
        ...survivalTable(report),
        ...(output === undefined ? [] : [`${output}: the same as a plot`]),
      ].join('\n'),
    };
  },
});
