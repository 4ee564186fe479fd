/** Bytes that follow from a key's secret, one stream for each use. docs/key-derivation.md is the specification, with test vectors. */

import { InputError } from '../errors.ts';

/** Bytes of a secret. */
export const SECRET_BYTES = 32;

/** What the streams of a key are derived from, see `keySource`. */
export interface StreamSource {
  /** Of the derivation: 1 for keys of version 1 to 3, whose streams depend on the secret alone, else 4. */
  readonly version: 1 | 4;
  /** 32 bytes. */
  readonly secret: Uint8Array;
  /** HKDF's salt: in version 4 a hash of all else that the key fixes and of its beacon. */
  readonly salt: Uint8Array;
}

/** The source of version 1: of the secret alone. */
export const secretSource = (secret: Uint8Array): StreamSource => ({
  version: 1,
  secret,
  salt: new TextEncoder().encode('radioactive/hkdf/v1'),
});

/**
 * `byteLength` bytes that are a function of the source and of their use, and unpredictable without the secret:
 * HKDF-SHA-256 (RFC 5869) gives an AES-256 key, which encrypts zeros in counter mode from counter 0.
 * A shorter stream is a prefix of a longer one.
 * @param use what the bytes are for, e.g. `carriers/mark/0`; different uses give independent streams
 * @throws InputError if the secret is not 32 bytes, or the length is no number of bytes
 */
export async function keyStream(source: StreamSource, use: string, byteLength: number): Promise<Uint8Array> {
  const { version, secret, salt } = source;
  if (secret.length !== SECRET_BYTES)
    throw new InputError(`a secret has ${SECRET_BYTES} bytes, this one has ${secret.length}`);
  if (!(Number.isSafeInteger(byteLength) && byteLength >= 0))
    throw new InputError(`a stream has 0, 1, … bytes, not ${byteLength}`);
  const { subtle } = globalThis.crypto;
  const info = new TextEncoder().encode(`radioactive/v${version}/${use}`);
  const master = await subtle.importKey('raw', new Uint8Array(secret), 'HKDF', false, ['deriveKey']);
  const key = await subtle.deriveKey(
    { name: 'HKDF', hash: 'SHA-256', salt: new Uint8Array(salt), info },
    master,
    { name: 'AES-CTR', length: 256 },
    false,
    ['encrypt'],
  );
  const counter = { name: 'AES-CTR', counter: new Uint8Array(16), length: 128 };
  return new Uint8Array(await subtle.encrypt(counter, key, new Uint8Array(byteLength)));
}

/**
 * The numbers 0 … n − 1 in an order that the stream of a use gives, every order equally likely: Fisher and Yates's shuffle by
 * its 32-bit words, big-endian.
 * @param n 0 to 2^32
 * @throws InputError if the secret is not 32 bytes, or n is no such number
 */
export async function keyOrder(source: StreamSource, use: string, n: number): Promise<Uint32Array> {
  if (!(Number.isSafeInteger(n) && n >= 0 && n <= 2 ** 32))
    throw new InputError(`an order is of 0 to 2^32 things, not of ${n}`);
  // A word serves a draw with probability of at least a half, nearly always more.
  let byteLength = 4 * (2 * n + 16);
  for (;;) {
    const order = shuffled(await keyStream(source, use, byteLength), n);
    if (order) return order;
    byteLength *= 2;
  }
}

/** Null if the stream is used up before. */
function shuffled(stream: Uint8Array, n: number): Uint32Array | null {
  const view = new DataView(stream.buffer, stream.byteOffset, stream.byteLength);
  const order = Uint32Array.from({ length: n }, (_, i) => i);
  let at = 0;
  for (let i = n - 1; i > 0; i--) {
    // Words from the last, incomplete run of i + 1 are passed over: taken modulo i + 1 they would favour small results.
    const limit = 2 ** 32 - (2 ** 32 % (i + 1));
    let word: number;
    do {
      if (at + 4 > stream.length) return null;
      word = view.getUint32(at);
      at += 4;
    } while (word >= limit);
    const j = word % (i + 1);
    [order[i], order[j]] = [order[j], order[i]];
  }
  return order;
}
