import type { KernelCase } from '../cases.ts';
import { fill } from './fill.ts';

export const cases: readonly KernelCase[] = [
  {
    name: 'fill 65x3 with 1.5',
    inputs: {},
    record: (tape) => ({ y: fill(tape, [65, 3], 1.5) }),
    reference: () => ({ y: new Float64Array(195).fill(1.5) }),
  },
];
