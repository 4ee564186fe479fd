import { InputError } from '../errors.ts';
import { keyOrder, type StreamSource } from './key_stream.ts';

/**
 * In which order the carrier sets of a class come in probes: element j is the draw at position j, where draw 0 is the true set and
 * draw m + 1 is decoy m. Every order is equally likely, and only the secret tells it: who is given probe images to run a model on
 * learns nothing of which are of the true set. docs/key-derivation.md is the specification, with a test vector.
 *
 * @param classIndex position of the class in the key; each class has an order of its own
 * @param sets S, 1 to 2^32
 * @throws InputError if a number is out of range, or the secret is not 32 bytes
 */
export async function probeOrder(source: StreamSource, classIndex: number, sets: number): Promise<Uint32Array> {
  if (
    !(Number.isSafeInteger(classIndex) && classIndex >= 0 && Number.isSafeInteger(sets) && sets >= 1 && sets <= 2 ** 32)
  )
    throw new InputError(`probes: no order of ${sets} sets for class ${classIndex}`);
  return await keyOrder(source, `probes/order/${classIndex}`, sets);
}
