/** Time stamps by an authority (RFC 3161): a request for a commitment, and the check of a reply. */

import { bytesToHex, hexToBytes } from '@noble/hashes/utils.js';
import { id_contentType, id_messageDigest, id_signedData, SignedData, type SignerInfo } from '@peculiar/asn1-cms';
import { AsnSerializer, OctetString } from '@peculiar/asn1-schema';
import {
  id_ct_tstInfo,
  MessageImprint,
  PKIStatus,
  TimeStampReq,
  TimeStampReqVersion,
  TimeStampResp,
  TSTInfo,
  TSTInfoVersion,
} from '@peculiar/asn1-tsp';
import { AlgorithmIdentifier, id_kp_timeStamping } from '@peculiar/asn1-x509';
import { Sequence } from 'asn1js';
import { InputError, IntegrityError, RadioactiveError } from '../errors.ts';
import { elements, identifier, octets, parseDer, readDer, sameBytes, tagged } from '../formats/der.ts';
import { hashBytes } from '../formats/sha256.ts';
import { type Certificate, directoryOf, parseCertificate, sameDirectory } from './certificate.ts';
import { certificatePath, extensionFault, unacceptedKey, validityFault } from './certificate_path.ts';
import { DIGESTS, type Digest, digestOf, SHA256, Unaccepted, verifySignature } from './signature.ts';

/** The signed attribute that names the signer's certificate by its hash: by SHA-1 (RFC 2634), or by any (RFC 5035). */
const SIGNING_CERTIFICATE = '1.2.840.113549.1.9.16.2.12';
const SIGNING_CERTIFICATE_V2 = '1.2.840.113549.1.9.16.2.47';
const NONCE_BYTES = 8;
/** Those of a token: far more than any path needs. */
const MOST_CERTIFICATES = 32;

/** What an authority attests. */
export interface TimeStamp {
  /** When the imprint was there, ISO 8601. */
  readonly time: string;
  /** In seconds, where the authority says so. */
  readonly accuracySeconds: number | null;
  /** Subject of the certificate that signed. */
  readonly authority: string;
  /** The stamp's number, in hex. */
  readonly serial: string;
  /** Object identifier of the authority's policy. */
  readonly policy: string;
  /** Subjects from the signer to the given authority; null where no authority was given to check against. */
  readonly chain: readonly string[] | null;
  /** The last of the chain, of those that were given: whoever gave it chose to trust it. */
  readonly root: TrustedRoot | null;
  /** Whether the reply was compared with its request's nonce. */
  readonly nonceChecked: boolean;
}

/** A certificate that was trusted. */
export interface TrustedRoot {
  /** Of its certificate. */
  readonly subject: string;
  /** Of its certificate in DER, in hex: what others know as its fingerprint. */
  readonly sha256: string;
}

/**
 * A TimeStampReq in DER for a SHA-256 hash: with a random nonce, and asking for the signer's certificate.
 *
 * @param imprint 64 hex digits.
 */
export function timeStampRequest(imprint: string): Uint8Array {
  const nonce = globalThis.crypto.getRandomValues(new Uint8Array(NONCE_BYTES));
  // A positive INTEGER of full length.
  nonce[0] = (nonce[0] & 0x7f) | 0x40;
  const request = new TimeStampReq({
    version: TimeStampReqVersion.v1,
    messageImprint: new MessageImprint({
      hashAlgorithm: new AlgorithmIdentifier({ algorithm: SHA256, parameters: null }),
      hashedMessage: new OctetString(hexToBytes(imprint)),
    }),
    nonce: nonce.buffer,
    certReq: true,
  });
  return new Uint8Array(AsnSerializer.serialize(request));
}

/** What a reply is checked against. */
export interface ReplyOptions {
  /** For messages. */
  readonly fileName: string;
  /** The hash that must have been stamped, 64 hex digits. */
  readonly imprint: string;
  /** The request it answers; without it the nonce is not compared. */
  readonly request?: Uint8Array | undefined;
  /** Certificates of trusted authorities, PEM, also intermediate ones; without them the chain is not checked. */
  readonly ca?: string | undefined;
}

