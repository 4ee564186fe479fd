import type { ErrorCase, KernelCase } from '../cases.ts';
import { normalise } from './normalise.ts';

function normaliseCase(shape: readonly number[]): KernelCase {
  const C = shape.at(-1)!;
  const mean = Array.from({ length: C }, (_, c) => 0.485 - 0.04 * c);
  const std = Array.from({ length: C }, (_, c) => 0.229 + 0.03 * c);
  return {
    name: `normalise ${shape.join('x')}`,
    inputs: { x: { shape, value: (t) => t * 255 } },
    record: (_, { x }) => ({ y: normalise(x, { mean, std }) }),
    reference: ({ x }) => ({ y: x.map((v, i) => (v / 255 - mean[i % C]) / std[i % C]) }),
    gradients: ['x'],
  };
}

export const cases: readonly KernelCase[] = [
  normaliseCase([1, 1, 1, 1]),
  normaliseCase([2, 5, 7, 3]),
  normaliseCase([3, 28, 28, 1]),
  normaliseCase([1, 9, 6, 5]),
  normaliseCase([2, 3, 11, 17]),
];

export const errors: readonly ErrorCase[] = [
  {
    name: 'means of another number of channels',
    record: (tape) => normalise(tape.input('x', [1, 4, 4, 1]), { mean: [0.5, 0.5, 0.5], std: [0.2] }),
    message: 'normalise: mean has 3 values, x has 1 channels; x [1,4,4,1]',
  },
  {
    name: 'a deviation of zero',
    record: (tape) => normalise(tape.input('x', [1, 4, 4, 2]), { mean: [0.5, 0.5], std: [0.2, 0] }),
    message: 'normalise: std [0.2,0] is not positive; x [1,4,4,2]',
  },
];
