/**
 * Public randomness that is mixed into a key after the key has been committed to, so that nobody can draw keys until one suits.
 * docs/key-derivation.md says what is mixed in and what is checked.
 */

import { hexToBytes } from '@noble/hashes/utils.js';
import * as v from 'valibot';
import { IntegrityError } from '../errors.ts';
import { type DocumentKind, readDocument } from '../formats/document.ts';
import { hex32, positiveCount } from '../formats/fields.ts';
import { hashBytes, hashParts } from '../formats/sha256.ts';

/**
 * The network `quicknet` of drand, the League of Entropy's beacon. Its chain's hash covers all of this: SHA-256 of the period (uint32,
 * big-endian), the genesis time (int64), the public key, the group's hash and the name.
 */
export const QUICKNET = {
  name: 'quicknet',
  chain: '52db9ba70e0cc0f6eaf7803dd07447a1f5477735fd3f661792ba94600c84e971',
  publicKey:
    '83cf0f2896adee7eb8b5f01fcad3912212c437e0073e911fb90022d3e760183c8c4b450b6a0a6c3ac6a5776a2d1064510d1fec758c921cc22b0e17e63aaf4bcb5ed66304de9cf809bd274ca73bab4af5a6e9c76a4bc09e76eae8991ef5ece45a',
  groupHash: 'f477d5c89f21a17c863a7f937c6a6d15859414d2be09cd448d4279af331c5d3e',
  genesisSeconds: 1692803367,
  periodSeconds: 3,
} as const;

/** RFC 9380's domain of signatures on the curve's smaller group, as drand's scheme `bls-unchained-g1-rfc9380` has it. */
const SIGNATURE_DOMAIN = 'BLS_SIG_BLS12381G1_XMD:SHA-256_SSWU_RO_NUL_';

/** Which randomness a key waits for, fixed with the key. */
export const BeaconSchema = v.variant('kind', [
  /** The token with which an authority stamps the key's own commitment (RFC 3161). */
  v.strictObject({ kind: v.literal('time-stamp') }),
  /** A round of drand that was still to come. */
  v.strictObject({
    kind: v.literal('drand'),
    chain: v.picklist([QUICKNET.chain], "expected the hash of drand's chain quicknet"),
    round: positiveCount,
  }),
]);

/** Which public randomness a key waits for or was completed with, as its file holds it. */
export type Beacon = v.InferOutput<typeof BeaconSchema>;

/** What a reply gives. */
export interface BeaconValue {
  /** 32 bytes, to be mixed in. */
  readonly value: Uint8Array;
  /** When it became known, ISO 8601: by the round's number, or by what the authority says. */
  readonly time: string;
}

/** The first round of drand's quicknet at a time or after it. */
export const drandRoundAt = (time: Date): number =>
  Math.max(1, Math.ceil((time.getTime() / 1000 - QUICKNET.genesisSeconds) / QUICKNET.periodSeconds) + 1);

/** When a round of drand's quicknet becomes known, ISO 8601. */
export const drandRoundTime = (round: number): string =>
  new Date(1000 * (QUICKNET.genesisSeconds + (round - 1) * QUICKNET.periodSeconds)).toISOString();

/** Where the randomness comes from, in words. */
export const describeBeacon = (beacon: Beacon): string =>
  beacon.kind === 'time-stamp'
    ? "a time stamp of the key's commitment"
    : `round ${beacon.round} of drand's quicknet, ${drandRoundTime(beacon.round)}`;

/**
 * What a reply gives for the beacon that a key waits for, its signature unchecked: see {@link checkBeacon}.
 *
 * @param reply a `.tsr` file for a time stamp, else the round as drand's servers give it, JSON
 * @param commitment the key's, 64 hex digits
 * @throws IntegrityError if it is another's reply, InputError if it is none
 */
export async function beaconValue(
  beacon: Beacon,
  reply: Uint8Array,
  commitment: string,
  fileName: string,
): Promise<BeaconValue> {
  if (beacon.kind === 'time-stamp') return await stampValue(reply, commitment, fileName);
  const { round, signature, randomness } = readDocument(ROUND, new TextDecoder().decode(reply), fileName);
  if (round !== beacon.round)
    throw new IntegrityError(`${fileName}: is round ${round}, the key waits for round ${beacon.round}; give that one`);
  const value = hashBytes(hexToBytes(signature));
  if (randomness !== undefined && randomness !== value)
    throw new IntegrityError(`${fileName}: its randomness is not the SHA-256 of its signature; get it again`);
  return { value: hexToBytes(value), time: drandRoundTime(round) };
}

const ROUND = {
  name: 'round of drand',
  cure: "give the round's JSON as drand's servers give it",
  schema: v.looseObject({
    round: positiveCount,
    signature: v.pipe(v.string(), v.regex(/^[0-9a-f]{96}$/, 'expected 96 lower-case hex digits')),
    /** The signature's SHA-256. Newer servers leave it out. */
    randomness: v.exactOptional(hex32),
  }),
} satisfies DocumentKind;

/**
 * Checks a reply as {@link beaconValue} does, and of a round the network's signature, so that it cannot have been made up. Of a time
 * stamp whether the signature holds, and whose it is, `verifyReply` checks, given the authority's certificate.
 *
 * @throws as {@link beaconValue} does, and IntegrityError for a signature that is not the network's
 */
export async function checkBeacon(
  beacon: Beacon,
  reply: Uint8Array,
  commitment: string,
  fileName: string,
): Promise<void> {
  await beaconValue(beacon, reply, commitment, fileName);
  if (beacon.kind === 'time-stamp') return;
  const { signature } = readDocument(ROUND, new TextDecoder().decode(reply), fileName);
  const number = new Uint8Array(8);
  new DataView(number.buffer).setBigUint64(0, BigInt(beacon.round));
  // Loaded where it is needed: few keys have a beacon.
  const { bls12_381 } = await import('@noble/curves/bls12-381.js');
  const { shortSignatures } = bls12_381;
  try {
    const message = shortSignatures.hash(hexToBytes(hashBytes(number)), SIGNATURE_DOMAIN);
    if (shortSignatures.verify(hexToBytes(signature), message, hexToBytes(QUICKNET.publicKey))) return;
  } catch {
    // No point of the curve.
  }
  throw new IntegrityError(`${fileName}: its signature is not that of drand's quicknet for round ${beacon.round}`);
}

/** SHA-256 of a prefix, the token's serial number and its signature's bytes, each with its length (uint32, big-endian) before it. */
async function stampValue(reply: Uint8Array, commitment: string, fileName: string): Promise<BeaconValue> {
  // Loaded where it is needed: it brings ASN.1, and few keys have a stamp in them.
  const { readStamp } = await import('../formats/time_stamp_reply.ts');
  const stamp = readStamp(reply);
  if (!stamp)
    throw new IntegrityError(`${fileName}: is no granted time-stamp reply, or damaged; ask the authority again`);
  if (stamp.imprint !== commitment)
    throw new IntegrityError(
      `${fileName}: stamps another hash, ${stamp.imprint}; have the key's commitment stamped, ${commitment}`,
    );
  const prefix = new TextEncoder().encode('radioactive-beacon/time-stamp/v1\n');
  const value = hashParts([prefix, ...[stamp.serial, stamp.signature].flatMap((field) => [lengthOf(field), field])]);
  return { value: hexToBytes(value), time: stamp.time };
}

function lengthOf(field: Uint8Array): Uint8Array {
  const length = new Uint8Array(4);
  new DataView(length.buffer).setUint32(0, field.length);
  return length;
}
