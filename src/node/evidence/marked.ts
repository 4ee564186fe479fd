import { join } from 'node:path';
import { MANIFEST_NAME, parseManifest } from '../../datasets/manifest.ts';
import type { MarkedFolder } from '../../evidence/commitment.ts';
import { hashBytes } from '../../formats/sha256.ts';
import { readBytes } from '../files/files.ts';

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
