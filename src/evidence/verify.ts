/** What a third party can check of the evidence once the key is revealed. */

import type { Dataset } from '../datasets/dataset.ts';
import { hashDataset } from '../datasets/hash.ts';
import { merkleRoot } from '../datasets/merkle.ts';
import { parseFeatures, parseSavedScores, type StoredArrays } from '../detection/arrays.ts';
import type { ClassMapping } from '../detection/class_mapping.ts';
import { classWeightsInCarriers, recogniseFrequencies } from '../detection/recognise.ts';
import type { ModelScores } from '../detection/scores.ts';
import type { Finding } from '../detection/statistic.ts';
import { blackBoxOptions, type Retested, TESTS, whiteBoxOptions } from '../detection/tests.ts';
import { InputError, IntegrityError } from '../errors.ts';
import { fromBase64 } from '../formats/base64.ts';
import { hashBytes } from '../formats/sha256.ts';
import { checkBeacon, describeBeacon } from '../marking/beacon.ts';
import { type KeyGuarantee, keyGuarantees } from '../marking/guarantees.ts';
import { awaitsBeacon, commitment, type Key, keyBeacon, keyCarriers } from '../marking/key.ts';
import { recomputeSubspace } from '../marking/keygen.ts';
import { PROBES_NAME, type ProbeManifest } from '../marking/probe_manifest.ts';
import type { VanillaImages } from '../marking/vanilla.ts';
import type { Elements } from '../maths/linalg.ts';
import type { Model } from '../nn/model.ts';
import type { parseModelFile } from '../nn/model_file.ts';
import { derive } from '../random.ts';
import { type Check, compared, failed, notChecked, passed } from './check.ts';
import { datasetCommitment, type MarkedFolder } from './commitment.ts';
import { nearlyEqual, selfContradictions, timeContradictions } from './consistency.ts';
import { changesDiffer, gainsDiffer } from './marks.ts';
import { recomputeRows, SAME_OUTPUT } from './networks.ts';
import { contradiction, measureChange, pairFinder } from './pairs.ts';
import { bonferroni, parseRegister, type Register } from './register.ts';
import {
  deviationsOf,
  hashCarriers,
  hashResult,
  numberOf,
  type Result,
  type StatisticRecord,
  type StoredResult,
  suspectHash,
} from './result.ts';
import { stampedHash, type TrustedRoot, verifyReply } from './timestamp.ts';

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
  /** The marking network's file: where it is, its SHA-256, what is in it, and the network where a device is at hand. */
  readonly model?:
    | {
        readonly path: string;
        readonly sha256: string;
        readonly file?: Pick<Awaited<ReturnType<typeof parseModelFile>>, 'config' | 'tensors'> | undefined;
        readonly network?: Model | undefined;
      }
    | undefined;
  /** The images that the key's subspace was found on. */
  readonly vanilla?: VanillaImages | undefined;
  /** The model under test: its file, and the network where a device is at hand; `classes` are its outputs as the key's. */
  readonly suspect?:
    | {
        readonly path: string;
        readonly sha256: string;
        readonly network?: Model | undefined;
        readonly classes?: ClassMapping | undefined;
      }
    | undefined;
  /** Reference models of a black-box test, likewise. */
  readonly references?:
    | readonly { readonly path: string; readonly sha256: string; readonly network?: Model | undefined }[]
    | undefined;
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
  /** How many images are looked at where all of them would take long. */
  readonly sample: number;
  /** Follows the images that are compared. */
  readonly onProgress?: ((done: number, total: number) => void) | undefined;
  readonly signal?: AbortSignal | undefined;
}

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

async function checkKey(options: VerifyOptions, keyCommitment: string): Promise<Check[]> {
  const { key, published, model: file } = options;
  const { model } = key;
  return [
    published === undefined
      ? notChecked('commitment', `the key's is ${keyCommitment}`, 'what was published: --commitment HEX')
      : compared(
          'commitment',
          published === keyCommitment,
          `the key's is what was published, ${keyCommitment}`,
          `published was ${published}, the key's is ${keyCommitment}`,
        ),
    file === undefined
      ? notChecked('marking network', `the key's has sha256 ${model.sha256}`, 'its file: --model MARKER')
      : compared(
          'marking network',
          file.sha256 === model.sha256,
          `sha256 ${file.sha256}`,
          `${file.path} has sha256 ${file.sha256}, the key ${model.sha256}`,
        ),
    ...(await checkGuarantees(options)),
    ...(await checkBeaconStamp(options, keyCommitment)),
    ...checkPatterns(options),
    ...(await checkClassWeights(options)),
  ];
}

