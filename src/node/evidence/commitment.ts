import { createHash } from 'node:crypto';
import type { MarkedFolder } from '../datasets/marked_folder.ts';

const DATASET_PREFIX = 'radioactive-dataset-commitment/v1';

/**
 * SHA-256, in hex, over the key's commitment, the Merkle root of the marked images and the manifest (docs/key-derivation.md). It fixes
 * what was marked and how without telling which images are.
 */
export function datasetCommitment({ manifest, manifestSha256 }: MarkedFolder): string {
  const hash = createHash('sha256').update(DATASET_PREFIX, 'ascii');
  for (const hex of [manifest.keyCommitment, manifest.merkleRoot, manifestSha256]) hash.update(hex, 'hex');
  return hash.digest('hex');
}
