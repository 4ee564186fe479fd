/** Features of a data set's images, as arrays in files. */

import { serializeNpy } from '../../formats/npy.ts';
import type { DecodeOptions } from '../../images/decode.ts';
import { infer } from '../../nn/inference.ts';
import type { ConfigOverrides } from '../../nn/model_file.ts';
import { Stopwatch } from '../../stopwatch.ts';
import { openDataset } from '../datasets/open.ts';
import { requireNewFile } from '../files/files.ts';
import { writeAtomic } from '../files/write.ts';
import type { RunContext } from './context.ts';
import { load, openNetwork } from './inputs.ts';

/** What {@link runExtraction} runs, and where the arrays go. */
export interface ExtractionFiles {
  readonly model: string;
  readonly network?: ConfigOverrides | undefined;
  readonly data: string;
  readonly split?: 'train' | 'test' | undefined;
  readonly decode?: DecodeOptions | undefined;
  /** The .npy file of the features, float32 [N, d]. */
  readonly output: string;
  /** Likewise of the labels, int64 [N]. */
  readonly labels?: string | undefined;
  /** Likewise of the logits, float32 [N, K]. */
  readonly logits?: string | undefined;
  readonly batchSize?: number | undefined;
}

/** What {@link runExtraction} wrote. */
export interface ExtractionReport {
  /** Of the features. */
  readonly shape: readonly [images: number, features: number];
  readonly modelSha256: string;
  readonly timing: ReturnType<Stopwatch['report']>;
}

/** Writes what a network makes of each image of a data set, in its order. */
export async function runExtraction(files: ExtractionFiles, context: RunContext): Promise<ExtractionReport> {
  const { progress, signal } = context;
  const { output, labels, logits: logitsFile } = files;
  for (const path of [output, labels, logitsFile]) if (path !== undefined) await requireNewFile(path);
  const dataset = await openDataset(files.data, {
    ...(files.split && { split: files.split }),
    ...(files.decode && { decode: files.decode }),
  });
  const { model, sha256 } = await openNetwork(context, files.model, files.network);
  try {
    const loader = await load(dataset, model.config.channels, progress);
    const stopwatch = new Stopwatch();
    const display = progress('features', dataset.length, 'images');
    const { features, logits } = await infer(model, loader, {
      ...(files.batchSize !== undefined && { batchSize: files.batchSize }),
      onProgress: (done) => display.update(done),
      ...(signal && { signal }),
      stopwatch,
    });
    display.done();
    const timing = stopwatch.report();
    const shape = [dataset.length, model.featureDimension] as const;
    if (labels !== undefined)
      await writeAtomic(labels, serializeNpy([dataset.length], BigInt64Array.from(dataset.labels, BigInt)));
    if (logitsFile !== undefined)
      await writeAtomic(logitsFile, serializeNpy([dataset.length, model.config.numClasses], logits));
    await writeAtomic(output, serializeNpy(shape, features));
    return { shape, modelSha256: sha256, timing };
  } finally {
    model.destroy();
  }
}
