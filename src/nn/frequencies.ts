import { defineNetwork } from './network.ts';

/**
 * No network at all but a linear map: features are an image's components along cosine patterns of low frequency, the same in all
 * channels. A mark then is a pattern, the same for all images of a class, which a network trained from scratch learns far
 * sooner than marks that were made for the features of one trained network (docs/method.md, 8).
 *
 * Patterns are even in x, so that a mirrored image keeps its mark: row j of the weight is cos(π f_y (y + ½)/H) cos(π f_x (x + ½)/W)
 * with f_x even, scaled to length 1; (f_y, f_x) in the order of f_y² + f_x², then f_y; (0, 0) is left out. The last layer is 0.
 */
export const frequencies = defineNetwork({
  name: 'frequencies',
  first: 'patterns',
  head: 'fc',
  options: {
    patterns: {
      type: 'count',
      default: 48,
      description: 'cosine patterns',
      infer: (shapeOf) => shapeOf('patterns.weight')?.[0],
    },
  },
  features: (net, x, { patterns }) => net.linear('patterns', x, patterns),
  initial: ({ shape, flattens }) =>
    flattens && shape.length === 2 ? { values: cosinePatterns(shape[0], flattens) } : { constant: 0 },
});

/** The first `count` patterns as rows [count, C·H·W]. Throws RangeError where images of this size have not so many. */
export function cosinePatterns(count: number, [C, H, W]: readonly [number, number, number]): Float32Array {
  const pairs: (readonly [fy: number, fx: number])[] = [];
  for (let fy = 0; fy < H; fy++) for (let fx = fy === 0 ? 2 : 0; fx < W; fx += 2) pairs.push([fy, fx]);
  if (count > pairs.length) throw new RangeError(`images of ${W}x${H} have ${pairs.length} patterns, not ${count}`);
  pairs.sort(([ay, ax], [by, bx]) => ay * ay + ax * ax - (by * by + bx * bx) || ay - by);
  const rows = new Float32Array(count * C * H * W);
  for (const [j, [fy, fx]] of pairs.slice(0, count).entries()) {
    // The mean square of a cosine of these is ½, of a constant 1.
    const scale = Math.sqrt(((fy > 0 ? 2 : 1) * (fx > 0 ? 2 : 1)) / (C * H * W));
    for (let at = 0; at < C * H * W; at++) {
      const [y, x] = [Math.floor(at / W) % H, at % W];
      rows[j * C * H * W + at] =
        scale * Math.cos((Math.PI * fy * (y + 0.5)) / H) * Math.cos((Math.PI * fx * (x + 0.5)) / W);
    }
  }
  return rows;
}
