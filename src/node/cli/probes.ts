import { DEFAULT_DECOYS, DEFAULT_PROBES_PER_CLASS, LIST_NAME } from '../runs/make_probes.ts';
import { type ProbeFiles, runProbes } from '../runs/probes.ts';
import { defineCommand, type Values } from './command.ts';
import {
  batchOption,
  decodeOptions,
  doubtOptions,
  doubtValues,
  imageOptions,
  keyOptions,
  networkOptions,
  networkOverrides,
  splitOption,
} from './inputs.ts';
import { describeTiming } from './output.ts';
import { probeRecipe, probeRecipeOptions } from './recipe.ts';

export const probes = defineCommand({
  name: 'probes',
  summary:
    "Marks held-out images towards a key's carriers and towards decoys, for the black-box test of any number of suspects; goes on where it was stopped",
  options: {
    ...keyOptions,
    data: {
      ...keyOptions.data,
      value: 'HELDOUT',
      description: 'unmarked images that were never published',
    },
    output: {
      type: 'string',
      short: 'o',
      value: 'PROBES',
      required: true,
      description: 'the new folder; PROBES.partial until it is complete',
    },
    decoys: {
      type: 'integer',
      value: 'M',
      minimum: 1,
      maximum: 100_000,
      description: `carrier sets that the true one is compared with; default ${DEFAULT_DECOYS}, or the key's`,
    },
    perClass: {
      type: 'integer',
      value: 'N',
      minimum: 1,
      description: `images of each class, all marked M + 1 times; default ${DEFAULT_PROBES_PER_CLASS}, or the key's`,
    },
    format: {
      type: 'string',
      value: 'NAME',
      choices: ['png', 'idx'],
      description: 'PNG files, or IDX files; default as the data set is',
    },
    ...probeRecipeOptions,
    batch: batchOption,
    split: { ...splitOption, default: 'test' },
    ...doubtOptions,
    ...imageOptions,
    ...networkOptions,
  },
  afterInterrupt: 'run the same command again to go on',
  examples: [
    '--key owner.key --model weights/marker.safetensors --data held-out -o probes',
    '--key owner.key --model weights/marker.safetensors --data held-out --decoys 19 --per-class 10 -o few-probes',
  ],
  async run(context) {
    const { options, log } = context;
    const { output } = options;
    const { manifest, images, marked, timing } = await runProbes(
      {
        key: options.key,
        model: options.model,
        network: networkOverrides(options),
        data: options.data,
        ...doubtValues(options),
        split: options.split,
        decode: decodeOptions(options),
        ...probeOptions(options),
        batchSize: options.batch,
        output,
      },
      context,
    );
    log(describeTiming(timing, marked));
    return {
      json: {
        output,
        images,
        sets: manifest.sets,
        options: manifest.options,
        source: manifest.source,
        keyCommitment: manifest.keyCommitment,
        sha256: manifest.sha256,
        timing,
      },
      text: [
        `${output}: ${images} images, ${manifest.options.perClass} of each class: vanilla, and towards ${manifest.sets} carrier sets in a secret order`,
        `To test a model that does not run here, have it answer all of them in the order of ${output}/${LIST_NAME}, and give detect the answers with --scores.`,
      ].join('\n'),
    };
  },
});

/** What the options say of probes. */
function probeOptions(
  options: Values<typeof probeRecipeOptions> & {
    readonly decoys: number | undefined;
    readonly perClass: number | undefined;
    readonly format: 'png' | 'idx' | undefined;
  },
): Pick<ProbeFiles, 'decoys' | 'perClass' | 'layout' | 'recipe'> {
  const { decoys, perClass, format } = options;
  return { decoys, perClass, layout: format === 'png' ? 'folder' : format, recipe: probeRecipe(options) };
}
