/** The arrays that a test was made from, as files: evidence that it can be computed from again. */

import { InputError } from '../errors.ts';
import { parseNpy, parseNpyMatrix, serializeNpy } from '../formats/npy.ts';
import { PROBES_NAME, type ProbeManifest, parseProbeManifest } from '../marking/probe_manifest.ts';
import type { WhiteBoxArrays } from './detect.ts';
import { ModelScores } from './scores.ts';

/** Files by their names in the folder of a result. */
export type ArrayFiles = Readonly<Record<string, Uint8Array>>;

/** Files that were read, with the folder they are from for messages. */
export interface StoredArrays {
  readonly folder: string;
  readonly files: ArrayFiles;
}

const MARKING = 'features_marking.npy';
const FEATURES = 'features_suspect.npy';
const WEIGHT = 'classifier_suspect.npy';
const LOGITS = 'logits_suspect.npy';

/** The files of a white-box test: a matrix each. */
export function serializeFeatures({ marking, suspect: { features, weight, logits }, n }: WhiteBoxArrays): ArrayFiles {
  const dt = features.length / n;
  return {
    [MARKING]: serializeNpy([n, marking.length / n], marking),
    [FEATURES]: serializeNpy([n, dt], features),
    [WEIGHT]: serializeNpy([weight.length / dt, dt], weight),
    ...(logits && { [LOGITS]: serializeNpy([n, logits.length / n], logits) }),
  };
}

/**
 * Reads what {@link serializeFeatures} wrote.
 *
 * @throws InputError if a file is missing, or the arrays do not go together.
 */
export function parseFeatures(stored: StoredArrays): WhiteBoxArrays {
  const read = (name: string) => parseNpyMatrix(fileOf(stored, name), pathOf(stored, name));
  const [marking, features, weight] = [read(MARKING), read(FEATURES), read(WEIGHT)];
  if (marking.rows !== features.rows || features.columns !== weight.columns)
    throw new InputError(`${pathOf(stored, FEATURES)}: does not go with the other two arrays`);
  const logits = Object.hasOwn(stored.files, LOGITS) ? read(LOGITS) : undefined;
  if (logits && (logits.rows !== marking.rows || logits.columns !== weight.rows))
    throw new InputError(`${pathOf(stored, LOGITS)}: does not go with the other arrays`);
  return {
    marking: marking.data,
    suspect: { features: features.data, weight: weight.data, ...(logits && { logits: logits.data }) },
    n: marking.rows,
  };
}

/** Everything that the black-box test looks at, beside the key. */
export interface BlackBoxArrays {
  readonly probes: ProbeManifest;
  readonly suspect: ModelScores;
  readonly references: readonly ModelScores[];
}

const SUSPECT_SCORES = 'scores_suspect.npy';
const referenceScores = (index: number): string => `scores_reference_${index + 1}.npy`;

/**
 * The files of a black-box test.
 *
 * @param probes `probes.json` as it is.
 */
export function serializeScores(
  suspect: ModelScores,
  references: readonly ModelScores[],
  probes: Uint8Array,
): ArrayFiles {
  return {
    [SUSPECT_SCORES]: npyOf(suspect),
    ...Object.fromEntries(references.map((scores, j) => [referenceScores(j), npyOf(scores)])),
    [PROBES_NAME]: probes,
  };
}

/**
 * Reads what {@link serializeScores} wrote.
 *
 * @throws InputError if a file is missing, or is not what it should be.
 */
export function parseSavedScores(stored: StoredArrays): BlackBoxArrays {
  const probes = parseProbeManifest(new TextDecoder().decode(fileOf(stored, PROBES_NAME)), pathOf(stored, PROBES_NAME));
  const K = probes.classes.length;
  const read = (name: string): ModelScores => {
    const path = pathOf(stored, name);
    const { data } = parseNpy(fileOf(stored, name), path);
    return data instanceof Float32Array || data instanceof Float64Array
      ? ModelScores.ofScores(data, K, path)
      : ModelScores.ofLabels(Array.from(data, Number), K, path);
  };
  const references: ModelScores[] = [];
  while (Object.hasOwn(stored.files, referenceScores(references.length)))
    references.push(read(referenceScores(references.length)));
  return { probes, suspect: read(SUSPECT_SCORES), references };
}

function npyOf({ kind, values, rows, classCount }: ModelScores): Uint8Array {
  return kind === 'labels'
    ? serializeNpy([rows], BigInt64Array.from(values, BigInt))
    : serializeNpy([rows, classCount], values as Float32Array | Float64Array);
}

const pathOf = ({ folder }: StoredArrays, name: string): string => `${folder}/${name}`;

function fileOf(stored: StoredArrays, name: string): Uint8Array {
  if (!Object.hasOwn(stored.files, name))
    throw new InputError(`${pathOf(stored, name)}: missing; give the folder that detect --save made`);
  return stored.files[name];
}
