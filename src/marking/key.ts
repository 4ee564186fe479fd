/**
 * The key file: the secret and everything that decides a test, fixed before any suspect is seen, and the commitment that
 * proves later that it was. docs/key-derivation.md specifies the derivation and the commitment's encoding.
 */

import * as v from 'valibot';
import { compositionHint } from '../datasets/names.ts';
import { InputError, IntegrityError } from '../errors.ts';
import { fromBase64, toBase64 } from '../formats/base64.ts';
import { canonicalJson } from '../formats/canonical.ts';
import { checkDocument, type DocumentKind, parseJson } from '../formats/document.ts';
import { hex32, name, positiveCount } from '../formats/fields.ts';
import { DEFAULT_RCOND, MIN_RCOND, multiplyTransposed } from '../maths/linalg.ts';
import {
  type Beacon,
  BeaconSchema,
  type BeaconValue,
  beaconValue,
  checkBeacon,
  describeBeacon,
  QUICKNET,
} from './beacon.ts';
import { type CarrierPurpose, type Carriers, deriveCarriers, placeCarriers } from './carriers.ts';
import { SECRET_BYTES, type StreamSource, secretSource } from './key_stream.ts';
import { probeOrder } from './probe_order.ts';
import { MarkingRecipeSchema } from './recipe.ts';

/** What is hashed begins with it: no other use of SHA-256 here hashes the same bytes. */
const commitmentPrefix = (version: Key['version']): string => `radioactive-key-commitment/v${version}`;

/** By so much may the basis rows' scalar products differ from those of orthonormal ones. */
const ORTHONORMALITY = 1e-9;

/** What memory is set aside for: far more than any network or test has. */
const size = v.pipe(positiveCount, v.maxValue(2 ** 20));
/** Classes times features, and classes times carrier sets. */
const MOST_VALUES = 2 ** 27;

const HeldOutSchema = v.variant('kind', [
  v.strictObject({ kind: v.literal('content'), count: positiveCount, sha256: hex32 }),
  v.strictObject({ kind: v.literal('name'), name }),
]);

const WhiteBoxSchema = v.strictObject({
  kind: v.literal('white-box'),
  centre: v.boolean(),
  rcond: v.pipe(
    v.number(),
    v.minValue(MIN_RCOND, `expected at least ${MIN_RCOND}`),
    v.maxValue(0.1, 'expected at most 0.1'),
  ),
});

const BlackBoxSchema = v.strictObject({
  kind: v.literal('black-box'),
  /** How the classes' evidence becomes one p-value. */
  combine: v.picklist(['sum', 'fisher']),
  /** Carrier sets that the true one is compared with. */
  decoys: size,
  /** Held-out images of each class that are marked towards every set. */
  perClass: positiveCount,
  /** How they are marked. */
  recipe: MarkingRecipeSchema,
  /** SHA-256 of the reference models' files; null: left open. */
  references: v.nullable(v.array(hex32, 'expected a list or null')),
  /** What a suspect is asked for: scores of all classes, or the predicted class alone. From version 4 on. */
  scores: v.exactOptional(v.picklist(['scores', 'labels'])),
});

/** Vanilla images by their content, and where in their data set they lie. */
const NamedImagesSchema = v.strictObject({
  count: positiveCount,
  /** See `hashDataset`. */
  sha256: hex32,
  /** Names of the first and the last: they tell split and range. */
  first: name,
  last: name,
});

const VERSIONS = [1, 2, 3, 4] as const;
/** Of new keys. */
const VERSION = 4;

