import type { ErrorCase, KernelCase } from '../cases.ts';
import { linear } from './linear.ts';
import { products, productsOverRows } from './products.ts';

function linearCase(n: number, i: number, o: number, withBias: boolean): KernelCase {
  return {
    name: `linear ${n}x${i} to ${o}${withBias ? ' bias' : ''}`,
    inputs: { x: { shape: [n, i] }, weight: { shape: [i, o] }, ...(withBias && { bias: { shape: [o] } }) },
    record: (_, { x, weight, bias }) => ({ y: linear(x, weight, bias) }),
    reference: ({ x, weight, bias }) => {
      const y = new Float64Array(n * o);
      for (let r = 0; r < n; r++)
        for (let c = 0; c < o; c++) {
          let sum = bias?.[c] ?? 0;
          for (let k = 0; k < i; k++) sum += x[r * i + k] * weight[k * o + c];
          y[r * o + c] = sum;
        }
      return { y };
    },
    gradients: ['x', 'weight', ...(withBias ? ['bias'] : [])],
  };
}

/** `batches` products [pixels, c] by [c, o], or with `overRows` the transpose of the first by [pixels, o]. */
function productsCase(batches: number, pixels: number, c: number, o: number, overRows: boolean): KernelCase {
  const [M, K] = overRows ? [c, pixels] : [pixels, c];
  return {
    name: `${overRows ? 'products over rows' : 'products'} ${batches}x${pixels}x${c} by ${o}`,
    inputs: { x: { shape: [batches, pixels, c] }, factor: { shape: [batches, K, o] } },
    record: (_, { x, factor }) => ({ y: overRows ? productsOverRows(x, factor) : products(x, factor) }),
    reference: ({ x, factor }) => {
      const y = new Float64Array(batches * M * o);
      for (let b = 0; b < batches; b++)
        for (let m = 0; m < M; m++)
          for (let k = 0; k < K; k++) {
            const [pixel, channel] = overRows ? [k, m] : [m, k];
            for (let n = 0; n < o; n++)
              y[(b * M + m) * o + n] += x[(b * pixels + pixel) * c + channel] * factor[(b * K + k) * o + n];
          }
      return { y };
    },
  };
}

export const cases: readonly KernelCase[] = [
  linearCase(1, 1, 1, false),
  linearCase(5, 130, 33, true),
  linearCase(65, 64, 10, true),
  linearCase(3, 40, 257, false),
  linearCase(17, 32, 68, true),
  // Around the edges of every tile: 128 × 64, 64 × 64, 64 × 16 and 32 × 32; sums of one value a turn, and cut into splits.
  linearCase(257, 20, 64, true),
  linearCase(127, 4, 60, false),
  linearCase(63, 132, 64, true),
  linearCase(129, 4, 4, false),
  linearCase(31, 260, 28, true),
  linearCase(33, 1028, 36, false),
  linearCase(1, 4, 4, false),
  productsCase(3, 70, 20, 36, false),
  productsCase(3, 70, 20, 36, true),
];

export const errors: readonly ErrorCase[] = [
  {
    name: 'linear inputs differ',
    record: (tape) => linear(tape.input('x', [2, 5]), tape.input('weight', [4, 3])),
    message: 'linear: weight has 4 inputs, x has 5; x [2,5], weight [4,3]',
  },
];