const NOTHING = 'nothing afterwards';

/** What would show what a key by itself does not. */
const GUARANTEE_NEEDS: Readonly<Record<KeyGuarantee['name'], string>> = {
  bound: `${NOTHING}: keys of version 4 bind all of it`,
  beacon: `${NOTHING}: a key made with keygen --beacon has public randomness mixed in`,
  'one draw': `${NOTHING}: a key made with keygen --beacon drand has one draw`,
  subspace: `${NOTHING}: keys of version 4 name the images`,
  'choice of images': `${NOTHING}: with keys of version 4 it follows from the secret`,
  'test images': `${NOTHING}: a key made with keygen --held-out names them`,
  references: `${NOTHING}: a key made with keygen --reference names them`,
  scores: `${NOTHING}: keys of version 4 say it`,
};

/** What the key itself rules out. How often it was drawn is no check, see {@link verificationLimits}; the images have a row of their own. */
async function checkGuarantees(options: VerifyOptions): Promise<Check[]> {
  const { key } = options;
  const rows: Check[] = [];
  for (const { name, holds, detail } of keyGuarantees(key)) {
    if (name === 'one draw' || (name === 'test images' && options.result)) continue;
    if (!holds) rows.push(notChecked(name, detail, GUARANTEE_NEEDS[name]));
    else if (name === 'subspace') rows.push(await checkSubspace(options, detail));
    else rows.push(passed(name, detail));
  }
  if (key.carriers.kind === 'uniform')
    rows.push(passed('subspace', 'none: carriers are drawn in the whole feature space'));
  return rows;
}

/** The subspace again, from the images that the key names. */
async function checkSubspace({ key, model, vanilla, signal }: VerifyOptions, named: string): Promise<Check> {
  if (!vanilla || !model?.network)
    return notChecked(
      'subspace',
      named,
      'those images and the marking network, on a machine with a GPU: --vanilla DATASET --model MARKER',
    );
  const { sameImages, sine, same } = await recomputeSubspace(key, model.network, vanilla, { signal });
  return compared(
    'subspace',
    same,
    `computed again from the images that the key names: the same, but for an angle whose sine is ${sine.toExponential(1)}`,
    sameImages
      ? `computed again it is another: the sine of the angle between them is ${sine.toPrecision(3)}`
      : 'the images given are not those that the key names',
  );
}

/** Of a stamp that is a key's randomness, the signature. That of a round of drand is checked too: it has no authority to trust. */
async function checkBeaconStamp({ key, ca }: VerifyOptions, keyCommitment: string): Promise<Check[]> {
  if (!key.beacon || key.beaconReply === undefined) return [];
  const name = 'beacon signature';
  const reply = fromBase64(key.beaconReply);
  try {
    await checkBeacon(key.beacon, reply, keyCommitment, 'key: beaconReply');
    if (key.beacon.kind === 'drand') return [passed(name, `that of drand's quicknet: ${describeBeacon(key.beacon)}`)];
    const stamp = await verifyReply(reply, { fileName: 'key: beaconReply', imprint: keyCommitment, ca });
    return [
      stamp.root
        ? passed(name, `${stamp.authority} stamped the commitment at ${stamp.time}; ${trusted(stamp.root)}`)
        : notChecked(
            name,
            `${stamp.authority} stamped the commitment at ${stamp.time}; whether to trust that is open`,
            CA_NEEDED,
          ),
    ];
  } catch (error) {
    if (error instanceof IntegrityError) return [failed(name, error.message)];
    throw error;
  }
}

/** A network of patterns: the published ones leave nothing to choose. */
function checkPatterns({ key, model }: VerifyOptions): Check[] {
  if (key.model.architecture !== 'frequencies') return [];
  const tensor = model?.file?.tensors.get('patterns.weight');
  if (!model?.file || !tensor)
    return [
      notChecked('patterns', 'whether they are the published ones is not known', 'the marking network: --model MARKER'),
    ];
  const values = new Float32Array(tensor.data.slice().buffer);
  const { kind, detail } = recogniseFrequencies(values, model.file.config);
  return [
    kind === 'published'
      ? passed('patterns', detail)
      : notChecked(
          'patterns',
          `${kind}: ${detail}`,
          `${NOTHING}: the network that radioactive frequencies makes has the published ones`,
        ),
  ];
}

