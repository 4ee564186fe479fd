import type { ErrorCase, KernelCase } from '../cases.ts';
import { softmax } from './softmax.ts';

const softmaxCase = (N: number, K: number, temperature = 1, value = (t: number) => 8 * t - 4): KernelCase => ({
  name: `softmax ${N}x${K} at temperature ${temperature} of values up to ${value(1)}`,
  inputs: { x: { shape: [N, K], value } },
  record: (_, { x }) => ({ y: softmax(x, { temperature }) }),
  reference: ({ x }) => {
    const y = new Float64Array(N * K);
    for (let n = 0; n < N; n++) {
      const row = x.subarray(n * K, (n + 1) * K);
      const maximum = row.reduce((a, b) => Math.max(a, b));
      const exponentials = row.map((v) => Math.exp((v - maximum) / temperature));
      const sum = exponentials.reduce((a, b) => a + b);
      y.set(
        exponentials.map((v) => v / sum),
        n * K,
      );
    }
    return { y };
  },
  gradients: ['x'],
});

export const cases: readonly KernelCase[] = [
  softmaxCase(1, 2),
  softmaxCase(7, 10, 4),
  softmaxCase(3, 65, 0.5),
  softmaxCase(2, 1000),
  // exp of these is infinite: only differences to the maximum may be exponentiated.
  softmaxCase(17, 33, 1, (t) => 512 * t - 128),
];

export const errors: readonly ErrorCase[] = [
  {
    name: 'scores of pixels',
    record: (tape) => softmax(tape.input('x', [2, 3, 4])),
    message: 'softmax: x must be [N, K]; x [2,3,4]',
  },
];
