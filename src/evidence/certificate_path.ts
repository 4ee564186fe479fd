/** Paths of certificates from a signer to an authority that is trusted (RFC 5280, 6.1). */

import { id_kp_timeStamping } from '@peculiar/asn1-x509';
import {
  type Certificate,
  type GeneralName,
  isSignedBy,
  NAME_KINDS,
  type NameConstraints,
  sameCertificate,
  sameDirectory,
} from './certificate.ts';
import { Unaccepted } from './signature.ts';

/** A path has no more certificates than this, and a search goes no more steps. */
const LONGEST_PATH = 10;
const MOST_STEPS = 1000;
const ANY_PURPOSE = '2.5.29.37.0';

/** From the signer to the authority; or what is wrong, of all paths the one that came closest first. */
export type PathResult =
  | { readonly path: readonly Certificate[]; readonly fault?: undefined }
  | { readonly path?: undefined; readonly fault: string };

/**
 * A path from a certificate to a trusted one in which each is signed by the next, valid at the time, and allowed to stand there by
 * all above it: a CA by basicConstraints and keyUsage, for time stamps where it says what for, under no more CAs than pathLen allows, with names within
 * the name constraints, without critical extensions that are unknown. This holds for the trusted one too; only its own signature is not looked at.
 * Revocation is not checked, and a path on which a policy is required is refused.
 *
 * @param others candidates for the middle of the path, in any order.
 */
export async function certificatePath(
  signer: Certificate,
  others: readonly Certificate[],
  trusted: readonly Certificate[],
  time: Date,
): Promise<PathResult> {
  const candidates = [...trusted, ...others];
  const signed = new Map<Certificate, Map<Certificate, Promise<boolean>>>();
  let fault: string | undefined;
  let steps = 0;

  const isIssuer = (certificate: Certificate, issuer: Certificate): Promise<boolean> => {
    const known = signed.get(certificate) ?? new Map<Certificate, Promise<boolean>>();
    signed.set(certificate, known);
    const found =
      known.get(issuer) ??
      isSignedBy(certificate, issuer).catch((error: unknown) => {
        if (!(error instanceof Unaccepted)) return false;
        fault ??=
          error.what === 'signature'
            ? `the certificate of ${certificate.title} is signed by ${error.algorithm}, which is not accepted`
            : unacceptedKey(issuer, error);
        return false;
      });
    known.set(issuer, found);
    return found;
  };

  const extend = async (path: readonly Certificate[]): Promise<readonly Certificate[] | undefined> => {
    const last = path[path.length - 1];
    if (trusted.some((authority) => sameCertificate(authority, last))) {
      const found = pathFault(path, time);
      if (found === undefined) return path;
      fault ??= found;
      return undefined;
    }
    if (path.length === LONGEST_PATH) return undefined;
    for (const issuer of candidates) {
      if (++steps > MOST_STEPS) return undefined;
      if (!sameDirectory(last.issuer, issuer.subject) || path.some((each) => sameCertificate(each, issuer))) continue;
      if (!(await isIssuer(last, issuer))) continue;
      const found = await extend([...path, issuer]);
      if (found) return found;
    }
    return undefined;
  };

  const path = await extend([signer]);
  if (path) return { path };
  return { fault: fault ?? `no authority that was given issued the certificate of ${signer.title}` };
}

export const unacceptedKey = ({ title }: Certificate, { algorithm }: Unaccepted): string =>
  `the key of ${title} is of a kind that is not accepted: ${algorithm}`;

/** What is wrong with a path whose signatures hold; undefined if nothing is. */
function pathFault(path: readonly Certificate[], time: Date): string | undefined {
  let allowance = Number.POSITIVE_INFINITY;
  let giver: Certificate | undefined;
  const constraints: [Certificate, NameConstraints][] = [];
  for (const [depth, certificate] of [...path].reverse().entries()) {
    const { title, subject, issuer } = certificate;
    const isLast = certificate === path[0];
    const selfIssued = sameDirectory(subject, issuer);
    const fault = validityFault(certificate, time) ?? (isLast ? extensionFault(certificate) : issuerFault(certificate));
    if (fault !== undefined) return fault;
    if (isLast || !selfIssued) {
      const against = constraints.find(([, given]) => !allowsNames(given, certificate.names));
      if (against) return `${title} has a name that the certificate of ${against[0].title} does not allow`;
    }
    if (isLast) return undefined;
    if (depth > 0 && !selfIssued && --allowance < 0)
      return `the certificate of ${giver?.title} allows at most ${giver?.pathLength} intermediate certificates below it`;
    if (certificate.pathLength < allowance) {
      allowance = certificate.pathLength;
      giver = certificate;
    }
    if (certificate.nameConstraints) constraints.push([certificate, certificate.nameConstraints]);
  }
  return undefined;
}

