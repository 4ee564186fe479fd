import { defineKernel } from '../../gpu/kernel.ts';
import { shapeError, type Tensor } from '../../tensor/tensor.ts';
import { constant } from '../constant/constant.ts';
import greyCode from './grey_gradient.wgsl?raw';
import code from './pgd_step.wgsl?raw';

const kernel = defineKernel('pgd_step', code);
const greyKernel = defineKernel('grey_gradient', greyCode);

/** For each channel: levels moved per unit of ∂L/∂level, and the share of the distance to the original that is taken back. */
export interface StepFactors {
  readonly step: readonly number[];
  readonly shrink: readonly number[];
}

/**
 * Factors of a descent with learning rate `learningRate` on L + lambdaImage·‖z̃ − z‖², where z are the pixels in the units that the
 * rate and the penalty are meant in: levels, or, where `std` is given, normalised units z = (x/255 − mean)/std, as in the
 * published recipe.
 *
 * One normalised unit of channel c is 255·std_c levels. A step of −learningRate·∂L/∂z moves the level by 255·std_c times that, and
 * ∂L/∂z = 255·std_c·∂L/∂x: the unit enters twice, step_c = learningRate·(255·std_c)². The penalty's part of the step,
 * −learningRate·2·lambdaImage·(z̃ − z), is proportional to the distance itself, so shrink_c = 2·learningRate·lambdaImage in
 * any unit.
 */
export function stepFactors(
  channels: number,
  {
    learningRate,
    lambdaImage,
    std,
  }: { learningRate: number; lambdaImage: number; std?: readonly number[] | undefined },
): StepFactors {
  if (std && std.length !== channels) throw new RangeError(`std has ${std.length} values for ${channels} channels`);
  return {
    step: Array.from({ length: channels }, (_, c) => learningRate * (std ? (255 * std[c]) ** 2 : 1)),
    shrink: Array.from({ length: channels }, () => 2 * learningRate * lambdaImage),
  };
}

export interface PgdStepOptions extends StepFactors {
  /** The image before marking, same shape, integer levels. */
  readonly original: Tensor;
  /** ∂L/∂image, per level, without the image penalty, same shape. */
  readonly gradient: Tensor;
  /** [1] of u32: 1 where this step also rounds to integer levels in 0–255. */
  readonly rounding: Tensor;
  /** Radius of the L∞ ball around the original, in levels. */
  readonly radiusLevels: number;
}

/**
 * One step of projected gradient descent on the variable `image` [..., C] in 8-bit levels, in place ("Radioactive data",
 * docs/method.md, 2):
 *
 *     image ← project(image − step_c·gradient − shrink_c·(image − original))
 *
 * onto the L∞ ball, and where `rounding` is 1 onto the integers (ties to even, as `torch.round`) inside both the ball and 0–255,
 * for any radius. Between roundings values may leave 0–255. A NaN in the gradient stays one in the image.
 * Throws ShapeError where shapes differ, `image` is no variable, or the radius is negative.
 */
export function pgdStep(image: Tensor, options: PgdStepOptions): void {
  const { original, gradient, rounding, radiusLevels, step, shrink } = options;
  const fail = (problem: string): never => shapeError('pgd_step', problem, { image, original, gradient, rounding });
  const C = image.shape.at(-1)!;
  if (!image.tape.variables.has(image)) fail('image is not a variable');
  for (const [name, tensor] of Object.entries({ original, gradient }))
    if (tensor.shape.join() !== image.shape.join()) fail(`${name} must have the shape of image`);
  if (rounding.dtype !== 'u32' || rounding.shape.join() !== '1') fail('rounding must be [1] of u32');
  for (const [name, factors] of Object.entries({ step, shrink }))
    if (factors.length !== C) fail(`${name} has ${factors.length} values, image has ${C} channels`);
  if (!(radiusLevels >= 0)) fail(`the radius ${radiusLevels} is negative`);

  const steps = constant(image.tape, step);
  const shrinks = constant(image.tape, shrink);
  const quads = Math.ceil(image.size / 4);
  image.tape.record({
    op: 'pgd_step',
    inputs: [image, original, gradient, steps, shrinks, rounding],
    outputs: [],
    updates: [image],
    launches: () => [
      {
        kernel,
        params: { quads, C, radius: radiusLevels },
        bind: { image, original, gradient, step: steps, shrink: shrinks, rounding },
        workgroups: Math.ceil(quads / 256),
        flops: 7 * image.size,
      },
    ],
  });
}

/**
 * The gradient [..., 3] of images whose first `grey` pixels ([1] of u32) are of grey images: by theirs a step of `step` levels per unit
 * moves all three channels by the mean of what each would have moved, so that grey images stay grey. A step of 0 moves
 * nothing. Throws ShapeError for other channels.
 */
export function greyGradient(gradient: Tensor, step: readonly number[], grey: Tensor): Tensor {
  if (gradient.shape.at(-1) !== 3 || step.length !== 3)
    shapeError('grey_gradient', 'gradient must have 3 channels, with a step for each', { gradient });
  if (grey.dtype !== 'u32' || grey.shape.join() !== '1')
    shapeError('grey_gradient', 'grey must be [1] of u32', { grey });
  const steps = constant(gradient.tape, step);
  const pixels = gradient.size / 3;
  const [y] = gradient.tape.record({
    op: 'grey_gradient',
    inputs: [gradient, steps, grey],
    outputs: [gradient.shape],
    launches: (_, [y]) => [
      {
        kernel: greyKernel,
        params: { pixels },
        bind: { x: gradient, step: steps, grey, y },
        workgroups: Math.ceil(pixels / 64),
        flops: 9 * pixels,
      },
    ],
  });
  return y;
}
