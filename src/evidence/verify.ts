/** What a third party can check of the evidence once the key is revealed. */

import type { Dataset } from '../datasets/dataset.ts';
import { hashDataset } from '../datasets/hash.ts';
import { merkleRoot } from '../datasets/merkle.ts';
import type { StoredArrays } from '../detection/arrays.ts';
import type { Finding } from '../detection/statistic.ts';
import { type Retested, TESTS } from '../detection/tests.ts';
import { InputError, IntegrityError } from '../errors.ts';
import { hashBytes } from '../formats/sha256.ts';
import { commitment, type Key, keyCarriers } from '../marking/key.ts';
import type { ProbeManifest } from '../marking/probe_manifest.ts';
import { derive } from '../random.ts';
import { datasetCommitment, type MarkedFolder } from './commitment.ts';
import { contradiction, measureChange, pairFinder } from './pairs.ts';
import { bonferroni, parseRegister, type Register } from './register.ts';
import { hashCarriers, hashResult, numberOf, type Result, type StoredResult, suspectHash } from './result.ts';
import { stampedHash, verifyReply } from './timestamp.ts';

/** One row of the table. `ok` is null where the material for it was not given. */
export interface Check {
  readonly check: string;
  readonly ok: boolean | null;
  readonly detail: string;
}

/** A file as it was read, with where it is for messages. */
export interface NamedBytes {
  readonly path: string;
  readonly bytes: Uint8Array;
}

/** What there is to check. In Node `runVerification` reads it from files. */
export interface Evidence {
  /** The revealed key. */
  readonly key: Key;
  /** What was published, 64 hex digits. */
  readonly published?: string | undefined;
  /** The marking network's file: where it is, and its SHA-256. */
  readonly model?: { readonly path: string; readonly sha256: string } | undefined;
  readonly result?: StoredResult | undefined;
  /** What lies beside the result: the files that it names in `saved`. */
  readonly arrays?: StoredArrays | undefined;
  /** The list of tests with the key. */
  readonly register?: { readonly path: string; readonly text: string } | undefined;
  /** The marked data set: its manifest, and its images. */
  readonly marked?: { readonly folder: MarkedFolder; readonly dataset: Dataset } | undefined;
  /** The same before it was marked, in the same order. */
  readonly original?: Dataset | undefined;
  /** The probes of a black-box test: what they say of themselves, the SHA-256 of that file, and their images. */
  readonly probes?:
    | { readonly manifest: ProbeManifest; readonly sha256: string; readonly dataset: Dataset }
    | undefined;
  /** The held-out images. */
  readonly heldOut?: Dataset | undefined;
  /** Replies of a time-stamping authority, and the authorities that are trusted, in PEM. */
  readonly replies?: readonly NamedBytes[] | undefined;
  readonly ca?: string | undefined;
}

/** What {@link verifyEvidence} checks. */
export interface VerifyOptions extends Evidence {
  /** How many marked images are compared with their originals, and how many probes. */
  readonly sample: number;
  /** Follows the images that are compared. */
  readonly onProgress?: ((done: number, total: number) => void) | undefined;
  readonly signal?: AbortSignal | undefined;
}

/** Numbers that are computed again may differ by the rounding of another machine's logarithms. */
const RELATIVE_TOLERANCE = 1e-9;

/**
 * Checks everything that the material at hand allows, and says of the rest what is missing. A check that fails stops none of the
 * others; what cannot be read at all (no such file, not of its format) is thrown as an InputError.
 */
export async function verifyEvidence(options: VerifyOptions): Promise<Check[]> {
  const keyCommitment = await commitment(options.key);
  return [
    ...(await checkKey(options, keyCommitment)),
    ...(await checkTimeStamps(options, keyCommitment)),
    ...(await checkMarked(options, keyCommitment)),
    ...(await checkResult(options, keyCommitment)),
    ...(await checkRegister(options, keyCommitment)),
  ];
}

const passed = (check: string, detail: string): Check => ({ check, ok: true, detail });
const failed = (check: string, detail: string): Check => ({ check, ok: false, detail });
const unknown = (check: string, detail: string): Check => ({ check, ok: null, detail });
const compared = (check: string, ok: boolean, good: string, bad: string): Check =>
  ok ? passed(check, good) : failed(check, bad);

async function checkKey({ key, published, model: file }: VerifyOptions, keyCommitment: string): Promise<Check[]> {
  const { carriers, model } = key;
  return [
    published === undefined
      ? unknown('commitment', `the key's is ${keyCommitment}; give what was published with --commitment`)
      : compared(
          'commitment',
          published === keyCommitment,
          `the key's is what was published, ${keyCommitment}`,
          `published was ${published}, the key's is ${keyCommitment}`,
        ),
    // Read with the key, which is refused otherwise.
    carriers.kind === 'subspace'
      ? passed('subspace', `${carriers.dimension} orthonormal directions, sha256 ${carriers.basisSha256}`)
      : passed('subspace', 'none: carriers are drawn in the whole feature space'),
    file === undefined
      ? unknown('marking network', `the key's has sha256 ${model.sha256}; give its file with --model`)
      : compared(
          'marking network',
          file.sha256 === model.sha256,
          `sha256 ${file.sha256}`,
          `${file.path} has sha256 ${file.sha256}, the key ${model.sha256}`,
        ),
  ];
}

