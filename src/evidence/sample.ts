/** Which images are looked at where not all are. */

import { derive } from '../random.ts';

/**
 * Some of the numbers below `length`, in order. Whoever makes evidence must not know which: images that nobody looks at can be anything.
 *
 * @param most at most so many; absent: all
 */
export function drawSample(length: number, most: number | undefined, seed: number, what: string): number[] {
  const all = Array.from({ length }, (_, i) => i);
  if (most === undefined || most >= length) return all;
  derive(seed, 'verify', what).shuffle(all);
  return all.slice(0, most).sort((a, b) => a - b);
}
