import type { KernelCase } from '../cases.ts';
import { sumRows } from './sum_rows.ts';

const sumCase = (shape: readonly number[]): KernelCase => ({
  name: `sum_rows ${shape.join('x')}`,
  inputs: { x: { shape } },
  record: (_, { x }) => ({ y: sumRows(x) }),
  reference: ({ x }) => {
    const C = shape.at(-1)!;
    const y = new Float64Array(C);
    x.forEach((v, i) => {
      y[i % C] += v;
    });
    return { y };
  },
  gradients: ['x'],
});

export const cases: readonly KernelCase[] = [
  sumCase([1, 1]),
  sumCase([7, 5]),
  sumCase([257, 3]),
  sumCase([4, 30, 31, 17]),
];
