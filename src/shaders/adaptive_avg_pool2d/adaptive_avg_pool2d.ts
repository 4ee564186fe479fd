import { defineKernel } from '../../gpu/kernel.ts';
import { shapeError, type Tensor } from '../../tensor/tensor.ts';
import code from './adaptive_avg_pool2d.wgsl?raw';
import dxCode from './adaptive_avg_pool2d_dx.wgsl?raw';

const kernel = defineKernel('adaptive_avg_pool2d', code);
const dxKernel = defineKernel('adaptive_avg_pool2d_dx', dxCode);

/**
 * The means over OH × OW windows that cover x [N, H, W, C] and may overlap (`torch.nn.functional.adaptive_avg_pool2d`): window i
 * takes rows floor(i·H/OH) … ceil((i+1)·H/OH), so that a smaller image is repeated and one of OH × OW pixels left as it is.
 * Returns [N, OH, OW, C]. Throws ShapeError where x is no image or a size is no positive integer.
 */
export function adaptiveAvgPool2d(x: Tensor, OH: number, OW: number): Tensor {
  const fail = (problem: string): never => shapeError('adaptive_avg_pool2d', problem, { x });
  if (x.shape.length !== 4) fail('x must be [N, H, W, C]');
  if (![OH, OW].every((extent) => Number.isInteger(extent) && extent >= 1)) fail(`${OH}x${OW} is no size to pool to`);
  const [N, H, W, C] = x.shape as [number, number, number, number];
  if (H === OH && W === OW) return x;
  const geometry = { H, W, C, OH, OW };
  const [y] = x.tape.record({
    op: 'adaptive_avg_pool2d',
    inputs: [x],
    outputs: [[N, OH, OW, C]],
    launches: (_, [y]) => [
      {
        kernel,
        params: { size: y.size, ...geometry },
        bind: { x, y },
        workgroups: Math.ceil(y.size / 64),
        flops: Math.max(x.size, y.size),
      },
    ],
    backward: (dy) => {
      const [dx] = x.tape.record({
        op: 'adaptive_avg_pool2d_dx',
        inputs: [dy],
        outputs: [x.shape],
        launches: (_, [dx]) => [
          {
            kernel: dxKernel,
            params: { size: x.size, ...geometry },
            bind: { dy, dx },
            workgroups: Math.ceil(x.size / 64),
            flops: Math.max(x.size, dy.size),
          },
        ],
      });
      return [dx];
    },
  });
  return y;
}
