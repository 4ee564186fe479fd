import { InputError } from './errors.ts';

/**
 * A seeded stream of random numbers: xoshiro128** (Blackman and Vigna), integer arithmetic only, so that every machine and
 * runtime gives the same numbers. For shuffling, sampling and augmentation; never for keys, which need real randomness.
 */
export class Random {
  readonly #state: Uint32Array;

  /**
   * @param state four 32-bit words, not all zero: what `state` returned, to go on from there. New streams come from `derive`.
   * @throws InputError if it is not that.
   */
  constructor(state: ArrayLike<number>) {
    this.#state = Uint32Array.from(state);
    const valid = state.length === 4 && this.#state.every((word, i) => word === state[i]);
    if (!valid || this.#state.every((word) => word === 0)) {
      throw new InputError(`random: state [${Array.from(state)}] is not four 32-bit words, not all zero; use derive`);
    }
  }

  /** The four words that decide everything the stream will give from now on. */
  get state(): [number, number, number, number] {
    const [a, b, c, d] = this.#state;
    return [a, b, c, d];
  }

  /** An integer from 0 to 2^32 − 1. */
  uint32(): number {
    const s = this.#state;
    const result = Math.imul(rotateLeft(Math.imul(s[1], 5), 7), 9) >>> 0;
    const t = s[1] << 9;
    s[2] ^= s[0];
    s[3] ^= s[1];
    s[1] ^= s[2];
    s[0] ^= s[3];
    s[2] ^= t;
    s[3] = rotateLeft(s[3], 11);
    return result;
  }

  /** A number in [0, 1): a multiple of 2^−53, each equally likely. */
  uniform(): number {
    const high = this.uint32() >>> 5;
    const low = this.uint32() >>> 6;
    return (high * 2 ** 26 + low) / 2 ** 53;
  }

  /** A normal deviate, mean 0 and variance 1 (Marsaglia's polar method, one of the pair). */
  gaussian(): number {
    for (;;) {
      const a = 2 * this.uniform() - 1;
      const b = 2 * this.uniform() - 1;
      const s = a * a + b * b;
      if (s > 0 && s < 1) return a * Math.sqrt((-2 * Math.log(s)) / s);
    }
  }

  /**
   * An integer from 0 to n − 1, each exactly equally likely.
   *
   * @throws InputError if n is not an integer from 1 to 2^32.
   */
  below(n: number): number {
    if (!Number.isInteger(n) || n < 1 || n > 2 ** 32) {
      throw new InputError(`random: cannot draw below ${n}; give an integer from 1 to 2^32`);
    }
    // Values from the last, incomplete run of n are drawn again: taking them modulo n would favour small results.
    const limit = 2 ** 32 - (2 ** 32 % n);
    for (;;) {
      const value = this.uint32();
      if (value < limit) return value % n;
    }
  }

  /** Shuffles in place (Fisher–Yates: every order equally likely) and returns the same array. */
  shuffle<T extends { length: number; [index: number]: unknown }>(array: T): T {
    for (let i = array.length - 1; i > 0; i--) {
      const j = this.below(i + 1);
      [array[i], array[j]] = [array[j], array[i]];
    }
    return array;
  }
}

/**
 * The stream for a purpose: a function of the seed and the labels alone, so that for example the crops of image 7 in epoch 2,
 * `derive(seed, 'crop', 2, 7)`, are the same whatever was drawn before. Different labels give unrelated streams; the number
 * 1 and the string '1' differ.
 *
 * @param seed safe integer, not negative.
 * @param labels strings, or safe integers that are not negative.
 * @throws InputError otherwise.
 */
export function derive(seed: number, ...labels: readonly (string | number)[]): Random {
  let hash = absorb(0n, integer(seed));
  for (const label of labels) {
    if (typeof label === 'number') {
      hash = absorb(absorb(hash, NUMBER), integer(label));
      continue;
    }
    const bytes = new TextEncoder().encode(label);
    hash = absorb(absorb(hash, STRING), BigInt(bytes.length));
    for (let i = 0; i < bytes.length; i += 8) {
      hash = absorb(
        hash,
        bytes.subarray(i, i + 8).reduceRight((word, byte) => (word << 8n) | BigInt(byte), 0n),
      );
    }
  }
  // Seeding by SplitMix64 is what the authors of xoshiro recommend.
  const first = mix64(hash + GOLDEN);
  const second = mix64(hash + 2n * GOLDEN);
  return new Random([first, first >> 32n, second, second >> 32n].map((word) => Number(word & 0xffffffffn)));
}

const GOLDEN = 0x9e3779b97f4a7c15n;
const NUMBER = 1n;
const STRING = 2n;

function integer(value: number): bigint {
  if (Number.isSafeInteger(value) && value >= 0) return BigInt(value);
  throw new InputError(`random: ${value} cannot seed a stream; give a whole number from 0 to 2^53 − 1`);
}

function absorb(hash: bigint, word: bigint): bigint {
  return mix64((hash ^ mix64(word + GOLDEN)) + GOLDEN);
}

/** The output function of SplitMix64 (Steele, Lea and Flood): a bijection of 64-bit words. */
function mix64(word: bigint): bigint {
  let z = BigInt.asUintN(64, word);
  z = BigInt.asUintN(64, (z ^ (z >> 30n)) * 0xbf58476d1ce4e5b9n);
  z = BigInt.asUintN(64, (z ^ (z >> 27n)) * 0x94d049bb133111ebn);
  return z ^ (z >> 31n);
}

function rotateLeft(word: number, bits: number): number {
  return (word << bits) | (word >>> (32 - bits));
}
