/** What a third party can check of the evidence once the key is revealed. */

import { IntegrityError } from '../errors.ts';
import { keyGuarantees } from '../marking/guarantees.ts';
import { commitment, type Key } from '../marking/key.ts';
import type { Check } from './check.ts';
import type { Evidence, VerifyOptions } from './material.ts';
import { parseRegister, type Register } from './register.ts';

/**
 * Checks everything that the material at hand allows, and says of the rest what is missing. A check that fails stops none of the
 * others; what cannot be read at all (no such file, not of its format) is thrown as an InputError.
 */
export async function verifyEvidence(options: VerifyOptions): Promise<Check[]> {
  // Loaded when they are needed: most pages mark or test, and never verify.
  const { CHECKS, readStamps } = await import('./checks/checks.ts');
  const keyCommitment = await commitment(options.key);
  const list = readList(options, keyCommitment);
  const stamps = await readStamps(options, keyCommitment, list);
  const seed = options.seed ?? globalThis.crypto.getRandomValues(new Uint32Array(1))[0];
  const material = { ...options, keyCommitment, list, stamps, seed };
  const rows: Check[] = [];
  for (const check of CHECKS) rows.push(...(await check(material)));
  return rows;
}

function readList({ register }: Evidence, keyCommitment: string): Register | IntegrityError | undefined {
  if (!register) return undefined;
  try {
    return parseRegister(register.text, register.path, keyCommitment);
  } catch (error) {
    if (error instanceof IntegrityError) return error;
    throw error;
  }
}

/** What no check can tell, whoever makes it, a sentence each: it belongs to every table. */
export function verificationLimits(key: Key): string[] {
  const draw = keyGuarantees(key).find(({ name }) => name === 'one draw');
  return [
    'Keys are not counted: the number is corrected for the tests made with this key, not for other keys of the same owner that were tried and never shown.',
    ...(draw ? [`How often the key was drawn: ${draw.detail}.`] : []),
    "The list of tests is the owner's. Nothing shows a copy of it that other tests were entered in, or none.",
    'When the suspect was made is for others to show. A model that is older than the key tells something only of a key with one draw.',
    'Times that no authority stamped are what the owner says.',
    ...(key.statistic.kind === 'black-box' && key.statistic.references?.length !== 0
      ? [
          'How reference models were trained no file tells: one that was made for a suspect, or has seen the mark, can make evidence and can hide it.',
        ]
      : []),
  ];
}
