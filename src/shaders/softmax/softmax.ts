import { defineKernel } from '../../gpu/kernel.ts';
import { shapeError, type Tensor } from '../../tensor/tensor.ts';
import code from './softmax.wgsl?raw';
import dxCode from './softmax_dx.wgsl?raw';

const kernel = defineKernel('softmax', code);
const dxKernel = defineKernel('softmax_dx', dxCode);

/**
 * The probabilities that logits x [N, K] stand for, row by row (`torch.softmax(x / temperature, dim=1)`): the higher the temperature, the
 * softer. Throws ShapeError where x is no matrix.
 */
export function softmax(x: Tensor, { temperature = 1 }: { temperature?: number } = {}): Tensor {
  if (x.shape.length !== 2) shapeError('softmax', 'x must be [N, K]', { x });
  const [N, K] = x.shape as [number, number];
  const params = { N, K, factor: 1 / temperature };
  const [y] = x.tape.record({
    op: 'softmax',
    inputs: [x],
    outputs: [x.shape],
    launches: (_, [y]) => [{ kernel, params, bind: { x, y }, workgroups: N, flops: 5 * x.size }],
    backward: (dy) => {
      const [dx] = x.tape.record({
        op: 'softmax_dx',
        inputs: [dy, y],
        outputs: [x.shape],
        launches: (_, [dx]) => [{ kernel: dxKernel, params, bind: { dy, y: y, dx }, workgroups: N, flops: 5 * x.size }],
      });
      return [dx];
    },
  });
  return y;
}
