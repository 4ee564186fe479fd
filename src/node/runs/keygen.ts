/** A key from files to a file. */

import type { Dataset } from '../../datasets/dataset.ts';
import { hashDataset } from '../../datasets/hash.ts';
import { splitsWarning } from '../../datasets/names.ts';
import { overlapFault } from '../../datasets/overlap.ts';
import { DEFAULT_COMBINATION } from '../../detection/detect_blackbox.ts';
import { InputError, UsageError } from '../../errors.ts';
import type { DecodeOptions } from '../../images/decode.ts';
import { type Beacon, drandRoundAt, QUICKNET } from '../../marking/beacon.ts';
import type { BlackBoxStatistic, HeldOutImages, Key } from '../../marking/key.ts';
import { carrierSpace, keygen } from '../../marking/keygen.ts';
import type { MarkingRecipe } from '../../marking/recipe.ts';
import type { ConfigOverrides } from '../../nn/model_file.ts';
import type { NetworkConfig } from '../../nn/networks.ts';
import { openDataset } from '../datasets/open.ts';
import { registerPath } from '../evidence/register.ts';
import { requireNewFile } from '../files/files.ts';
import { hashFile } from '../files/write.ts';
import type { RunContext } from './context.ts';
import { checkVanilla, loadHeldOut, openNetwork, readClasses, saveKey } from './inputs.ts';
import { DEFAULT_DECOYS, DEFAULT_PROBES_PER_CLASS, probeRecipeFor } from './make_probes.ts';
import { shownOverlap } from './overlap.ts';

/** What {@link runKeygen} makes a key from, and where it goes. */
export interface KeygenFiles {
  /** Class names: a text file with one a line, a data set's path, or the names. */
  readonly classes: string | readonly string[];
  /** Which IDX files of a data set, where the folder holds both; default `train`. */
  readonly split?: 'train' | 'test' | undefined;
  readonly decode?: DecodeOptions | undefined;
  /** The marking network. */
  readonly model: string;
  readonly network?: ConfigOverrides | undefined;
  /** Where carriers are drawn; absent: as `carrierSpace` says. */
  readonly carriers?: 'subspace' | 'uniform' | undefined;
  readonly dimension?: number | undefined;
  /** Unmarked images to find the subspace on; default: the data set of `classes`. */
  readonly vanilla?: string | undefined;
  /** What the key fixes of the black-box test; absent: the white-box test counts. */
  readonly blackBox?: FixedBlackBox | undefined;
  /** The images that suspects will be tested on, or what they will be, in words. Absent: left open. */
  readonly heldOut?:
    | { readonly path: string; readonly split?: 'train' | 'test' | undefined }
    | { readonly name: string }
    | undefined;
  /** `overlap`: take images to test on although they show the same as those of `classes`. */
  readonly despite?: readonly 'overlap'[] | undefined;
  readonly beacon?: Beacon | null | undefined;
  /** The key's file. */
  readonly output: string;
}

/** What a key fixes of the black-box test; what is absent is the default. */
export interface FixedBlackBox {
  readonly decoys?: number | undefined;
  readonly perClass?: number | undefined;
  readonly combine?: BlackBoxStatistic['combine'] | undefined;
  /** The model files of the references; absent: left open. */
  readonly references?: readonly string[] | undefined;
  readonly labelOnly?: boolean | undefined;
  /** What differs from the recipe that goes with the network. */
  readonly recipe?: Partial<MarkingRecipe> | undefined;
}

/** So many images to test on are compared with those to publish: enough to see that they are others. */
const COMPARED = 1000;

/** Minutes to have the commitment stamped in before the beacon's round. */
export const DEFAULT_BEACON_DELAY = 60;

/** The beacon of a kind, drand's a round so many minutes from now. */
export function beaconOf(kind: Beacon['kind'] | undefined, delayMinutes = DEFAULT_BEACON_DELAY): Beacon | null {
  if (kind === undefined) return null;
  if (kind === 'time-stamp') return { kind };
  return { kind, chain: QUICKNET.chain, round: drandRoundAt(new Date(Date.now() + 60_000 * delayMinutes)) };
}