/** Below this log10 p the marking network's own classes count as lying along the carriers. */
const CLASSES_ALONG_CARRIERS = -4;

/** Whether the marking network's own classes point where the carriers do: then every classifier of these looks marked. */
async function checkClassWeights({ key, model }: VerifyOptions): Promise<Check[]> {
  if (awaitsBeacon(key)) return [];
  const name = 'class weights';
  if (!model?.network)
    return [
      notChecked(
        name,
        "whether the marking network's own classes lie along the carriers is not known",
        'the marking network, on a machine with a GPU: --model MARKER',
      ),
    ];
  const weight = await model.network.headWeight();
  const sameClasses = model.network.config.numClasses === key.classes.length;
  const { share, log10p, spanned, spannedExpected } = classWeightsInCarriers(
    await keyCarriers(key),
    weight,
    sameClasses,
  );
  const spans = `they span ${percent(spanned)} of the carriers, by chance ${percent(spannedExpected)}`;
  return [
    compared(
      name,
      log10p > CLASSES_ALONG_CARRIERS,
      `the marking network's own classes do not lie along the carriers (log10 p ${log10p.toFixed(1)}); ${percent(share)} of them is in the space of the carriers, and ${spans}`,
      `the marking network's own classes lie along the carriers (log10 p ${log10p.toFixed(1)}): every classifier of these classes looks marked; ${spans}`,
    ),
  ];
}

const percent = (share: number): string => `${(100 * share).toFixed(1)} %`;

/** What no check can tell, whoever makes it, a sentence each: it belongs to every table. */
export function verificationLimits(key: Key): string[] {
  const draw = keyGuarantees(key).find(({ name }) => name === 'one draw');
  return [
    'Keys are not counted: the number is corrected for the tests made with this key, not for other keys of the same owner that were tried and never shown.',
    ...(draw ? [`How often the key was drawn: ${draw.detail}.`] : []),
    "The list of tests is the owner's: between two time stamps of it an entry could be taken back by restoring a copy of the file.",
    'Times that no authority stamped are what the owner says.',
  ];
}

const CA_NEEDED = "the authority's certificate, from the authority itself: --ca FILE.pem";

const trusted = ({ subject, sha256 }: TrustedRoot): string =>
  `trusted is ${subject}, sha256 ${sha256}, chosen by whoever ran verify`;

/** What may have been stamped, by its hash. */
function stampable({ marked, register }: VerifyOptions, keyCommitment: string): Map<string, string> {
  const known = new Map([[keyCommitment, 'the key']]);
  if (marked) known.set(datasetCommitment(marked.folder), 'the marked data set');
  if (register) {
    try {
      const { beginning, hashes } = parseRegister(register.text, register.path, keyCommitment);
      known.set(beginning, BEGINNING);
      for (const [i, hash] of hashes.entries()) known.set(hash, `the list of tests, up to entry ${i + 1}`);
    } catch (error) {
      // A row of its own says so.
      if (!(error instanceof IntegrityError)) throw error;
    }
  }
  return known;
}

const BEGINNING = 'the list of tests before the first';

/** The stamps of trusted authorities: what, and when. */
async function trustedStamps(options: VerifyOptions, keyCommitment: string): Promise<{ of: string; time: string }[]> {
  const { replies = [], ca, key } = options;
  if (ca === undefined) return [];
  const known = stampable(options, keyCommitment);
  const found: { of: string; time: string }[] = [];
  const own = key.beacon?.kind === 'time-stamp' && key.beaconReply !== undefined;
  const all = own ? [...replies, { path: 'key: beaconReply', bytes: fromBase64(key.beaconReply!) }] : replies;
  for (const { path, bytes } of all)
    try {
      const imprint = stampedHash(bytes, path);
      const of = known.get(imprint);
      const stamp = await verifyReply(bytes, { fileName: path, imprint, ca });
      if (of !== undefined && stamp.root) found.push({ of, time: stamp.time });
    } catch (error) {
      if (!(error instanceof IntegrityError)) throw error;
    }
  return found;
}