const KeySchema = v.strictObject({
  format: v.literal('radioactive-key'),
  version: v.picklist(VERSIONS),
  secret: hex32,
  nonce: hex32,
  classes: v.pipe(
    v.array(name),
    v.minLength(1, 'expected at least one class'),
    v.check((classes) => new Set(classes).size === classes.length, 'expected every class once'),
  ),
  model: v.strictObject({
    sha256: hex32,
    architecture: name,
    featureDimension: size,
    /** What was said of the network beside its file, by flags. Of version 2. */
    network: v.exactOptional(
      v.record(
        v.string(),
        v.union([v.string(), v.number(), v.array(v.number())], 'expected a name, a number or a list of numbers'),
      ),
    ),
  }),
  carriers: v.variant('kind', [
    v.strictObject({ kind: v.literal('uniform'), dimension: size }),
    v.strictObject({
      kind: v.literal('subspace'),
      dimension: size,
      basis: v.pipe(v.string(), v.base64()),
      basisSha256: hex32,
      /** The images it was found on; null: left open. From version 4 on. */
      vanilla: v.exactOptional(v.nullable(NamedImagesSchema)),
    }),
  ]),
  /** Black-box: from version 3 on. */
  statistic: v.variant('kind', [WhiteBoxSchema, BlackBoxSchema]),
  /** From version 2 on. */
  heldOut: v.exactOptional(v.nullable(HeldOutSchema)),
  created: v.pipe(v.string(), v.isoTimestamp()),
  /** The randomness that is mixed in after the commitment; null: none. From version 4 on. */
  beacon: v.exactOptional(v.nullable(BeaconSchema)),
  /** That randomness as it was given, base64 of the file; absent until the key is complete. Not in the commitment, which is before it. */
  beaconReply: v.exactOptional(v.pipe(v.string(), v.base64(), v.maxLength(100_000, 'expected at most 75 kB'))),
});

/**
 * A key, as its JSON file holds it: secret and nonce in hex; basis in base64 of float64 little-endian [k,d], with the
 * SHA-256 of those bytes. The order of the classes is the carriers' order.
 */
export interface Key extends v.InferOutput<typeof KeySchema> {}

/** Which images the test will run on: by `hashDataset` of what they hold and their number, or by a name that people understand. */
export type HeldOutImages = v.InferOutput<typeof HeldOutSchema>;

/** The black-box test as a key fixes it. */
export interface BlackBoxStatistic extends v.InferOutput<typeof BlackBoxSchema> {}

/** Images that a key names: those that its subspace was found on. */
export interface NamedImages extends v.InferOutput<typeof NamedImagesSchema> {}

/** What {@link createKey} fixes. */
export interface KeyOptions {
  /** in the order of the data's labels */
  classes: readonly string[];
  /** the marking network: SHA-256 of its file in hex, architecture, d, and what its file does not say */
  model: Key['model'];
  /** null: uniform in the whole feature space; else B [k,d], orthonormal rows */
  basis: Float64Array | null;
  /** the images that the basis was found on; default null: the key does not tell */
  vanilla?: NamedImages | null | undefined;
  /** centre features before the alignment */
  centre: boolean;
  /** truncation of the alignment, default {@link DEFAULT_RCOND} */
  rcond?: number;
  /** the black-box test is the one that counts, with these options; absent: the white-box test */
  blackBox?: Omit<BlackBoxStatistic, 'kind'> | undefined;
  /** the images to test on; default null: the key leaves them open */
  heldOut?: HeldOutImages | null | undefined;
  /** the randomness that has to be mixed in before the key has carriers, see {@link completeKey}; default null: none */
  beacon?: Beacon | null | undefined;
}

/**
 * A new key with a secret and a nonce from the system's generator.
 * @throws InputError if an option is not what the key file takes, e.g. a basis that is not orthonormal
 */
export async function createKey(options: KeyOptions): Promise<Key> {
  const {
    classes,
    model,
    basis,
    centre,
    rcond = DEFAULT_RCOND,
    blackBox,
    vanilla = null,
    heldOut = null,
    beacon = null,
  } = options;
  let carriers: Key['carriers'] = { kind: 'uniform', dimension: model.featureDimension };
  if (basis !== null) {
    const bytes = encodeFloats(basis);
    carriers = {
      kind: 'subspace',
      dimension: basis.length / model.featureDimension,
      basis: toBase64(bytes),
      basisSha256: toHex(await sha256(bytes)),
      vanilla,
    };
  }
  const key: Key = {
    format: 'radioactive-key',
    version: VERSION,
    secret: toHex(globalThis.crypto.getRandomValues(new Uint8Array(SECRET_BYTES))),
    nonce: toHex(globalThis.crypto.getRandomValues(new Uint8Array(SECRET_BYTES))),
    classes: [...classes],
    model,
    carriers,
    statistic: blackBox ? { kind: 'black-box', scores: 'scores', ...blackBox } : { kind: 'white-box', centre, rcond },
    heldOut,
    created: new Date().toISOString(),
    beacon,
  };
  return checkKey(key, 'key', 'a key cannot be made of this');
}

