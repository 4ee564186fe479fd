import type { KernelCase } from '../cases.ts';
import { halfScale } from './half_scale.ts';

/** Values up to `largest`, which some value has. */
function scaleCase(count: number, largest: number): KernelCase {
  return {
    name: `${count} values up to ${largest}`,
    inputs: { x: { shape: [count], value: (t, index) => largest * (index === count >> 1 ? -1 : (2 * t - 1) * 0.99) } },
    record: (_, { x }) => ({ scale: halfScale(x) }),
    reference: ({ x }) => {
      const most = x.reduce((a, b) => Math.max(a, Math.abs(b)), 0);
      const power = most === 0 || !(most < Infinity) ? 0 : 5 - Math.floor(Math.log2(most));
      return { scale: Float64Array.of(2 ** Math.max(-125, Math.min(125, power))) };
    },
    // A power of two: right or wrong.
    tolerance: 0,
  };
}

export const cases: readonly KernelCase[] = [
  scaleCase(4, 1),
  scaleCase(200, 3e-9),
  scaleCase(70000, 1e5),
  scaleCase(8, 63.5),
  scaleCase(8, 0),
  scaleCase(12, 1e-37),
  scaleCase(12, 3e38),
  scaleCase(68, Number.POSITIVE_INFINITY),
];
