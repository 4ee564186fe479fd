/** The marks of a folder of probes, measured again: what `probes.json` says of itself decides whether the true set was made as its decoys. */

import type { Dataset } from '../datasets/dataset.ts';
import { Loader } from '../datasets/loader.ts';
import { type Key, keyCarriers, keyProbeOrders } from '../marking/key.ts';
import type { ProbeManifest } from '../marking/probe_manifest.ts';
import { infer } from '../nn/inference.ts';
import type { Model } from '../nn/model.ts';
import { measureChange } from './pairs.ts';

type Rows = readonly (readonly number[])[];

/** By so much of the largest value may a mean be from what probes.json says: of changes only digits are lost, of gains adapters differ. */
const SAME_CHANGE = 1e-6;
const SAME_GAIN = 1e-3;

const perSet = ({ classes, sets }: ProbeManifest): number[][] => classes.map(() => new Array<number>(sets).fill(0));

/** Means [K][S] of what `of` says of each marked image, by its row in the list. */
async function means(
  manifest: ProbeManifest,
  of: (row: number, vanilla: number) => Promise<number>,
): Promise<number[][]> {
  const { classes, images, sets } = manifest;
  const perClass = images.length / classes.length;
  const found = perSet(manifest);
  for (const [b, image] of images.entries()) {
    const vanilla = b * (sets + 1);
    const c = classes.indexOf(image.class);
    for (let s = 0; s < sets; s++) found[c][s] += (await of(vanilla + 1 + s, vanilla)) / perClass;
  }
  return found;
}

/** Where two tables differ by more than a share of the largest value of the first, in a few words; undefined where they do not. */
function difference(found: Rows, said: Rows, tolerance: number, classes: readonly string[]): string | undefined {
  const largest = Math.max(...found.flat().map(Math.abs));
  for (const [c, row] of found.entries())
    for (const [s, value] of row.entries())
      if (!(Math.abs(value - said[c][s]) <= tolerance * largest))
        return `class ${classes[c]}, set ${s + 1}: ${value.toPrecision(6)}, probes.json says ${said[c][s].toPrecision(6)}`;
  return undefined;
}

/** What is wrong with the changes that probes.json tells of, every image being compared with its vanilla version (undefined: nothing), and the largest change of a pixel, in levels. */
export async function changesDiffer(
  manifest: ProbeManifest,
  images: Dataset,
  signal?: AbortSignal,
): Promise<{ readonly wrong: string | undefined; readonly largest: number }> {
  let largest = 0;
  const found = await means(manifest, async (row, vanilla) => {
    signal?.throwIfAborted();
    const { psnr, changeLevels } = measureChange(await images.image(vanilla), await images.image(row));
    largest = Math.max(largest, changeLevels);
    return 255 * 10 ** (-psnr / 20);
  });
  return { wrong: difference(found, manifest.marks.changeLevels, SAME_CHANGE, manifest.classes), largest };
}

/** The same of the gains, with the marking network: change of its features along the carrier of the set. */
export async function gainsDiffer(
  key: Key,
  model: Model,
  manifest: ProbeManifest,
  images: Dataset,
  signal?: AbortSignal,
): Promise<string | undefined> {
  const { classes, sets } = manifest;
  const d = key.model.featureDimension;
  const orders = await keyProbeOrders(key, sets);
  const draws = [await keyCarriers(key)];
  for (let m = 0; m < sets - 1; m++) draws.push(await keyCarriers(key, 'decoy', m));
  const { features } = await infer(model, await Loader.open(images, model.config.channels), { signal });
  const found = await means(manifest, async (row, vanilla) => {
    const c = classes.indexOf(manifest.images[vanilla / (sets + 1)].class);
    const { directions } = draws[orders[c][row - vanilla - 1]];
    let gain = 0;
    for (let i = 0; i < d; i++) gain += (features[row * d + i] - features[vanilla * d + i]) * directions[c * d + i];
    return gain;
  });
  return difference(found, manifest.marks.gain, SAME_GAIN, classes);
}
