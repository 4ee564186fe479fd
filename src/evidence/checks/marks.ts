/** The marked data set: its files, and what its manifest says of them. */

import { type Dataset, subset } from '../../datasets/dataset.ts';
import { hashDataset } from '../../datasets/hash.ts';
import { Loader } from '../../datasets/loader.ts';
import type { Manifest, ManifestImage } from '../../datasets/manifest.ts';
import { merkleRoot } from '../../datasets/merkle.ts';
import { InputError } from '../../errors.ts';
import { hashBytes } from '../../formats/sha256.ts';
import { chooseForMarking } from '../../marking/choice.ts';
import { type Key, keyCarriers } from '../../marking/key.ts';
import { recipeOfRecord } from '../../marking/recipe.ts';
import { infer } from '../../nn/inference.ts';
import type { Model } from '../../nn/model.ts';
import { type Check, compared, notChecked } from '../check.ts';
import { datasetCommitment } from '../commitment.ts';
import { type Material, ON_A_GPU } from '../material.ts';
import { contradiction, measureChange, type PairPlaces, pairFinder } from '../pairs.ts';
import { cannotRemark, type MarksAgain, type Remarked, remark, SAME_DIRECTION, SAME_MARK } from '../remark.ts';
import { drawSample } from '../sample.ts';

export async function checkMarked(options: Material): Promise<Check[]> {
  const { key, marked, keyCommitment } = options;
  if (!marked) return [notChecked('marked images', 'none were given', 'the marked data set: --marked OUT')];
  const { manifest } = marked.folder;
  const { dataset } = marked;
  const indexOf = new Map(Array.from({ length: dataset.length }, (_, index) => [dataset.id(index), index]));
  const wrong: string[] = [];
  for (const { id, sha256 } of manifest.images) {
    options.signal?.throwIfAborted();
    const index = indexOf.get(id);
    if (index === undefined) wrong.push(`${id} is missing`);
    else if ((await unlessUnreadable(async () => hashBytes(await dataset.bytes(index)))) !== sha256)
      wrong.push(`${id} was changed`);
  }
  const root = merkleRoot(manifest.images);
  return [
    compared(
      'manifest',
      manifest.keyCommitment === keyCommitment && manifest.options.modelSha256 === key.model.sha256,
      `of this key and marking network; data set commitment ${datasetCommitment(marked.folder)}`,
      `of another key (${manifest.keyCommitment}) or marking network`,
    ),
    compared(
      'marked images',
      wrong.length === 0,
      `${manifest.images.length} files are those of the manifest`,
      `${wrong.length} of ${manifest.images.length} are not those of the manifest: ${wrong.slice(0, 3).join(', ')}`,
    ),
    compared(
      'Merkle root',
      root === manifest.merkleRoot,
      root,
      `the manifest says ${manifest.merkleRoot}, its images give ${root}`,
    ),
    ...(await checkClaims(options, marked)),
  ];
}

/** What `read` gives; undefined for a file that is no image any more: that fails a check and ends none. */
async function unlessUnreadable<T>(read: () => Promise<T>, tell?: (reason: string) => void): Promise<T | undefined> {
  try {
    return await read();
  } catch (error) {
    if (!(error instanceof InputError)) throw error;
    tell?.(error.message);
    return undefined;
  }
}

/** Marked images that are compared with their originals, and those that are marked again, where nobody says how many. */
const COMPARED = 1000;
const MARKED_AGAIN = 32;
/** By so much of the largest gain may one be from what the manifest says: adapters differ. */
const SAME_GAIN = 1e-3;

type Marked = NonNullable<Material['marked']>;

/** A marked image whose two versions are there. */
interface Pair extends PairPlaces {
  readonly claim: ManifestImage;
}

