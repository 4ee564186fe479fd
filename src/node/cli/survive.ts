import { survivalPlot, survivalTable } from '../../marking/survival_figure.ts';
import { openDataset } from '../datasets/open.ts';
import { requireNewFile } from '../files/files.ts';
import { writeAtomic } from '../files/write.ts';
import { openKey, openMarkingNetwork } from '../runs/inputs.ts';
import { runSurvival } from '../runs/survive.ts';
import { defineCommand } from './command.ts';
import {
  decodeOptions,
  imageOptions,
  networkOptions,
  networkOverrides,
  openForMarking,
  splitOption,
} from './inputs.ts';
import { lateProgress } from './progress.ts';

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
    const { options, progress, signal } = context;
    if (options.output !== undefined) await requireNewFile(options.output);
    const key = await openKey(options.key);
    const original = await openForMarking(key, options.original, options);
    const marked = await openDataset(options.marked, {
      split: options.split,
      decode: decodeOptions(options),
      keepFaults: true,
    });
    const { model } = await openMarkingNetwork(context, options.model, key, original, networkOverrides(options));
    try {
      const display = lateProgress(progress, 'measuring', 'images');
      const report = await runSurvival({
        key,
        model,
        marked,
        original,
        images: options.images,
        onProgress: display.update,
        signal,
      });
      display.done();
      if (options.output !== undefined)
        await writeAtomic(options.output, new TextEncoder().encode(survivalPlot(report)));
      const { images, gain, psnr } = report;
      return {
        json: report,
        text: [
          `${options.marked}: ${images} marked images, ${psnr === null ? 'all unchanged' : `${psnr.toFixed(1)} dB`}, mean gain ${gain.toFixed(4)}`,
          ...survivalTable(report),
          ...(options.output === undefined ? [] : [`${options.output}: the same as a plot`]),
        ].join('\n'),
      };
    } finally {
      model.destroy();
    }
  },
});
