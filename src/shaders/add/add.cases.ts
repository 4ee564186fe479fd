import type { ErrorCase, KernelCase } from '../cases.ts';
import { add } from './add.ts';

const addCase = (shape: readonly number[]): KernelCase => ({
  name: `add ${shape.join('x')}`,
  inputs: { x: { shape }, y: { shape } },
  record: (_, { x, y }) => ({ z: add(x, y) }),
  reference: ({ x, y }) => ({ z: x.map((v, i) => v + y[i]) }),
  gradients: ['x', 'y'],
});

export const cases: readonly KernelCase[] = [addCase([1]), addCase([3, 5, 7, 11]), addCase([64, 4])];

export const errors: readonly ErrorCase[] = [
  {
    name: 'shapes differ',
    record: (tape) => add(tape.input('x', [2, 3]), tape.input('y', [3, 2])),
    message: 'add: x and y differ in shape; x [2,3], y [3,2]',
  },
];