async function checkTimeStamps(options: VerifyOptions, keyCommitment: string): Promise<Check[]> {
  const { replies, ca, marked, result } = options;
  if (!replies)
    return [notChecked('time stamp', 'none was given', "the authority's replies: --reply FILE.tsr --ca FILE.pem")];
  const known = stampable(options, keyCommitment);
  return await Promise.all(
    replies.map(async ({ path, bytes: reply }) => {
      try {
        const hash = stampedHash(reply, path);
        const of = known.get(hash);
        const other = `neither of the key nor of the marked data set or the list of tests that were given${marked ? '' : '; give --marked for a data set'}`;
        if (!of) return failed('time stamp', `${path}: stamps ${hash}, ${other}`);
        const stamp = await verifyReply(reply, { fileName: path, imprint: hash, ca });
        const by = `${of} was there at ${stamp.time}, says ${stamp.authority}`;
        const test = result?.value.time;
        if (test !== undefined && !of.startsWith('the list') && Date.parse(stamp.time) > Date.parse(test))
          return failed('time stamp', `${by}; that is after the test of ${test} and proves nothing about it`);
        const before = of.startsWith('the list') ? '' : '; the suspect must be younger than that';
        return stamp.root
          ? passed('time stamp', `${by}${before}; ${trusted(stamp.root)}`)
          : notChecked('time stamp', `${by}${before}; whether to trust that is open`, CA_NEEDED);
      } catch (error) {
        if (error instanceof IntegrityError) return failed('time stamp', error.message);
        throw error;
      }
    }),
  );
}

async function checkMarked(options: VerifyOptions, keyCommitment: string): Promise<Check[]> {
  const { key, marked } = options;
  if (!marked) return [notChecked('marked images', 'none were given', 'the marked data set: --marked OUT')];
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
  if (!original)
    return [
      notChecked(
        'change and PSNR',
        'nothing to compare the marked images with',
        'the unmarked data set: --original DATASET',
      ),
    ];
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
    if (measured.changeLevels === 0) wrong.push(`${claim.id} is not changed at all`);
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
  if (!result) return [notChecked('result', 'none was given', 'the result of a test: --result FILE.json')];
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
    checkItself(value),
    fixed?.kind === 'content'
      ? compared(
          'test images',
          fixed.sha256 === value.data.sha256,
          `those that the key fixed: ${images}`,
          `the key fixed sha256 ${fixed.sha256}, tested on ${images}`,
        )
      : notChecked(
          'test images',
          `the key ${fixed ? `only says ${JSON.stringify(fixed.name)}` : 'left them open'}; tested on ${images}`,
          'nothing afterwards: a key made with keygen --held-out names them',
        ),
    ...(await checkHeldOut(options, value, heldOut)),
    ...(await checkProbes(options, value)),
    checkDeviations(options, value),
    await checkStatistics(options, value),
    ...(await checkNetworks(options, value)),
  ];
}

const ON_A_GPU = 'on a machine with a GPU';

/** Whether the arrays are what the networks make of the images: without that anybody can write arrays. */
async function checkNetworks(options: VerifyOptions, value: Result): Promise<Check[]> {
  const { suspect, references = [] } = options;
  const rows: Check[] = [];
  const recorded = value.suspect.sha256;
  if (recorded === undefined)
    rows.push(
      notChecked(
        'suspect',
        'what the suspect answers was supplied by a person: the program did not see the model',
        `${NOTHING}: detect --suspect MODEL looks at the model itself`,
      ),
    );
  else if (!suspect)
    rows.push(notChecked('suspect', `its file has sha256 ${recorded}, says the result`, 'the file: --suspect MODEL'));
  else
    rows.push(
      compared(
        'suspect',
        suspect.sha256 === recorded,
        `sha256 ${recorded}`,
        `${suspect.path} has sha256 ${suspect.sha256}, the result says ${recorded}`,
      ),
    );
  rows.push(
    ...(value.test === 'white-box'
      ? await checkFeatures(options, recorded !== undefined)
      : await checkScores(options, value, references)),
  );
  return rows;
}

type Row = {
  readonly name: string;
  readonly network: Model | undefined;
  readonly dataset: Dataset | undefined;
  readonly kept: Elements | undefined;
  readonly what: 'features' | 'logits';
  readonly needs: string;
};

