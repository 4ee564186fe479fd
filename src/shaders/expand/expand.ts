import { defineKernel } from '../../gpu/kernel.ts';
import { type Shape, shapeError, sizeOf, type Tensor } from '../../tensor/tensor.ts';
import { scale as scaleBy } from '../scale/scale.ts';
import { sumRows } from '../sum_rows/sum_rows.ts';
import code from './expand.wgsl?raw';

const kernel = defineKernel('expand', code);

/** Repeats x [C], times `scale`, to a shape [..., C]: the transpose of `sumRows`. */
export function expand(x: Tensor, shape: Shape, scale = 1): Tensor {
  if (x.shape.length !== 1 || x.shape[0] !== shape.at(-1))
    shapeError('expand', `x cannot be repeated to [${shape.join(',')}]`, { x });
  const [y] = x.tape.record({
    op: 'expand',
    inputs: [x],
    outputs: [shape],
    launches: (_, [y]) => [
      {
        kernel,
        params: { size: sizeOf(shape), C: x.size, scale },
        bind: { x, y },
        workgroups: Math.ceil(sizeOf(shape) / 64),
      },
    ],
    backward: (dy) => [scaleBy(sumRows(dy), scale)],
  });
  return y;
}
