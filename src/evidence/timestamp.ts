/** Time stamps by an authority (RFC 3161): a request for a commitment, and the check of a reply. */

import { constants, createHash, randomBytes, timingSafeEqual, verify, X509Certificate } from 'node:crypto';
import { id_contentType, id_messageDigest, id_signedData, SignedData, type SignerInfo } from '@peculiar/asn1-cms';
import { AsnConvert, OctetString } from '@peculiar/asn1-schema';
import {
  id_ct_tstInfo,
  MessageImprint,
  PKIStatus,
  TimeStampReq,
  TimeStampReqVersion,
  TimeStampResp,
  TSTInfo,
} from '@peculiar/asn1-tsp';
import {
  AlgorithmIdentifier,
  Certificate,
  ExtendedKeyUsage,
  id_ce_extKeyUsage,
  id_kp_timeStamping,
} from '@peculiar/asn1-x509';
import * as asn1js from 'asn1js';
import { InputError, IntegrityError, RadioactiveError } from '../errors.ts';

const SHA256 = '2.16.840.1.101.3.4.2.1';
/** Digests a signature may use; SHA-1 is not among them. */
const DIGESTS: Readonly<Record<string, string>> = {
  [SHA256]: 'sha256',
  '2.16.840.1.101.3.4.2.2': 'sha384',
  '2.16.840.1.101.3.4.2.3': 'sha512',
};
const RSASSA_PSS = '1.2.840.113549.1.1.10';
/** The signed attribute that names the signer's certificate by its hash: by SHA-1 (RFC 2634), or by any (RFC 5035). */
const SIGNING_CERTIFICATE = '1.2.840.113549.1.9.16.2.12';
const SIGNING_CERTIFICATE_V2 = '1.2.840.113549.1.9.16.2.47';
const NONCE_BYTES = 8;

/** What an authority attests. */
export interface TimeStamp {
  /** When the imprint was there, ISO 8601. */
  readonly time: string;
  /** In seconds, where the authority says so. */
  readonly accuracySeconds: number | null;
  /** Subject of the certificate that signed. */
  readonly authority: string;
  readonly serial: string;
  readonly policy: string;
  /** Subjects from the signer to the given authority; null where no authority was given to check against. */
  readonly chain: readonly string[] | null;
  /** Whether the reply was compared with its request's nonce. */
  readonly nonceChecked: boolean;
}

/**
 * A TimeStampReq in DER for a SHA-256 hash: with a random nonce, and asking for the signer's certificate.
 *
 * @param imprint 64 hex digits.
 */
export function timeStampRequest(imprint: string): Uint8Array {
  const nonce = randomBytes(NONCE_BYTES);
  // A positive INTEGER of full length.
  nonce[0] = (nonce[0] & 0x7f) | 0x40;
  const request = new TimeStampReq({
    version: TimeStampReqVersion.v1,
    messageImprint: new MessageImprint({
      hashAlgorithm: new AlgorithmIdentifier({ algorithm: SHA256, parameters: null }),
      hashedMessage: new OctetString(Buffer.from(imprint, 'hex')),
    }),
    nonce: Uint8Array.from(nonce).buffer,
    certReq: true,
  });
  return new Uint8Array(AsnConvert.serialize(request));
}

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
 * times, valid at that time, and issued by one of the trusted authorities. Revocation is not checked.
 *
 * @throws IntegrityError naming the first thing that does not hold.
 * @throws InputError if the request or the authorities cannot be read.
 */
export function verifyReply(reply: Uint8Array, options: ReplyOptions): TimeStamp {
  try {
    return check(reply, options);
  } catch (error) {
    if (error instanceof RadioactiveError) throw error;
    // Of the libraries: what they were given is not what it should be.
    throw new IntegrityError(`${options.fileName}: its token is damaged`, { cause: error });
  }
}