async function recompute(
  { name, network, dataset, kept, what, needs }: Row,
  { sample, signal }: VerifyOptions,
): Promise<Check> {
  if (!network || !dataset || !kept)
    return notChecked(name, 'whether the stored arrays are what the network makes of the images is not known', needs);
  if (kept.length % dataset.length !== 0)
    return failed(name, `the stored array is not one of ${dataset.length} images`);
  const { count, largest, same } = await recomputeRows(network, dataset, kept, what, { sample, signal });
  const of = `${count} of ${dataset.length} images: the largest difference of one is ${largest.toExponential(1)} of its length, at most ${SAME_OUTPUT} is rounding`;
  return compared(name, same, `computed again on ${of}`, `computed again, they are others, on ${of}`);
}

async function checkFeatures(options: VerifyOptions, seen: boolean): Promise<Check[]> {
  const { arrays, heldOut, model, suspect } = options;
  const kept = arrays && Object.keys(arrays.files).length > 0 ? parseFeatures(arrays) : undefined;
  const rows = [
    await recompute(
      {
        name: 'features of the marking network',
        network: model?.network,
        dataset: heldOut,
        kept: kept?.marking,
        what: 'features',
        needs: `the network, the held-out images and the saved arrays, ${ON_A_GPU}: --model MARKER --data HELDOUT --features DIR`,
      },
      options,
    ),
  ];
  if (!seen) return rows;
  rows.push(
    await recompute(
      {
        name: 'features of the suspect',
        network: suspect?.network,
        dataset: heldOut,
        kept: kept?.suspect.features,
        what: 'features',
        needs: `its file, the held-out images and the saved arrays, ${ON_A_GPU}: --suspect MODEL --data HELDOUT --features DIR`,
      },
      options,
    ),
  );
  const name = 'last layer of the suspect';
  if (!suspect?.network || !kept)
    return [
      ...rows,
      notChecked(
        name,
        'whether the stored one is the one in its file is not known',
        `its file, ${ON_A_GPU}: --suspect MODEL`,
      ),
    ];
  const weight = await suspect.network.headWeight();
  const columns = suspect.network.featureDimension;
  const mapped = suspect.classes ? suspect.classes.rowsOf(weight, columns) : weight;
  const same = mapped.length === kept.suspect.weight.length && kept.suspect.weight.every((x, i) => x === mapped[i]);
  return [
    ...rows,
    compared(
      name,
      same,
      'the stored one is the one in its file',
      'the stored one is not the one in its file, or of other classes',
    ),
  ];
}

async function checkScores(
  options: VerifyOptions,
  value: Result,
  references: NonNullable<VerifyOptions['references']>,
): Promise<Check[]> {
  const { arrays, probes, suspect } = options;
  const kept = arrays && Object.hasOwn(arrays.files, PROBES_NAME) ? parseSavedScores(arrays) : undefined;
  const rows: Check[] = [];
  const needs = (flag: string): string =>
    `the file, the probes and the saved arrays, ${ON_A_GPU}: ${flag} MODEL --probes PROBES --features DIR`;
  const valuesOf = (scores: ModelScores | undefined): Elements | undefined =>
    scores?.kind === 'logits' ? (scores.values as Elements) : undefined;
  if (value.suspect.sha256 !== undefined)
    rows.push(
      await recompute(
        {
          name: 'scores of the suspect',
          network: suspect?.network,
          dataset: probes?.dataset,
          kept: valuesOf(kept?.suspect),
          what: 'logits',
          needs: needs('--suspect'),
        },
        options,
      ),
    );
  for (const [i, record] of (value.blackBox?.references ?? []).entries()) {
    const name = `scores of reference ${i + 1}`;
    if (record.sha256 === undefined) {
      rows.push(
        notChecked(
          name,
          'supplied by a person: the program did not see the model',
          `${NOTHING}: detect --reference MODEL looks at the model itself`,
        ),
      );
      continue;
    }
    const given = references.find(({ sha256 }) => sha256 === record.sha256);
    rows.push(
      await recompute(
        {
          name,
          network: given?.network,
          dataset: probes?.dataset,
          kept: valuesOf(kept?.references[i]),
          what: 'logits',
          needs: needs('--reference'),
        },
        options,
      ),
    );
  }
  return rows;
}

/** The result's own numbers, as far as they follow from each other. */
function checkItself(value: Result): Check {
  const wrong = selfContradictions(value);
  return compared(
    'result against itself',
    wrong.length === 0,
    'its p-values follow from each other, from its cosines or ranks and from the number of tests',
    wrong.slice(0, 3).join('; '),
  );
}

