import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import type { ModelScores } from '../../detection/scores.ts';
import { InputError, IntegrityError } from '../../errors.ts';
import { parseNpy, serializeNpy } from '../../formats/npy.ts';
import { hashBytes } from '../../formats/sha256.ts';
import { PROBES_NAME, type ProbeManifest, parseProbeManifest } from '../../marking/probe_manifest.ts';
import type { Elements } from '../../maths/linalg.ts';
import { fileError, readBytes } from '../files/files.ts';
import { writeAtomic } from '../files/write.ts';

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
  return await saveFiles(folder, files);
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
    const { shape, data } = parseNpy(await readSaved(folder, name, hashes), path);
    if (shape.length !== 2 || !(data instanceof Float32Array || data instanceof Float64Array))
      throw new InputError(`${path}: expected a matrix of floating-point numbers`);
    return { path, rows: shape[0], columns: shape[1], data };
  };
  const [marking, features, weight] = [await read(NAMES.marking), await read(NAMES.features), await read(NAMES.weight)];
  if (marking.rows !== features.rows || features.columns !== weight.columns)
    throw new InputError(`${features.path}: does not go with the other two arrays`);
  return { marking: marking.data, features: features.data, weight: weight.data, n: marking.rows };
}

/** Everything that the black-box test looks at, beside the key. */
export interface SavedScores {
  readonly probes: ProbeManifest;
  readonly suspect: ModelScores;
  readonly references: readonly ModelScores[];
}

const SUSPECT_SCORES = 'scores_suspect.npy';
const referenceScores = (index: number): string => `scores_reference_${index + 1}.npy`;

/**
 * Writes the scores that a test was made from, and what the probes say of themselves, into a folder.
 *
 * @param probes their folder, of which `probes.json` is copied as it is.
 * @returns the files' names with their SHA-256.
 */
export async function saveScores(
  folder: string,
  saved: Pick<SavedScores, 'suspect' | 'references'> & {
    readonly probes: { readonly path: string };
    /** Images of the probes. */ readonly rows: number;
  },
): Promise<Record<string, string>> {
  return await saveFiles(folder, {
    [SUSPECT_SCORES]: npyOf(saved.suspect, saved.rows),
    ...Object.fromEntries(saved.references.map((scores, j) => [referenceScores(j), npyOf(scores, saved.rows)])),
    [PROBES_NAME]: await readBytes(join(saved.probes.path, PROBES_NAME)),
  });
}

/**
 * Reads them again.
 *
 * @param hashes the SHA-256 that each file must have.
 * @throws IntegrityError if a file has another; InputError if one is missing or is not what it should be.
 */
export async function loadScores(folder: string, hashes: Readonly<Record<string, string>>): Promise<SavedScores> {
  const read = async (name: string): Promise<ModelScores> => {
    const path = join(folder, name);
    const { data } = parseNpy(await readSaved(folder, name, hashes), path);
    if (data instanceof Float32Array || data instanceof Float64Array) return { kind: 'scores', scores: data };
    return { kind: 'labels', labels: Array.from(data, Number) };
  };
  const references: ModelScores[] = [];
  while (referenceScores(references.length) in hashes) references.push(await read(referenceScores(references.length)));
  const probes = new TextDecoder().decode(await readSaved(folder, PROBES_NAME, hashes));
  return {
    probes: parseProbeManifest(probes, join(folder, PROBES_NAME)),
    suspect: await read(SUSPECT_SCORES),
    references,
  };
}

function npyOf(model: ModelScores, rows: number): Uint8Array {
  if (model.kind === 'labels') return serializeNpy([rows], BigInt64Array.from(model.labels, BigInt));
  return serializeNpy([rows, model.scores.length / rows], model.scores);
}

async function saveFiles(folder: string, files: Readonly<Record<string, Uint8Array>>): Promise<Record<string, string>> {
  try {
    await mkdir(folder, { recursive: true });
  } catch (error) {
    throw fileError(folder, error);
  }
  for (const [name, bytes] of Object.entries(files)) await writeAtomic(join(folder, name), bytes);
  return Object.fromEntries(Object.entries(files).map(([name, bytes]) => [name, hashBytes(bytes)]));
}

async function readSaved(folder: string, name: string, hashes: Readonly<Record<string, string>>): Promise<Uint8Array> {
  const path = join(folder, name);
  const bytes = await readBytes(path);
  if (hashBytes(bytes) !== hashes[name]) throw new IntegrityError(`${path}: its SHA-256 is not the one in the result`);
  return bytes;
}
