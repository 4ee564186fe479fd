import { defineKernel } from '../../gpu/kernel.ts';
import { shapeError, type Tensor } from '../../tensor/tensor.ts';
import code from './adam.wgsl?raw';

const kernel = defineKernel('adam', code);

/** What a step of {@link adam} reads and updates. */
export interface AdamTensors {
  /** A variable of any shape. */
  readonly parameter: Tensor;
  /** Same shape. */
  readonly gradient: Tensor;
  /** A variable of the same shape, zero before the first step: PyTorch's `exp_avg`. */
  readonly firstMoment: Tensor;
  /** A variable of the same shape, zero before the first step: PyTorch's `exp_avg_sq`. */
  readonly secondMoment: Tensor;
  /** `[1]`: 1 for the first step, 2 for the second, …; written by the host, as the learning rate is. */
  readonly step: Tensor;
  /** [1] */
  readonly learningRate: Tensor;
}

/** Options of {@link adam}, with the names of PyTorch. */
export interface AdamOptions {
  /** The share of the first moment that is kept, in [0, 1); default 0.9. */
  readonly beta1?: number;
  /** The share of the second moment that is kept, in [0, 1); default 0.999. */
  readonly beta2?: number;
  /** Added to the root of the second moment; default 1e-8. */
  readonly eps?: number;
  /** Default 0. */
  readonly weightDecay?: number;
  /** Whether the decay shrinks the parameter itself (AdamW) instead of being added to the gradient (Adam); default false. */
  readonly decoupled?: boolean;
}

/**
 * One step of Adam (`torch.optim.Adam`), or with `decoupled` of AdamW (`torch.optim.AdamW`), without amsgrad, in place on
 * `parameter` and both moments, with bias correction.
 * Throws ShapeError where shapes differ, a beta is outside [0, 1), or what is updated is no variable.
 */
export function adam(tensors: AdamTensors, options: AdamOptions = {}): void {
  const { parameter, gradient, firstMoment, secondMoment, step, learningRate } = tensors;
  const { beta1 = 0.9, beta2 = 0.999, eps = 1e-8, weightDecay = 0, decoupled: DECOUPLED = false } = options;
  const fail = (problem: string): never => shapeError('adam', problem, { ...tensors });
  for (const [name, tensor] of Object.entries({ parameter, firstMoment, secondMoment }))
    if (!tensor.tape.variables.has(tensor)) fail(`${name} is not a variable`);
  for (const [name, tensor] of Object.entries({ gradient, firstMoment, secondMoment }))
    if (tensor.shape.join() !== parameter.shape.join()) fail(`${name} must have the shape of parameter`);
  for (const [name, tensor] of Object.entries({ step, learningRate }))
    if (tensor.shape.join() !== '1' || tensor.dtype !== 'f32') fail(`${name} must be [1] of f32`);
  for (const [name, beta] of Object.entries({ beta1, beta2 }))
    if (!(beta >= 0 && beta < 1)) fail(`${name} ${beta} is not in [0, 1)`);

  const quads = Math.ceil(parameter.size / 4);
  parameter.tape.record({
    op: 'adam',
    inputs: [parameter, firstMoment, secondMoment, gradient, step, learningRate],
    outputs: [],
    updates: [parameter, firstMoment, secondMoment],
    launches: () => [
      {
        kernel,
        constants: { DECOUPLED },
        params: {
          quads,
          beta1,
          share1: 1 - beta1,
          rate1: decayRate(beta1),
          beta2,
          share2: 1 - beta2,
          rate2: decayRate(beta2),
          eps,
          weightDecay,
        },
        bind: { parameter, firstMoment, secondMoment, gradient, step, learningRate },
        workgroups: Math.ceil(quads / 256),
        flops: 16 * parameter.size,
      },
    ],
  });
}

/** −ln beta; of 0, a number so large that exp of its negative is 0 in float32: WGSL may assume that nothing is infinite. */
const decayRate = (beta: number): number => Math.min(-Math.log(beta), 200);
