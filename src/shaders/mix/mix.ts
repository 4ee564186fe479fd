import { defineKernel } from '../../gpu/kernel.ts';
import { shapeError, type Tensor } from '../../tensor/tensor.ts';
import code from './mix.wgsl?raw';

const kernel = defineKernel('mix', code);

/**
 * Mixes every image of a batch x [N, H, W, C] with the one before it, the first with the last: `lambda` [1] of the image itself and the
 * rest of the other (Mixup, Zhang et al. 2018), and inside the rectangle `box` [4] of u32 (first row and column, those after the last)
 * the other alone (CutMix, Yun et al. 2019). These are `torchvision.transforms.v2.MixUp` and `CutMix` on a batch. The gradient goes to x.
 * Throws ShapeError where shapes do not go together.
 */
export function mix(x: Tensor, lambda: Tensor, box: Tensor): Tensor {
  const fail = (problem: string): never => shapeError('mix', problem, { x, lambda, box });
  if (x.shape.length !== 4) fail('x must be images [N, H, W, C]');
  if (lambda.shape.join() !== '1' || lambda.dtype !== 'f32') fail('lambda must be [1] of f32');
  if (box.shape.join() !== '4' || box.dtype !== 'u32') fail('box must be [4] of u32');
  return mixWith(x, lambda, box, x.shape[0] - 1);
}

/** Mixes with the image `shift` further on; its gradient goes the same way back. */
function mixWith(x: Tensor, lambda: Tensor, box: Tensor, shift: number): Tensor {
  const [N, H, W, C] = x.shape as [number, number, number, number];
  const [y] = x.tape.record({
    op: 'mix',
    inputs: [x, lambda, box],
    outputs: [x.shape],
    launches: (_, [y]) => [
      {
        kernel,
        params: { size: x.size, N, H, W, C, shift },
        bind: { x, lambda, box, y },
        workgroups: Math.ceil(x.size / 64),
        flops: 3 * x.size,
      },
    ],
    backward: (dy) => [mixWith(dy, lambda, box, (N - shift) % N), undefined, undefined],
  });
  return y;
}
