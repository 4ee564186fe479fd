/** What a third party can check of the evidence once the key is revealed. */

import type { Dataset } from '../../datasets/dataset.ts';
import { hashDataset } from '../../datasets/hash.ts';
import { merkleRoot } from '../../datasets/merkle.ts';
import { testFeatures } from '../../detection/detect.ts';
import { testScores } from '../../detection/detect_blackbox.ts';
import { InputError, IntegrityError } from '../../errors.ts';
import { stampedHash, verifyReply } from '../../evidence/timestamp.ts';
import { hashBytes } from '../../formats/sha256.ts';
import { commitment, type Key, keyCarriers } from '../../marking/key.ts';
import { PROBES_NAME } from '../../marking/probe_manifest.ts';
import { derive } from '../../random.ts';
import type { MarkedFolder } from '../datasets/marked_folder.ts';
import { readBytes } from '../files/files.ts';
import { hashFile } from '../files/write.ts';
import type { OpenedProbes } from '../runs/make_probes.ts';
import { datasetCommitment } from './commitment.ts';
import { contradiction, measureChange, pairFinder } from './pairs.ts';
import { bonferroni, type Register, readRegister } from './register.ts';
import { hashCarriers, hashResult, numberOf, type Result, type StoredResult, suspectHash } from './result.ts';
import { loadFeatures, loadScores } from './saved.ts';

/** One row of the table. `ok` is null where the material for it was not given. */
export interface Check {
  readonly check: string;
  readonly ok: boolean | null;
  readonly detail: string;
}

export interface VerifyOptions {
  /** The revealed key, and where it is, for messages. */
  readonly key: Key;
  readonly keyPath: string;
  /** What was published, 64 hex digits. */
  readonly published?: string | undefined;
  /** The marking network's file. */
  readonly modelPath?: string | undefined;
  /** The result as it is in its file, and as read. */
  readonly result?: StoredResult | undefined;
  /** Folder of the arrays that the result was made from. */
  readonly features?: string | undefined;
  readonly register?: string | undefined;
  /** The marked data set: its manifest, and its images. */
  readonly marked?: { readonly folder: MarkedFolder; readonly dataset: Dataset } | undefined;
  /** The same before it was marked, in the same order. */
  readonly original?: Dataset | undefined;
  /** The probes of a black-box test. */
  readonly probes?: { readonly opened: OpenedProbes; readonly dataset: Dataset } | undefined;
  /** How many marked images are compared with their originals, and how many probes. */
  readonly sample: number;
  /** The held-out images. */
  readonly heldOut?: Dataset | undefined;
  /** Replies of a time-stamping authority, and the authorities that are trusted, in PEM. */
  readonly replies?: readonly string[] | undefined;
  readonly ca?: string | undefined;
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

async function checkKey({ key, published, modelPath }: VerifyOptions, keyCommitment: string): Promise<Check[]> {
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
    modelPath === undefined
      ? unknown('marking network', `the key's has sha256 ${model.sha256}; give its file with --model`)
      : await checkModel(model.sha256, modelPath),
  ];
}

async function checkModel(expected: string, path: string): Promise<Check> {
  const found = await hashFile(path);
  return compared(
    'marking network',
    found === expected,
    `sha256 ${found}`,
    `${path} has sha256 ${found}, the key ${expected}`,
  );
}

async function checkTimeStamps({ replies, ca, marked }: VerifyOptions, keyCommitment: string): Promise<Check[]> {
  if (!replies) return [unknown('time stamp', 'give the replies of the authority with --reply and --ca')];
  const known = new Map([[keyCommitment, 'key']]);
  if (marked) known.set(datasetCommitment(marked.folder), 'marked data set');
  return await Promise.all(
    replies.map(async (path) => {
      const reply = await readBytes(path);
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

async function checkStatistics(options: VerifyOptions, value: Result): Promise<Check> {
  const { features } = options;
  const again = { 'white-box': testAgain, 'black-box': testScoresAgain }[value.test];
  if (!again) return unknown('statistics', `not computed again: a ${value.test} test`);
  if (features === undefined || !value.saved)
    return unknown('statistics', 'detect --save keeps the arrays; give their folder with --features');
  try {
    return await again(options, value, features, value.saved);
  } catch (error) {
    if (error instanceof IntegrityError) return failed('statistics', error.message);
    throw error;
  }
}

type Again = (
  options: VerifyOptions,
  value: Result,
  folder: string,
  hashes: Readonly<Record<string, string>>,
) => Promise<Check>;

/** Whether two numbers are equal but for rounding. */
const close = (a: number, b: number): boolean =>
  a === b || Math.abs(a - b) <= RELATIVE_TOLERANCE * Math.max(1, Math.abs(a));

const testAgain: Again = async ({ key, signal }, value, folder, hashes) => {
  const saved = await loadFeatures(folder, hashes);
  const again = await testFeatures(key, saved.marking, saved, { freshKeys: 0, signal });
  const told = value.perClass ?? [];
  const pairs = [
    [again.log10p, numberOf(value.log10p)] as const,
    ...again.perClass.flatMap(({ cosine, log10p }, c) => [
      [cosine, numberOf(told[c]?.cosine ?? 'NaN')] as const,
      [log10p, numberOf(told[c]?.log10p ?? 'NaN')] as const,
    ]),
  ];
  const n = `from ${saved.n} images' features of both networks`;
  return compared(
    'statistics',
    pairs.every(([a, b]) => close(a, b)) && told.length === again.perClass.length,
    `computed again ${n}: log10 p ${again.log10p.toFixed(3)} and every class's cosine are the same`,
    `computed again ${n}, log10 p is ${again.log10p}; the result says ${numberOf(value.log10p)}, or a class differs`,
  );
};

const testScoresAgain: Again = async ({ key }, value, folder, hashes) => {
  const { probes, suspect, references } = await loadScores(folder, hashes);
  const labelOnly = value.blackBox?.scores === 'labels';
  const again = await testScores(key, probes, suspect, references, { labelOnly });
  type Numbers = Pick<Result['statistics'][number], 'log10p'> & {
    readonly perClass: readonly Pick<Result['statistics'][number]['perClass'][number], 'score' | 'log10p'>[];
  };
  const numbers = (statistics: readonly Numbers[]): number[] =>
    statistics.flatMap(({ log10p, perClass }) => [
      numberOf(log10p),
      ...perClass.flatMap((entry) => [numberOf(entry.score), numberOf(entry.log10p ?? 'NaN')]),
    ]);
  const [ours, theirs] = [numbers(again.statistics), numbers(value.statistics)];
  const same =
    close(again.log10p, numberOf(value.log10p)) &&
    hashes[PROBES_NAME] === value.blackBox?.probes.sha256 &&
    ours.length === theirs.length &&
    ours.every((x, i) => Object.is(x, theirs[i]) || close(x, theirs[i]));
  const from = `from the scores on ${probes.sets} carrier sets and the order that the secret gives`;
  return compared(
    'statistics',
    same,
    `computed again ${from}: log10 p ${again.log10p.toFixed(3)} and every class's response are the same`,
    `computed again ${from}, log10 p is ${again.log10p}; the result says ${numberOf(value.log10p)}, or a class or the probes differ`,
  );
};

/** The probes' images are those that `probes.json` tells of, within the radius of their vanilla versions. */
async function checkProbes({ probes, sample, signal }: VerifyOptions, value: Result): Promise<Check[]> {
  if (value.test !== 'black-box') return [];
  if (!probes) return [unknown('probes', 'give their folder with --probes')];
  const { manifest, sha256 } = probes.opened;
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
    found = await readRegister(register, keyCommitment);
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