/** All times against each other. They are what the files say: only a time stamp is another's word. */
async function checkTimes({ key, result }: VerifyOptions, register: Register | undefined): Promise<Check[]> {
  if (!result) return [];
  const beacon = awaitsBeacon(key) ? null : await keyBeacon(key);
  const wrong = timeContradictions(result.value, { beacon: beacon?.time, register });
  const { created } = result.value.key;
  if (created !== key.created)
    wrong.push(`the result says that the key was made at ${created}, the key ${key.created}`);
  return [
    compared(
      'times',
      wrong.length === 0,
      `in order, as the files say them: key ${key.created}${beacon ? `, beacon ${beacon.time}` : ''}, test ${result.value.time}`,
      wrong.slice(0, 3).join('; '),
    ),
  ];
}

/** The held-out images are those of the result, and none of them is a marked one. */
async function checkHeldOut({ marked }: VerifyOptions, value: Result, heldOut: Dataset | undefined): Promise<Check[]> {
  if (!heldOut)
    return value.test === 'black-box'
      ? []
      : [notChecked('held-out files', 'the images that were tested on were not given', 'those images: --data HELDOUT')];
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
    return notChecked(
      'statistics',
      'the arrays that the test was made from were not given',
      'the folder that detect --save made: --features DIR',
    );
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
  const missing = finding.warnings.find((warning) => !value.warnings.includes(warning));
  if (missing !== undefined)
    return failed('statistics', `computed again ${from}, the test warns of what the result leaves out: ${missing}`);
  const same =
    foreign === undefined &&
    ours.length === theirs.length &&
    ours.every((x, i) => Object.is(x, theirs[i]) || nearlyEqual(x, theirs[i]));
  return compared(
    'statistics',
    same,
    `computed again ${from}: log10 p ${finding.log10p.toFixed(3)}, every class's ${test.perClass}, its warnings and what it gives where there is nothing to find are the same`,
    `computed again ${from}, log10 p is ${finding.log10p}; the result says ${numberOf(value.log10p)}, or another of its numbers ${foreign === undefined ? 'differs' : `or ${foreign} differ`}`,
  );
}

/** All numbers of a finding that follow from the arrays and the key. */
function numbersOf(found: Finding | Result): number[] {
  const { perClass = [], alignment, meanCosine, blackBox } = found as Result;
  return [
    numberOf(found.log10p),
    ...(alignment ? [alignment.n, alignment.rank, numberOf(alignment.r2)] : []),
    ...(meanCosine === undefined ? [] : [numberOf(meanCosine)]),
    ...perClass.flatMap(({ cosine, log10p }) => [numberOf(cosine), numberOf(log10p)]),
    ...(blackBox
      ? [
          blackBox.sets,
          blackBox.imagesPerClass,
          ...blackBox.control.beta.map(numberOf),
          numberOf(blackBox.control.explained),
          numberOf(blackBox.marksLog10P),
        ]
      : []),
    ...found.statistics.flatMap(({ log10p, perClass, null: sample }) => [
      numberOf(log10p),
      ...perClass.flatMap((entry) => [numberOf(entry.score), numberOf(entry.log10p ?? 'NaN')]),
      ...(sample ? [sample.atMost, ...sample.log10p.map(numberOf)] : []),
    ]),
  ];
}

/** Whether the test is the one that the key fixes: found again from the key, the probes and what was tested. */
function checkDeviations({ key, arrays, probes }: VerifyOptions, value: Result): Check {
  const name = 'deviations';
  const { test, blackBox, data } = value;
  let options: StatisticRecord | undefined;
  if (test === 'white-box') options = whiteBoxOptions(key);
  else if (blackBox) {
    const manifest =
      probes?.manifest ??
      (arrays && Object.hasOwn(arrays.files, PROBES_NAME) ? parseSavedScores(arrays).probes : undefined);
    if (manifest)
      options = blackBoxOptions(key, manifest, {
        scores: blackBox.scores,
        probesSha256: blackBox.probes.sha256,
        references: blackBox.references.map((record) => record.sha256 ?? record.scoresSha256),
      });
  }
  if (!options)
    return notChecked(
      name,
      'how the probes were made is not known',
      'their folder, --probes PROBES, or the saved arrays',
    );
  const derived = deviationsOf(key, test, options, data);
  const silent = derived.filter((deviation) => !value.deviations.includes(deviation));
  const wrong = [
    ...silent.map((deviation) => `the result does not say that ${deviation}`),
    ...(value.primary === (value.deviations.length === 0)
      ? []
      : ['it is called the test that the key fixes beside deviations, or the other way round']),
  ];
  return compared(
    name,
    wrong.length === 0,
    value.primary
      ? 'none: the test is the one that the key fixes'
      : `as the result says them: ${value.deviations.join('; ')}`,
    wrong.join('; '),
  );
}

