import { defineKernel } from '../../gpu/kernel.ts';
import type { Tensor } from '../../tensor/tensor.ts';
import scaleCode from './half_scale.wgsl?raw';
import maxCode from './half_scale_max.wgsl?raw';

const maxKernel = defineKernel('half_scale_max', maxCode);
const scaleKernel = defineKernel('half_scale', scaleCode);

/** Invocations that look for the largest magnitude beside each other. */
const INVOCATIONS = 65536;

/**
 * The power of two [1] that brings the largest magnitude of x (a multiple of four values) between 32 and 64, so that float16 holds
 * what is up to 10⁹ times smaller and leaves room for sums of a few values; 1 where x is zero or not finite. It takes the place of
 * the loss scaling of mixed-precision training (Micikevicius et al. 2018), by tensor and without skipped steps.
 */
export function halfScale(x: Tensor): Tensor {
  const quads = x.size / 4;
  const size = Math.min(INVOCATIONS, Math.ceil(quads / 4) * 4);
  const [scale] = x.tape.record({
    op: 'half_scale',
    inputs: [x],
    outputs: [[1]],
    launches: (context, [scale]) => {
      const magnitudes = context.scratch([size]);
      return [
        { kernel: maxKernel, params: { quads, size }, bind: { x, y: magnitudes }, workgroups: Math.ceil(size / 64) },
        { kernel: scaleKernel, params: { quads: size / 4 }, bind: { magnitudes, scale }, workgroups: 1 },
      ];
    },
  });
  return scale;
}

/** What kernels that round to float16 multiply a gradient by; undefined where all are float32. */
export const halfScaleOf = (gradient: Tensor): Tensor | undefined =>
  gradient.tape.precision === 'f16' && gradient.size % 4 === 0 ? halfScale(gradient) : undefined;
