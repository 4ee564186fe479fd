import { defineKernel } from '../../gpu/kernel.ts';
import { shapeError, type Tensor } from '../../tensor/tensor.ts';
import code from './transpose.wgsl?raw';
import quadsCode from './transpose_quads.wgsl?raw';

const kernel = defineKernel('transpose', code);
const quadsKernel = defineKernel('transpose_quads', quadsCode);

/** Swaps the last two dimensions (`torch.Tensor.mT`): [..., I, J] → [..., J, I]. */
export function swapLastTwo(x: Tensor): Tensor {
  if (x.shape.length < 2) shapeError('transpose', 'x needs two dimensions', { x });
  const I = x.shape.at(-2)!;
  const J = x.shape.at(-1)!;
  const [y] = x.tape.record({
    op: 'transpose',
    inputs: [x],
    outputs: [[...x.shape.slice(0, -2), J, I]],
    launches: (_, [y]) => {
      if (I % 4 !== 0 || J % 4 !== 0)
        return [{ kernel, params: { size: x.size, I, J }, bind: { x, y }, workgroups: Math.ceil(x.size / 64) }];
      const blocks = x.size / 16;
      const params = { blocks, I: I / 4, J: J / 4 };
      return [{ kernel: quadsKernel, params, bind: { x, y }, workgroups: Math.ceil(blocks / 64) }];
    },
    backward: (dy) => [swapLastTwo(dy)],
  });
  return y;
}
