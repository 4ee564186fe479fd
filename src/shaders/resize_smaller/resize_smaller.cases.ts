import type { ErrorCase, KernelCase } from '../cases.ts';
import { packSizes, resizeSmaller } from './resize_smaller.ts';

type Size = readonly [height: number, width: number];

/** Pillow's precompute_coeffs (Resample.c) with its bilinear filter, for one axis: weights [out, extent]. */
function weights(extent: number, out: number): Float64Array[] {
  const scale = extent / out;
  return Array.from({ length: out }, (_, d) => {
    const centre = (d + 0.5) * scale;
    const first = Math.max(0, Math.floor(centre - scale + 0.5));
    const end = Math.min(extent, Math.floor(centre + scale + 0.5));
    const row = new Float64Array(extent);
    for (let i = first; i < end; i++) row[i] = Math.max(0, 1 - Math.abs((i - centre + 0.5) / scale));
    const total = row.reduce((sum, weight) => sum + weight, 0);
    return row.map((weight) => weight / total);
  });
}

function sizesCase(before: readonly Size[], after: readonly Size[], C: number, left = 0): KernelCase {
  const asSize = ([height, width]: Size) => ({ height, width });
  const packed = packSizes(before.map(asSize), after.map(asSize), before.length + 1);
  const pixels = left + before.reduce((sum, [H, W]) => sum + H * W, 0);
  return {
    name: `resize_smaller ${before.map((size, i) => `${size.join('x')} to ${after[i].join('x')}`).join(', ')} of ${C}`,
    inputs: {
      x: { shape: [pixels, C] },
      sizes: { shape: [before.length + 2, 6], dtype: 'u32', value: (_, i) => packed[i] },
    },
    record: (_, { x, sizes }) => ({ y: resizeSmaller(x, sizes) }),
    reference: ({ x }) => {
      const y = new Float64Array(pixels * C);
      let [from, to] = [0, 0];
      before.forEach(([H, W], n) => {
        const [OH, OW] = after[n];
        const [down, across] = [weights(H, OH), weights(W, OW)];
        for (let d = 0; d < OH; d++)
          for (let e = 0; e < OW; e++)
            for (let c = 0; c < C; c++)
              for (let j = 0; j < H; j++)
                for (let i = 0; i < W; i++)
                  if (down[d][j] * across[e][i] > 0)
                    y[(to + d * OW + e) * C + c] += down[d][j] * across[e][i] * x[(from + j * W + i) * C + c];
        from += H * W;
        to += OH * OW;
      });
      return { y };
    },
    gradients: ['x'],
  };
}

export const cases: readonly KernelCase[] = [
  sizesCase([[1, 1]], [[1, 1]], 1),
  // As it is: nothing but itself is seen.
  sizesCase([[5, 7]], [[5, 7]], 3),
  sizesCase([[12, 9]], [[4, 3]], 3),
  sizesCase([[13, 11]], [[5, 10]], 1, 3),
  sizesCase(
    [
      [9, 8],
      [3, 4],
      [7, 15],
    ],
    [
      [8, 7],
      [3, 4],
      [2, 4],
    ],
    3,
    10,
  ),
];

export const errors: readonly ErrorCase[] = [
  {
    name: 'sizes of another form',
    record: (tape) => resizeSmaller(tape.input('x', [64, 3]), tape.input('sizes', [2, 5], 'u32')),
    message: 'resize_smaller: sizes must be [N + 1,6] of u32; x [64,3], sizes [2,5]',
  },
  {
    name: 'no pixels',
    record: (tape) => resizeSmaller(tape.input('x', [64]), tape.input('sizes', [2, 6], 'u32')),
    message: 'resize_smaller: x must be pixels [..., C]; x [64], sizes [2,6]',
  },
  {
    name: 'a larger size',
    record: () => packSizes([{ height: 4, width: 4 }], [{ height: 4, width: 5 }]),
    message: 'image 0: 4x4 does not become smaller as 5x4',
  },
];
