import { defineKernel } from '../../gpu/kernel.ts';
import type { Tensor } from '../../tensor/tensor.ts';
import { channelsOf } from '../channels.ts';
import { type Pool2dOptions, poolGeometry } from '../pool2d.ts';
import code from './max_pool2d.wgsl?raw';
import dxCode from './max_pool2d_dx.wgsl?raw';

const kernel = defineKernel('max_pool2d', code);
const dxKernel = defineKernel('max_pool2d_dx', dxCode);

/**
 * The maximum over square windows of x [N, H, W, C] (`torch.nn.functional.max_pool2d`), padding never winning. Returns
 * [N, floor((H + 2·padding − kernel)/stride) + 1, …, C]. The gradient goes to the first maximum of each window; a NaN in a
 * window is its maximum. Throws ShapeError where no window fits or the padding exceeds half of it.
 */
export function maxPool2d(x: Tensor, options: Pool2dOptions): Tensor {
  const geometry = poolGeometry('max_pool2d', x, options);
  const shape = [x.shape[0], geometry.OH, geometry.OW, geometry.C];
  const { width, constants } = channelsOf(geometry.C);
  const params = { ...geometry, C: geometry.C / width };
  const [y, argmax] = x.tape.record({
    op: 'max_pool2d',
    inputs: [x],
    // Where each maximum was, as a number: a place in a window is far below 2²⁴, where float32 is exact.
    outputs: [shape, shape],
    launches: (_, [y, argmax]) => [
      {
        kernel,
        constants,
        params: { ...params, size: y.size / width },
        bind: { x, y, argmax },
        workgroups: Math.ceil(y.size / width / 64),
        flops: y.size * geometry.kernel ** 2,
      },
    ],
    backward: (dy) => {
      const [dx] = x.tape.record({
        op: 'max_pool2d_dx',
        inputs: [dy, argmax],
        outputs: [x.shape],
        launches: (_, [dx]) => [
          {
            kernel: dxKernel,
            constants: { Channels: constants.Channels },
            params: { ...params, size: x.size / width },
            bind: { dy, argmax, dx },
            workgroups: Math.ceil(x.size / width / 64),
            flops: y.size * geometry.kernel ** 2,
          },
        ],
      });
      return [dx];
    },
  });
  return y;
}
