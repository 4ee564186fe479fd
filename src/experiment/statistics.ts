/** The statistics that an experiment can compute, by the name that its configuration gives. */

import type { Loader } from '../datasets/loader.ts';
import { testFeatures } from '../detection/detect.ts';
import type { Statistic } from '../detection/statistic.ts';
import type { Key } from '../marking/key.ts';
import type { OnProgress } from '../nn/inference.ts';
import type { Model } from '../nn/model.ts';

/** A model file, opened when it is asked for and closed by the experiment. */
export interface ModelOnDisk {
  readonly path: string;
  readonly sha256: string;
  model(): Promise<Model>;
}

/** A suspect and a key, with all that a statistic may look at. */
export interface Tested {
  readonly key: Key;
  /** The marking network, with its features [n, d] of the held-out images. */
  readonly marking: { readonly model: Model; readonly features: Float32Array };
  readonly heldOut: Loader;
  /** With its features [n, dt] of the held-out images and its last layer [K, dt]. */
  readonly suspect: ModelOnDisk & { readonly features: Float32Array; readonly weight: Float32Array };
  /** Of the setting, see its `references`; empty unless the statistic asks for them. */
  readonly references: readonly ModelOnDisk[];
  /** Unmarked images beside the owner's, where the configuration names some. */
  readonly vanilla: Loader | undefined;
  /** Folder for what serves all tests with this key, such as marked probes; exists. */
  readonly keyFolder: string;
  /** Folder for what serves all tests, whatever the key; exists. */
  readonly sharedFolder: string;
  /** Writes an array that the result was made from beside the result, as `<statistic>.<name>.npy`. */
  save(name: string, shape: readonly number[], values: Float32Array | Float64Array): Promise<void>;
  readonly onProgress: OnProgress;
  readonly signal?: AbortSignal | undefined;
}

/** What a test gave. The first statistic is the one that decides; every one becomes a row of the results. */
export interface Outcome {
  readonly statistics: readonly Statistic[];
  readonly warnings: readonly string[];
  /** What else is worth keeping. */
  readonly details?: Readonly<Record<string, unknown>>;
}

export interface ExperimentStatistic {
  /** Whether it compares with reference models: these are trained first. */
  readonly references?: true;
  /** About how many images it puts through networks, for the time left; `images` are held out. Default: none. */
  readonly passes?: (images: number) => number;
  run(tested: Tested): Promise<Outcome>;
}

/** A new statistic is a line here. */
export const statistics: Readonly<Record<string, ExperimentStatistic>> = {
  'white-box': {
    async run({ key, marking, suspect, signal }) {
      // Its law is exact: fresh keys, which would show that, are `calibrate`'s.
      const found = await testFeatures(key, marking.features, suspect, { freshKeys: 0, signal });
      const { alignment, dimension, warnings } = found;
      return { statistics: found.statistics, warnings, details: { alignment, dimension } };
    },
  },
};
