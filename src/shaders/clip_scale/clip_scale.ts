import { defineKernel } from '../../gpu/kernel.ts';
import { shapeError, type Tensor } from '../../tensor/tensor.ts';
import { concat } from '../concat/concat.ts';
import code from './clip_scale.wgsl?raw';
import squaresCode from './clip_scale_squares.wgsl?raw';

const kernel = defineKernel('clip_scale', code);
const squaresKernel = defineKernel('clip_scale_squares', squaresCode);

/** Sums of squares of a tensor that are made beside each other. */
const SUMS = 256;

/**
 * What gradients are multiplied by so that all of them together are no longer than `mostNorm` in the L2 norm: [1], the smaller of 1 and
 * mostNorm/(norm + 10⁻⁶), as `torch.nn.utils.clip_grad_norm_` has it. The optimiser multiplies (see `sgd`): no gradient is copied.
 * Throws ShapeError where there is no gradient, or the norm is not positive.
 */
export function clipScale(gradients: readonly Tensor[], mostNorm: number): Tensor {
  const [first] = gradients;
  if (!first) throw new RangeError('clip_scale: no gradients');
  if (!(mostNorm > 0)) shapeError('clip_scale', `${mostNorm} is no norm to keep to`, { first });
  const squares = concat(gradients.map(squaresOf));
  const [scale] = first.tape.record({
    op: 'clip_scale',
    inputs: [squares],
    outputs: [[1]],
    launches: (_, [scale]) => [
      { kernel, params: { count: squares.size, most: mostNorm }, bind: { squares, scale }, workgroups: 1 },
    ],
  });
  return scale;
}

function squaresOf(x: Tensor): Tensor {
  const sums = Math.min(SUMS, x.size);
  const [y] = x.tape.record({
    op: 'clip_scale_squares',
    inputs: [x],
    outputs: [[sums]],
    launches: (_, [y]) => [
      {
        kernel: squaresKernel,
        params: { size: x.size, sums },
        bind: { x, y },
        workgroups: Math.ceil(sums / 64),
        flops: 2 * x.size,
      },
    ],
  });
  return y;
}