export function validityFault({ title, notBefore, notAfter }: Certificate, time: Date): string | undefined {
  // Asked for this way a date that is none is refused.
  if (time >= notBefore && time <= notAfter) return undefined;
  const [at, from, to] = [time, notBefore, notAfter].map((date) =>
    Number.isNaN(date.getTime()) ? 'no date' : date.toISOString(),
  );
  return `the certificate of ${title} was not valid at ${at}: it is from ${from} to ${to}`;
}

/** What is wrong with a certificate wherever it stands. */
export function extensionFault({ title, unknownCritical }: Certificate): string | undefined {
  if (unknownCritical.length === 0) return undefined;
  return `the certificate of ${title} has a critical extension that is not known here, ${unknownCritical[0]}`;
}

/** Why a certificate may not issue one for time stamps. */
function issuerFault(certificate: Certificate): string | undefined {
  const { title, isCa, keyUsage, purposes, requiresPolicy } = certificate;
  const because = (why: string): string => `${title} may not issue certificates for time stamps: ${why}`;
  if (!isCa) return because('its own does not say that it is an authority');
  if (keyUsage && !keyUsage.includes('keyCertSign')) return because('its key is not for that');
  if (purposes && !purposes.ids.some((id) => id === id_kp_timeStamping || id === ANY_PURPOSE))
    return because('its own is for other purposes');
  if (requiresPolicy) return `the certificate of ${title} requires a policy, which cannot be followed here`;
  return extensionFault(certificate);
}

/**
 * Whether a constraint allows all names (RFC 5280, 4.2.1.10): none is excluded, and for each kind that has permitted ones each name is
 * one of these. A name that cannot be compared is not allowed.
 */
function allowsNames({ permitted, excluded }: NameConstraints, names: readonly GeneralName[]): boolean {
  return names.every((name) => {
    const ofKind = permitted.filter(({ kind }) => kind === name.kind);
    return (
      (ofKind.length === 0 || ofKind.some((constraint) => isWithin(name, constraint) === true)) &&
      excluded.every((constraint) => constraint.kind !== name.kind || isWithin(name, constraint) === false)
    );
  });
}

/** Whether a name is within a constraint of its kind; undefined where nobody can say. */
function isWithin(name: GeneralName, constraint: GeneralName): boolean | undefined {
  switch (name.kind) {
    case NAME_KINDS.directory:
      return constraint.directory.every((rdn, i) => rdn === name.directory[i]);
    case NAME_KINDS.domain:
      return isBelow(text(name), text(constraint));
    case NAME_KINDS.mail:
      return isMailWithin(text(name), text(constraint));
    case NAME_KINDS.uri: {
      const host = hostOf(text(name));
      return host === undefined ? undefined : isHostWithin(host, text(constraint));
    }
    case NAME_KINDS.ip:
      return isInRange(name.bytes, constraint.bytes);
    default:
      return undefined;
  }
}

const text = ({ bytes }: GeneralName): string => String.fromCharCode(...bytes.subarray(0, 4096));

/** A domain and all below it; with a dot in front only those below it. */
function isBelow(name: string, constraint: string): boolean {
  const [own, given] = [name.toLowerCase().replace(/\.$/, ''), constraint.toLowerCase()];
  if (given === '' || own === given) return true;
  return own.endsWith(given.startsWith('.') ? given : `.${given}`);
}

/** A host; with a dot in front all hosts below it. */
const isHostWithin = (host: string, constraint: string): boolean =>
  constraint.startsWith('.') ? isBelow(host, constraint) : host.toLowerCase() === constraint.toLowerCase();

function isMailWithin(name: string, constraint: string): boolean | undefined {
  const at = name.lastIndexOf('@');
  if (at < 0) return undefined;
  const [box, host] = [name.slice(0, at), name.slice(at + 1)];
  const wanted = constraint.lastIndexOf('@');
  if (wanted < 0) return constraint === '' || isHostWithin(host, constraint);
  return box === constraint.slice(0, wanted) && isHostWithin(host, constraint.slice(wanted + 1));
}

/** The host's name in an address; undefined where it has none, or a number. */
function hostOf(uri: string): string | undefined {
  const authority = /^[a-z][\w+.-]*:\/\/([^/?#]*)/i.exec(uri)?.[1];
  const host = authority
    ?.slice(authority.lastIndexOf('@') + 1)
    .replace(/:\d*$/, '')
    .replace(/\.$/, '');
  return !host || /^\[|^[\d.]+$/.test(host) ? undefined : host;
}

/** Address and mask, each of 4 or 16 bytes. */
function isInRange(address: Uint8Array, range: Uint8Array): boolean | undefined {
  const size = address.length;
  if ((size !== 4 && size !== 16) || (range.length !== 8 && range.length !== 32)) return undefined;
  return range.length === 2 * size && address.every((byte, i) => ((byte ^ range[i]) & range[size + i]) === 0);
}
