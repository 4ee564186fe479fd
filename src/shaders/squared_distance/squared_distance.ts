import { defineKernel } from '../../gpu/kernel.ts';
import { shapeError, type Tensor } from '../../tensor/tensor.ts';
import { constant } from '../constant/constant.ts';
import code from './squared_distance.wgsl?raw';

const kernel = defineKernel('squared_distance', code);

/**
 * Σ factor·(x − y)² for every image: x, y [B, ..., C] → [B], with one factor for all (default 1) or one a channel. With 1/(255·std_c)² it
 * is ‖z̃ − z‖² in normalised units for x, y in levels: the image penalty of docs/method.md, 2. For reports: it has no gradient, as `pgdStep`
 * knows the penalty's. Throws ShapeError where shapes or the number of factors do not fit.
 */
export function squaredDistance(x: Tensor, y: Tensor, factor: number | readonly number[] = 1): Tensor {
  if (x.shape.join() !== y.shape.join()) shapeError('squared_distance', 'x and y differ in shape', { x, y });
  const C = x.shape.at(-1)!;
  const factors = typeof factor === 'number' ? [factor] : factor;
  if (typeof factor !== 'number' && factor.length !== C)
    shapeError('squared_distance', `${factor.length} factors for ${C} channels`, { x, y });
  const B = x.shape[0];
  const factorTensor = constant(x.tape, factors);
  const [z] = x.tape.record({
    op: 'squared_distance',
    inputs: [x, y, factorTensor],
    outputs: [[B]],
    launches: (_, [z]) => [
      {
        kernel,
        params: { B, size: x.size / B, C: factors.length },
        bind: { x, y, factor: factorTensor, z },
        workgroups: B,
        flops: 4 * x.size,
      },
    ],
  });
  return z;
}
