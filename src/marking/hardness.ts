/** Which images a classifier finds hard: marks in these leave more of a trace (docs/method.md, 2). */

import { type Dataset, subset } from '../datasets/dataset.ts';
import { unlessFaulty } from '../datasets/faults.ts';
import { Loader } from '../datasets/loader.ts';
import { InputError } from '../errors.ts';
import { type InferenceOptions, infer } from '../nn/inference.ts';
import type { Model } from '../nn/model.ts';

/**
 * How hard each image of a data set is for a classifier of its classes: 1 − p_y, where p is the softmax of the logits and y the
 * image's label. Of an image that cannot be read it is −1; the reason is added to `faults` where the data set may have any.
 *
 * @throws InputError if the classifier's classes are not as many as the data set's.
 */
export async function hardness(
  classifier: Model,
  dataset: Dataset,
  faults: Map<number, string>,
  options: InferenceOptions = {},
): Promise<Float64Array> {
  const K = classifier.config.numClasses;
  if (K !== dataset.classes.length)
    throw new InputError(
      `${dataset.path}: has ${dataset.classes.length} classes, the classifier that tells hard images ${K}; give one of those classes`,
    );
  const sound = Array.from({ length: dataset.length }, (_, index) => index).filter((index) => !faults.has(index));
  const readable = subset(dataset, sound);
  const image = async (row: number) => {
    const found = await unlessFaulty(dataset, sound[row], faults, () => dataset.image(sound[row]));
    if (found) return found;
    const shape = await readable.shape(row);
    return { ...shape, data: new Uint8Array(shape.height * shape.width * shape.channels) };
  };
  const { logits } = await infer(
    classifier,
    await Loader.open({ ...readable, image }, classifier.config.channels),
    options,
  );
  const values = new Float64Array(dataset.length).fill(-1);
  for (const [row, index] of sound.entries()) {
    if (faults.has(index)) continue;
    values[index] = 1 - softmaxAt(logits.subarray(row * K, (row + 1) * K), dataset.labels[index]);
  }
  return values;
}

/** Entry y of the softmax of logits [K], in float64. */
function softmaxAt(logits: Float32Array, y: number): number {
  const largest = logits.reduce((a, b) => Math.max(a, b));
  const sum = logits.reduce((total, logit) => total + Math.exp(logit - largest), 0);
  return Math.exp(logits[y] - largest) / sum;
}
