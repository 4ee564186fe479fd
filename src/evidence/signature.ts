/** Signatures by WebCrypto, as certificates (RFC 5280, 4055, 5758, 8410) and signed data (RFC 5652) name them. */

import { sha1 } from '@noble/hashes/legacy.js';
import { sha256, sha384, sha512 } from '@noble/hashes/sha2.js';
import { AsnSerializer } from '@peculiar/asn1-schema';
import { AlgorithmIdentifier, SubjectPublicKeyInfo } from '@peculiar/asn1-x509';
import type { AsnType } from 'asn1js';
import { elements, identifier, readDer, tagged } from '../formats/der.ts';

export type Digest = 'SHA-1' | 'SHA-256' | 'SHA-384' | 'SHA-512';

export const SHA256 = '2.16.840.1.101.3.4.2.1';
/** Digests a signature may use; SHA-1 is not among them. */
export const DIGESTS: Readonly<Record<string, Digest>> = {
  [SHA256]: 'SHA-256',
  '2.16.840.1.101.3.4.2.2': 'SHA-384',
  '2.16.840.1.101.3.4.2.3': 'SHA-512',
};
const HASHES = { 'SHA-1': sha1, 'SHA-256': sha256, 'SHA-384': sha384, 'SHA-512': sha512 };

export const digestOf = (digest: Digest, bytes: Uint8Array): Uint8Array => HASHES[digest](bytes);

const RSA = '1.2.840.113549.1.1.1';
const RSASSA_PSS = '1.2.840.113549.1.1.10';
const MGF1 = '1.2.840.113549.1.1.8';
const EC = '1.2.840.10045.2.1';
const ED25519 = '1.3.101.112';
/** RSASSA-PKCS1-v1_5 and ECDSA with a digest. */
const WITH_DIGEST: Readonly<Record<string, readonly [key: string, digest: Digest]>> = {
  '1.2.840.113549.1.1.11': [RSA, 'SHA-256'],
  '1.2.840.113549.1.1.12': [RSA, 'SHA-384'],
  '1.2.840.113549.1.1.13': [RSA, 'SHA-512'],
  '1.2.840.10045.4.3.2': [EC, 'SHA-256'],
  '1.2.840.10045.4.3.3': [EC, 'SHA-384'],
  '1.2.840.10045.4.3.4': [EC, 'SHA-512'],
};
const CURVES: Readonly<Record<string, readonly [name: string, bytes: number]>> = {
  '1.2.840.10045.3.1.7': ['P-256', 32],
  '1.3.132.0.34': ['P-384', 48],
  '1.3.132.0.35': ['P-521', 66],
};

/** A kind of signature or of key that is not accepted. */
export class Unaccepted extends Error {
  readonly what: 'signature' | 'key';
  /** Its object identifier, and why if that alone is no reason. */
  readonly algorithm: string;

  constructor(what: 'signature' | 'key', algorithm: string) {
    super(`a ${what} of the kind ${algorithm} is not accepted`);
    this.what = what;
    this.algorithm = algorithm;
  }
}

interface Scheme {
  /** The key's algorithm. */
  readonly key: string;
  readonly digest: Digest;
  readonly pss?: { readonly saltLength: number } | undefined;
}

/**
 * Whether a signature over bytes is by a key.
 *
 * @param digest of the signed data, for the identifiers that name none.
 * @throws Unaccepted
 */
export async function verifySignature(
  key: SubjectPublicKeyInfo,
  { algorithm, parameters }: AlgorithmIdentifier,
  signature: Uint8Array,
  bytes: Uint8Array,
  digest?: Digest,
): Promise<boolean> {
  const scheme = schemeOf(algorithm, parameters, digest);
  const own = key.algorithm.algorithm;
  // A key for RSA may be restricted to PSS.
  if (own !== scheme.key && !(scheme.pss && own === RSASSA_PSS)) return false;
  if (own === RSASSA_PSS && key.algorithm.parameters) {
    const least = pssParameters(key.algorithm.parameters);
    if (!scheme.pss || least.digest !== scheme.digest || scheme.pss.saltLength < least.saltLength) return false;
  }
  const { importing, verifying, signature: raw } = webCrypto(scheme, key, signature);
  const { subtle } = globalThis.crypto;
  const spki = scheme.pss ? new SubjectPublicKeyInfo({ ...key, algorithm: rsaIdentifier() }) : key;
  let imported: CryptoKey;
  try {
    imported = await subtle.importKey('spki', AsnSerializer.serialize(spki), importing, false, ['verify']);
  } catch {
    throw new Unaccepted('key', own);
  }
  return raw !== undefined && (await subtle.verify(verifying, imported, copy(raw), copy(bytes)));
}

