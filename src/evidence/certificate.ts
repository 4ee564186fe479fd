/** X.509 certificates (RFC 5280), judged by their own bytes: encoded again they might be others. */

import { bytesToHex } from '@noble/hashes/utils.js';
import {
  type AttributeTypeAndValue,
  BasicConstraints,
  Certificate as CertificateStructure,
  ExtendedKeyUsage,
  id_ce_basicConstraints,
  id_ce_certificatePolicies,
  id_ce_extKeyUsage,
  id_ce_inhibitAnyPolicy,
  id_ce_keyUsage,
  id_ce_nameConstraints,
  id_ce_policyConstraints,
  id_ce_policyMappings,
  id_ce_subjectAltName,
  id_ce_subjectKeyIdentifier,
  KeyUsage,
  type KeyUsageType,
  Name,
  type SubjectPublicKeyInfo,
} from '@peculiar/asn1-x509';
import type { AsnType } from 'asn1js';
import { elements, octets, parseDer, readDer, sameBytes, tagged } from '../formats/der.ts';
import { verifySignature } from './signature.ts';

/** RDNs from the root down, each in a form in which equal ones are equal strings (RFC 5280, 7.1). */
export type DistinguishedName = readonly string[];

/** Tags of GeneralName. */
export const NAME_KINDS = { mail: 1, domain: 2, directory: 4, uri: 6, ip: 7 } as const;

/** A name of one kind, by its tag: a directory's as RDNs, others as bytes. */
export interface GeneralName {
  readonly kind: number;
  readonly bytes: Uint8Array;
  readonly directory: DistinguishedName;
}

export interface NameConstraints {
  readonly permitted: readonly GeneralName[];
  readonly excluded: readonly GeneralName[];
}

export interface Certificate {
  readonly raw: Uint8Array;
  /** Subject in words, from the leaf to the root of the directory, characters escaped as in RFC 4514. */
  readonly title: string;
  readonly subject: DistinguishedName;
  readonly issuer: DistinguishedName;
  readonly serialNumber: Uint8Array;
  readonly keyIdentifier: Uint8Array | undefined;
  readonly notBefore: Date;
  readonly notAfter: Date;
  readonly key: SubjectPublicKeyInfo;
  readonly isCa: boolean;
  /** How many intermediate certificates may stand below it. */
  readonly pathLength: number;
  /** What the key and the certificate are for; undefined where it does not say. */
  readonly keyUsage: readonly KeyUsageType[] | undefined;
  readonly purposes: { readonly ids: readonly string[]; readonly critical: boolean } | undefined;
  /** Subject and alternative names, each of which must be allowed. */
  readonly names: readonly GeneralName[];
  readonly nameConstraints: NameConstraints | undefined;
  /** Whether every certificate below it must be under a policy that is followed up to here. */
  readonly requiresPolicy: boolean;
  /** Critical extensions that are not taken into account here. */
  readonly unknownCritical: readonly string[];
  readonly structure: CertificateStructure;
}

/** What `certificatePath` takes into account. Policies matter only where one is required, and that is refused. */
const KNOWN: ReadonlySet<string> = new Set([
  id_ce_basicConstraints,
  id_ce_keyUsage,
  id_ce_extKeyUsage,
  id_ce_nameConstraints,
  id_ce_subjectAltName,
  id_ce_subjectKeyIdentifier,
  id_ce_certificatePolicies,
  id_ce_policyMappings,
  id_ce_policyConstraints,
  id_ce_inhibitAnyPolicy,
]);

/** Reads a certificate in DER. Throws where it is none, or cannot be taken at its word. */
export function parseCertificate(raw: Uint8Array): Certificate {
  const structure = parseDer(raw, CertificateStructure);
  const { tbsCertificate, signatureAlgorithm } = structure;
  if (!structure.tbsCertificateRaw || !signatureAlgorithm.isEqual(tbsCertificate.signature))
    throw new Error('two algorithms for one signature');
  const extensions = new Map<string, { critical: boolean; bytes: Uint8Array }>();
  for (const { extnID, critical, extnValue } of tbsCertificate.extensions ?? []) {
    if (extensions.has(extnID)) throw new Error(`two extensions ${extnID}`);
    extensions.set(extnID, { critical, bytes: new Uint8Array(extnValue.buffer) });
  }
  const read = <T>(id: string, type: new () => T): T | undefined => {
    const extension = extensions.get(id);
    return extension && parseDer(extension.bytes, type);
  };
  const open = (id: string): AsnType | undefined => {
    const extension = extensions.get(id);
    return extension && readDer(extension.bytes);
  };
  const basic = read(id_ce_basicConstraints, BasicConstraints);
  const purposes = read(id_ce_extKeyUsage, ExtendedKeyUsage);
  const constraints = open(id_ce_nameConstraints);
  const keyIdentifier = open(id_ce_subjectKeyIdentifier);
  return {
    raw,
    title: titleOf(tbsCertificate.subject),
    subject: directoryOf(tbsCertificate.subject),
    issuer: directoryOf(tbsCertificate.issuer),
    serialNumber: new Uint8Array(tbsCertificate.serialNumber),
    keyIdentifier: keyIdentifier && octets(keyIdentifier),
    notBefore: tbsCertificate.validity.notBefore.getTime(),
    notAfter: tbsCertificate.validity.notAfter.getTime(),
    key: tbsCertificate.subjectPublicKeyInfo,
    isCa: basic?.cA === true,
    pathLength: basic?.pathLenConstraint ?? Number.POSITIVE_INFINITY,
    keyUsage: read(id_ce_keyUsage, KeyUsage)?.toJSON(),
    purposes: purposes && { ids: [...purposes], critical: extensions.get(id_ce_extKeyUsage)?.critical === true },
    names: [...subjectNames(tbsCertificate.subject), ...elements(open(id_ce_subjectAltName)).map(generalName)],
    nameConstraints: constraints && { permitted: subtrees(constraints, 0), excluded: subtrees(constraints, 1) },
    requiresPolicy: tagged(open(id_ce_policyConstraints), 0) !== undefined,
    unknownCritical: [...extensions].flatMap(([id, { critical }]) => (critical && !KNOWN.has(id) ? [id] : [])),
    structure,
  };
}

