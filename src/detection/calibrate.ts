/** The tests on a suspect under keys that marked nothing: do they say what they should? */

import type { StreamSource } from '../marking/key_stream.ts';
import type { OnProgress } from '../nn/inference.ts';
import { derive } from '../random.ts';
import { type BlackBoxInput, blackBoxTest } from './blackbox.ts';
import type { WhiteBoxArrays } from './detect.ts';
import { reorderSets } from './scores.ts';
import { type Calibration, calibration } from './statistic.ts';
import { alignSuspect, freshKeyTests, testedRows } from './whitebox.ts';

/** A suspect, and the fresh keys that {@link calibrateWhiteBox} tests it under. */
export interface CalibrateWhiteBoxOptions {
  readonly arrays: WhiteBoxArrays;
  /** d, of the marking network */
  readonly featureDimension: number;
  /** Where carriers are drawn: in a subspace [k,d], or everywhere. */
  readonly carriers: readonly { readonly name: string; readonly basis: Float64Array | null }[];
  /** Centre features before the alignment. */
  readonly centre: boolean;
  /** Truncation of the alignment, default `DEFAULT_RCOND`. */
  readonly rcond?: number | undefined;
  /** How many fresh keys. */
  readonly keys: number;
  /** The key that they are drawn like, see `freshCoordinates`. */
  readonly like?: StreamSource | undefined;
  readonly onProgress?: OnProgress | undefined;
  readonly signal?: AbortSignal | undefined;
}

/**
 * The white-box test with fresh keys, the combined p-value and the classes' own: whatever the suspect has learned, both are uniform.
 * The alignment does not depend on the key and is made once.
 */
export async function calibrateWhiteBox(options: CalibrateWhiteBoxOptions): Promise<Calibration[]> {
  const { featureDimension: d, carriers, centre, rcond, keys, like, signal } = options;
  const { marking, suspect, n } = options.arrays;
  const aligned = alignSuspect({
    featuresMarking: marking,
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
    const { combined, perClass } = await freshKeyTests(rows, aligned.classCount, keys, { like, onProgress, signal });
    calibrations.push(calibration(name, combined), calibration(`${name}, each class`, perClass));
  }
  return calibrations;
}

/** Responses to probes, and the fresh keys that {@link calibrateBlackBox} tests them under. */
export interface CalibrateBlackBoxOptions
  extends Pick<BlackBoxInput, 'response' | 'references' | 'classes' | 'combine'> {
  /** log10 p of `marksAlike` for the probes' true set. */
  readonly marksLog10P: number;
  /** How many fresh keys. */
  readonly keys: number;
  readonly onProgress?: OnProgress | undefined;
  readonly signal?: AbortSignal | undefined;
}

/** Fresh keys between two looks at the signal. */
const KEYS_AT_A_TIME = 25;

/**
 * The black-box test with fresh keys, on probes that are there: a fresh key takes, in each class by itself, any of the S sets
 * for its true one and the rest for its decoys, and goes through the whole test. The sets were drawn alike, so that this is what
 * another key would be that had drawn the same ones.
 *
 * It finds whatever is wrong with the test. What is wrong with the probes it cannot find by exchanging their sets, so two more
 * are judged: the p-values of each set in turn taken for the true one in all classes, which are too often small where classes
 * depend on each other, as under one carrier for all; and whether the true set's marks are like the others.
 */
export async function calibrateBlackBox(options: CalibrateBlackBoxOptions): Promise<Calibration[]> {
  const { response, references = [], classes, combine, marksLog10P, keys, signal } = options;
  const K = classes.length;
  const S = response.length / K;
  const samples = new Map<string, number[]>();
  const add = (name: string, log10p: readonly number[]): void => {
    const known = samples.get(name);
    if (known) known.push(...log10p);
    else samples.set(name, [...log10p]);
  };
  for (let index = 0; index < keys; index++) {
    if (index % KEYS_AT_A_TIME === 0) {
      options.onProgress?.(index, keys);
      await new Promise((resolve) => setTimeout(resolve));
      signal?.throwIfAborted();
    }
    const random = derive(0, 'fresh key', index);
    const orders = classes.map(() => random.shuffle(Uint32Array.from({ length: S }, (_, s) => s)));
    const { statistics } = blackBoxTest({
      response: reorderSets(response, orders),
      references: references.map((reference) => reorderSets(reference, orders)),
      classes,
      combine,
      withNull: false,
    });
    for (const { name, log10p, exact, perClass } of statistics) {
      if (!exact) continue;
      add(name, [log10p]);
      if (name === statistics[0].name)
        add(
          'black-box each class',
          perClass.map((entry) => entry.log10p!),
        );
    }
  }
  options.onProgress?.(keys, keys);
  const { statistics } = blackBoxTest({ response, references, classes, combine });
  for (const { name, log10p, null: nothing } of statistics.slice(0, 2))
    add(`${name}, each set in turn`, [log10p, ...nothing!.log10p]);
  add('marks of the true set like its decoys', [marksLog10P]);
  return [...samples].map(([name, log10p]) => calibration(name, log10p, 'conservative'));
}
