/** What a model said of probes, from a file of any framework. */

import { InputError } from '../errors.ts';
import { parseCsv } from '../formats/csv.ts';
import { parseNpy, parseNpyMatrix } from '../formats/npy.ts';
import { type ProbeManifest, probeLayout } from '../marking/probe_manifest.ts';
import { isSingleLogit } from './class_mapping.ts';
import { ModelScores, probeRows } from './scores.ts';

/** The list of a folder of probes. */
export interface ProbeList {
  /** For messages. */
  readonly name: string;
  /** Its text. */
  text(): Promise<string>;
}

/** The probes that scores are of. */
export interface ScoredProbes {
  readonly manifest: ProbeManifest;
  /** Their list: its text, asked for where a file names its images, and its name for messages. */
  readonly list: ProbeList;
}

/** Columns of the list of probes, which whoever adds scores to it may leave there. */
const LIST_COLUMNS = ['index', 'file', 'class', 'image', 'version'];

/**
 * What a model said of the probes, in the order of their list: `.npy` [N,K] of scores or [N] of predicted classes by number; or CSV
 * with a header and a column for each class, or one column of predicted classes by name or number. Of two classes one column of other
 * numbers is the second's probability or logit.
 *
 * @throws InputError naming the file and place where something is missing, left over, out of order or no number.
 */
export async function parseScores(bytes: Uint8Array, path: string, probes: ScoredProbes): Promise<ModelScores> {
  return /\.npy$/i.test(path)
    ? scoresOfNpy(bytes, path, probes)
    : await scoresOfCsv(new TextDecoder().decode(bytes), path, probes);
}

function scoresOfNpy(bytes: Uint8Array, path: string, { manifest, list }: ScoredProbes): ModelScores {
  const { shape, data } = parseNpy(bytes, path);
  const K = manifest.classes.length;
  checkCount(shape[0] ?? 0, path, manifest, list.name);
  if (shape.length === 1 || (shape.length === 2 && shape[1] === 1)) {
    const values = Array.from(data, Number);
    return singleScores(values, path, K) ?? labelsOf(values, path, manifest.classes);
  }
  if (shape.length !== 2 || shape[1] !== K)
    throw new InputError(
      `${path}: is [${shape.join(', ')}]; give [images, ${K}], a column for each of ${manifest.classes.join(', ')}`,
    );
  return ModelScores.ofScores(Float64Array.from(parseNpyMatrix(bytes, path).data), K, path);
}

async function scoresOfCsv(text: string, path: string, probes: ScoredProbes): Promise<ModelScores> {
  const { classes } = probes.manifest;
  const csv = parseCsv(text, path);
  const [header = [], ...rows] = csv.rows;
  const lineOf = (row: number): number => csv.lines[row + 1];
  checkCount(rows.length, path, probes.manifest, probes.list.name);
  await checkOrder(header, rows, lineOf, path, probes);
  const columnOf = new Map(header.map((name, column) => [name, column]));
  const named = classes.filter((name) => columnOf.has(name));
  const own = header.flatMap((name, column) => (LIST_COLUMNS.includes(name.toLowerCase()) ? [] : [column]));
  let columns: readonly number[];
  if (named.length === classes.length) columns = classes.map((name) => columnOf.get(name)!);
  else if (own.length === 1) {
    const labels = rows.map((row) => row[own[0]]);
    const single = singleScores(labels.map(numberIn), path, classes.length);
    return single ?? labelsOf(labels, path, classes, lineOf);
  } else if (own.length === classes.length && !own.some((column) => classes.includes(header[column]))) columns = own;
  else {
    const missing = classes.filter((name) => !columnOf.has(name));
    throw new InputError(
      `${path}: its header has no column ${missing.slice(0, 5).join(', ')}; name a column for each class, ${classes.join(', ')}, or give one column of predicted classes`,
    );
  }
  const scores = new Float64Array(rows.length * classes.length);
  for (const [r, row] of rows.entries()) {
    for (const [k, column] of columns.entries()) {
      const field = row[column];
      const value = field === '' ? Number.NaN : Number(field);
      if (Number.isNaN(value))
        throw new InputError(
          `${path}: line ${lineOf(r)}, column ${header[column]}: ${JSON.stringify(field)} is no number; give one, for probabilities that were not told 0`,
        );
      scores[r * classes.length + k] = value;
    }
  }
  return ModelScores.ofScores(scores, classes.length, path);
}

const numberIn = (field: string): number => (field.trim() === '' ? Number.NaN : Number(field));

/**
 * One number an image, for two classes: of the second its probability where all are from 0 to 1, else its logit. Undefined where they
 * are numbers of classes.
 */
function singleScores(values: readonly number[], path: string, classCount: number): ModelScores | undefined {
  if (!isSingleLogit(1, classCount) || !values.every(Number.isFinite)) return undefined;
  if (values.every((value) => value === 0 || value === 1)) return undefined;
  const probabilities = values.every((value) => value >= 0 && value <= 1);
  const pairs = values.flatMap((value) => (probabilities ? [1 - value, value] : [-value / 2, value / 2]));
  return ModelScores.ofScores(Float64Array.from(pairs), classCount, path);
}

/** Classes by name, or by number from 0. A message names the line of the file, where there is one. */
function labelsOf(
  values: readonly (string | number)[],
  path: string,
  classes: readonly string[],
  lineOf?: (row: number) => number,
): ModelScores {
  const indexOf = new Map(classes.map((name, index) => [name, index]));
  const labels = values.map((value, row) => {
    const index = typeof value === 'string' ? (indexOf.get(value) ?? Number(value === '' ? Number.NaN : value)) : value;
    if (Number.isInteger(index) && index >= 0 && index < classes.length) return index;
    throw new InputError(
      `${path}: ${lineOf ? `line ${lineOf(row)}` : `image ${row}`}: ${JSON.stringify(value)} is no class; give one of ${classes.join(', ')}, or 0 to ${classes.length - 1}`,
    );
  });
  return ModelScores.ofLabels(labels, classes.length, path);
}

function checkCount(found: number, path: string, manifest: ProbeManifest, list: string): void {
  const expected = probeRows(probeLayout(manifest));
  if (found !== expected)
    throw new InputError(
      `${path}: has ${found} rows, the probes are ${expected} images; give one row per image, in the order of ${list}`,
    );
}

/** Where a file names its images, they must be those of the list, in its order. */
async function checkOrder(
  header: readonly string[],
  rows: readonly (readonly string[])[],
  lineOf: (row: number) => number,
  path: string,
  probes: ScoredProbes,
): Promise<void> {
  const { list: probeList } = probes;
  for (const name of ['index', 'file']) {
    const column = header.findIndex((each) => each.toLowerCase() === name);
    if (column < 0) continue;
    const [listHeader = [], ...list] = parseCsv(await probeList.text(), probeList.name).rows;
    const listColumn = listHeader.indexOf(name);
    const wrong = rows.findIndex((row, r) => row[column] !== list[r]?.[listColumn]);
    if (wrong >= 0)
      throw new InputError(
        `${path}: line ${lineOf(wrong)}: ${name} ${rows[wrong][column]} stands where ${probeList.name} has ${list[wrong]?.[listColumn]}; keep its order`,
      );
  }
}