/** Whether a certificate is signed by the key of another. Throws `Unaccepted`. */
export async function isSignedBy({ structure }: Certificate, issuer: Certificate): Promise<boolean> {
  const { tbsCertificateRaw, signatureAlgorithm, signatureValue } = structure;
  const bytes = new Uint8Array(tbsCertificateRaw!);
  return await verifySignature(issuer.key, signatureAlgorithm, new Uint8Array(signatureValue), bytes);
}

export const sameCertificate = (a: Certificate, b: Certificate): boolean => sameBytes(a.raw, b.raw);

export const sameDirectory = (a: DistinguishedName, b: DistinguishedName): boolean =>
  a.length === b.length && a.every((rdn, i) => rdn === b[i]);

export const directoryOf = (name: Name): DistinguishedName =>
  name.map((rdn) => {
    const parts = rdn.map(({ type, value }) => JSON.stringify([type, value.anyValue ? '#' : '', folded(value)]));
    return parts.sort().join();
  });

/** A string as RFC 5280 compares them: without regard to case, and to how many spaces are where. */
const folded = (value: AttributeTypeAndValue['value']): string =>
  value.toString().normalize('NFKC').toLowerCase().trim().replaceAll(/\s+/g, ' ');

const MAIL_ATTRIBUTE = '1.2.840.113549.1.9.1';

function subjectNames(subject: Name): GeneralName[] {
  const directory = directoryOf(subject);
  const mails = subject.flatMap((rdn) => rdn.filter(({ type }) => type === MAIL_ATTRIBUTE));
  return [
    ...(directory.length > 0 ? [{ kind: NAME_KINDS.directory, bytes: new Uint8Array(0), directory }] : []),
    ...mails.map(({ value }) => ({
      kind: NAME_KINDS.mail,
      bytes: new TextEncoder().encode(value.toString()),
      directory: [],
    })),
  ];
}

function generalName(block: AsnType): GeneralName {
  const { tagClass, tagNumber: kind } = block.idBlock;
  if (tagClass !== 3) throw new Error('no general name');
  if (kind === NAME_KINDS.directory) {
    const [name] = elements(block);
    return { kind, bytes: new Uint8Array(0), directory: directoryOf(parseDer(name.valueBeforeDecodeView, Name)) };
  }
  const bytes = 'valueHexView' in block.valueBlock ? (block.valueBlock.valueHexView as Uint8Array) : new Uint8Array(0);
  return { kind, bytes, directory: [] };
}

/** The names in SEQUENCE OF GeneralSubtree, under a tag of the name constraints. */
function subtrees(constraints: AsnType, tag: number): GeneralName[] {
  return elements(tagged(constraints, tag)).map((subtree) => {
    const [base, ...distances] = elements(subtree);
    // Minimum and maximum are not used in RFC 5280.
    if (!base || distances.length > 0) throw new Error('a subtree with distances');
    return generalName(base);
  });
}

/** Short names of attributes (RFC 4519 and OpenSSL). */
const ATTRIBUTES: Readonly<Record<string, string>> = {
  '2.5.4.3': 'CN',
  '2.5.4.4': 'SN',
  '2.5.4.5': 'serialNumber',
  '2.5.4.6': 'C',
  '2.5.4.7': 'L',
  '2.5.4.8': 'ST',
  '2.5.4.9': 'street',
  '2.5.4.10': 'O',
  '2.5.4.11': 'OU',
  '2.5.4.12': 'title',
  '2.5.4.15': 'businessCategory',
  '2.5.4.17': 'postalCode',
  '2.5.4.42': 'GN',
  '2.5.4.97': 'organizationIdentifier',
  '0.9.2342.19200300.100.1.1': 'UID',
  '0.9.2342.19200300.100.1.25': 'DC',
  [MAIL_ATTRIBUTE]: 'emailAddress',
};

function titleOf(name: Name): string {
  const attribute = ({ type, value }: AttributeTypeAndValue): string =>
    `${ATTRIBUTES[type] ?? type}=${value.anyValue ? `#${bytesToHex(new Uint8Array(value.anyValue))}` : escaped(value.toString())}`;
  const rdns = name.map((rdn) => rdn.map(attribute).join('+'));
  return rdns.reverse().join(', ') || 'no name';
}

const escaped = (text: string): string =>
  text
    .replaceAll(/[\s\p{Cc}\p{Cf}\u2028\u2029]+/gu, ' ')
    .trim()
    .replaceAll(/[,+"\\<>;]/g, '\\$&');
