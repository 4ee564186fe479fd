import { defineKernel } from '../../gpu/kernel.ts';
import { shapeError, type Tensor } from '../../tensor/tensor.ts';
import code from './add.wgsl?raw';

const kernel = defineKernel('add', code);

/** x + y of the same shape. */
export function add(x: Tensor, y: Tensor): Tensor {
  if (x.shape.join() !== y.shape.join()) shapeError('add', 'x and y differ in shape', { x, y });
  const quads = Math.ceil(x.size / 4);
  const [z] = x.tape.record({
    op: 'add',
    inputs: [x, y],
    outputs: [x.shape],
    launches: (_, [z]) => [
      { kernel, params: { quads }, bind: { x, y, z }, workgroups: Math.ceil(quads / 256), flops: x.size },
    ],
    finish: [
      { of: y, residual: x },
      { of: x, residual: y },
    ],
    backward: (dz) => [dz, dz],
  });
  return z;
}