/**
 * Checks a TimeStampResp: granted, for this imprint and this nonce, its token signed by a certificate that may do nothing but stamp
 * times, valid at that time, with a path to one of the trusted authorities on which every certificate is allowed to stand
 * (RFC 5280). Revocation is not checked.
 *
 * @throws IntegrityError naming the first thing that does not hold.
 * @throws InputError if the request or the authorities cannot be read.
 */
export async function verifyReply(reply: Uint8Array, options: ReplyOptions): Promise<TimeStamp> {
  try {
    return await check(reply, options);
  } catch (error) {
    if (error instanceof RadioactiveError) throw error;
    // Of the libraries: what they were given is not what it should be.
    throw new IntegrityError(`${options.fileName}: its token is damaged`, { cause: error });
  }
}

type Fail = (what: string) => never;

async function check(reply: Uint8Array, { fileName, imprint, request, ca }: ReplyOptions): Promise<TimeStamp> {
  const fail: Fail = (what) => {
    throw new IntegrityError(`${fileName}: ${what}`);
  };
  const response = parse(reply, TimeStampResp, () =>
    fail('is no time-stamp reply, or damaged; ask the authority again'),
  );
  const { status, statusString, failInfo } = response.status;
  if (status !== PKIStatus.granted && status !== PKIStatus.grantedWithMods) {
    const reasons = [...(statusString ?? []), ...(failInfo ? [failInfo.toString()] : [])].join('; ');
    fail(
      `the authority did not grant the time stamp: ${PKIStatus[status] ?? status}${reasons && ` (${oneLine(reasons)})`}`,
    );
  }
  const { token, signed, content, info } = readToken(response, fail);

  const { hashAlgorithm, hashedMessage } = info.messageImprint;
  const stamped = bytesToHex(new Uint8Array(hashedMessage.buffer));
  if (hashAlgorithm.algorithm !== SHA256 || stamped !== imprint) {
    fail(`stamps another hash, ${stamped}; expected ${imprint}`);
  }
  if (request) {
    const asked = parse(request, TimeStampReq, () => {
      throw new InputError('the request is no time-stamp request; give the file that commit wrote');
    });
    if (integerOf(asked.nonce) !== integerOf(info.nonce))
      fail('its nonce is not that of the request: it answers another one');
  }
  if (info.version !== TSTInfoVersion.v1 || info.extensions?.some(({ critical }) => critical))
    fail('its time stamp says what is not known here');

  const certificates = certificatesOf(token, fail);
  const [signerInfo, ...others] = signed.signerInfos;
  if (!signerInfo || others.length > 0) return fail('its token must have exactly one signature');
  const signer = certificates.find((certificate) => isSigner(certificate, signerInfo));
  if (!signer) return fail('its token lacks the certificate that signed it');
  await checkSignature(signerInfo, signedAttributes(token), content, signer, fail);
  checkPurpose(signer, fail);
  const fault = validityFault(signer, info.genTime) ?? extensionFault(signer);
  if (fault !== undefined) fail(fault);

  const chain =
    ca === undefined ? null : await certificatePath(signer, certificates, readAuthorities(ca), info.genTime);
  if (chain?.fault !== undefined) return fail(chain.fault);
  const root = chain?.path.at(-1);
  return {
    time: info.genTime.toISOString(),
    accuracySeconds: info.accuracy
      ? info.accuracy.seconds + (info.accuracy.millis ?? 0) / 1e3 + (info.accuracy.micros ?? 0) / 1e6
      : null,
    authority: signer.title,
    serial: bytesToHex(new Uint8Array(info.serialNumber)),
    policy: info.policy,
    chain: chain?.path.map(({ title }) => title) ?? null,
    root: root ? { subject: root.title, sha256: hashBytes(root.raw) } : null,
    nonceChecked: request !== undefined,
  };
}

/**
 * The hash that a reply stamps, unchecked, in hex: which of several commitments it is for.
 *
 * @throws IntegrityError if the file is no granted reply.
 */
