/** Keys that marked nothing: what a test gives where there is nothing to find. */

import { InputError } from '../errors.ts';
import { deriveCarriers } from '../marking/carriers.ts';
import { type StreamSource, secretSource } from '../marking/key_stream.ts';

/** Fresh keys that `detect` compares with. */
export const DEFAULT_FRESH_KEYS = 1000;

/**
 * The carriers' coordinates [K,k] of a fresh key, derived as an owner's are. The secrets are public, so that anybody can do it again:
 * the SHA-256 of the ASCII string `radioactive/v1/fresh-key/<index>`. A suspect cannot depend on them more than on any numbers.
 *
 * @param like the owner's key, see `keySource`: in place of its secret, and with all else that it fixes. Default: of keys of
 * version 1 to 3, whose carriers depend on the secret alone
 */
export async function freshCoordinates(
  index: number,
  classCount: number,
  dimension: number,
  like?: StreamSource | undefined,
): Promise<Float64Array> {
  if (!(Number.isSafeInteger(index) && index >= 0))
    throw new InputError(`fresh keys: their index is 0, 1, …, this one is ${index}`);
  const name = new TextEncoder().encode(`radioactive/v1/fresh-key/${index}`);
  const secret = new Uint8Array(await globalThis.crypto.subtle.digest('SHA-256', name));
  return deriveCarriers(like ? { ...like, secret } : secretSource(secret), { classCount, dimension, purpose: 'mark' });
}
