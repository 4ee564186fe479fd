import type { KernelCase } from '../cases.ts';
import { constant } from './constant.ts';

const constantCase = (length: number): KernelCase => {
  const values = Array.from({ length }, (_, i) => (i - 7) / 4);
  return {
    name: `constant ${length}`,
    inputs: {},
    record: (tape) => ({ y: constant(tape, values) }),
    reference: () => ({ y: Float64Array.from(values) }),
  };
};

export const cases: readonly KernelCase[] = [1, 3, 16, 17, 50].map(constantCase);
