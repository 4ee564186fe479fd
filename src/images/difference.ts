import type { Image8 } from './image.ts';

/** What changed from `a` to `b`, images of the same size, ten times as strong, around grey. */
export function difference(a: Image8, b: Image8): Image8 {
  const data = a.data.map((level, i) => Math.min(255, Math.max(0, 128 + 10 * (b.data[i] - level))));
  return { width: a.width, height: a.height, channels: a.channels, data };
}
