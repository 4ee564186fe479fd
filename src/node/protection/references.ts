import { join } from 'node:path';
import type { Dataset } from '../../datasets/dataset.ts';
import { subset } from '../../datasets/dataset.ts';
import type { NetworkConfig } from '../../nn/networks.ts';
import { exists } from '../files/files.ts';
import { makePrivateFolder } from '../files/write.ts';
import { lateDisplay, type RunContext } from '../runs/context.ts';
import { runTraining } from '../runs/training_run.ts';
import type { ReferenceTraining } from './plan.ts';

/** Side of images up to which a narrow network is enough (docs/power.md); larger ones get the usual width. */
const SMALL_SIDE = 64;
const SMALL_WIDTH = 16;

/** The files of reference models in a folder, by their number from 1. */
const referenceFile = (folder: string, number: number): string => join(folder, `reference-${number}.safetensors`);

/** Reference models that are in a folder. */
export async function findReferences(folder: string): Promise<string[]> {
  const found: string[] = [];
  for (let number = 1; await exists(referenceFile(folder, number)); number++) found.push(referenceFile(folder, number));
  return found;
}

/**
 * Trains reference models on unmarked images, each with another seed, unless they are there; one that was interrupted goes on.
 * Returns their files.
 */
export async function trainReferences(
  folder: string,
  original: Dataset,
  count: number,
  { epochs, architecture, width, recipe }: ReferenceTraining = {},
  context: RunContext,
): Promise<string[]> {
  const { progress, log, signal } = context;
  const { faults } = original;
  const dataset = faults?.size
    ? subset(
        original,
        Array.from({ length: original.length }, (_, index) => index).filter((index) => !faults.has(index)),
      )
    : original;
  await makePrivateFolder(folder);
  const files: string[] = [];
  for (let number = 1; number <= count; number++) {
    const out = referenceFile(folder, number);
    files.push(out);
    if (await exists(out)) continue;
    const { width: w, height } = await dataset.shape(0);
    const network: Partial<NetworkConfig> = {
      architecture: architecture ?? 'resnet18',
      ...(width !== undefined ? { width } : Math.max(w, height) <= SMALL_SIDE && { width: SMALL_WIDTH }),
    };
    log(`reference model ${number} of ${count}: trained on the unmarked images`);
    const display = lateDisplay(progress, `training reference ${number}`, 'images');
    await runTraining({
      device: await context.openDevice(),
      dataset,
      out,
      network,
      recipe: { ...recipe, ...(epochs !== undefined && { epochs }), seed: number },
      resume: true,
      onProgress: display.update,
      onEpoch: (epoch, loss) => log(`epoch ${epoch}: loss ${loss.toFixed(4)}`),
      onRemark: log,
      ...(signal && { signal }),
    });
    display.done();
  }
  return files;
}