/** The manifest's figures, measured again on files and originals. */
async function checkClaims(material: Material, marked: Marked): Promise<Check[]> {
  const { original, sample = COMPARED, seed, onProgress, signal } = material;
  if (!original)
    return [
      notChecked(
        'change and PSNR',
        'nothing to compare the marked images with',
        'the unmarked data set: --original DATASET',
      ),
    ];
  const { dataset } = marked;
  const { manifest } = marked.folder;
  const source = await hashDataset(original);
  const theirs = source === manifest.source.sha256;
  const placesOf = pairFinder(manifest, dataset, original);
  const chosen = drawSample(manifest.images.length, sample, seed, 'marked images').map((i) => manifest.images[i]);
  const wrong: string[] = [];
  const pairs: Pair[] = [];
  let largest = 0;
  let largestInFile = 0;
  for (const [done, claim] of chosen.entries()) {
    signal?.throwIfAborted();
    const places = placesOf(claim);
    if (!places) {
      wrong.push(`${claim.id} is missing`);
      continue;
    }
    const measured = await unlessUnreadable(
      async () => measureChange(await original.image(places.original), await dataset.image(places.marked)),
      (reason) => wrong.push(`${claim.id}: ${reason}`),
    );
    if (!measured) continue;
    if (measured.changeLevels === 0) wrong.push(`${claim.id} is not changed at all`);
    largest = Math.max(largest, claim.changeBeforeEncoding ?? measured.changeLevels);
    largestInFile = Math.max(largestInFile, measured.changeLevels);
    const differs = contradiction(claim, measured);
    if (differs !== undefined) wrong.push(differs);
    else pairs.push({ claim, ...places });
    onProgress?.('comparing', done + 1, chosen.length);
  }
  const radius = Number(manifest.options.radiusLevels);
  if (largest > radius) wrong.push(`the largest change is ${largest} levels, the radius ${radius}`);
  const of = `${chosen.length} of ${manifest.images.length}`;
  return [
    compared(
      'originals',
      theirs,
      `${original.length} items, sha256 ${source}`,
      `have sha256 ${source}, the manifest says ${manifest.source.sha256}`,
    ),
    ...(theirs ? await checkChoice(material.key, manifest, original) : []),
    compared(
      'change and PSNR',
      wrong.length === 0,
      `${of} marked images compared with their originals: at most ${largest} levels${largestInFile > largest ? `, ${largestInFile} in lossy files` : ''}, as the manifest says of each`,
      `${of} compared: ${wrong.slice(0, 3).join(', ')}`,
    ),
    // Of other images than the listed ones nothing more is to be measured.
    ...(theirs && pairs.length > 0 ? await checkMarks(material, { marked, original, pairs }) : []),
  ];
}

/** Whether the images are those that the secret chooses. Which the hardest are depends on a classifier. */
async function checkChoice(key: Key, manifest: Manifest, original: Dataset): Promise<Check[]> {
  const { fraction, classifierSha256 } = manifest.options;
  if (key.version < 4 || typeof fraction !== 'number' || classifierSha256 !== undefined) return [];
  const name = 'chosen images';
  const { selected } = await chooseForMarking({
    key,
    labels: original.labels,
    fraction,
    dataSha256: manifest.source.sha256,
  });
  const chosen = new Set(Array.from(selected, (index) => original.id(index)));
  const skipped = new Set((manifest.skipped ?? []).map(({ id }) => id));
  const marked = new Set(manifest.images.map(({ id, source }) => source ?? id));
  const foreign = [...marked].find((id) => !chosen.has(id));
  const left = [...chosen].find((id) => !marked.has(id) && !skipped.has(id));
  return [
    compared(
      name,
      foreign === undefined && left === undefined,
      'those that the secret chooses of these images',
      foreign === undefined ? `${left} should have been marked` : `${foreign} is none that the secret chooses`,
    ),
  ];
}

/** The marks themselves: how far they move the marking network, and whether the key and the recipe give them. */
async function checkMarks(
  material: Material,
  of: { readonly marked: Marked; readonly original: Dataset; readonly pairs: readonly Pair[] },
): Promise<Check[]> {
  const [gains, again] = ['gains of the marked images', 'marked again'];
  const network = material.model?.network;
  if (!network) {
    const needs = `the marking network, ${ON_A_GPU}: --model MARKER`;
    return [
      notChecked(gains, 'how far the marking network moves is what the manifest says', needs),
      notChecked(again, 'whether the key gives these marks is not known', needs),
    ];
  }
  return [await checkGains(gains, network, material, of), await checkAgain(again, network, material, of)];
}

