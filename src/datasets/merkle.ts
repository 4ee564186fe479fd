import { sha256 } from '@noble/hashes/sha2.js';
import { bytesToHex, concatBytes } from '@noble/hashes/utils.js';

import type { ManifestImage } from './manifest.ts';

/** First bytes of what is hashed: a leaf can never be taken for a node. */
const LEAF = Uint8Array.of(0);
const NODE = Uint8Array.of(1);

/**
 * Root of the Merkle tree over a manifest's images, in hex: the tree of RFC 9162, 2.1, with SHA-256. A leaf is the line
 * `["id","class","SHA-256 of the stored bytes"]` in UTF-8, in the manifest's order, which is the data set's. That one image was in
 * the tree can be shown without the others.
 */
export function merkleRoot(images: readonly Pick<ManifestImage, 'id' | 'class' | 'sha256'>[]): string {
  let level = images.map((image) =>
    sha256(concatBytes(LEAF, new TextEncoder().encode(JSON.stringify([image.id, image.class, image.sha256])))),
  );
  if (level.length === 0) return bytesToHex(sha256(new Uint8Array()));
  // A last one without a partner goes up as it is, which is the same as RFC 9162's splitting at powers of two.
  while (level.length > 1) {
    level = Array.from({ length: Math.ceil(level.length / 2) }, (_, i) => {
      const right = level[2 * i + 1];
      return right ? sha256(concatBytes(NODE, level[2 * i], right)) : level[2 * i];
    });
  }
  return bytesToHex(level[0]);
}
