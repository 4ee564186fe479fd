/** The marked data set: its files, and what its manifest says of them. */

import { hashDataset } from '../../datasets/hash.ts';
import { merkleRoot } from '../../datasets/merkle.ts';
import { InputError } from '../../errors.ts';
import { hashBytes } from '../../formats/sha256.ts';
import { derive } from '../../random.ts';
import { type Check, compared, notChecked } from '../check.ts';
import { datasetCommitment } from '../commitment.ts';
import type { Material } from '../material.ts';
import { contradiction, measureChange, pairFinder } from '../pairs.ts';

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

/** The manifest's figures, measured again on files and originals. */
async function checkClaims(
  { original, sample, onProgress, signal }: Material,
  { folder: { manifest }, dataset }: NonNullable<Material['marked']>,
): Promise<Check[]> {
  if (!original)
    return [
      notChecked(
        'change and PSNR',
        'nothing to compare the marked images with',
        'the unmarked data set: --original DATASET',
      ),
    ];
  const source = await hashDataset(original);
  const checks = [
    compared(
      'originals',
      source === manifest.source.sha256,
      `${original.length} items, sha256 ${source}`,
      `have sha256 ${source}, the manifest says ${manifest.source.sha256}`,
    ),
  ];
  const placesOf = pairFinder(manifest, dataset, original);
  const chosen = [...manifest.images];
  derive(0, 'verify').shuffle(chosen);
  chosen.length = Math.min(sample, chosen.length);
  const wrong: string[] = [];
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
    onProgress?.(done + 1, chosen.length);
  }
  const radius = Number(manifest.options.radiusLevels);
  if (largest > radius) wrong.push(`the largest change is ${largest} levels, the radius ${radius}`);
  const of = `${chosen.length} of ${manifest.images.length}`;
  return [
    ...checks,
    compared(
      'change and PSNR',
      wrong.length === 0,
      `${of} marked images compared with their originals: at most ${largest} levels${largestInFile > largest ? `, ${largestInFile} in lossy files` : ''}, as the manifest says of each`,
      `${of} compared: ${wrong.slice(0, 3).join(', ')}`,
    ),
  ];
}
