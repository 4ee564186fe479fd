import type { ErrorCase, KernelCase } from '../cases.ts';
import { clipScale } from './clip_scale.ts';

const clipCase = (shapes: readonly (readonly number[])[], most: number): KernelCase => ({
  name: `clip_scale ${shapes.map((shape) => shape.join('x')).join(' ')} to ${most}`,
  inputs: Object.fromEntries(shapes.map((shape, i) => [`x${i}`, { shape }])),
  record: (_, tensors) => ({ scale: clipScale(Object.values(tensors), most) }),
  reference: (values) => {
    const squares = Object.values(values).flatMap((x) => Array.from(x, (v) => v * v));
    const norm = Math.sqrt(squares.reduce((sum, v) => sum + v, 0));
    const factor = Math.fround(most) / (norm + 1e-6);
    return { scale: Float64Array.of(Math.min(factor, 1)) };
  },
});

export const cases: readonly KernelCase[] = [
  clipCase([[1]], 1e-3),
  clipCase([[3, 3, 5, 7], [7], [65, 4]], 2),
  clipCase([[3, 3, 5, 7], [7], [65, 4]], 1000),
  clipCase([[20_000], [12]], 1),
];

export const errors: readonly ErrorCase[] = [
  {
    name: 'a norm of 0',
    record: (tape) => void clipScale([tape.input('x', [2])], 0),
    message: 'clip_scale: 0 is no norm to keep to; first [2]',
  },
];
