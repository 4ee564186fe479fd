import type { ErrorCase, KernelCase } from '../cases.ts';
import { reshape } from './reshape.ts';

const reshapeCase = (from: readonly number[], to: readonly number[]): KernelCase => ({
  name: `reshape ${from.join('x')} to ${to.join('x')}`,
  inputs: { x: { shape: from } },
  record: (_, { x }) => ({ y: reshape(x, to) }),
  reference: ({ x }) => ({ y: x.slice() }),
  gradients: ['x'],
});

export const cases: readonly KernelCase[] = [
  reshapeCase([1], [1, 1]),
  reshapeCase([3, 5, 7], [3, 35]),
  reshapeCase([2, 3, 3, 8], [2, 72]),
];

export const errors: readonly ErrorCase[] = [
  {
    name: 'another size',
    record: (tape) => reshape(tape.input('x', [2, 3]), [5]),
    message: 'reshape: x cannot have the shape [5]; x [2,3]',
  },
];
