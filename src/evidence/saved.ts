import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { fileError, readBytes } from '../datasets/files.ts';
import { hashBytes, writeAtomic } from '../datasets/write.ts';
import { InputError, IntegrityError } from '../errors.ts';
import { parseNpy, serializeNpy } from '../formats/npy.ts';
import type { Elements } from '../statistics/linalg.ts';

/** Everything that the white-box test looks at, beside the key. */
export interface SavedFeatures {
  /** [n, d] of the marking network */
  readonly marking: Elements;
  /** [n, dt] of the suspect, same images */
  readonly features: Elements;
  /** [K, dt] the suspect's last layer */
  readonly weight: Elements;
  readonly n: number;
}

const NAMES = { marking: 'features_marking.npy', features: 'features_suspect.npy', weight: 'classifier_suspect.npy' };

/**
 * Writes the arrays that a test was made from as `.npy` files into a folder.
 *
 * @returns their names with their SHA-256.
 */
export async function saveFeatures(folder: string, saved: SavedFeatures): Promise<Record<string, string>> {
  const { marking, features, weight, n } = saved;
  const dt = features.length / n;
  const files = {
    [NAMES.marking]: serializeNpy([n, marking.length / n], marking),
    [NAMES.features]: serializeNpy([n, dt], features),
    [NAMES.weight]: serializeNpy([weight.length / dt, dt], weight),
  };
  try {
    await mkdir(folder, { recursive: true });
  } catch (error) {
    throw fileError(folder, error);
  }
  for (const [name, bytes] of Object.entries(files)) await writeAtomic(join(folder, name), bytes);
  return Object.fromEntries(Object.entries(files).map(([name, bytes]) => [name, hashBytes(bytes)]));
}

/**
 * Reads them again.
 *
 * @param hashes the SHA-256 that each file must have.
 * @throws IntegrityError if a file has another; InputError if one is missing, or the arrays do not go together.
 */
export async function loadFeatures(folder: string, hashes: Readonly<Record<string, string>>): Promise<SavedFeatures> {
  const read = async (name: string) => {
    const path = join(folder, name);
    const bytes = await readBytes(path);
    if (hashBytes(bytes) !== hashes[name])
      throw new IntegrityError(`${path}: its SHA-256 is not the one in the result`);
    const { shape, data } = parseNpy(bytes, path);
    if (shape.length !== 2 || !(data instanceof Float32Array || data instanceof Float64Array))
      throw new InputError(`${path}: expected a matrix of floating-point numbers`);
    return { path, rows: shape[0], columns: shape[1], data };
  };
  const [marking, features, weight] = [await read(NAMES.marking), await read(NAMES.features), await read(NAMES.weight)];
  if (marking.rows !== features.rows || features.columns !== weight.columns)
    throw new InputError(`${features.path}: does not go with the other two arrays`);
  return { marking: marking.data, features: features.data, weight: weight.data, n: marking.rows };
}
