import { hexToBytes } from '@noble/hashes/utils.js';
import type { Manifest } from '../datasets/manifest.ts';
import { hashParts } from '../formats/sha256.ts';

const DATASET_PREFIX = 'radioactive-dataset-commitment/v1';

/** A marked data set's manifest, as it was found. */
export interface MarkedFolder {
  /** Where it is, for messages. */
  readonly folder: string;
  /** Path of the manifest, for messages. */
  readonly path: string;
  readonly manifest: Manifest;
  /** SHA-256 of the manifest's file. */
  readonly manifestSha256: string;
}

/**
 * SHA-256, in hex, over the key's commitment, the Merkle root of the marked images and the manifest (docs/key-derivation.md). It fixes
 * what was marked and how without telling which images are.
 */
export function datasetCommitment({ manifest, manifestSha256 }: MarkedFolder): string {
  const hashes = [manifest.keyCommitment, manifest.merkleRoot, manifestSha256];
  return hashParts([new TextEncoder().encode(DATASET_PREFIX), ...hashes.map(hexToBytes)]);
}
