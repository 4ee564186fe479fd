import { defineKernel } from '../../gpu/kernel.ts';
import type { Tensor } from '../../tensor/tensor.ts';
import { type Pool2dOptions, poolGeometry } from '../pool2d.ts';
import code from './avg_pool2d.wgsl?raw';
import dxCode from './avg_pool2d_dx.wgsl?raw';

const kernel = defineKernel('avg_pool2d', code);
const dxKernel = defineKernel('avg_pool2d_dx', dxCode);

/**
 * The mean over square windows of x [N, H, W, C] (`torch.nn.functional.avg_pool2d`), padding counting as zeros
 * (`count_include_pad`, PyTorch's default). Returns [N, floor((H + 2·padding − kernel)/stride) + 1, …, C].
 * Throws ShapeError where no window fits or the padding exceeds half of it.
 */
export function avgPool2d(x: Tensor, options: Pool2dOptions): Tensor {
  const geometry = poolGeometry('avg_pool2d', x, options);
  const [y] = x.tape.record({
    op: 'avg_pool2d',
    inputs: [x],
    outputs: [[x.shape[0], geometry.OH, geometry.OW, geometry.C]],
    launches: (_, [y]) => [
      {
        kernel,
        params: { size: y.size, ...geometry },
        bind: { x, y },
        workgroups: Math.ceil(y.size / 64),
        flops: y.size * geometry.kernel ** 2,
      },
    ],
    backward: (dy) => {
      const [dx] = x.tape.record({
        op: 'avg_pool2d_dx',
        inputs: [dy],
        outputs: [x.shape],
        launches: (_, [dx]) => [
          {
            kernel: dxKernel,
            params: { size: x.size, ...geometry },
            bind: { dy, dx },
            workgroups: Math.ceil(x.size / 64),
            flops: y.size * geometry.kernel ** 2,
          },
        ],
      });
      return [dx];
    },
  });
  return y;
}
