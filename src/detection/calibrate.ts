/** The tests on a suspect under keys that marked nothing: do they say what they should? */

import type { OnProgress } from '../nn/inference.ts';
import type { Elements } from '../statistics/linalg.ts';
import type { SuspectFeatures } from './detect.ts';
import { type Calibration, calibration } from './statistic.ts';
import { alignSuspect, freshKeyTests, testedRows } from './whitebox.ts';

export interface CalibrateWhiteBoxOptions {
  /** [n, d] under the marking network */
  readonly featuresMarking: Elements;
  /** d */
  readonly featureDimension: number;
  readonly suspect: SuspectFeatures;
  /** Where carriers are drawn: in a subspace [k,d], or everywhere. */
  readonly carriers: readonly { readonly name: string; readonly basis: Float64Array | null }[];
  readonly centre: boolean;
  readonly rcond?: number | undefined;
  /** How many fresh keys. */
  readonly keys: number;
  readonly onProgress?: OnProgress | undefined;
  readonly signal?: AbortSignal | undefined;
}

/**
 * The white-box test with fresh keys, the combined p-value and the classes' own: whatever the suspect has learned, both are uniform.
 * The alignment does not depend on the key and is made once.
 */
export async function calibrateWhiteBox(options: CalibrateWhiteBoxOptions): Promise<Calibration[]> {
  const { featuresMarking, featureDimension: d, suspect, carriers, centre, rcond, keys, signal } = options;
  const n = featuresMarking.length / d;
  const aligned = alignSuspect({
    featuresMarking,
    featuresSuspect: suspect.features,
    n,
    d,
    dt: suspect.features.length / n,
    weight: suspect.weight,
    centre,
    ...(rcond !== undefined && { rcond }),
  });
  const calibrations: Calibration[] = [];
  for (const [index, { name, basis }] of carriers.entries()) {
    const onProgress = (done: number): void => options.onProgress?.(index * keys + done, carriers.length * keys);
    const rows = testedRows(aligned, basis);
    const { combined, perClass } = await freshKeyTests(rows, aligned.classCount, keys, { onProgress, signal });
    calibrations.push(calibration(name, combined), calibration(`${name}, each class`, perClass));
  }
  return calibrations;
}
