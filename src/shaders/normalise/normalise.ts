import { defineKernel } from '../../gpu/kernel.ts';
import { shapeError, type Tensor } from '../../tensor/tensor.ts';
import { constant } from '../constant/constant.ts';
import code from './normalise.wgsl?raw';

const kernel = defineKernel('normalise', code);

/** Mean and standard deviation of each channel, for pixels scaled to 0–1. */
export interface Normalisation {
  readonly mean: readonly number[];
  readonly std: readonly number[];
}

/**
 * Pixels x [..., C] in 8-bit levels (0–255) as the networks take them: (x/255 − mean)/std for each channel
 * (torchvision's ToTensor and Normalize in one). Throws ShapeError unless there is one mean and one positive std a channel.
 */
export function normalise(x: Tensor, { mean, std }: Normalisation): Tensor {
  const C = x.shape.at(-1)!;
  for (const [name, values] of Object.entries({ mean, std })) {
    if (values.length !== C) shapeError('normalise', `${name} has ${values.length} values, x has ${C} channels`, { x });
    if (!values.every((value) => Number.isFinite(value) && (name === 'mean' || value > 0)))
      shapeError('normalise', `${name} [${values}] is not ${name === 'std' ? 'positive' : 'finite'}`, { x });
  }
  // x − 255·mean first: both are levels, so close to the mean nothing is lost.
  const offset = constant(
    x.tape,
    mean.map((value) => 255 * value),
  );
  const scale = constant(
    x.tape,
    std.map((value) => 1 / (255 * value)),
  );
  const quads = Math.ceil(x.size / 4);
  const [y] = x.tape.record({
    op: 'normalise',
    inputs: [x, offset, scale],
    outputs: [x.shape],
    launches: (_, [y]) => [
      {
        kernel,
        constants: { HAS_OFFSET: true },
        params: { quads, C },
        bind: { x, offset, scale, y },
        workgroups: Math.ceil(quads / 256),
        flops: 2 * x.size,
      },
    ],
    backward: (dy) => {
      const [dx] = x.tape.record({
        op: 'normalise_dx',
        inputs: [dy, scale],
        outputs: [x.shape],
        launches: (_, [dx]) => [
          {
            kernel,
            constants: { HAS_OFFSET: false },
            params: { quads, C },
            bind: { x: dy, offset: undefined, scale, y: dx },
            workgroups: Math.ceil(quads / 256),
            flops: x.size,
          },
        ],
      });
      return [dx];
    },
  });
  return y;
}