/** The key file's text, JSON. */
export function serializeKey(key: Key): string {
  return `${JSON.stringify(key, null, 2)}\n`;
}

/**
 * Reads a key file's text. Unknown fields are refused; no message holds the secret.
 * @param fileName for messages
 * @throws InputError naming file and field
 * @throws IntegrityError if the basis is not the one its hash was taken of
 */
export async function parseKey(text: string, fileName: string): Promise<Key> {
  return checkKey(parseJson(text, fileName, CURE), fileName);
}

const CURE = 'give the file that keygen wrote, unchanged';

const KEY = {
  name: 'key',
  cure: CURE,
  schema: KeySchema,
  header: { format: 'radioactive-key', versions: VERSIONS },
} satisfies DocumentKind;

async function checkKey(json: unknown, fileName: string, cure = CURE): Promise<Key> {
  const key = checkDocument({ ...KEY, cure }, json, fileName);
  const fail = (what: string): never => {
    throw new InputError(`${fileName}: ${what}; ${cure}`);
  };
  if (key.version === 1 && key.heldOut !== undefined) fail('heldOut: unknown field');
  if (key.version >= 2 && key.heldOut === undefined) fail('heldOut: missing');
  if (key.version < 3 && key.statistic.kind === 'black-box')
    fail(`statistic.kind: expected "white-box" in a key of version ${key.version}`);
  if (key.version === 1 && key.model.network) fail('model.network: unknown field');
  const subspace = key.carriers.kind === 'subspace' ? key.carriers : undefined;
  for (const [place, value, expected] of [
    ['carriers.vanilla', subspace?.vanilla, subspace !== undefined],
    [
      'statistic.scores',
      key.statistic.kind === 'black-box' && key.statistic.scores,
      key.statistic.kind === 'black-box',
    ],
    ['beacon', key.beacon, true],
  ] as const) {
    if (!expected) continue;
    if (key.version < 4 && value !== undefined) fail(`${place}: unknown field`);
    if (key.version >= 4 && value === undefined) fail(`${place}: missing`);
  }
  if (key.beaconReply !== undefined) {
    if (!key.beacon) return fail('beaconReply: unknown field');
    await checkBeacon(key.beacon, fromBase64(key.beaconReply), await commitment(key), `${fileName}: beaconReply`);
  }
  const d = key.model.featureDimension;
  const k = key.carriers.dimension;
  const sets = key.statistic.kind === 'black-box' ? key.statistic.decoys + 1 : 1;
  if (key.classes.length * Math.max(d, sets) > MOST_VALUES)
    fail(`classes: expected at most ${MOST_VALUES} values for all of them, of carriers or of sets`);
  if (key.carriers.kind === 'uniform') {
    if (k !== d) fail(`carriers.dimension: expected ${d}, the model's feature dimension`);
    return key;
  }
  const bytes = fromBase64(key.carriers.basis);
  if (k > d || bytes.length !== k * d * 8) {
    fail(`carriers.basis: expected ${k} × ${d} float64, at most ${d} rows; it has ${bytes.length} bytes`);
  }
  if (toHex(await sha256(bytes)) !== key.carriers.basisSha256) {
    throw new IntegrityError(`${fileName}: carriers.basis: its SHA-256 is not carriers.basisSha256; ${cure}`);
  }
  const basis = decodeFloats(bytes);
  const products = multiplyTransposed(basis, basis, k, k, d);
  const orthonormal = products.every((x, at) => Math.abs(x - (at % (k + 1) === 0 ? 1 : 0)) <= ORTHONORMALITY);
  if (!orthonormal) fail(`carriers.basis: its rows are not orthonormal`);
  if (key.classes.length < 2) fail(`classes: subspace carriers need at least two`);
  return key;
}

