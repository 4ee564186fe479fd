import { defineKernel } from '../../gpu/kernel.ts';
import type { Tape } from '../../tensor/tape.ts';
import { type Shape, sizeOf, type Tensor } from '../../tensor/tensor.ts';
import code from './fill.wgsl?raw';

const kernel = defineKernel('fill', code);

/** A constant of the given shape. It depends on nothing, so a program computes it once. */
export function fill(tape: Tape, shape: Shape, value: number): Tensor {
  const size = sizeOf(shape);
  const [y] = tape.record({
    op: 'fill',
    inputs: [],
    outputs: [shape],
    launches: (_, [y]) => [{ kernel, params: { size, value }, bind: { y }, workgroups: Math.ceil(size / 64) }],
  });
  return y;
}
