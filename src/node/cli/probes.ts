import { describeOverlap } from '../../datasets/overlap.ts';
import { refuseDoubts } from '../../detection/doubts.ts';
import { Stopwatch } from '../../stopwatch.ts';
import { openDataset } from '../datasets/open.ts';
import { checkVanilla, openKey, openMarkingNetwork } from '../runs/inputs.ts';
import { DEFAULT_DECOYS, DEFAULT_PROBES_PER_CLASS, LIST_NAME, makeProbes, probeDefaults } from '../runs/make_probes.ts';
import { compareWithMarked } from '../runs/overlap.ts';
import { defineCommand } from './command.ts';
import {
  decodeOptions,
  doubtOptions,
  doubtValues,
  imageOptions,
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
    key: { type: 'string', value: 'KEY', required: true, description: 'the key file' },
    model: { type: 'string', value: 'MARKER', required: true, description: "the key's marking network" },
    data: {
      type: 'string',
      value: 'HELDOUT',
      required: true,
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
    batch: { type: 'integer', value: 'N', minimum: 1, description: 'images a batch; does not change the result' },
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
    const { options, progress, log, signal } = context;
    const key = await openKey(options.key);
    const dataset = await openDataset(options.data, {
      split: options.split,
      classes: key.classes,
      decode: decodeOptions(options),
    });
    const heldOut = await checkVanilla(dataset);
    const { marked, despite } = doubtValues(options);
    if (marked) {
      const overlap = await compareWithMarked(dataset, marked, key, context, decodeOptions(options));
      refuseDoubts({ overlap }, key.classes, despite);
      log(describeOverlap(overlap));
    }
    const { model } = await openMarkingNetwork(context, options.model, key, dataset, networkOverrides(options));
    try {
      const usual = probeDefaults(key, model.config);
      const { decoys = usual.decoys, perClass = usual.perClass } = options;
      const recipe = probeRecipe(options, usual.recipe);
      const total = key.classes.length * perClass * (decoys + 1);
      log(
        `${total} images: ${perClass} of each of ${key.classes.length} classes towards ${decoys + 1} carrier sets, ${recipe.iterations} iterations each`,
      );
      const stopwatch = new Stopwatch();
      const display = progress('marking', total, 'images');
      let resumed = 0;
      const manifest = await makeProbes({
        key,
        model,
        heldOut,
        despite,
        decoys,
        perClass,
        recipe,
        layout: options.format === 'png' ? 'folder' : options.format,
        out: options.output,
        batchSize: options.batch,
        stopwatch,
        onResume: (done) => {
          resumed = done;
          log(`${options.output}.partial: going on after ${done} images`);
        },
        onProgress: (done) => display.update(done),
        signal,
      });
      display.done();
      const timing = stopwatch.report();
      log(describeTiming(timing, total - resumed));
      const images = manifest.images.length * (manifest.sets + 1);
      return {
        json: {
          output: options.output,
          images,
          sets: manifest.sets,
          options: manifest.options,
          source: manifest.source,
          keyCommitment: manifest.keyCommitment,
          sha256: manifest.sha256,
          timing,
        },
        text: [
          `${options.output}: ${images} images, ${perClass} of each class: vanilla, and towards ${manifest.sets} carrier sets in a secret order`,
          `To test a model that does not run here, have it answer all of them in the order of ${options.output}/${LIST_NAME}, and give detect the answers with --scores.`,
        ].join('\n'),
      };
    } finally {
      model.destroy();
    }
  },
});
