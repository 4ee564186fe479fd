import { defineKernel } from '../../gpu/kernel.ts';
import { shapeError, type Tensor } from '../../tensor/tensor.ts';
import { sumRows } from '../sum_rows/sum_rows.ts';
import code from './softmax_cross_entropy.wgsl?raw';
import dlogitsCode from './softmax_cross_entropy_dlogits.wgsl?raw';

const kernel = defineKernel('softmax_cross_entropy', code);
const dlogitsKernel = defineKernel('softmax_cross_entropy_dlogits', dlogitsCode);

/**
 * The mean cross-entropy of logits [N, K] → [1] (`torch.nn.functional.cross_entropy`). `targets` are labels, u32 [N], or a
 * weight for every class, f32 [N, K], as distillation has them. The gradient goes to the logits; targets count as constants.
 * A label that is no class makes the loss and its row of the gradient NaN, so that it is seen; there is no `ignore_index`.
 * Throws ShapeError where the targets are neither form.
 */
export function softmaxCrossEntropy(logits: Tensor, targets: Tensor): Tensor {
  const fail = (problem: string): never => shapeError('softmax_cross_entropy', problem, { logits, targets });
  if (logits.shape.length !== 2) fail('logits must be [N, K]');
  const [N, K] = logits.shape as [number, number];
  const SOFT = targets.dtype === 'f32';
  const wanted = SOFT ? [N, K] : [N];
  if (targets.shape.join() !== wanted.join()) fail(`targets of ${targets.dtype} must be [${wanted.join(',')}]`);

  // Already divided by N, so that their sum is the mean.
  const [losses, saved] = logits.tape.record({
    op: 'softmax_cross_entropy',
    inputs: [logits, targets],
    outputs: [
      [N, 1],
      [N, 3],
    ],
    launches: (_, [loss, saved]) => [
      {
        kernel,
        constants: { SOFT },
        params: { N, K, scale: 1 / N },
        bind: { logits, targets, loss, saved },
        workgroups: N,
        flops: 5 * logits.size,
      },
    ],
    backward: (dloss) => {
      const [dlogits] = logits.tape.record({
        op: 'softmax_cross_entropy_dlogits',
        inputs: [dloss, logits, targets, saved],
        outputs: [logits.shape],
        launches: (_, [dlogits]) => [
          {
            kernel: dlogitsKernel,
            constants: { SOFT },
            params: { size: logits.size, K, scale: 1 / N },
            bind: { dloss, logits, targets, saved, dlogits },
            workgroups: Math.ceil(logits.size / 64),
            flops: 5 * logits.size,
          },
        ],
      });
      return [dlogits];
    },
  });
  return sumRows(losses);
}
