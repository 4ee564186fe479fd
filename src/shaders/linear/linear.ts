import { shapeError, type Tensor } from '../../tensor/tensor.ts';
import { halfScaleOf } from '../half_scale/half_scale.ts';
import { sumRows } from '../sum_rows/sum_rows.ts';
import { swapLastTwo } from '../transpose/transpose.ts';
import { matrixProductLaunches, productOverRowsLaunches } from './products.ts';

/**
 * Matrix product of x [N, I] and weight [I, O], plus bias [O]: the 1×1 convolution of 1×1 images.
 * The weight is the transpose of `torch.nn.Linear`'s.
 */
export function linear(x: Tensor, weight: Tensor, bias?: Tensor): Tensor {
  const fail = (problem: string): never => shapeError('linear', problem, { x, weight, bias });
  if (x.shape.length !== 2 || weight.shape.length !== 2) fail('x must be [N, I] and weight [I, O]');
  const [N, I] = x.shape as [number, number];
  const [WI, O] = weight.shape as [number, number];
  if (WI !== I) fail(`weight has ${WI} inputs, x has ${I}`);
  if (bias && bias.shape.join() !== `${O}`) fail(`bias must be [${O}]`);
  const [y] = x.tape.record({
    op: 'linear',
    inputs: [x, weight, bias],
    outputs: [[N, O]],
    launches: (context, [y]) => matrixProductLaunches(context, { x, weight, bias, y }, N, I, O),
    backward: (dy, wanted) => {
      const scale = halfScaleOf(dy);
      return [
        wanted(0) ? linearDx(dy, swapLastTwo(weight), scale) : undefined,
        wanted(1) ? productOverRows(x, dy, scale) : undefined,
        wanted(2) ? sumRows(dy) : undefined,
      ];
    },
  });
  return y;
}

/** dy [N, O] and the transposed weight [O, I] → [N, I]. */
function linearDx(dy: Tensor, transposed: Tensor, scale: Tensor | undefined): Tensor {
  const [N, O] = dy.shape as [number, number];
  const I = transposed.shape[1];
  const [dx] = dy.tape.record({
    op: 'linear_dx',
    inputs: [dy, transposed, scale],
    outputs: [[N, I]],
    launches: (context, [dx]) => matrixProductLaunches(context, { x: dy, weight: transposed, scale, y: dx }, N, O, I),
  });
  return dx;
}

/** x [N, I], dy [N, O] → xᵀ·dy [I, O]. */
function productOverRows(x: Tensor, dy: Tensor, scale?: Tensor): Tensor {
  const [N, I] = x.shape as [number, number];
  const O = dy.shape[1];
  const [dweight] = x.tape.record({
    op: 'linear_dweight',
    inputs: [x, dy, scale],
    outputs: [[I, O]],
    launches: (context, [dweight]) => productOverRowsLaunches(context, { x, dy, scale, dweight }, N, I, O),
  });
  return dweight;
}