type OfMarks = Parameters<typeof checkMarks>[1];

async function checkGains(
  name: string,
  network: Model,
  { key, signal }: Material,
  { marked: { dataset }, original, pairs }: OfMarks,
): Promise<Check> {
  const { directions, featureDimension: d } = await keyCarriers(key);
  const featuresOf = async (images: Dataset, rows: readonly number[]) =>
    (await infer(network, await Loader.open(subset(images, rows), network.config.channels), { signal })).features;
  const before = await featuresOf(
    original,
    pairs.map((pair) => pair.original),
  );
  const after = await featuresOf(
    dataset,
    pairs.map((pair) => pair.marked),
  );
  const found = pairs.map(({ claim }, row) => {
    const c = key.classes.indexOf(claim.class);
    let gain = 0;
    for (let i = 0; i < d; i++) gain += (after[row * d + i] - before[row * d + i]) * directions[c * d + i];
    return gain;
  });
  const largest = Math.max(...found.map(Math.abs));
  const at = pairs.findIndex(({ claim }, row) => !(Math.abs(found[row] - claim.gain) <= SAME_GAIN * largest));
  const mean = found.reduce((sum, gain) => sum + gain, 0) / found.length;
  return compared(
    name,
    at < 0,
    `measured again of ${pairs.length} images: as the manifest says of each, ${mean.toPrecision(3)} in the mean`,
    at < 0 ? '' : `${pairs[at].claim.id} has ${found[at].toPrecision(6)}, the manifest says ${pairs[at].claim.gain}`,
  );
}

async function checkAgain(
  name: string,
  network: Model,
  { key, sample = MARKED_AGAIN, seed, signal, onProgress }: Material,
  { marked, original, pairs }: OfMarks,
): Promise<Check> {
  const { options } = marked.folder.manifest;
  const recipe = recipeOfRecord(options);
  const why = cannotRemark(recipe, options.precision, network);
  if (why !== undefined || !recipe) return notChecked(name, why ?? '', 'the version and the device that marked them');
  const { directions, featureDimension: d } = await keyCarriers(key);
  const images: Remarked[] = [];
  for (const i of drawSample(pairs.length, Math.min(sample, MARKED_AGAIN), seed, name)) {
    const { claim, ...places } = pairs[i];
    const c = key.classes.indexOf(claim.class);
    images.push({
      job: {
        id: original.id(places.original),
        image: await original.image(places.original),
        direction: Float32Array.from(directions.subarray(c * d, (c + 1) * d)),
      },
      saved: await marked.dataset.image(places.marked),
      lossy: claim.changeBeforeEncoding !== undefined,
    });
  }
  const found = await remark(network, recipe, images, {
    signal,
    onProgress: (done, total) => onProgress?.('marking again', done, total),
  });
  return comparedMarks(name, `${images.length} of ${pairs.length} images`, images.length, found);
}

/** A row of what was marked again. */
export function comparedMarks(
  name: string,
  of: string,
  count: number,
  { identical, largest, smallestCosine, different }: MarksAgain,
): Check {
  const lossy =
    smallestCosine < 1
      ? `; in lossy files cosines of at least ${smallestCosine.toFixed(2)}, ${SAME_DIRECTION} or more being the mark`
      : '';
  return compared(
    name,
    different === undefined,
    identical === count
      ? `${of}, with the key and the recipe: the same pixels`
      : `${of}, with the key and the recipe: ${identical} have the same pixels, the others are at most ${(100 * largest).toFixed(1)} % of a mark apart, as another adapter rounds${lossy}`,
    `${of}, with the key and the recipe: ${different} has another mark (the largest distance is ${(100 * largest).toFixed(0)} % of a mark, ${100 * SAME_MARK} % may be rounding${lossy})`,
  );
}
