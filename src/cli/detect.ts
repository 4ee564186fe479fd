import { openDataset } from '../datasets/dataset.ts';
import { requireNewFile } from '../datasets/files.ts';
import { writeAtomic } from '../datasets/write.ts';
import { detect as runDetection } from '../detection/detect.ts';
import { DEFAULT_FRESH_KEYS } from '../detection/fresh_keys.ts';
import { jsonDocument } from '../formats/json.ts';
import { commitment } from '../marking/key.ts';
import { openModel } from '../nn/open_model.ts';
import { columns, defineCommand } from './command.ts';
import { checkBelong, decodeOptions, imageOptions, load, openKey, requireVanilla, splitOption } from './inputs.ts';
import { openSuspect, suspectOptions } from './suspect.ts';

export const detect = defineCommand({
  name: 'detect',
  summary: 'Tests whether a model was trained on data marked with a key: the white-box test, with its p-value',
  options: {
    key: { type: 'string', value: 'KEY', required: true, description: 'the key file' },
    model: { type: 'string', value: 'MARKER', required: true, description: "the key's marking network" },
    data: {
      type: 'string',
      value: 'HELDOUT',
      required: true,
      description: 'unmarked images, ten times as many as features or more, none of them marked for this key',
    },
    output: { type: 'string', short: 'o', value: 'FILE', description: 'also write the report, as --json prints it' },
    freshKeys: {
      type: 'integer',
      value: 'N',
      default: DEFAULT_FRESH_KEYS,
      minimum: 0,
      maximum: 1_000_000,
      description: 'keys that marked nothing, to compare with',
    },
    split: { ...splitOption, default: 'test' },
    ...imageOptions,
    ...suspectOptions,
  },
  examples: [
    '--key owner.key --model weights/marker.safetensors --suspect suspect.safetensors --data data',
    '--key owner.key --model weights/marker.safetensors --suspect-features features.npy --suspect-classifier weight.npy --data data',
  ],
  async run(context) {
    const { options, openDevice, log, signal } = context;
    if (options.output) await requireNewFile(options.output);
    const key = await openKey(options.key);
    const dataset = await openDataset(options.data, {
      split: options.split,
      classes: key.classes,
      decode: decodeOptions(options),
    });
    await requireVanilla(dataset);
    const marking = await openModel(await openDevice(), options.model);
    try {
      checkBelong(key, { path: options.model, sha256: marking.sha256 }, dataset);
      const heldOut = await load(dataset, marking.model.config.channels, context.progress);
      const opened = await openSuspect(context, options, key.classes, heldOut);
      try {
        const display = context.progress('features', ('model' in opened.suspect ? 2 : 1) * dataset.length, 'images');
        const result = await runDetection({
          key,
          marking: { model: marking.model, heldOut },
          suspect: opened.suspect,
          freshKeys: options.freshKeys,
          onProgress: (done) => display.update(done),
          signal,
        });
        display.done();
        for (const warning of result.warnings) log(warning);
        const report = {
          test: 'white-box',
          carriers: { kind: key.carriers.kind, dimension: key.carriers.dimension },
          keyCommitment: await commitment(key),
          suspect: opened.record,
          markingModelSha256: marking.sha256,
          ...result,
        };
        if (options.output) await writeAtomic(options.output, new TextEncoder().encode(jsonDocument(report)));
        const { alignment, statistics } = result;
        return {
          json: report,
          text: [
            `log10 p ${result.log10p.toFixed(3)}: if the carriers were independent of this model, evidence this strong would have probability 10^${result.log10p.toFixed(2)}`,
            ...statistics.flatMap(({ null: nothing }) =>
              nothing
                ? [`${nothing.atMost} of ${nothing.log10p.length} fresh keys, which marked nothing, give as much`]
                : [],
            ),
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
        opened.destroy();
      }
    } finally {
      marking.model.destroy();
    }
  },
});