async function checkTimeStamps({ replies, ca, marked }: VerifyOptions, keyCommitment: string): Promise<Check[]> {
  if (!replies) return [unknown('time stamp', 'give the replies of the authority with --reply and --ca')];
  const known = new Map([[keyCommitment, 'key']]);
  if (marked) known.set(datasetCommitment(marked.folder), 'marked data set');
  return await Promise.all(
    replies.map(async ({ path, bytes: reply }) => {
      try {
        const hash = stampedHash(reply, path);
        const of = known.get(hash);
        const other = marked
          ? 'neither of the key nor of the marked data set'
          : 'not of the key; give --marked for a data set';
        if (!of) return failed('time stamp', `${path}: stamps ${hash}, ${other}`);
        const stamp = await verifyReply(reply, { fileName: path, imprint: hash, ca });
        const by = `the ${of}'s commitment was there at ${stamp.time}, says ${stamp.authority}`;
        return stamp.root
          ? passed('time stamp', `${by}; trusted is ${stamp.root.subject}, sha256 ${stamp.root.sha256}`)
          : unknown('time stamp', `${by}; whether to trust that is open: give --ca`);
      } catch (error) {
        if (error instanceof IntegrityError) return failed('time stamp', error.message);
        throw error;
      }
    }),
  );
}

