import { InputError } from '../errors.ts';
import { keyStream } from './carriers.ts';

/**
 * In which order the carrier sets of a class come in probes: element j is the draw at position j, where draw 0 is the true set and
 * draw m + 1 is decoy m. Every order is equally likely, and only the secret tells it: who is given probe images to run a model on
 * learns nothing of which are of the true set. docs/key-derivation.md is the specification, with a test vector.
 *
 * @param secret 32 bytes
 * @param classIndex position of the class in the key; each class has an order of its own
 * @param sets S, 1 to 2^32
 * @throws InputError if a number is out of range, or the secret is not 32 bytes
 */
export async function probeOrder(secret: Uint8Array, classIndex: number, sets: number): Promise<Uint32Array> {
  if (
    !(Number.isSafeInteger(classIndex) && classIndex >= 0 && Number.isSafeInteger(sets) && sets >= 1 && sets <= 2 ** 32)
  )
    throw new InputError(`probes: no order of ${sets} sets for class ${classIndex}`);
  // A word serves a draw with probability of at least a half, nearly always more.
  let byteLength = 4 * (2 * sets + 16);
  for (;;) {
    const order = shuffled(await keyStream(secret, `probes/order/${classIndex}`, byteLength), sets);
    if (order) return order;
    byteLength *= 2;
  }
}

/** Fisher and Yates's shuffle of 0 … n − 1 by the words of a stream; null if it is used up before. */
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
