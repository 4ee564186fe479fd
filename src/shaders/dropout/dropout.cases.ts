import type { ErrorCase, KernelCase } from '../cases.ts';
import { dropout } from './dropout.ts';

/** Jarzynski and Olano's PCG4D, as their paper has it. */
function pcg4d(counter: readonly [number, number, number, number]): readonly number[] {
  const v = Uint32Array.from(counter, (word) => Math.imul(word, 1664525) + 1013904223);
  const mix = (): void => {
    v[0] += Math.imul(v[1], v[3]);
    v[1] += Math.imul(v[2], v[0]);
    v[2] += Math.imul(v[0], v[1]);
    v[3] += Math.imul(v[1], v[2]);
  };
  mix();
  v.forEach((word, i) => {
    v[i] = word ^ (word >>> 16);
  });
  mix();
  return [...v];
}

const dropoutCase = (
  shape: readonly number[],
  share: number,
  seed: readonly [number, number],
  stream: number,
): KernelCase => ({
  name: `dropout ${share} of ${shape.join('x')}, seed ${seed.join(' ')}, stream ${stream}`,
  inputs: { x: { shape }, seed: { shape: [2], dtype: 'u32', value: (_, i) => seed[i] } },
  record: (_, { x, seed }) => ({ y: dropout(x, seed, { share, stream }) }),
  reference: ({ x }) => ({
    y: x.map((v, i) => {
      const random = pcg4d([Math.floor(i / 4), stream, ...seed])[i % 4];
      return random / 2 ** 32 < share ? 0 : v / (1 - share);
    }),
  }),
  gradients: ['x'],
});

export const cases: readonly KernelCase[] = [
  dropoutCase([1], 0.5, [1, 2], 0),
  dropoutCase([3, 5, 7, 11], 0.5, [0, 0], 0),
  dropoutCase([3, 5, 7, 11], 0.5, [0, 1], 0),
  dropoutCase([65, 4], 0.25, [0xdeadbe00, 0xffffff00], 3),
  dropoutCase([33], 0, [7, 7], 1),
  dropoutCase([1029], 0.9, [7, 7], 2 ** 32 - 1),
];

export const errors: readonly ErrorCase[] = [
  {
    name: 'a seed of floating point',
    record: (tape) => dropout(tape.input('x', [2, 3]), tape.input('seed', [2]), { share: 0.5 }),
    message: 'dropout: seed must be [2] of u32; x [2,3], seed [2]',
  },
  {
    name: 'everything dropped',
    record: (tape) => dropout(tape.input('x', [2, 3]), tape.input('seed', [2], 'u32'), { share: 1 }),
    message: 'dropout: share 1 is not from 0 to below 1; x [2,3], seed [2]',
  },
];