export function stampedHash(reply: Uint8Array, fileName: string): string {
  const fail = (): never => {
    throw new IntegrityError(`${fileName}: is no granted time-stamp reply, or damaged; ask the authority again`);
  };
  const { info } = readToken(parse(reply, TimeStampResp, fail), fail);
  return bytesToHex(new Uint8Array(info.messageImprint.hashedMessage.buffer));
}

interface Token {
  /** The SignedData as it is in the reply, and read. */
  readonly token: Uint8Array;
  readonly signed: SignedData;
  /** The time stamp that it holds. */
  readonly content: Uint8Array;
  readonly info: TSTInfo;
}

function readToken(response: TimeStampResp, fail: Fail): Token {
  const { timeStampToken } = response;
  if (!timeStampToken) return fail('says granted and holds no token');
  if (timeStampToken.contentType !== id_signedData) fail('its token is no signed data');
  const damaged = (): never => fail('its token is damaged');
  const token = new Uint8Array(timeStampToken.content);
  const signed = parse(token, SignedData, damaged);
  const { eContent, eContentType } = signed.encapContentInfo;
  if (eContentType !== id_ct_tstInfo || !eContent?.single) return fail('its token holds no time stamp');
  const content = new Uint8Array(eContent.single.buffer);
  return { token, signed, content, info: parse(content, TSTInfo, damaged) };
}

/** The signature over the signed attributes, and what those say of the content and the signer (RFC 5652, 5.4; RFC 3161, 2.4.2). */
async function checkSignature(
  signerInfo: SignerInfo,
  attributes: Uint8Array | undefined,
  content: Uint8Array,
  signer: Certificate,
  fail: Fail,
): Promise<undefined> {
  const { digestAlgorithm, signatureAlgorithm, signedAttrs = [], signature } = signerInfo;
  const digest = DIGESTS[digestAlgorithm.algorithm] ?? fail(`its digest ${digestAlgorithm.algorithm} is not accepted`);
  const attribute = (type: string): Uint8Array | undefined => {
    const found = signedAttrs.filter(({ attrType }) => attrType === type);
    const [value, ...others] = found.flatMap(({ attrValues }) => attrValues);
    if (others.length > 0) fail('its signature has an attribute twice');
    return value && new Uint8Array(value);
  };

  const contentType = attribute(id_contentType);
  const messageDigest = attribute(id_messageDigest);
  if (!attributes || !contentType || !messageDigest) return fail('its signature covers no digest of the time stamp');
  if (identifier(readDer(contentType)) !== id_ct_tstInfo) fail('its signature is for other content');
  if (!sameBytes(octets(readDer(messageDigest)), digestOf(digest, content)))
    fail('was changed: the digest that was signed is not that of the time stamp');

  // Signed are the attributes as a SET, not under the tag [0] they have here.
  const bytes = Uint8Array.from(attributes);
  bytes[0] = 0x31;
  const holds = await verifySignature(
    signer.key,
    signatureAlgorithm,
    new Uint8Array(signature.buffer),
    bytes,
    digest,
  ).catch((error: unknown) => {
    if (!(error instanceof Unaccepted)) throw error;
    return fail(error.what === 'key' ? unacceptedKey(signer, error) : `its ${error.message.slice(2)}`);
  });
  if (!holds) fail(`its signature is not by the certificate in it (${signer.title})`);

  const [v1, v2] = [attribute(SIGNING_CERTIFICATE), attribute(SIGNING_CERTIFICATE_V2)];
  const named = v2 ? certificateHash(v2, 'SHA-256') : v1 ? certificateHash(v1, 'SHA-1') : undefined;
  if (!named || !sameBytes(named.hash, digestOf(named.digest, signer.raw)))
    fail('its signature is not bound to the certificate in it');
}

