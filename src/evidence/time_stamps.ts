/**
 * Time stamps (RFC 3161) as the package gives them: loaded when they are used, since most pages need none and what reads certificates is
 * large.
 */

import type { ReplyOptions, TimeStamp } from './timestamp.ts';

/**
 * A TimeStampReq in DER for a SHA-256 hash: with a random nonce, and asking for the signer's certificate.
 *
 * @param imprint 64 hex digits.
 */
export async function timeStampRequest(imprint: string): Promise<Uint8Array> {
  return (await import('./timestamp.ts')).timeStampRequest(imprint);
}

/**
 * The hash that a reply stamps, unchecked, in hex: which of several commitments it is for.
 *
 * @throws IntegrityError if the file is no granted reply.
 */
export async function stampedHash(reply: Uint8Array, fileName: string): Promise<string> {
  return (await import('./timestamp.ts')).stampedHash(reply, fileName);
}

/**
 * Checks a TimeStampResp: granted, for this imprint and this nonce, its token signed by a certificate that may do nothing but stamp
 * times, valid at that time, with a path to one of the trusted authorities on which every certificate is allowed to stand
 * (RFC 5280). Revocation is not checked.
 *
 * @throws IntegrityError naming the first thing that does not hold.
 * @throws InputError if the request or the authorities cannot be read.
 */
export async function verifyTimeStamp(reply: Uint8Array, options: ReplyOptions): Promise<TimeStamp> {
  return (await import('./timestamp.ts')).verifyReply(reply, options);
}
