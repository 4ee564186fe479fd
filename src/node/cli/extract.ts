import { runExtraction } from '../runs/extract.ts';
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
    const { options, log } = context;
    const { output, labels, logits } = options;
    const { shape, modelSha256, timing } = await runExtraction(
      {
        model: options.model,
        network: networkOverrides(options),
        data: options.data,
        split: options.split,
        decode: decodeOptions(options),
        output,
        labels,
        logits,
        batchSize: options.batch,
      },
      context,
    );
    log(describeTiming(timing, shape[0]));
    return {
      json: { features: output, labels: labels ?? null, logits: logits ?? null, shape, modelSha256, timing },
      text: `${output}: float32 [${shape.join(', ')}]`,
    };
  },
});