/**
 * SHA-256, in hex, over everything in the key, in the encoding of docs/key-derivation.md; of a beacon over which it is, not over
 * its reply, which comes after. Published before the data, it fixes the key; it says nothing about the secret.
 */
export async function commitment(key: Key): Promise<string> {
  const prefix = commitmentPrefix(key.version);
  const { beaconReply: _, ...fixed } = key;
  const bytes = key.version === 1 ? encodeFields(prefix, key) : encodeText(`${prefix}\n${canonicalJson(fixed)}`);
  return toHex(await sha256(bytes));
}

/** Whether a key has no carriers yet: its beacon's reply is not there. */
export const awaitsBeacon = (key: Key): boolean => key.beacon != null && key.beaconReply === undefined;

/**
 * The key with its beacon's reply in it, which it has carriers from then on.
 * @param reply the file's bytes, see {@link beaconValue}
 * @param replyName for messages
 * @throws InputError if the key waits for none, or the reply cannot be read; IntegrityError if it is another's
 */
export async function completeKey(key: Key, reply: Uint8Array, replyName: string): Promise<Key> {
  if (!key.beacon) throw new InputError('the key was made without a beacon, and has its carriers already');
  if (!awaitsBeacon(key)) throw new InputError('the key has its beacon already: its carriers would be others');
  await checkBeacon(key.beacon, reply, await commitment(key), replyName);
  return await checkKey({ ...key, beaconReply: toBase64(reply) }, 'key');
}

/**
 * What a key's beacon gave; null for a key without one.
 * @throws InputError if it is not there yet, naming what the key waits for
 */
export async function keyBeacon(key: Key): Promise<BeaconValue | null> {
  if (!key.beacon) return null;
  if (key.beaconReply === undefined) {
    const get =
      key.beacon.kind === 'time-stamp'
        ? 'radioactive commit says how to have it stamped'
        : `https://api.drand.sh/${QUICKNET.chain}/public/${key.beacon.round} gives it`;
    throw new InputError(
      `the key has no carriers before ${describeBeacon(key.beacon)}; ${get}, then complete the key: radioactive complete`,
    );
  }
  return await beaconValue(key.beacon, fromBase64(key.beaconReply), await commitment(key), 'key: beaconReply');
}

/**
 * What all streams of the key are derived from: of version 4 the secret, everything else in the key and its beacon, so that nothing
 * can be chosen to suit what follows from the secret; before that the secret alone.
 * @throws InputError if the key waits for its beacon
 */
export async function keySource(key: Key): Promise<StreamSource> {
  const secret = fromHex(key.secret);
  if (key.version < 4) return secretSource(secret);
  const { secret: _, beaconReply: __, ...rest } = key;
  const context = await sha256(encodeText(`radioactive-key-context/v4\n${canonicalJson(rest)}`));
  const beacon = await keyBeacon(key);
  const salted = [encodeText('radioactive/hkdf/v4\n'), context, beacon?.value ?? new Uint8Array(0)];
  return { version: 4, secret, salt: await sha256(concatenate(salted)) };
}

/** What version 1 hashes: the fields one after another, each with its length, so that no two keys have the same encoding. */
function encodeFields(prefix: string, key: Key): Uint8Array<ArrayBuffer> {
  const { centre, rcond } = keyAlignment(key);
  const fields = [
    encodeText(prefix),
    fromHex(key.secret),
    fromHex(key.nonce),
    encodeCount(key.classes.length),
    ...key.classes.map(encodeText),
    fromHex(key.model.sha256),
    encodeText(key.model.architecture),
    encodeCount(key.model.featureDimension),
    encodeText(key.carriers.kind),
    encodeCount(key.carriers.dimension),
    key.carriers.kind === 'subspace' ? fromHex(key.carriers.basisSha256) : new Uint8Array(0),
    encodeText(key.statistic.kind),
    Uint8Array.of(centre ? 1 : 0),
    encodeFloat(rcond),
    encodeText(key.created),
  ];
  return concatenate(fields.flatMap((field) => [encodeCount(field.length), field]));
}

/**
 * The key's carriers, or a decoy set drawn the same way.
 * @param draw which decoy, from 0; the mark is draw 0
 * @throws InputError if the key waits for its beacon, or as `deriveCarriers` does
 */
