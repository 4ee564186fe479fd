import type { ErrorCase, KernelCase } from '../cases.ts';
import { clamp, clampBackward } from './clamp.ts';

const clampCase = (shape: readonly number[], low: number, high: number): KernelCase => ({
  name: `clamp ${shape.join('x')} to ${low} … ${high}`,
  inputs: { x: { shape } },
  record: (_, { x }) => ({ y: clamp(x, low, high) }),
  reference: ({ x }) => ({ y: x.map((v) => Math.min(Math.max(v, Math.fround(low)), Math.fround(high))) }),
  gradients: ['x'],
});

export const cases: readonly KernelCase[] = [
  clampCase([1], -0.5, 0.5),
  clampCase([3, 5, 7, 11], -0.3, 0.4),
  clampCase([65, 4], Number.NEGATIVE_INFINITY, 0.1),
  clampCase([257], -0.2, Number.POSITIVE_INFINITY),
  {
    // Differences cannot tell what the gradient is exactly at a bound, where saturated pixels are.
    name: 'clamp_backward at the bounds',
    inputs: { dy: { shape: [67] }, x: { shape: [67], value: (_, i) => [-1, 0, 100, 255, 256][i % 5] } },
    record: (_, { dy, x }) => ({ dx: clampBackward(dy, x, 0, 255) }),
    reference: ({ dy, x }) => ({ dx: dy.map((v, i) => (x[i] >= 0 && x[i] <= 255 ? v : 0)) }),
  },
];

export const errors: readonly ErrorCase[] = [
  {
    name: 'bounds the wrong way round',
    record: (tape) => clamp(tape.input('x', [2, 3]), 1, 0),
    message: 'clamp: 1 is not below 0; x [2,3]',
  },
];
