import type { ErrorCase, KernelCase } from '../cases.ts';
import { relu, reluBackward } from './relu.ts';

const reluCase = (shape: readonly number[]): KernelCase => ({
  name: `relu ${shape.join('x')}`,
  inputs: { x: { shape } },
  record: (_, { x }) => ({ y: relu(x) }),
  reference: ({ x }) => ({ y: x.map((v) => Math.max(v, 0)) }),
  gradients: ['x'],
});

export const cases: readonly KernelCase[] = [reluCase([1]), reluCase([3, 5, 7, 11]), reluCase([65, 4])];

export const errors: readonly ErrorCase[] = [
  {
    name: 'shapes differ',
    record: (tape) => reluBackward(tape.input('dy', [2, 3]), tape.input('y', [3, 2])),
    message: 'relu_backward: dy and y differ in shape; dy [2,3], y [3,2]',
  },
];
