import { defineKernel } from '../../gpu/kernel.ts';
import { shapeError, type Tensor } from '../../tensor/tensor.ts';
import reluCode from './relu.wgsl?raw';
import backwardCode from './relu_backward.wgsl?raw';

const reluKernel = defineKernel('relu', reluCode);
const backwardKernel = defineKernel('relu_backward', backwardCode);

/** max(x, 0) element by element (`torch.relu`), any shape. */
export function relu(x: Tensor): Tensor {
  const quads = Math.ceil(x.size / 4);
  const [y] = x.tape.record({
    op: 'relu',
    inputs: [x],
    outputs: [x.shape],
    launches: (_, [y]) => [
      { kernel: reluKernel, params: { quads }, bind: { x, y }, workgroups: Math.ceil(quads / 256), flops: x.size },
    ],
    backward: (dy) => [reluBackward(dy, y)],
  });
  return y;
}

/** The gradient of a ReLU from its result y: dy where y > 0. The gradient at 0 is 0, as PyTorch has it. */
export function reluBackward(dy: Tensor, y: Tensor): Tensor {
  if (dy.shape.join() !== y.shape.join()) shapeError('relu_backward', 'dy and y differ in shape', { dy, y });
  const quads = Math.ceil(y.size / 4);
  const [dx] = y.tape.record({
    op: 'relu_backward',
    inputs: [dy, y],
    outputs: [y.shape],
    finish: [{ of: dy, gate: y }],
    launches: (_, [dx]) => [
      {
        kernel: backwardKernel,
        params: { quads },
        bind: { dy, y, dx },
        workgroups: Math.ceil(quads / 256),
        flops: y.size,
      },
    ],
  });
  return dx;
}
