/** The statistics that an experiment can compute, by the name that its configuration gives. */

import { join } from 'node:path';
import { Loader } from '../../datasets/loader.ts';
import { ClassMapping } from '../../detection/class_mapping.ts';
import { testFeatures } from '../../detection/detect.ts';
import { probeScores, testScores } from '../../detection/detect_blackbox.ts';
import { ModelScores } from '../../detection/scores.ts';
import type { Statistic } from '../../detection/statistic.ts';
import type { TestName } from '../../detection/tests.ts';
import { serializeNpy } from '../../formats/npy.ts';
import type { Key } from '../../marking/key.ts';
import type { VanillaImages } from '../../marking/vanilla.ts';
import type { OnProgress } from '../../nn/inference.ts';
import type { Model } from '../../nn/model.ts';
import { exists } from '../files/files.ts';
import { readNpyMatrix } from '../files/matrix.ts';
import { writeWithFolders } from '../files/write.ts';
import { makeProbes, openProbeImages, openProbes } from '../runs/make_probes.ts';
import type { ProbePlan } from './materials.ts';

/** A model file, opened when it is asked for and closed by the experiment. */
export interface ModelOnDisk {
  readonly path: string;
  readonly sha256: string;
  model(): Promise<Model>;
}

/** How much there is to do. */
export interface Sizes {
  readonly classes: number;
  /** Held-out images. */
  readonly heldOut: number;
  readonly probes: Keyed['probes'];
}

/** A key, with what may be prepared for it. */
export type Keyed = Pick<CellToTest, 'key' | 'marking' | 'vanilla' | 'probes' | 'keyFolder' | 'onProgress' | 'signal'>;

/** A suspect and a key, with all that a statistic may look at. */
export interface CellToTest {
  readonly key: Key;
  /** The marking network, with its features [n, d] of the held-out images. */
  readonly marking: { readonly model: Model; readonly features: Float32Array };
  readonly heldOut: VanillaImages;
  /** With its features [n, dt] of the held-out images and its last layer [K, dt]. */
  readonly suspect: ModelOnDisk & {
    readonly features: Float32Array;
    readonly weight: Float32Array;
    /** Rows of the weight. */
    readonly classCount: number;
  };
  /** Of the setting, see its `references`; empty unless the statistic asks for them. */
  readonly references: readonly ModelOnDisk[];
  /** Unmarked images beside the owner's, where the configuration names some. */
  readonly vanilla: VanillaImages | undefined;
  readonly probes: ProbePlan;
  /** What the suspect is asked for. */
  readonly answers: 'scores' | 'labels';
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
  /** What serves all its tests with a key, made before the first of them. */
  readonly prepare?: {
    readonly title: string;
    /** Its name in the key's folder: where that is there, it is made. */
    name(sizes: Sizes): string;
    passes(sizes: Sizes): number;
    make(keyed: Keyed): Promise<unknown>;
  };
  /** About how many images a test puts through networks, for the time left. Default: none. */
  readonly passes?: (sizes: Sizes) => number;
  run(tested: CellToTest): Promise<Outcome>;
}

/** Forward passes that a step of gradient descent, on weights or pixels, takes the time of. */
export const DESCENT_PASSES = 3;

/** How an experiment makes each test; what it needs for it is in `TESTS`. */
export const statistics: Readonly<Record<TestName, ExperimentStatistic>> = {
  'white-box': {
    async run({ key, marking, heldOut, suspect, signal }) {
      // Its law is exact: fresh keys, which would show that, are `calibrate`'s.
      const found = await testFeatures(
        key,
        {
          images: heldOut,
          marking: marking.features,
          suspect: { ...suspect, classes: ClassMapping.ownOrder(key.classes, suspect.classCount, suspect.path) },
        },
        { freshKeys: 0, signal },
      );
      const { alignment, dimension, warnings } = found;
      return { statistics: found.statistics, warnings, details: { alignment, dimension } };
    },
  },
  'black-box': {
    prepare: {
      title: 'marking probes',
      name: ({ probes }) => probes.name,
      passes: ({ classes, probes: { decoys, perClass, recipe } }) =>
        perClass * classes * (decoys + 1) * recipe.iterations * DESCENT_PASSES,
      make({ key, marking, vanilla, probes, keyFolder, onProgress, signal }) {
        const { name, ...plan } = probes;
        const out = join(keyFolder, name);
        return makeProbes({ ...plan, key, model: marking.model, heldOut: vanilla!, out, onProgress, signal });
      },
    },
    passes: ({ classes, probes: { decoys, perClass } }) => perClass * classes * (decoys + 2),
    async run(tested) {
      const { key, references, suspect, save } = tested;
      const probes = await openProbes(join(tested.keyFolder, tested.probes.name));
      const images = await Loader.open(await openProbeImages(probes), tested.marking.model.config.channels);
      const shared = (each: ModelOnDisk): string => join(probes.path, 'scores', `${each.sha256.slice(0, 16)}.npy`);
      const ofSuspect = await scoresOf(suspect, tested, images, undefined);
      const ofReferences: ModelScores[] = [];
      for (const each of references) ofReferences.push(await scoresOf(each, tested, images, shared(each)));
      await save('scores', [images.dataset.length, key.classes.length], ofSuspect.values as Float32Array);
      const labelOnly = tested.answers === 'labels';
      const found = await testScores(key, probes.manifest, ofSuspect, ofReferences, { labelOnly });
      const { sets, imagesPerClass, control, marksLog10P } = found.blackBox;
      return {
        statistics: found.statistics.map((each) => ({ ...each, null: null })),
        warnings: found.warnings,
        details: {
          probes: { sha256: probes.sha256, sets, imagesPerClass, marksLog10P },
          ...(labelOnly && { answers: tested.answers }),
          references: references.map(({ sha256 }) => sha256),
          control,
        },
      };
    },
  },
};

/** A model's scores [rows, K] on the probes; kept in `file`, where one is named, and taken from it. */
async function scoresOf(
  { model }: ModelOnDisk,
  { key, onProgress, signal }: CellToTest,
  images: Loader,
  file: string | undefined,
): Promise<ModelScores> {
  if (file !== undefined && (await exists(file)))
    return ModelScores.ofScores((await readNpyMatrix(file)).data, key.classes.length, file);
  const scores = await probeScores(key, await model(), images, { onProgress, signal });
  if (file !== undefined)
    await writeWithFolders(file, serializeNpy([scores.rows, scores.classCount], scores.values as Float32Array));
  return scores;
}
