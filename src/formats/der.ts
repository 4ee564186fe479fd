/** Bounded reading of DER (X.690), and steps inside what was read. */

import { AsnParser } from '@peculiar/asn1-schema';
import * as asn1js from 'asn1js';

/** What files may hold at most: a time stamp with its certificates and lists of revoked ones needs far less. */
const LIMITS = { maxDepth: 32, maxNodes: 50_000, maxContentLength: 4 << 20 };

/** One element and everything in it. Throws where that is not all there is, or it is beyond the limits. */
export function readDer(bytes: Uint8Array): asn1js.AsnType {
  if (bytes.length > LIMITS.maxContentLength) throw new Error('too large');
  const { offset, result } = asn1js.fromBER(bytes, { ...LIMITS, parseEmbedded: false });
  if (offset !== bytes.length) throw new Error(result.error || 'bytes after the last element');
  return result;
}

/** The same as a structure of the libraries. */
export function parseDer<T>(bytes: Uint8Array, type: new () => T): T {
  readDer(bytes);
  return AsnParser.parse(bytes, type, { berOptions: { ...LIMITS, parseEmbedded: false } });
}

/** What a SEQUENCE, SET or tag holds. */
export function elements(block: asn1js.AsnType | undefined): asn1js.AsnType[] {
  const value = block && 'value' in block.valueBlock ? block.valueBlock.value : undefined;
  return Array.isArray(value) ? (value as asn1js.AsnType[]) : [];
}

/** The element under the tag [number] among those in a SEQUENCE. */
export const tagged = (block: asn1js.AsnType | undefined, number: number): asn1js.AsnType | undefined =>
  elements(block).find(({ idBlock }) => idBlock.tagClass === 3 && idBlock.tagNumber === number);

/** The bytes of an OCTET STRING; none where it is something else. */
export const octets = (block: asn1js.AsnType | undefined): Uint8Array =>
  block instanceof asn1js.OctetString ? block.valueBlock.valueHexView : new Uint8Array(0);

/** The dotted number of an OBJECT IDENTIFIER. */
export const identifier = (block: asn1js.AsnType | undefined): string | undefined =>
  block instanceof asn1js.ObjectIdentifier ? block.valueBlock.toString() : undefined;

export function sameBytes(a: Uint8Array, b: Uint8Array): boolean {
  return a.length === b.length && a.every((byte, i) => byte === b[i]);
}
