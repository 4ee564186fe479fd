import { defineKernel } from '../../gpu/kernel.ts';
import { shapeError, type Tensor } from '../../tensor/tensor.ts';
import code from './moving_average.wgsl?raw';

const kernel = defineKernel('moving_average', code);

/**
 * One step of an exponential moving average, in place on `average`, a variable of the shape of `value`:
 * average ← decay·average + (1 − decay)·value (`torch.optim.swa_utils.AveragedModel` with an average that decays). `decay` [1] is an
 * input, so that the first step can take the value itself, with 0.
 * Throws ShapeError where shapes differ, or `average` is no variable.
 */
export function movingAverage(average: Tensor, value: Tensor, decay: Tensor): void {
  const fail = (problem: string): never => shapeError('moving_average', problem, { average, value, decay });
  if (!average.tape.variables.has(average)) fail('average is not a variable');
  if (value.shape.join() !== average.shape.join()) fail('value must have the shape of average');
  if (decay.shape.join() !== '1' || decay.dtype !== 'f32') fail('decay must be [1] of f32');
  const quads = Math.ceil(average.size / 4);
  average.tape.record({
    op: 'moving_average',
    inputs: [average, value, decay],
    outputs: [],
    updates: [average],
    launches: () => [
      {
        kernel,
        params: { quads },
        bind: { average, value, decay },
        workgroups: Math.ceil(quads / 256),
        flops: 3 * average.size,
      },
    ],
  });
}