function check(reply: Uint8Array, { fileName, imprint, request, ca }: ReplyOptions): TimeStamp {
  const fail = (what: string): never => {
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
  const token = response.timeStampToken ?? fail('says granted and holds no token');
  if (token.contentType !== id_signedData) fail('its token is no signed data');
  const damaged = (): never => fail('its token is damaged');
  const signed = parse(token.content, SignedData, damaged);
  const content = signed.encapContentInfo.eContent?.single?.buffer;
  if (signed.encapContentInfo.eContentType !== id_ct_tstInfo || !content) return fail('its token holds no time stamp');
  const info = parse(content, TSTInfo, damaged);

  const { hashAlgorithm, hashedMessage } = info.messageImprint;
  const stamped = Buffer.from(hashedMessage.buffer).toString('hex');
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

  const certificates = certificatesOf(token.content);
  const [signerInfo, ...others] = signed.signerInfos;
  if (!signerInfo || others.length > 0) return fail('its token must have exactly one signature');
  const signer = certificates.find((certificate) => isSigner(certificate, signerInfo));
  if (!signer) return fail('its token lacks the certificate that signed it');
  checkSignature(signerInfo, signedAttributes(token.content), content, signer, fail);
  checkPurpose(signer, fail);

  const chain = ca === undefined ? null : chainOf(signer, certificates, readAuthorities(ca), info.genTime, fail);
  if (!chain) checkValidity(signer, info.genTime, fail);
  return {
    time: info.genTime.toISOString(),
    accuracySeconds: info.accuracy
      ? info.accuracy.seconds + (info.accuracy.millis ?? 0) / 1e3 + (info.accuracy.micros ?? 0) / 1e6
      : null,
    authority: nameOf(signer),
    serial: Buffer.from(info.serialNumber).toString('hex'),
    policy: info.policy,
    chain: chain?.map(nameOf) ?? null,
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
  const token = parse(reply, TimeStampResp, fail).timeStampToken ?? fail();
  const content = parse(token.content, SignedData, fail).encapContentInfo.eContent?.single?.buffer ?? fail();
  return Buffer.from(parse(content, TSTInfo, fail).messageImprint.hashedMessage.buffer).toString('hex');
}

type Fail = (what: string) => never;

/** The signature over the signed attributes, and what those say of the content and the signer (RFC 5652, 5.4; RFC 3161, 2.4.2). */
function checkSignature(
  signerInfo: SignerInfo,
  attributes: Uint8Array | undefined,
  content: ArrayBuffer,
  signer: X509Certificate,
  fail: Fail,
): undefined {
  const { digestAlgorithm, signatureAlgorithm, signedAttrs = [], signature } = signerInfo;
  const digest = DIGESTS[digestAlgorithm.algorithm] ?? fail(`its digest ${digestAlgorithm.algorithm} is not accepted`);
  const attribute = (type: string): ArrayBuffer | undefined =>
    signedAttrs.find(({ attrType }) => attrType === type)?.attrValues[0];

  const contentType = attribute(id_contentType);
  const messageDigest = attribute(id_messageDigest);
  if (!attributes || !contentType || !messageDigest) return fail('its signature covers no digest of the time stamp');
  if (asn1js.fromBER(contentType).result.valueBlock.toString() !== id_ct_tstInfo)
    fail('its signature is for other content');
  const stated = octets(asn1js.fromBER(messageDigest).result);
  if (!same(stated, createHash(digest).update(new Uint8Array(content)).digest()))
    fail('was changed: the digest that was signed is not that of the time stamp');

  // Signed are the attributes as a SET, not under the tag [0] they have here.
  const bytes = Uint8Array.from(attributes);
  bytes[0] = 0x31;
  const { publicKey } = signer;
  const pss = signatureAlgorithm.algorithm === RSASSA_PSS;
  const options = pss
    ? { key: publicKey, padding: constants.RSA_PKCS1_PSS_PADDING, saltLength: constants.RSA_PSS_SALTLEN_AUTO }
    : publicKey;
  const { asymmetricKeyType } = publicKey;
  const hashed = asymmetricKeyType === 'ed25519' || asymmetricKeyType === 'ed448' ? null : digest;
  if (!verify(hashed, bytes, options, new Uint8Array(signature.buffer)))
    fail(`its signature is not by the certificate in it (${nameOf(signer)})`);

  const [v1, v2] = [attribute(SIGNING_CERTIFICATE), attribute(SIGNING_CERTIFICATE_V2)];
  const named = v2 ? certificateHash(v2, 'sha256') : v1 ? certificateHash(v1, 'sha1') : undefined;
  if (!named || !same(named.hash, createHash(named.digest).update(signer.raw).digest()))
    fail('its signature is not bound to the certificate in it');
}

/** The first hash in a SigningCertificate or SigningCertificateV2: SEQUENCE { SEQUENCE OF SEQUENCE { [algorithm,] hash, … }, … }. */
function certificateHash(attribute: ArrayBuffer, byDefault: string): { digest: string; hash: Uint8Array } | undefined {
  const [certificates] = elements(asn1js.fromBER(attribute).result);
  const [first] = elements(certificates);
  const fields = elements(first);
  const algorithm = fields[0] instanceof asn1js.Sequence ? elements(fields[0])[0]?.valueBlock.toString() : undefined;
  const digest = algorithm === undefined ? byDefault : DIGESTS[algorithm];
  const hash = fields.find((field) => field instanceof asn1js.OctetString);
  return digest && hash ? { digest, hash: octets(hash) } : undefined;
}

/** A certificate for time stamps has that as its only purpose, and says that this is critical (RFC 3161, 2.3). */
function checkPurpose(signer: X509Certificate, fail: Fail): void {
  const { extensions = [] } = AsnConvert.parse(signer.raw, Certificate).tbsCertificate;
  const usage = extensions.find(({ extnID }) => extnID === id_ce_extKeyUsage);
  const purposes = usage ? [...AsnConvert.parse(usage.extnValue, ExtendedKeyUsage)] : [];
  if (!usage?.critical || purposes.length !== 1 || purposes[0] !== id_kp_timeStamping)
    fail(`the certificate that signed it is not one for time stamps (${nameOf(signer)})`);
}

function checkValidity(certificate: X509Certificate, time: Date, fail: Fail): void {
  const { validFrom, validTo } = certificate;
  if (time < new Date(validFrom) || time > new Date(validTo))
    fail(
      `the certificate of ${nameOf(certificate)} was not valid at ${time.toISOString()}: it is from ${validFrom} to ${validTo}`,
    );
}

/** Certificates from the signer to a trusted one, each issued by the next, valid at the time. */
function chainOf(
  signer: X509Certificate,
  others: readonly X509Certificate[],
  trusted: readonly X509Certificate[],
  time: Date,
  fail: Fail,
): X509Certificate[] {
  const chain: X509Certificate[] = [];
  let certificate = signer;
  for (;;) {
    chain.push(certificate);
    checkValidity(certificate, time, fail);
    const current = certificate;
    if (trusted.some(({ raw }) => same(raw, current.raw))) return chain;
    const issuer = [...trusted, ...others].find(
      (candidate) => current.checkIssued(candidate) && candidate.ca && current.verify(candidate.publicKey),
    );
    if (!issuer || chain.some(({ raw }) => same(raw, issuer.raw)))
      return fail(`no authority that was given issued the certificate of ${nameOf(certificate)}`);
    certificate = issuer;
  }
}

function readAuthorities(pem: string): X509Certificate[] {
  const blocks = pem.match(/-----BEGIN CERTIFICATE-----[\s\S]+?-----END CERTIFICATE-----/g) ?? [];
  if (blocks.length === 0) throw new InputError('the file of authorities holds no certificate in PEM');
  return blocks.map((block) => {
    try {
      return new X509Certificate(block);
    } catch (error) {
      throw new InputError('the file of authorities holds a certificate that cannot be read', { cause: error });
    }
  });
}

/** The signed attributes of the one signer, by their own bytes: it is these that were signed. */
function signedAttributes(signedData: ArrayBuffer): Uint8Array | undefined {
  const [signerInfo] = elements(elements(asn1js.fromBER(signedData).result).at(-1));
  return tagged0(signerInfo)?.valueBeforeDecodeView;
}

/** The certificates in signed data, by their own bytes: encoded again they might be others. */
function certificatesOf(signedData: ArrayBuffer): X509Certificate[] {
  return elements(tagged0(asn1js.fromBER(signedData).result)).flatMap((element) => {
    try {
      return [new X509Certificate(element.valueBeforeDecodeView)];
    } catch {
      // Attribute certificates and the like.
      return [];
    }
  });
}

function isSigner(certificate: X509Certificate, { sid }: SignerInfo): boolean {
  const { tbsCertificate } = AsnConvert.parse(certificate.raw, Certificate);
  if (sid.issuerAndSerialNumber) {
    const { issuer, serialNumber } = sid.issuerAndSerialNumber;
    const issuers = [issuer, tbsCertificate.issuer].map((name) => Buffer.from(AsnConvert.serialize(name)));
    return integerOf(serialNumber) === integerOf(tbsCertificate.serialNumber) && issuers[0].equals(issuers[1]);
  }
  const wanted = sid.subjectKeyIdentifier && Buffer.from(sid.subjectKeyIdentifier.buffer);
  const own = tbsCertificate.extensions?.find(({ extnID }) => extnID === '2.5.29.14')?.extnValue.buffer;
  return wanted !== undefined && own !== undefined && wanted.equals(Buffer.from(octets(asn1js.fromBER(own).result)));
}

function parse<T>(bytes: Uint8Array | ArrayBuffer, type: new () => T, otherwise: () => never): T {
  try {
    return AsnConvert.parse(bytes, type);
  } catch {
    return otherwise();
  }
}

/** What a SEQUENCE or SET holds. */
function elements(block: asn1js.AsnType | undefined): asn1js.AsnType[] {
  const value = block && 'value' in block.valueBlock ? block.valueBlock.value : undefined;
  return Array.isArray(value) ? (value as asn1js.AsnType[]) : [];
}

/** The element under the tag [0] of a SEQUENCE. */
const tagged0 = (block: asn1js.AsnType | undefined): asn1js.AsnType | undefined =>
  elements(block).find(({ idBlock }) => idBlock.tagClass === 3 && idBlock.tagNumber === 0);

const octets = (block: asn1js.AsnType): Uint8Array =>
  block instanceof asn1js.OctetString ? block.valueBlock.valueHexView : new Uint8Array(0);

/** An INTEGER's bytes, whatever zeros they begin with. */
const integerOf = (bytes: ArrayBuffer | undefined): string | undefined =>
  bytes &&
  Buffer.from(bytes)
    .toString('hex')
    .replace(/^(00)+(?=..)/, '');

const same = (a: Uint8Array, b: Uint8Array): boolean => a.length === b.length && timingSafeEqual(a, b);

const nameOf = ({ subject }: X509Certificate): string =>
  oneLine((subject ?? 'no name').split('\n').reverse().join(', '));

const oneLine = (text: string): string => text.replaceAll(/[\s\p{Cc}]+/gu, ' ').trim();