export async function keyCarriers(key: Key, purpose: CarrierPurpose = 'mark', draw = 0): Promise<Carriers> {
  const { dimension } = key.carriers;
  const basis = keyBasis(key);
  const options = { classCount: key.classes.length, dimension, purpose, draw };
  return placeCarriers(await deriveCarriers(await keySource(key), options), dimension, basis);
}

/** The subspace that the key draws carriers in, B [k,d] with orthonormal rows; null: all of the feature space. */
export const keyBasis = ({ carriers }: Key): Float64Array | null =>
  carriers.kind === 'subspace' ? decodeFloats(fromBase64(carriers.basis)) : null;

/** How the white-box test aligns: as the key fixes it, or by default where the key fixes another test. */
export function keyAlignment({ statistic }: Key): { readonly centre: boolean; readonly rcond: number } {
  return statistic.kind === 'white-box' ? statistic : { centre: true, rcond: DEFAULT_RCOND };
}

/**
 * The order of the carrier sets in the key's probes, by class, see `probeOrder`.
 * @param sets S
 */
export async function keyProbeOrders(key: Key, sets: number): Promise<Uint32Array[]> {
  const source = await keySource(key);
  return await Promise.all(key.classes.map((_, c) => probeOrder(source, c, sets)));
}

/**
 * Refuses a marking network or classes that are not the key's.
 * @throws IntegrityError if the network's file has another SHA-256
 * @throws InputError if the classes differ, also if only in order: class and carrier go by position
 */
export function checkKeyMatches(key: Key, found: { modelSha256: string; classes: readonly string[] }): void {
  if (found.modelSha256 !== key.model.sha256) {
    throw new IntegrityError(
      `this is not the key's marking network: the key has sha256 ${key.model.sha256}, the model ${found.modelSha256}`,
    );
  }
  const length = Math.max(key.classes.length, found.classes.length);
  for (let i = 0; i < length; i++) {
    const ours = key.classes[i];
    const theirs = found.classes[i];
    if (ours === theirs) continue;
    const quote = (c: string | undefined) => (c === undefined ? 'nothing' : JSON.stringify(c));
    const counts = `${key.classes.length} and ${found.classes.length} classes`;
    const hint = ours === undefined || theirs === undefined ? '' : compositionHint(theirs, [ours]);
    throw new InputError(
      `the classes differ at position ${i}: the key has ${quote(ours)}, the data ${quote(theirs)}${hint} (${counts}; order matters)`,
    );
  }
}

async function sha256(bytes: Uint8Array<ArrayBuffer>): Promise<Uint8Array> {
  return new Uint8Array(await globalThis.crypto.subtle.digest('SHA-256', bytes));
}

function concatenate(parts: readonly Uint8Array[]): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(parts.reduce((size, part) => size + part.length, 0));
  let at = 0;
  for (const part of parts) {
    bytes.set(part, at);
    at += part.length;
  }
  return bytes;
}

const encodeText = (text: string): Uint8Array<ArrayBuffer> => new TextEncoder().encode(text);

/** uint32, big-endian */
function encodeCount(n: number): Uint8Array {
  const bytes = new Uint8Array(4);
  new DataView(bytes.buffer).setUint32(0, n);
  return bytes;
}

/** float64, big-endian */
function encodeFloat(x: number): Uint8Array {
  const bytes = new Uint8Array(8);
  new DataView(bytes.buffer).setFloat64(0, x);
  return bytes;
}

/** float64, little-endian */
function encodeFloats(x: Float64Array): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(x.length * 8);
  const view = new DataView(bytes.buffer);
  x.forEach((value, i) => {
    view.setFloat64(i * 8, value, true);
  });
  return bytes;
}

function decodeFloats(bytes: Uint8Array): Float64Array {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  return Float64Array.from({ length: bytes.length / 8 }, (_, i) => view.getFloat64(i * 8, true));
}

function toHex(bytes: Uint8Array): string {
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, '0')).join('');
}

function fromHex(hex: string): Uint8Array {
  return Uint8Array.from({ length: hex.length / 2 }, (_, i) => Number.parseInt(hex.slice(2 * i, 2 * i + 2), 16));
}
