/** The marked images of a report: figures from the manifest, and some of them beside their originals, measured again. */

import type { Dataset } from '../datasets/dataset.ts';
import { IntegrityError } from '../errors.ts';
import { datasetCommitment, type MarkedFolder } from '../evidence/commitment.ts';
import { contradiction, firstOfEachClass, measureChange, pairFinder } from '../evidence/pairs.ts';
import { hashBytes } from '../formats/sha256.ts';
import type { ImageCodec } from '../images/codec.ts';
import type { Image8 } from '../images/image.ts';
import { difference, pngUri } from '../images/picture.ts';
import { cutMiddle } from '../images/region.ts';
import type { ShownExample, ShownImage } from './page.ts';
import type { Report } from './schema.ts';

/** A marked data set, for a report. */
export interface MarkedSources {
  readonly folder: MarkedFolder;
  readonly dataset: Dataset;
  /** The data set before it was marked; without it nothing is shown side by side. */
  readonly original?: Dataset | undefined;
  /** How many images are shown. */
  readonly count: number;
  /** Encodes what is shown. */
  readonly codec: ImageCodec;
  /** Follows the images that are compared. */
  readonly onProgress?: ((done: number, total: number) => void) | undefined;
  readonly signal?: AbortSignal | undefined;
}

/** Longest side of what is shown of an image, in pixels: three fit the page, pixel for pixel, or marks could not be seen. */
const SHOWN = 232;

/**
 * What a report says and shows of a marked data set. The images shown are the first of each class in the manifest's order, the
 * classes in turn: nobody chooses them.
 *
 * @param keyCommitment of the key that it must have been marked with.
 * @throws IntegrityError if it was marked with another key, or if an image or its original is not what the manifest says.
 */
export async function describeMarked(
  { folder, dataset, original, count, codec, onProgress, signal }: MarkedSources,
  keyCommitment: string,
): Promise<{ marked: NonNullable<Report['marked']>; pictures: ShownExample[] }> {
  const { manifest } = folder;
  if (manifest.keyCommitment !== keyCommitment) {
    throw new IntegrityError(
      `${folder.folder}: was marked with another key, ${manifest.keyCommitment}; the result is of ${keyCommitment}`,
    );
  }
  const examples: NonNullable<Report['marked']>['examples'] = [];
  const pictures: ShownExample[] = [];
  if (original) {
    const placesOf = pairFinder(manifest, dataset, original);
    const chosen = firstOfEachClass(manifest.images, manifest.classes, count);
    for (const claim of chosen) {
      signal?.throwIfAborted();
      const fail = (what: string): never => {
        throw new IntegrityError(`${folder.folder}: ${what}; verify shows which files differ`);
      };
      const places = placesOf(claim) ?? fail(`${claim.id} or its original in ${original.path} is missing`);
      if (hashBytes(await dataset.bytes(places.marked)) !== claim.sha256)
        fail(`${claim.id} is not the file that was marked`);
      const [before, after] = [await original.image(places.original), await dataset.image(places.marked)];
      const measured = measureChange(before, after);
      const differs = contradiction(claim, measured);
      if (differs !== undefined) fail(`beside ${original.path} ${differs}`);
      examples.push({
        id: claim.id,
        class: claim.class,
        width: before.width,
        height: before.height,
        psnr: Number.isFinite(measured.psnr) ? measured.psnr : null,
        maxChangeLevels: measured.changeLevels,
      });
      const [shownBefore, shownAfter] = [cutMiddle(before, SHOWN), cutMiddle(after, SHOWN)];
      pictures.push({
        original: await shownImage(shownBefore, codec),
        marked: await shownImage(shownAfter, codec),
        difference: await shownImage(difference(shownBefore, shownAfter), codec),
      });
      onProgress?.(pictures.length, chosen.length);
    }
  }
  const ratios = manifest.images.flatMap(({ psnr }) => (psnr === null ? [] : [psnr])).sort((a, b) => a - b);
  return {
    marked: {
      path: folder.folder,
      commitment: datasetCommitment(folder),
      merkleRoot: manifest.merkleRoot,
      marked: manifest.images.length,
      of: manifest.source.count,
      options: manifest.options,
      psnrMedian: ratios[ratios.length >> 1] ?? null,
      psnrMin: ratios[0] ?? null,
      maxChangeLevels: manifest.images.reduce((most, { maxChangeLevels }) => Math.max(most, maxChangeLevels), 0),
      examples,
    },
    pictures,
  };
}

const shownImage = async (image: Image8, codec: ImageCodec): Promise<ShownImage> => ({
  uri: await pngUri(image, codec),
  width: image.width,
  height: image.height,
});
