import { openDataset } from '../datasets/dataset.ts';
import { requireNewFile } from '../datasets/files.ts';
import { writeAtomic } from '../datasets/write.ts';
import { detect as runDetection } from '../detection/detect.ts';
import { jsonDocument } from '../formats/json.ts';
import { commitment } from '../marking/key.ts';
import { openModel } from '../nn/open_model.ts';
import { columns, defineCommand } from './command.ts';
import {
  checkBelong,
  checkSuspect,
  decodeOptions,
  imageOptions,
  load,
  networkOptions,
  networkOverrides,
  openKey,
  splitOption,
} from './inputs.ts';

export const detect = defineCommand({
  name: 'detect',
  summary: 'Tests whether a model was trained on data marked with a key: the white-box test, with its p-value',
  options: {
    key: { type: 'string', value: 'KEY', required: true, description: 'the key file' },
    model: { type: 'string', value: 'MARKER', required: true, description: "the key's marking network" },
    suspect: { type: 'string', value: 'MODEL', required: true, description: 'the model under test' },
    data: {
      type: 'string',
      value: 'HELDOUT',
      required: true,
      description: 'unmarked images, ten times as many as features or more, none of them marked for this key',
    },
    output: { type: 'string', short: 'o', value: 'FILE', description: 'also write the report, as --json prints it' },
    split: { ...splitOption, default: 'test' },
    ...imageOptions,
    ...networkOptions,
  },
  examples: ['--key owner.key --model weights/marker.safetensors --suspect suspect.safetensors --data data'],
  async run({ options, openDevice, progress, log, signal }) {
    if (options.output) await requireNewFile(options.output);
    const key = await openKey(options.key);
    const dataset = await openDataset(options.data, {
      split: options.split,
      classes: key.classes,
      decode: decodeOptions(options),
    });
    const device = await openDevice();
    const marking = await openModel(device, options.model);
    try {
      checkBelong(key, { path: options.model, sha256: marking.sha256 }, dataset);
      const suspect = await openModel(device, options.suspect, networkOverrides(options));
      if (suspect.inferred.length > 0) log(`${options.suspect}: taken from its shapes: ${suspect.inferred.join(', ')}`);
      try {
        checkSuspect(key, options.suspect, suspect.model);
        const heldOut = await load(dataset, marking.model.config.channels, progress);
        const sameChannels = suspect.model.config.channels === marking.model.config.channels;
        const display = progress('features', 2 * dataset.length, 'images');
        const result = await runDetection({
          key,
          marking: { model: marking.model, heldOut },
          suspect: {
            model: suspect.model,
            heldOut: sameChannels ? heldOut : await load(dataset, suspect.model.config.channels, progress),
          },
          onProgress: (done) => display.update(done),
          signal,
        });
        display.done();
        for (const warning of result.warnings) log(warning);
        const report = {
          test: 'white-box',
          carriers: { kind: key.carriers.kind, dimension: key.carriers.dimension },
          keyCommitment: await commitment(key),
          suspect: { path: options.suspect, sha256: suspect.sha256 },
          markingModelSha256: marking.sha256,
          ...result,
        };
        if (options.output) await writeAtomic(options.output, new TextEncoder().encode(jsonDocument(report)));
        const { alignment } = result;
        return {
          json: report,
          text: [
            `log10 p ${result.log10p.toFixed(3)}: if the carriers were independent of this model, evidence this strong would have probability 10^${result.log10p.toFixed(2)}`,
            `mean cosine ${result.meanCosine.toFixed(4)} in ${result.dimension} dimensions; alignment on ${alignment.n} images, rank ${alignment.rank}, r2 ${alignment.r2.toFixed(3)}`,
            ...columns(
              result.perClass.map((entry, index) => [
                entry.class ?? `class ${index}`,
                `cosine ${entry.cosine.toFixed(4)}  log10 p ${entry.log10p.toFixed(3)}`,
              ]),
            ),
          ].join('\n'),
        };
      } finally {
        suspect.model.destroy();
      }
    } finally {
      marking.model.destroy();
    }
  },
});
