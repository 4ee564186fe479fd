import { defineKernel } from '../../gpu/kernel.ts';
import { shapeError, type Tensor } from '../../tensor/tensor.ts';
import code from './sgd.wgsl?raw';

const kernel = defineKernel('sgd', code);

/** What a step of {@link sgd} reads and updates. */
export interface SgdTensors {
  /** A variable of any shape. */
  readonly parameter: Tensor;
  /** Same shape. */
  readonly gradient: Tensor;
  /** A variable of the same shape, zero before the first step: PyTorch's `momentum_buffer`. */
  readonly momentum: Tensor;
  /** [1]; an input, so that schedules need no other program. */
  readonly learningRate: Tensor;
  /** `[1]`: what the gradient is multiplied by before anything else, see `clipScale`; default 1. */
  readonly gradientScale?: Tensor | undefined;
}

/** Options of {@link sgd}, with the names of PyTorch. */
export interface SgdOptions {
  /** The share of the momentum that is kept; default 0. */
  readonly momentum?: number;
  /** L2 penalty, added to the gradient; default 0. */
  readonly weightDecay?: number;
  /** Nesterov's momentum; default false. */
  readonly nesterov?: boolean;
}

/**
 * One step of stochastic gradient descent (`torch.optim.SGD`, dampening 0), in place on `parameter` and `momentum`:
 *
 *     g = gradient + weightDecay·parameter;  momentum ← m·momentum + g;  parameter ← parameter − learningRate·momentum
 *
 * with g + m·momentum in place of the last momentum where `nesterov` is set. A momentum of zeros makes the first one the
 * gradient, as PyTorch has it. Throws ShapeError where shapes differ, or the parameter or momentum is no variable.
 */
export function sgd(tensors: SgdTensors, options: SgdOptions = {}): void {
  const { parameter, gradient, momentum, learningRate, gradientScale } = tensors;
  const { momentum: mass = 0, weightDecay = 0, nesterov: NESTEROV = false } = options;
  const fail = (problem: string): never =>
    shapeError('sgd', problem, {
      parameter,
      gradient,
      momentum,
      learningRate,
      ...(gradientScale && { gradientScale }),
    });
  for (const [name, tensor] of Object.entries({ parameter, momentum }))
    if (!tensor.tape.variables.has(tensor)) fail(`${name} is not a variable`);
  for (const [name, tensor] of Object.entries({ gradient, momentum }))
    if (tensor.shape.join() !== parameter.shape.join()) fail(`${name} must have the shape of parameter`);
  for (const [name, tensor] of Object.entries({ learningRate, ...(gradientScale && { gradientScale }) }))
    if (tensor.shape.join() !== '1' || tensor.dtype !== 'f32') fail(`${name} must be [1] of f32`);
  if (NESTEROV && !(mass > 0)) fail(`nesterov needs a momentum above 0, not ${mass}`);

  const quads = Math.ceil(parameter.size / 4);
  parameter.tape.record({
    op: 'sgd',
    inputs: [parameter, momentum, gradient, learningRate, gradientScale],
    outputs: [],
    updates: [parameter, momentum],
    launches: () => [
      {
        kernel,
        constants: { NESTEROV, SCALED: gradientScale !== undefined },
        params: { quads, mass, weightDecay },
        bind: { parameter, momentum, gradient, learningRate, gradientScale },
        workgroups: Math.ceil(quads / 256),
        flops: 6 * parameter.size,
      },
    ],
  });
}
