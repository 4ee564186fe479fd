import type { ErrorCase, KernelCase, Values } from '../cases.ts';
import { concat, slice } from './concat.ts';

const NAMES = ['a', 'b', 'c', 'd'];

function concatCase(leading: readonly number[], columns: readonly number[]): KernelCase {
  const rows = leading.reduce((product, extent) => product * extent, 1);
  const names = NAMES.slice(0, columns.length);
  return {
    name: `concat ${leading.join('x')} of ${columns.join(' and ')}`,
    inputs: Object.fromEntries(names.map((name, i) => [name, { shape: [...leading, columns[i]] }])),
    record: (_, tensors) => ({ y: concat(names.map((name) => tensors[name])) }),
    reference: (values: Values) => {
      const y: number[] = [];
      for (let row = 0; row < rows; row++)
        names.forEach((name, i) => {
          y.push(...values[name].slice(row * columns[i], (row + 1) * columns[i]));
        });
      return { y: Float64Array.from(y) };
    },
    gradients: names,
  };
}

const sliceCase = (leading: readonly number[], columns: number, first: number, count: number): KernelCase => ({
  name: `slice ${[...leading, columns].join('x')}: ${count} from ${first}`,
  inputs: { x: { shape: [...leading, columns] } },
  record: (_, { x }) => ({ y: slice(x, first, count) }),
  reference: ({ x }) => ({ y: x.filter((_, i) => i % columns >= first && i % columns < first + count) }),
  gradients: ['x'],
});

export const cases: readonly KernelCase[] = [
  concatCase([1], [1, 1]),
  concatCase([2, 3, 5], [7, 1, 3]),
  concatCase([3, 7, 5], [64, 32]),
  concatCase([33], [4, 8, 12, 4]),
  concatCase([5, 2], [65]),
  sliceCase([1], 1, 0, 1),
  sliceCase([3, 5], 9, 2, 4),
  sliceCase([7, 11], 32, 8, 16),
  sliceCase([65], 12, 8, 4),
];

export const errors: readonly ErrorCase[] = [
  {
    name: 'rows differ',
    record: (tape) => concat([tape.input('a', [2, 3, 4]), tape.input('b', [2, 2, 4])]),
    message: 'concat: all but the last dimension must agree; first [2,3,4], other [2,2,4]',
  },
  {
    name: 'more than there is',
    record: (tape) => slice(tape.input('x', [2, 8]), 6, 3),
    message: 'slice: 3 from 6 are not inside 8; x [2,8]',
  },
];
