import { defineKernel } from '../../gpu/kernel.ts';
import { shapeError, type Tensor } from '../../tensor/tensor.ts';
import code from './global_average_pool.wgsl?raw';
import dxCode from './global_average_pool_dx.wgsl?raw';

const kernel = defineKernel('global_average_pool', code);
const dxKernel = defineKernel('global_average_pool_dx', dxCode);

/**
 * The mean over all pixels: x [N, H, W, C] → [N, C] (`torch.nn.functional.adaptive_avg_pool2d` to 1×1, flattened).
 * Throws ShapeError if x has other than four dimensions.
 */
export function globalAveragePool(x: Tensor): Tensor {
  if (x.shape.length !== 4) shapeError('global_average_pool', 'x must be [N, H, W, C]', { x });
  const [N, H, W, C] = x.shape as [number, number, number, number];
  const pixels = H * W;
  const [y] = x.tape.record({
    op: 'global_average_pool',
    inputs: [x],
    outputs: [[N, C]],
    launches: (_, [y]) => [
      {
        kernel,
        params: { size: N * C, pixels, C },
        bind: { x, y },
        workgroups: Math.ceil((N * C) / 64),
        flops: x.size,
      },
    ],
    backward: (dy) => {
      const [dx] = x.tape.record({
        op: 'global_average_pool_dx',
        inputs: [dy],
        outputs: [x.shape],
        launches: (_, [dx]) => [
          {
            kernel: dxKernel,
            params: { size: x.size, pixels, C },
            bind: { dy, dx },
            workgroups: Math.ceil(x.size / 64),
            flops: x.size,
          },
        ],
      });
      return [dx];
    },
  });
  return y;
}
