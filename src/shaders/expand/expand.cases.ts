import type { ErrorCase, KernelCase } from '../cases.ts';
import { expand } from './expand.ts';

const expandCase = (shape: readonly number[], factor: number): KernelCase => ({
  name: `expand to ${shape.join('x')} times ${factor}`,
  inputs: { x: { shape: [shape.at(-1)!] } },
  record: (_, { x }) => ({ y: expand(x, shape, factor) }),
  reference: ({ x }) => ({
    y: Float64Array.from({ length: shape.reduce((a, b) => a * b, 1) }, (_, i) => x[i % x.length] * factor),
  }),
  gradients: ['x'],
});

export const cases: readonly KernelCase[] = [expandCase([1, 1], 1), expandCase([7, 5], 0.25), expandCase([65, 33], -3)];

export const errors: readonly ErrorCase[] = [
  {
    name: 'last dimension differs',
    record: (tape) => expand(tape.input('x', [4]), [2, 3]),
    message: 'expand: x cannot be repeated to [2,3]; x [4]',
  },
];