/** The probes' images are those that `probes.json` tells of, within the radius of their vanilla versions. */
async function checkProbes({ key, model, probes, sample, signal }: VerifyOptions, value: Result): Promise<Check[]> {
  if (value.test !== 'black-box') return [];
  if (!probes) return [notChecked('probes', 'their images were not given', 'their folder: --probes PROBES')];
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
    ...(await checkProbeMarks({ key, model, signal }, manifest, images, found === manifest.sha256)),
  ];
}

/** The figures that the true set and its decoys are compared by, from the images themselves. */
async function checkProbeMarks(
  { key, model, signal }: Pick<VerifyOptions, 'key' | 'model' | 'signal'>,
  manifest: ProbeManifest,
  images: Dataset,
  theirs: boolean,
): Promise<Check[]> {
  const [changes, gains] = ['changes of the probes', 'gains of the probes'];
  // Of other images than the listed ones nothing is to be measured.
  if (!theirs || images.length !== manifest.images.length * (manifest.sets + 1)) return [];
  const change = await changesDiffer(manifest, images, signal);
  const rows = [
    compared(changes, change === undefined, 'measured again of every image: as probes.json says', change ?? ''),
  ];
  if (!model?.network)
    return [
      ...rows,
      notChecked(
        gains,
        'how far the marking network moves is what probes.json says',
        `the network, ${ON_A_GPU}: --model MARKER`,
      ),
    ];
  const gain = await gainsDiffer(key, model.network, manifest, images, signal);
  return [
    ...rows,
    compared(gains, gain === undefined, 'measured again of every image: as probes.json says', gain ?? ''),
  ];
}

/** Seconds between the stamps of a key and of the beginning of its list, that still count as beside each other. */
const BESIDE_S = 86_400;

/** A list is complete as far as stamps tell: its beginning was stamped beside the key. */
async function checkComplete(options: VerifyOptions, keyCommitment: string, withKey: boolean): Promise<Check[]> {
  const name = 'register complete';
  if (!withKey) return [];
  const stamps = await trustedStamps(options, keyCommitment);
  const beginning = stamps.find(({ of }) => of === BEGINNING);
  const key = stamps.find(({ of }) => of === 'the key');
  const apart =
    beginning && key ? Math.abs(Date.parse(beginning.time) - Date.parse(key.time)) / 1000 : Number.POSITIVE_INFINITY;
  return [
    apart <= BESIDE_S
      ? passed(
          name,
          `its beginning was stamped at ${beginning!.time}, the key at ${key!.time}: no other list of this key can take its place`,
        )
      : notChecked(
          name,
          beginning && key
            ? `its beginning was stamped at ${beginning.time}, long after or before the key at ${key.time}`
            : 'nothing shows that this is the only list of tests with this key: its owner could have begun it anew',
          'time stamps of the key and, beside it, of the beginning of the list: radioactive commit --register before the first test, then --reply and --ca',
        ),
  ];
}

async function checkRegister(options: VerifyOptions, keyCommitment: string): Promise<Check[]> {
  const { register, result } = options;
  if (register === undefined)
    return [notChecked('register', 'none was given', "the owner's list of tests: --register FILE")];
  let found: Register;
  try {
    found = parseRegister(register.text, register.path, keyCommitment);
  } catch (error) {
    if (error instanceof IntegrityError)
      return [failed('register', error.message), ...(await checkTimes(options, undefined))];
    throw error;
  }
  const { looks, withKey, begun } = found;
  const tests = looks.length === 1 ? '1 test' : `${looks.length} tests`;
  const checks = [
    compared(
      'register',
      withKey,
      `the owner's list is whole in itself: ${tests} since the key was made, it says`,
      `the owner's list is whole in itself with ${tests}, but was begun on ${begun}, after the key: earlier ones are not in it`,
    ),
    ...(await checkComplete(options, keyCommitment, withKey)),
  ];
  if (!result) return checks;
  checks.push(...(await checkTimes(options, found)));
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
