import { defineKernel } from '../../gpu/kernel.ts';
import type { Tensor } from '../../tensor/tensor.ts';
import code from './scale.wgsl?raw';

const kernel = defineKernel('scale', code);

/** x times a number fixed when recording. */
export function scale(x: Tensor, factor: number): Tensor {
  if (factor === 1) return x;
  const quads = Math.ceil(x.size / 4);
  const [y] = x.tape.record({
    op: 'scale',
    inputs: [x],
    outputs: [x.shape],
    launches: (_, [y]) => [
      { kernel, params: { quads, factor }, bind: { x, y }, workgroups: Math.ceil(quads / 256), flops: x.size },
    ],
    backward: (dy) => [scale(dy, factor)],
  });
  return y;
}
