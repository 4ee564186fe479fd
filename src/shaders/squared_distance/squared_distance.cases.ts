import type { ErrorCase, KernelCase } from '../cases.ts';
import { squaredDistance } from './squared_distance.ts';

function distanceCase(shape: readonly number[], factor?: number | readonly number[]): KernelCase {
  const size = shape.slice(1).reduce((a, b) => a * b, 1);
  const factorOf = (i: number): number =>
    Math.fround(typeof factor === 'object' ? factor[i % shape.at(-1)!] : (factor ?? 1));
  return {
    name: `squared_distance ${shape.join('x')} times ${factor ?? 1}`,
    inputs: { x: { shape, value: (t) => 255 * t }, y: { shape, value: (t) => 255 * t } },
    record: (_, { x, y }) => ({ z: squaredDistance(x, y, factor) }),
    reference: ({ x, y }) => {
      const z = new Float64Array(shape[0]);
      x.forEach((v, i) => {
        z[Math.floor(i / size)] += factorOf(i) * (v - y[i]) ** 2;
      });
      return { z };
    },
  };
}

export const cases: readonly KernelCase[] = [
  distanceCase([1, 1]),
  distanceCase([5, 257], 0.3),
  distanceCase([3, 9, 11, 3], [0.5, 2, 0.01]),
  distanceCase(
    [2, 7, 5, 17],
    Array.from({ length: 17 }, (_, c) => c / 8),
  ),
  distanceCase([4, 255]),
  distanceCase([2, 160, 150, 3], [0.5, 2, 0.01]),
  distanceCase([17, 2], [1, 3]),
];

export const errors: readonly ErrorCase[] = [
  {
    name: 'shapes differ',
    record: (tape) => squaredDistance(tape.input('x', [2, 3]), tape.input('y', [3, 2])),
    message: 'squared_distance: x and y differ in shape; x [2,3], y [3,2]',
  },
  {
    name: 'factors for another number of channels',
    record: (tape) => squaredDistance(tape.input('x', [2, 3]), tape.input('y', [2, 3]), [1, 2]),
    message: 'squared_distance: 2 factors for 3 channels; x [2,3], y [2,3]',
  },
];
