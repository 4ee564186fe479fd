import { privatePart } from '../files/private_part.ts';
import { runMarking } from '../runs/mark.ts';
import { defineCommand, precisionOption } from './command.ts';
import {
  decodeOptions,
  imageOptions,
  keyOptions,
  networkOptions,
  networkOverrides,
  publishedOptions,
  splitOption,
} from './inputs.ts';
import { describeMarks, describeTiming } from './output.ts';
import { markingRecipe, radiusOption, recipeOptions } from './recipe.ts';

/** Which images are drawn from. */
export const hardestOption = {
  type: 'string',
  value: 'CLASSIFIER',
  description:
    'draw the images to mark from those of each class that this model of the same classes, trained on others, finds hardest, three times as many: they leave more of a trace. Default: from all',
} as const;

export const mark = defineCommand({
  name: 'mark',
  summary:
    'Marks a share of a data set and writes a data set of the same layout to publish, with a private part beside it; goes on where it was stopped',
  options: {
    ...keyOptions,
    fraction: {
      type: 'number',
      value: 'Q',
      required: true,
      minimum: 0,
      maximum: 1,
      description: "share of each class's images to mark, one at least; the key's secret decides which",
    },
    hardest: hardestOption,
    output: {
      type: 'string',
      short: 'o',
      value: 'OUT',
      required: true,
      description: 'the new folder, to publish as it is; OUT.partial until it is complete. OUT.private is yours alone',
    },
    radius: radiusOption,
    ...recipeOptions,
    ...publishedOptions,
    split: splitOption,
    ...imageOptions,
    ...networkOptions,
    ...precisionOption,
  },
  afterInterrupt: 'run the same command again to go on',
  examples: [
    '--key owner.key --model weights/marker.safetensors --data data --fraction 0.02 --hardest weights/marker.safetensors -o marked',
    '--key owner.key --model weights/marker.safetensors --data data --fraction 0.1 -o marked',
  ],
  async run(context) {
    const { options, log } = context;
    const { output } = options;
    const { manifest, commitment, leftBehind, marked, timing } = await runMarking(
      {
        key: options.key,
        model: options.model,
        network: networkOverrides(options),
        data: options.data,
        split: options.split,
        decode: decodeOptions(options),
        fraction: options.fraction,
        hardest: options.hardest,
        recipe: { ...markingRecipe(options), radiusLevels: options.radius },
        output,
        format: options.format === 'png' ? 'PNG' : undefined,
        strip: options.strip,
        copyUnmarked: options.copyUnmarked,
        batchSize: options.batch,
      },
      context,
    );
    log(describeTiming(timing, marked));
    const { skipped = [], unmarkedClasses = [] } = manifest;
    return {
      json: {
        output,
        private: privatePart(output),
        options: manifest.options,
        summary: manifest.summary,
        skipped,
        unmarkedClasses,
        leftBehind,
        timing,
        keyCommitment: manifest.keyCommitment,
        merkleRoot: manifest.merkleRoot,
        commitment,
      },
      text: [
        `commitment ${commitment}`,
        `${output}: ${describeMarks(manifest)}`,
        `Publish ${output} as it is. Keep ${privatePart(output)}: it tells which images are marked.`,
      ].join('\n'),
      ...(skipped.length > 0 && { exitCode: 3 }),
    };
  },
});