const rsaIdentifier = (): AlgorithmIdentifier => new AlgorithmIdentifier({ algorithm: RSA, parameters: null });

const copy = (bytes: Uint8Array): Uint8Array<ArrayBuffer> => Uint8Array.from(bytes);

function schemeOf(algorithm: string, parameters: ArrayBuffer | null | undefined, digest: Digest | undefined): Scheme {
  const known = WITH_DIGEST[algorithm];
  if (known) return { key: known[0], digest: known[1] };
  if (algorithm === RSASSA_PSS) {
    const { digest, saltLength } = pssParameters(parameters);
    return { key: RSA, digest, pss: { saltLength } };
  }
  if (algorithm === ED25519) return { key: ED25519, digest: 'SHA-512' };
  if (algorithm === RSA && digest) return { key: RSA, digest };
  throw new Unaccepted('signature', algorithm);
}

/** RSASSA-PSS-params (RFC 4055, 3.1): all of its defaults are SHA-1's. */
function pssParameters(parameters: ArrayBuffer | null | undefined): { digest: Digest; saltLength: number } {
  const block = parameters ? readDer(new Uint8Array(parameters)) : undefined;
  const field = (number: number): AsnType | undefined => elements(tagged(block, number))[0];
  const hash = identifier(elements(field(0))[0]);
  const [mask, maskHash] = elements(field(1));
  const digest = hash === undefined ? undefined : DIGESTS[hash];
  const sameMask = identifier(mask) === MGF1 && identifier(elements(maskHash)[0]) === hash;
  const saltLength = integer(field(2), 20);
  if (!digest || !sameMask || integer(field(3), 1) !== 1)
    throw new Unaccepted('signature', `${RSASSA_PSS} with ${hash ?? 'SHA-1'} or another mask`);
  return { digest, saltLength };
}

function integer(block: AsnType | undefined, byDefault: number): number {
  if (!block) return byDefault;
  if (!('valueDec' in block.valueBlock)) throw new Error('no integer');
  return Number(block.valueBlock.valueDec);
}

/** What WebCrypto is told; the signature is undefined where it cannot be one. */
function webCrypto(
  { key: kind, digest, pss }: Scheme,
  key: SubjectPublicKeyInfo,
  signature: Uint8Array,
): {
  importing: RsaHashedImportParams | EcKeyImportParams | { name: string };
  verifying: RsaPssParams | EcdsaParams | { name: string };
  signature: Uint8Array | undefined;
} {
  if (kind === ED25519) return { importing: { name: 'Ed25519' }, verifying: { name: 'Ed25519' }, signature };
  if (kind === RSA) {
    const name = pss ? 'RSA-PSS' : 'RSASSA-PKCS1-v1_5';
    return { importing: { name, hash: digest }, verifying: { name, ...pss }, signature };
  }
  const { parameters } = key.algorithm;
  const curve = parameters ? identifier(readDer(new Uint8Array(parameters))) : undefined;
  const [namedCurve, bytes] = CURVES[curve ?? ''] ?? [];
  if (!namedCurve || !bytes) throw new Unaccepted('key', `${kind} (${curve ?? 'no named curve'})`);
  return {
    importing: { name: 'ECDSA', namedCurve },
    verifying: { name: 'ECDSA', hash: digest },
    signature: fixedLength(signature, bytes),
  };
}

/** An ECDSA signature SEQUENCE { r INTEGER, s INTEGER } as r and s of so many bytes each. */
function fixedLength(signature: Uint8Array, bytes: number): Uint8Array | undefined {
  const numbers = elements(readDer(signature));
  const result = new Uint8Array(2 * bytes);
  if (numbers.length !== 2) return undefined;
  for (const [i, number] of numbers.entries()) {
    if (!('valueHexView' in number.valueBlock)) return undefined;
    const digits = (number.valueBlock.valueHexView as Uint8Array).slice();
    const start = digits.findIndex((byte) => byte !== 0);
    const significant = start < 0 ? digits.subarray(0, 0) : digits.subarray(start);
    if (significant.length > bytes) return undefined;
    result.set(significant, (i + 1) * bytes - significant.length);
  }
  return result;
}