async function checkMarked(options: VerifyOptions, keyCommitment: string): Promise<Check[]> {
  const { key, marked } = options;
  if (!marked) return [unknown('marked images', 'give the marked data set with --marked')];
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
  { original, sample, onProgress, signal }: VerifyOptions,
  { folder: { manifest }, dataset }: NonNullable<VerifyOptions['marked']>,
): Promise<Check[]> {
  if (!original) return [unknown('change and PSNR', 'give the unmarked data set with --original')];
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

async function checkResult(options: VerifyOptions, keyCommitment: string): Promise<Check[]> {
  const { key, result, heldOut } = options;
  if (!result) return [unknown('result', 'give the result of a test with --result')];
  const { value } = result;
  const carriers = hashCarriers((await keyCarriers(key)).coordinates);
  const fixed = key.heldOut ?? null;
  const images = `${value.data.count} images, sha256 ${value.data.sha256}`;
  return [
    compared(
      'result',
      value.keyCommitment === keyCommitment && value.markingModel.sha256 === key.model.sha256,
      `of this key and marking network: ${value.test}, log10 p ${numberOf(value.log10p).toFixed(3)}`,
      `of another key (${value.keyCommitment}) or marking network`,
    ),
    compared(
      'carriers',
      carriers === value.carriers.sha256,
      `drawn again from the secret: sha256 ${carriers}`,
      `drawn from the secret they have sha256 ${carriers}, the result says ${value.carriers.sha256}`,
    ),
    fixed?.kind === 'content'
      ? compared(
          'test images',
          fixed.sha256 === value.data.sha256,
          `those that the key fixed: ${images}`,
          `the key fixed sha256 ${fixed.sha256}, tested on ${images}`,
        )
      : unknown(
          'test images',
          `the key ${fixed ? `only says ${JSON.stringify(fixed.name)}` : 'left them open'}; tested on ${images}`,
        ),
    ...(await checkHeldOut(options, value, heldOut)),
    ...(await checkProbes(options, value)),
    await checkStatistics(options, value),
  ];
}

/** The held-out images are those of the result, and none of them is a marked one. */
async function checkHeldOut({ marked }: VerifyOptions, value: Result, heldOut: Dataset | undefined): Promise<Check[]> {
  if (!heldOut) return [];
  const sha256 = await hashDataset(heldOut);
  const published = new Set(marked?.folder.manifest.images.map((image) => image.sha256));
  let both = 0;
  for (let i = 0; i < heldOut.length; i++) if (published.has(hashBytes(await heldOut.bytes(i)))) both++;
  return [
    compared(
      'held-out files',
      sha256 === value.data.sha256 && both === 0,
      `${heldOut.length} images are those of the result${marked ? ', none of them marked' : ''}`,
      both > 0 ? `${both} of them are marked images` : `have sha256 ${sha256}, the result says ${value.data.sha256}`,
    ),
  ];
}

async function checkStatistics({ key, arrays, signal }: VerifyOptions, value: Result): Promise<Check> {
  if (arrays === undefined || !value.saved)
    return unknown('statistics', 'detect --save keeps the arrays; give their folder with --features');
  const { saved } = value;
  const changed = Object.entries(saved).find(
    ([name, sha256]) => Object.hasOwn(arrays.files, name) && hashBytes(arrays.files[name]) !== sha256,
  );
  if (changed) return failed('statistics', `${arrays.folder}/${changed[0]}: its SHA-256 is not the one in the result`);
  const test = TESTS[value.test];
  let again: Retested;
  try {
    again = await test.retest(key, arrays, value, signal);
  } catch (error) {
    if (error instanceof IntegrityError) return failed('statistics', error.message);
    throw error;
  }
  const { finding, from, foreign } = again;
  const [ours, theirs] = [numbersOf(finding), numbersOf(value)];
  const same =
    foreign === undefined &&
    ours.length === theirs.length &&
    ours.every((x, i) => Object.is(x, theirs[i]) || close(x, theirs[i]));
  return compared(
    'statistics',
    same,
    `computed again ${from}: log10 p ${finding.log10p.toFixed(3)} and every class's ${test.perClass} are the same`,
    `computed again ${from}, log10 p is ${finding.log10p}; the result says ${numberOf(value.log10p)}, or a class ${foreign === undefined ? 'differs' : `or ${foreign} differ`}`,
  );
}

/** Whether two numbers are equal but for rounding. */
const close = (a: number, b: number): boolean =>
  a === b || Math.abs(a - b) <= RELATIVE_TOLERANCE * Math.max(1, Math.abs(a));

/** All numbers of a finding that follow from the arrays: of every statistic, and of every class. */
function numbersOf(found: Finding | Result): number[] {
  const perClass = ('perClass' in found ? (found.perClass as Result['perClass']) : undefined) ?? [];
  return [
    numberOf(found.log10p),
    ...perClass.flatMap(({ cosine, log10p }) => [numberOf(cosine), numberOf(log10p)]),
    ...found.statistics.flatMap(({ log10p, perClass }) => [
      numberOf(log10p),
      ...perClass.flatMap((entry) => [numberOf(entry.score), numberOf(entry.log10p ?? 'NaN')]),
    ]),
  ];
}

/** The probes' images are those that `probes.json` tells of, within the radius of their vanilla versions. */
async function checkProbes({ probes, sample, signal }: VerifyOptions, value: Result): Promise<Check[]> {
  if (value.test !== 'black-box') return [];
  if (!probes) return [unknown('probes', 'give their folder with --probes')];
  const { manifest, sha256 } = probes;
  const images = probes.dataset;
  const found = await hashDataset(images);
  const rows = Array.from({ length: images.length }, (_, row) => row).filter((row) => row % (manifest.sets + 1) > 0);
  derive(0, 'verify').shuffle(rows);
  rows.length = Math.min(sample, rows.length);
  let largest = 0;
  for (const row of rows) {
    signal?.throwIfAborted();
    const vanilla = row - (row % (manifest.sets + 1));
    largest = Math.max(largest, measureChange(await images.image(vanilla), await images.image(row)).changeLevels);
  }
  const radius = Number(manifest.options.radiusLevels);
  return [
    compared(
      'probes',
      found === manifest.sha256 && sha256 === value.blackBox?.probes.sha256 && largest <= radius,
      `${images.length} images are those of the result; ${rows.length} compared with their originals change by at most ${largest} levels`,
      `have sha256 ${found} (probes.json says ${manifest.sha256}, and is${sha256 === value.blackBox?.probes.sha256 ? '' : ' not'} that of the result), or change by ${largest} levels, the radius being ${radius}`,
    ),
  ];
}

async function checkRegister({ register, result }: VerifyOptions, keyCommitment: string): Promise<Check[]> {
  if (register === undefined) return [unknown('register', 'give the list of tests with --register')];
  let found: Register;
  try {
    found = parseRegister(register.text, register.path, keyCommitment);
  } catch (error) {
    if (error instanceof IntegrityError) return [failed('register', error.message)];
    throw error;
  }
  const { looks, withKey, begun } = found;
  const tests = looks.length === 1 ? '1 test' : `${looks.length} tests`;
  const checks = [
    compared(
      'register',
      withKey,
      `the chain is whole: ${tests} since the key was made`,
      `the chain is whole with ${tests}, but was begun on ${begun}, after the key: earlier ones are not in it`,
    ),
  ];
  if (!result) return checks;
  const { value, json } = result;
  const entry = looks[value.register.entry - 1];
  const same =
    entry !== undefined &&
    found.hashes[value.register.entry - 1] === value.register.sha256 &&
    entry.resultSha256 === hashResult(json) &&
    entry.suspect === suspectHash(value.suspect) &&
    entry.data === value.data.sha256;
  const corrected = bonferroni(numberOf(value.log10p), Math.max(1, looks.length));
  return [
    ...checks,
    compared(
      'entry',
      same,
      `the result is entry ${value.register.entry} of ${looks.length}, unchanged; corrected for all of them log10 p ${corrected.toFixed(3)}`,
      entry
        ? `entry ${value.register.entry} is of another result: this one was changed`
        : `the register has no entry ${value.register.entry}`,
    ),
  ];
}
