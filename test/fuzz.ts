import { expect } from 'vitest';
import { InputError } from '../src/errors.ts';
import { derive } from '../src/random.ts';

/** Parses, or refuses with one line that names the file; anything else fails the test. Returns whether it parsed. */
async function parsesOrRefuses(parse: (bytes: Uint8Array) => unknown, bytes: Uint8Array): Promise<boolean> {
  try {
    await parse(bytes);
    return true;
  } catch (error) {
    expect(error).toBeInstanceOf(InputError);
    expect((error as Error).message).toMatch(/^fuzz\.bin: .+; .+$/);
    return false;
  }
}

/**
 * Feeds a parser, which calls its file `fuzz.bin`, a valid file and damaged ones. Every truncation to less than `headerBytes` must be
 * refused; random damage there, so many times, must parse or be refused.
 */
export async function fuzz(
  parse: (bytes: Uint8Array) => unknown,
  valid: Uint8Array,
  headerBytes: number,
  flips: number,
): Promise<void> {
  expect(await parsesOrRefuses(parse, valid)).toBe(true);
  for (let length = 0; length < headerBytes; length++)
    expect(await parsesOrRefuses(parse, valid.slice(0, length)), `first ${length} bytes`).toBe(false);
  const random = derive(1, 'fuzz');
  let refused = 0;
  for (let i = 0; i < flips; i++) {
    const damaged = valid.slice();
    for (let n = random.below(3); n >= 0; n--) damaged[random.below(headerBytes)] ^= 1 + random.below(255);
    if (!(await parsesOrRefuses(parse, damaged))) refused++;
  }
  expect(refused).toBeGreaterThan(flips / 4);
}