/** The first hash in a SigningCertificate or SigningCertificateV2: SEQUENCE { SEQUENCE OF SEQUENCE { [algorithm,] hash, … }, … }. */
function certificateHash(attribute: Uint8Array, byDefault: Digest): { digest: Digest; hash: Uint8Array } | undefined {
  const [certificates] = elements(readDer(attribute));
  const [first] = elements(certificates);
  const fields = elements(first);
  const algorithm = fields[0] instanceof Sequence ? identifier(elements(fields[0])[0]) : undefined;
  const digest = algorithm === undefined ? byDefault : DIGESTS[algorithm];
  const hash = fields.map(octets).find(({ length }) => length > 0);
  return digest && hash ? { digest, hash } : undefined;
}

/**
 * A certificate for time stamps has that as its only purpose, and says that this is critical (RFC 3161, 2.3); its key, where
 * that says so, is for signatures alone.
 */
function checkPurpose({ title, purposes, keyUsage }: Certificate, fail: Fail): void {
  const only = purposes?.critical && purposes.ids.length === 1 && purposes.ids[0] === id_kp_timeStamping;
  const signs = (usage: string): boolean => usage === 'digitalSignature' || usage === 'nonRepudiation';
  if (!only || (keyUsage && !(keyUsage.length > 0 && keyUsage.every(signs))))
    fail(`the certificate that signed it is not one for time stamps (${title})`);
}

function readAuthorities(pem: string): Certificate[] {
  // What stands between the lines is matched by its own characters: each is looked at once.
  const blocks = pem.matchAll(/-----BEGIN CERTIFICATE-----([A-Za-z0-9+/=\s]*)-----END CERTIFICATE-----/g);
  const authorities = Array.from(blocks, ([, base64]) => {
    try {
      return parseCertificate(Uint8Array.from(atob(base64), (character) => character.charCodeAt(0)));
    } catch (error) {
      throw new InputError('the file of authorities holds a certificate that cannot be read', { cause: error });
    }
  });
  if (authorities.length === 0) throw new InputError('the file of authorities holds no certificate in PEM');
  return authorities;
}

/** The signed attributes of the one signer, by their own bytes: it is these that were signed. */
function signedAttributes(signedData: Uint8Array): Uint8Array | undefined {
  const [signerInfo] = elements(elements(readDer(signedData)).at(-1));
  return tagged(signerInfo, 0)?.valueBeforeDecodeView;
}

/** The certificates in signed data, by their own bytes. */
function certificatesOf(signedData: Uint8Array, fail: Fail): Certificate[] {
  const found = elements(tagged(readDer(signedData), 0));
  if (found.length > MOST_CERTIFICATES) fail(`its token holds more than ${MOST_CERTIFICATES} certificates`);
  return found.flatMap(({ valueBeforeDecodeView }) => {
    try {
      return [parseCertificate(valueBeforeDecodeView)];
    } catch {
      // Attribute certificates and the like.
      return [];
    }
  });
}

function isSigner(certificate: Certificate, { sid }: SignerInfo): boolean {
  if (sid.issuerAndSerialNumber) {
    const { issuer, serialNumber } = sid.issuerAndSerialNumber;
    return (
      integerOf(serialNumber) === integerOf(certificate.serialNumber) &&
      sameDirectory(directoryOf(issuer), certificate.issuer)
    );
  }
  const { keyIdentifier } = certificate;
  return (
    sid.subjectKeyIdentifier !== undefined &&
    keyIdentifier !== undefined &&
    sameBytes(new Uint8Array(sid.subjectKeyIdentifier.buffer), keyIdentifier)
  );
}

function parse<T>(bytes: Uint8Array, type: new () => T, otherwise: () => never): T {
  try {
    return parseDer(bytes, type);
  } catch {
    return otherwise();
  }
}

/** An INTEGER's bytes, whatever zeros they begin with. */
const integerOf = (bytes: ArrayBuffer | Uint8Array | undefined): string | undefined =>
  bytes && bytesToHex(new Uint8Array(bytes)).replace(/^(00)+(?=..)/, '');

const oneLine = (text: string): string => text.replaceAll(/[\s\p{Cc}]+/gu, ' ').trim();
