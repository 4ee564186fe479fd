import { serializeNpy } from '../../formats/npy.ts';
import { infer } from '../../nn/inference.ts';
import { Stopwatch } from '../../stopwatch.ts';
import { openDataset } from '../datasets/open.ts';
import { requireNewFile } from '../files/files.ts';
import { writeAtomic } from '../files/write.ts';
import { load, openNetwork } from '../runs/inputs.ts';
import { defineCommand } from './command.ts';
import { DATASETS, decodeOptions, imageOptions, networkOptions, networkOverrides, splitOption } from './inputs.ts';
import { describeTiming } from './output.ts';

export const extract = defineCommand({
  name: 'extract',
  summary: 'Writes the features of every image of a data set, float32 [N, d] in its order',
  options: {
    model: { type: 'string', value: 'MODEL', required: true, description: 'a model file' },
    data: { type: 'string', value: 'DATASET', required: true, description: DATASETS },
    output: { type: 'string', short: 'o', value: 'FILE', required: true, description: 'the .npy file to write' },
    labels: { type: 'string', writes: true, value: 'FILE', description: 'also write the labels, int64 [N]' },
    logits: { type: 'string', writes: true, value: 'FILE', description: 'also write the logits, float32 [N, K]' },
    batch: {
      type: 'integer',
      value: 'N',
      minimum: 1,
      description: 'images a batch; default by image size, halved until it fits',
    },
    split: splitOption,
    ...imageOptions,
    ...networkOptions,
  },
  examples: ['--model weights/marker.safetensors --data data --split test -o features.npy --labels labels.npy'],
  async run(context) {
    const { options, progress, log, signal } = context;
    for (const path of [options.output, options.labels, options.logits]) if (path) await requireNewFile(path);
    const dataset = await openDataset(options.data, { split: options.split, decode: decodeOptions(options) });
    const { model, sha256 } = await openNetwork(context, options.model, networkOverrides(options));
    try {
      const loader = await load(dataset, model.config.channels, progress);
      const stopwatch = new Stopwatch();
      const display = progress('features', dataset.length, 'images');
      const { features, logits } = await infer(model, loader, {
        ...(options.batch !== undefined && { batchSize: options.batch }),
        onProgress: (done) => display.update(done),
        signal,
        stopwatch,
      });
      display.done();
      const timing = stopwatch.report();
      log(describeTiming(timing, dataset.length));
      const shapes = {
        features: [dataset.length, model.featureDimension],
        logits: [dataset.length, model.config.numClasses],
      };
      if (options.labels)
        await writeAtomic(options.labels, serializeNpy([dataset.length], BigInt64Array.from(dataset.labels, BigInt)));
      if (options.logits) await writeAtomic(options.logits, serializeNpy(shapes.logits, logits));
      await writeAtomic(options.output, serializeNpy(shapes.features, features));
      return {
        json: {
          features: options.output,
          labels: options.labels ?? null,
          logits: options.logits ?? null,
          shape: shapes.features,
          modelSha256: sha256,
          timing,
        },
        text: `${options.output}: float32 [${shapes.features.join(', ')}]`,
      };
    } finally {
      model.destroy();
    }
  },
});
