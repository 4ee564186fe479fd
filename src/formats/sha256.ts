import { sha256 } from '@noble/hashes/sha2.js';
import { bytesToHex } from '@noble/hashes/utils.js';

/** SHA-256 of bytes as 64 hex digits, in every runtime and at once. */
export const hashBytes = (bytes: Uint8Array): string => bytesToHex(sha256(bytes));

/** The same of several one after another. */
export function hashParts(parts: Iterable<Uint8Array>): string {
  const hash = sha256.create();
  for (const part of parts) hash.update(part);
  return bytesToHex(hash.digest());
}

/** The same of parts as they come. */
export async function hashStream(parts: AsyncIterable<Uint8Array>): Promise<string> {
  const hash = sha256.create();
  for await (const part of parts) hash.update(part);
  return bytesToHex(hash.digest());
}

/** The same of many or large files, by the runtime's own code, beside other work. */
export const hashAside = async (bytes: Uint8Array): Promise<string> =>
  bytesToHex(new Uint8Array(await crypto.subtle.digest('SHA-256', bytes as Uint8Array<ArrayBuffer>)));
