/** Whether images to test on carry a key's mark: needs no list of the marked ones. */

import { type Key, keyCarriers } from '../marking/key.ts';
import { type Elements, leastSquares, transpose } from '../maths/linalg.ts';
import { cosineTest, testedRows } from './whitebox.ts';

/** Below this log10 p images count as marked: by chance once in a million keys. */
export const MARKED_BELOW = -6;

/**
 * The white-box test of a linear classifier that is trained, by least squares, on the very images that a suspect is to be tested on: if
 * they carry the mark it picks the carriers up. Exact for vanilla images, on which the carriers do not depend: then the p-value is one
 * of chance.
 *
 * @param features [n, d] of the images under the key's marking network
 * @param labels [n] classes in the key's order
 * @returns log10 of the p-value; undefined for a single class, or a single image, from which nothing can be learned
 */
export async function heldOutMarks(key: Key, features: Elements, labels: Uint32Array): Promise<number | undefined> {
  const K = key.classes.length;
  if (K < 2) return undefined;
  const n = labels.length;
  if (n < 2) return undefined;
  const d = key.model.featureDimension;
  const targets = new Float64Array(n * K);
  for (const [row, label] of labels.entries()) targets[row * K + label] = 1;
  const { X } = leastSquares(features, targets, { n, d, dt: K, centre: true });
  const { coordinates, basis } = await keyCarriers(key);
  return cosineTest(testedRows({ A: transpose(X, d, K), classCount: K, d }, basis), coordinates, K).log10p;
}
