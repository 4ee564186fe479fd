import type { ErrorCase, KernelCase } from '../cases.ts';
import { globalAveragePool } from './global_average_pool.ts';

const poolCase = ([N, H, W, C]: readonly [number, number, number, number]): KernelCase => ({
  name: `global_average_pool ${N}x${H}x${W}x${C}`,
  inputs: { x: { shape: [N, H, W, C] } },
  record: (_, { x }) => ({ y: globalAveragePool(x) }),
  reference: ({ x }) => {
    const y = new Float64Array(N * C);
    x.forEach((v, i) => {
      y[Math.floor(i / (H * W * C)) * C + (i % C)] += v / (H * W);
    });
    return { y };
  },
  gradients: ['x'],
});

export const cases: readonly KernelCase[] = [
  poolCase([1, 1, 1, 1]),
  poolCase([3, 7, 7, 65]),
  poolCase([2, 5, 9, 3]),
  poolCase([1, 31, 30, 17]),
];

export const errors: readonly ErrorCase[] = [
  {
    name: 'not an image',
    record: (tape) => globalAveragePool(tape.input('x', [8, 64])),
    message: 'global_average_pool: x must be [N, H, W, C]; x [8,64]',
  },
];
