import { defineKernel } from '../../gpu/kernel.ts';
import type { Tape } from '../../tensor/tape.ts';
import type { Tensor } from '../../tensor/tensor.ts';
import code from './constant.wgsl?raw';

const kernel = defineKernel('constant', code);
/** Values one launch writes: as many as the kernel has parameters for them. */
const VALUES = kernel.params.filter(({ type }) => type === 'f32').length;

/**
 * A short list of numbers as a tensor [values.length], for per-channel factors. It depends on nothing, so a program computes
 * it once. Not for data: it takes a launch for every sixteen values.
 */
export function constant(tape: Tape, values: readonly number[]): Tensor {
  const [y] = tape.record({
    op: 'constant',
    inputs: [],
    outputs: [[values.length]],
    launches: (_, [y]) =>
      Array.from({ length: Math.ceil(values.length / VALUES) }, (_, launch) => {
        const first = launch * VALUES;
        const part = values.slice(first, first + VALUES);
        return {
          kernel,
          params: {
            first,
            count: part.length,
            ...Object.fromEntries(Array.from({ length: VALUES }, (_, i) => [`v${i}`, part[i] ?? 0])),
          },
          bind: { y },
          workgroups: 1,
        };
      }),
  });
  return y;
}
