import { UsageError } from '../../errors.ts';
import { previewMarks } from '../../marking/preview.ts';
import { requireNewFile } from '../files/files.ts';
import { writeAtomic } from '../files/write.ts';
import { nodeCodec } from '../images/codec.ts';
import { openKey, openMarkingNetwork } from '../runs/inputs.ts';
import { columns, defineCommand } from './command.ts';
import {
  DATASETS,
  formatOption,
  imageOptions,
  networkOptions,
  networkOverrides,
  numberList,
  openForMarking,
  splitOption,
} from './inputs.ts';
import { lateProgress } from './progress.ts';
import { DEFAULT_RADIUS, markingRecipe, recipeOptions, UNCHANGED } from './recipe.ts';

export const preview = defineCommand({
  name: 'preview',
  summary: 'Marks a few images of a data set with several radii and shows them side by side, before a long run',
  options: {
    key: { type: 'string', value: 'KEY', required: true, description: 'the key file' },
    model: { type: 'string', value: 'MARKER', required: true, description: "the key's marking network" },
    data: { type: 'string', value: 'DATASET', required: true, description: DATASETS },
    output: {
      type: 'string',
      short: 'o',
      value: 'FILE',
      required: true,
      description: 'the .svg file to write, for a browser',
    },
    radius: {
      type: 'string',
      value: 'LIST',
      default: `4,${DEFAULT_RADIUS},16`,
      description: 'largest changes of a pixel to try, in 8-bit levels',
    },
    images: { type: 'integer', value: 'N', default: 4, minimum: 1, description: 'how many, of all classes in turn' },
    ...recipeOptions,
    format: formatOption,
    split: splitOption,
    ...imageOptions,
    ...networkOptions,
  },
  examples: ['--key owner.key --model weights/marker.safetensors --data data --radius 6,10 -o preview.svg'],
  async run(context) {
    const { options, progress, log, signal } = context;
    await requireNewFile(options.output);
    const radii = numberList('--radius', options.radius);
    if (radii.some((radius) => radius < 1 || radius > 255))
      throw new UsageError(`--radius ${options.radius}: each must be between 1 and 255`);
    const key = await openKey(options.key);
    const dataset = await openForMarking(key, options.data, options);
    const { model } = await openMarkingNetwork(context, options.model, key, dataset, networkOverrides(options));
    try {
      const display = lateProgress(progress, 'preview', 'marks');
      const { marks, svg } = await previewMarks({
        key,
        model,
        dataset,
        codec: await nodeCodec(),
        radii,
        count: options.images,
        recipe: markingRecipe(options, model.config),
        ...(options.format === 'png' && { format: 'PNG' }),
        onProgress: display.update,
        signal,
      });
      display.done();
      await writeAtomic(options.output, new TextEncoder().encode(svg));
      const unchanged = marks.filter(({ psnr }) => psnr === Number.POSITIVE_INFINITY).length;
      if (unchanged > 0) log(`${unchanged} of ${marks.length} marks change nothing: ${UNCHANGED}`);
      const rows = marks.map(
        ({ id, radiusLevels, psnr, ssim, gain }) =>
          [
            `${id}, radius ${radiusLevels}`,
            psnr === Number.POSITIVE_INFINITY
              ? 'unchanged'
              : `PSNR ${psnr.toFixed(1)} dB, SSIM ${ssim.toFixed(4)}, gain ${gain.toFixed(3)}`,
          ] as const,
      );
      return { json: { output: options.output, marks }, text: [`${options.output}:`, ...columns(rows)].join('\n') };
    } finally {
      model.destroy();
    }
  },
});
