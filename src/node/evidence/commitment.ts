import { createHash } from 'node:crypto';
import { join } from 'node:path';
import { MANIFEST_NAME, type Manifest, parseManifest } from '../../datasets/manifest.ts';
import { hashBytes } from '../../formats/sha256.ts';
import { readBytes } from '../files/files.ts';

const DATASET_PREFIX = 'radioactive-dataset-commitment/v1';

/** A marked data set's manifest as its folder holds it. */
export interface MarkedFolder {
  readonly folder: string;
  readonly manifest: Manifest;
  /** SHA-256 of the manifest's file. */
  readonly manifestSha256: string;
}

/**
 * The manifest of a marked data set.
 *
 * @throws InputError if there is none, or it is not one.
 */
export async function openMarked(folder: string): Promise<MarkedFolder> {
  const path = join(folder, MANIFEST_NAME);
  const bytes = await readBytes(path);
  return { folder, manifest: parseManifest(new TextDecoder().decode(bytes), path), manifestSha256: hashBytes(bytes) };
}

/**
 * SHA-256, in hex, over the key's commitment, the Merkle root of the marked images and the manifest (docs/key-derivation.md). It fixes
 * what was marked and how without telling which images are.
 */
export function datasetCommitment({ manifest, manifestSha256 }: MarkedFolder): string {
  const hash = createHash('sha256').update(DATASET_PREFIX, 'ascii');
  for (const hex of [manifest.keyCommitment, manifest.merkleRoot, manifestSha256]) hash.update(hex, 'hex');
  return hash.digest('hex');
}
