import type { ErrorCase, KernelCase } from '../cases.ts';
import { swapLastTwo } from './transpose.ts';

const transposeCase = (m: number, i: number, j: number): KernelCase => ({
  name: `transpose ${m}x${i}x${j}`,
  inputs: { x: { shape: [m, i, j] } },
  record: (_, { x }) => ({ y: swapLastTwo(x) }),
  reference: ({ x }) => {
    const y = new Float64Array(m * i * j);
    for (let b = 0; b < m; b++)
      for (let r = 0; r < i; r++) for (let c = 0; c < j; c++) y[(b * j + c) * i + r] = x[(b * i + r) * j + c];
    return { y };
  },
  gradients: ['x'],
});

export const cases: readonly KernelCase[] = [
  transposeCase(1, 1, 1),
  transposeCase(9, 5, 3),
  transposeCase(2, 33, 17),
  transposeCase(3, 12, 36),
];

export const errors: readonly ErrorCase[] = [
  {
    name: 'one dimension',
    record: (tape) => swapLastTwo(tape.input('x', [4])),
    message: 'transpose: x needs two dimensions; x [4]',
  },
];
