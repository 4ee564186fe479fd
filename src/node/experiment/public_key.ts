import { hashBytes } from '../../formats/sha256.ts';
import { createKey, type Key, type KeyOptions } from '../../marking/key.ts';

/**
 * The key of an experiment, number `index` from 1. Its secret is public, so that anybody can run the experiment again with the same
 * key, and nobody can have chosen it: the SHA-256 of the ASCII string `radioactive/v1/experiment-key/<index>`, the nonce that of
 * the string with `/nonce` after it. Data that is to be published needs a key that is secret: `keygen`.
 */
export async function experimentKey(index: number, options: KeyOptions): Promise<Key> {
  const name = `radioactive/v1/experiment-key/${index}`;
  return {
    ...(await createKey(options)),
    secret: hashText(name),
    nonce: hashText(`${name}/nonce`),
    created: '1970-01-01T00:00:00.000Z',
  };
}

const hashText = (text: string): string => hashBytes(new TextEncoder().encode(text));
