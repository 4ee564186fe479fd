import type { KernelCase } from '../cases.ts';
import { scale } from './scale.ts';

export const cases: readonly KernelCase[] = [
  {
    name: 'scale 7x9 by -0.3',
    inputs: { x: { shape: [7, 9] } },
    record: (_, { x }) => ({ y: scale(x, -0.3) }),
    reference: ({ x }) => ({ y: x.map((v) => v * Math.fround(-0.3)) }),
    gradients: ['x'],
  },
];
