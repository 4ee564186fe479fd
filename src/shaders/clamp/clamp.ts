import { defineKernel, type Kernel } from '../../gpu/kernel.ts';
import type { Launch } from '../../tensor/tape.ts';
import { shapeError, type Tensor } from '../../tensor/tensor.ts';
import code from './clamp.wgsl?raw';
import backwardCode from './clamp_backward.wgsl?raw';

const kernel = defineKernel('clamp', code);
const backwardKernel = defineKernel('clamp_backward', backwardCode);

/** The largest finite float32. */
const MAX_FLOAT = 2 ** 128 - 2 ** 104;

/**
 * x limited to [low, high] element by element (`torch.clamp`), any shape; either bound may be infinite. As in PyTorch the
 * gradient passes where x is inside, bounds included. Throws ShapeError when low > high.
 */
export function clamp(x: Tensor, low: number, high: number): Tensor {
  if (!(low <= high)) shapeError('clamp', `${low} is not below ${high}`, { x });
  const [y] = x.tape.record({
    op: 'clamp',
    inputs: [x],
    outputs: [x.shape],
    launches: (_, [y]) => [launch(kernel, { x, y }, x.size, low, high)],
    backward: (dy) => [clampBackward(dy, x, low, high)],
  });
  return y;
}

/** The gradient of a clamp from its input x: dy where low ≤ x ≤ high, else 0. */
export function clampBackward(dy: Tensor, x: Tensor, low: number, high: number): Tensor {
  if (dy.shape.join() !== x.shape.join()) shapeError('clamp_backward', 'dy and x differ in shape', { dy, x });
  const [dx] = x.tape.record({
    op: 'clamp_backward',
    inputs: [dy, x],
    outputs: [x.shape],
    launches: (_, [dx]) => [launch(backwardKernel, { dy, x, dx }, x.size, low, high)],
  });
  return dx;
}

function launch(kernel: Kernel, bind: Launch['bind'], size: number, low: number, high: number): Launch {
  const quads = Math.ceil(size / 4);
  // WGSL may assume that nothing is infinite; no finite float32 lies beyond these.
  const params = { quads, low: Math.max(low, -MAX_FLOAT), high: Math.min(high, MAX_FLOAT) };
  return { kernel, params, bind, workgroups: Math.ceil(quads / 256), flops: size };
}
