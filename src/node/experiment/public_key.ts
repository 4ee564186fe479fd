import { hashBytes } from '../../formats/sha256.ts';
import { createKey, type Key, type KeyOptions } from '../../marking/key.ts';

/**
 * The key of an experiment, number `index` from 1. Its secret is public, so that anybody can run the experiment again with the same
 * key, and nobody can have chosen it: the SHA-256 of the ASCII string `radioactive/v1/experiment-key/<index>`, the nonce that of
 * the string with `/nonce` after it. Data that is to be published needs a key that is secret: `keygen`.
 *
 * It is a key of version 2: recorded experiments can be done again, and what marks a larger share marks a smaller one too.
 */
export async function experimentKey(index: number, options: KeyOptions): Promise<Key> {
  const name = `radioactive/v1/experiment-key/${index}`;
  const key: Key = {
    ...(await createKey(options)),
    version: 2,
    secret: hashText(name),
    nonce: hashText(`${name}/nonce`),
    created: '1970-01-01T00:00:00.000Z',
  };
  // What version 2 has not.
  delete key.beacon;
  if (key.carriers.kind === 'subspace') delete key.carriers.vanilla;
  return key;
}

const hashText = (text: string): string => hashBytes(new TextEncoder().encode(text));
