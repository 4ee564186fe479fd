import { expect } from 'vitest';

/**
 * Fails unless max|actual − expected| ≤ tolerance · max|expected|. NaN and infinities fail. The message tells how many elements
 * are off, and the worst one with both values.
 */
export function expectClose(
  actual: ArrayLike<number>,
  expected: ArrayLike<number>,
  tolerance: number,
  what: string,
): void {
  expect(actual.length, `${what}: number of elements`).toBe(expected.length);
  let scale = 0;
  for (let i = 0; i < expected.length; i++) scale = Math.max(scale, Math.abs(expected[i]));
  expect(Number.isFinite(scale), `${what}: the reference is finite`).toBe(true);
  const allowed = tolerance * scale;
  let off = 0;
  let worst = -1;
  let worstError = -1;
  for (let i = 0; i < expected.length; i++) {
    const error = Math.abs(actual[i] - expected[i]);
    if (error <= allowed) continue;
    off++;
    if (!(error <= worstError)) {
      worst = i;
      worstError = error;
    }
  }
  if (off > 0) {
    throw new Error(
      `${what}: ${off} of ${expected.length} elements off; worst at ${worst}: ${actual[worst]} instead of ${expected[worst]}, error ${worstError}, allowed ${allowed}`,
    );
  }
}