/** A key that was made. */
export interface MadeKey {
  readonly key: Key;
  /** To be published before the images. */
  readonly commitment: string;
  /** The list of tests that begins with it. */
  readonly register: string;
}

/**
 * Makes a key and begins the list of its tests.
 *
 * @throws InputError or UsageError where something is missing, or a file exists
 */
export async function runKeygen(files: KeygenFiles, context: RunContext): Promise<MadeKey> {
  const { progress, log, signal } = context;
  const { output, split = 'train', decode = {}, network, carriers, dimension } = files;
  const register = registerPath(output);
  for (const path of [output, register]) await requireNewFile(path);
  const { classes, dataset } =
    typeof files.classes === 'string'
      ? await readClasses(files.classes, split, decode)
      : { classes: files.classes, dataset: undefined };
  const warning = splitsWarning(typeof files.classes === 'string' ? files.classes : 'the classes', classes);
  if (warning) log(warning);
  const vanilla = files.vanilla === undefined ? dataset : await openDataset(files.vanilla, { split, classes, decode });
  const heldOut = await fixHeldOut(files, classes, dataset, context);
  if (!heldOut)
    log('the images to test on are left open; fix them with --held-out, so that nobody can say they were chosen later');
  const { model, sha256 } = await openNetwork(context, files.model, network);
  try {
    const blackBox = files.blackBox && (await fixBlackBox(files.blackBox, model.config));
    const directions = carrierSpace(classes.length, model.featureDimension, { carriers, dimension, blackBox });
    if (directions !== null && !vanilla)
      throw new UsageError(
        'carriers in a subspace need unmarked images: give --vanilla DATASET, or --carriers uniform',
      );
    const images = directions === null ? undefined : await checkVanilla(vanilla!);
    if (images) await loadHeldOut(images, model.config.channels, progress);
    const display = images && progress('features', images.dataset.length, 'images');
    const key = await keygen({
      classes,
      model,
      modelSha256: sha256,
      ...(network && { network }),
      carriers,
      dimension,
      vanilla: images,
      ...(blackBox && { blackBox }),
      heldOut,
      beacon: files.beacon,
      onProgress: (done) => display?.update(done),
      ...(signal && { signal }),
    });
    display?.done();
    return { key, commitment: await saveKey(output, key), register };
  } finally {
    model.destroy();
  }
}

async function fixBlackBox(fixed: FixedBlackBox, config: NetworkConfig): Promise<Omit<BlackBoxStatistic, 'kind'>> {
  return {
    combine: fixed.combine ?? DEFAULT_COMBINATION,
    decoys: fixed.decoys ?? DEFAULT_DECOYS,
    perClass: fixed.perClass ?? DEFAULT_PROBES_PER_CLASS,
    recipe: { ...probeRecipeFor(config), ...fixed.recipe },
    references: fixed.references === undefined ? null : await Promise.all(fixed.references.map(hashFile)),
    scores: fixed.labelOnly ? 'labels' : 'scores',
  };
}

async function fixHeldOut(
  { heldOut, decode = {}, despite = [] }: Pick<KeygenFiles, 'heldOut' | 'decode' | 'despite'>,
  classes: readonly string[],
  published: Dataset | undefined,
  context: Pick<RunContext, 'progress' | 'log' | 'signal'>,
): Promise<HeldOutImages | null> {
  if (heldOut === undefined) return null;
  if ('name' in heldOut) return { kind: 'name', name: heldOut.name };
  const { path } = heldOut;
  const dataset = await openDataset(path, { split: heldOut.split ?? 'test', classes, decode });
  if (published) {
    const sources = [{ kind: 'original' as const, dataset: published }];
    const overlap = await shownOverlap(dataset, sources, { ...context, most: COMPARED });
    const { images, alike, examples } = overlap;
    const share = `${alike} of ${images} images show the same as images of ${published.path}`;
    if (overlapFault(overlap) !== undefined && !despite.includes('overlap'))
      throw new InputError(
        `${path}: ${share}, like ${examples[0].id} and ${examples[0].of}; give images that are not published, or --despite overlap, which verify will tell`,
      );
    context.log(`${path}: ${share}`);
  }
  return { kind: 'content', count: dataset.length, sha256: await hashDataset(dataset) };
}
