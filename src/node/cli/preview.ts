import { UsageError } from '../../errors.ts';
import { runPreview } from '../runs/preview.ts';
import { columns, defineCommand } from './command.ts';
import {
  decodeOptions,
  formatOption,
  imageOptions,
  keyOptions,
  networkOptions,
  networkOverrides,
  numberList,
  splitOption,
} from './inputs.ts';
import { DEFAULT_RADIUS, markingRecipe, recipeOptions } from './recipe.ts';

export const preview = defineCommand({
  name: 'preview',
  summary: 'Marks a few images of a data set with several radii and shows them side by side, before a long run',
  options: {
    ...keyOptions,
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
    const { options } = context;
    const radii = numberList('--radius', options.radius);
    if (radii.some((radius) => radius < 1 || radius > 255))
      throw new UsageError(`--radius ${options.radius}: each must be between 1 and 255`);
    const { output } = options;
    const marks = await runPreview(
      {
        key: options.key,
        model: options.model,
        network: networkOverrides(options),
        data: options.data,
        split: options.split,
        decode: decodeOptions(options),
        radii,
        count: options.images,
        recipe: markingRecipe(options),
        format: options.format === 'png' ? 'PNG' : undefined,
        output,
      },
      context,
    );
    const rows = marks.map(
      ({ id, radiusLevels, psnr, ssim, gain }) =>
        [
          `${id}, radius ${radiusLevels}`,
          psnr === Number.POSITIVE_INFINITY
            ? 'unchanged'
            : `PSNR ${psnr.toFixed(1)} dB, SSIM ${ssim.toFixed(4)}, gain ${gain.toFixed(3)}`,
        ] as const,
    );
    return { json: { output, marks }, text: [`${output}:`, ...columns(rows)].join('\n') };
  },
});
