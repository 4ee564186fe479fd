import { batchNorm, foldBatchNorm } from '../shaders/batch_norm/batch_norm.ts';
import { type Conv2dOptions, conv2d, linear } from '../shaders/conv2d/conv2d.ts';
import type { Tape } from '../tensor/tape.ts';
import type { Tensor } from '../tensor/tensor.ts';
import type { Layout } from './layout.ts';

/** What a value of a state dict is: decides its layout, its initial value and whether an optimiser touches it. */
export type ParameterKind = 'convolution' | 'linear' | 'bias' | 'gamma' | 'beta' | 'runningMean' | 'runningVar';

/** One tensor of a state dict. */
export interface ParameterSpec {
  /** torchvision's name, `layer1.0.conv1.weight`. */
  readonly name: string;
  /** PyTorch's shape: convolutions OIHW, linear layers [out, in]. */
  readonly shape: readonly number[];
  readonly kind: ParameterKind;
  /** Values that one output of its layer is computed from, and outputs that one input reaches, as PyTorch counts them; 1 for batch norms. */
  readonly fanIn: number;
  readonly fanOut: number;
}

export const layoutOf = (kind: ParameterKind): Layout =>
  kind === 'convolution' || kind === 'linear' ? kind : 'vector';

/** Whether it belongs to a batch norm. */
export const isNorm = (kind: ParameterKind): boolean =>
  kind === 'gamma' || kind === 'beta' || kind === 'runningMean' || kind === 'runningVar';

/** Whether gradient descent changes it (running statistics change by themselves). */
export const isTrainable = (kind: ParameterKind): boolean => kind !== 'runningMean' && kind !== 'runningVar';

export interface ConvolutionOptions {
  readonly out: number;
  readonly kernel: number;
  readonly stride?: number;
  readonly padding?: number;
  /** Name of the batch norm that follows. */
  readonly norm?: string;
  /** Whether the convolution has a bias of its own. */
  readonly bias?: boolean;
  readonly residual?: Tensor;
  readonly relu?: boolean;
}

/**
 * Records a network's layers by their torchvision names. A network is written once, as a function of a recorder: what it asks
 * for is at the same time the list of its parameters. When frozen, batch norms are folded into the convolutions before them.
 */
export class Recorder {
  readonly tape: Tape;
  /** Batch statistics, unfolded layers, parameters as variables that may change. */
  readonly training: boolean;
  readonly #parameter: (spec: ParameterSpec) => Tensor;

  constructor(tape: Tape, training: boolean, parameter: (spec: ParameterSpec) => Tensor) {
    this.tape = tape;
    this.training = training;
    this.#parameter = parameter;
  }

  /** A convolution of x [N, H, W, C], with batch norm, residual and ReLU where asked for. */
  convolution(name: string, x: Tensor, options: ConvolutionOptions): Tensor {
    const { out, kernel, stride = 1, padding = 0, norm, residual, relu = false } = options;
    return this.tape.scope(name, () => {
      const shape = [out, x.shape[3], kernel, kernel];
      const fans = { fanIn: x.shape[3] * kernel ** 2, fanOut: out * kernel ** 2 };
      const weight = this.#parameter({ name: `${name}.weight`, shape, kind: 'convolution', ...fans });
      const bias = options.bias
        ? this.#parameter({ name: `${name}.bias`, shape: [out], kind: 'bias', ...fans })
        : undefined;
      const geometry: Conv2dOptions = { stride, padding };
      const epilogue = { relu, ...(residual && { residual }) };
      if (!norm) return conv2d(x, weight, { ...geometry, ...epilogue, ...(bias && { bias }) });
      const bn = this.#norm(norm, out);
      if (this.training)
        return batchNorm(conv2d(x, weight, { ...geometry, ...(bias && { bias }) }), bn, {
          training: true,
          ...epilogue,
        });
      const folded = foldBatchNorm(weight, bias, bn);
      return conv2d(x, folded.weight, { ...geometry, ...epilogue, bias: folded.bias });
    });
  }

  /** A fully connected layer of x [N, I] with bias. */
  linear(name: string, x: Tensor, out: number): Tensor {
    return this.tape.scope(name, () => {
      const fans = { fanIn: x.shape[1], fanOut: out };
      const weight = this.#parameter({ name: `${name}.weight`, shape: [out, x.shape[1]], kind: 'linear', ...fans });
      return linear(x, weight, this.#parameter({ name: `${name}.bias`, shape: [out], kind: 'bias', ...fans }));
    });
  }

  #norm(name: string, channels: number): { gamma: Tensor; beta: Tensor; runningMean: Tensor; runningVar: Tensor } {
    const parameter = (suffix: string, kind: ParameterKind): Tensor =>
      this.#parameter({ name: `${name}.${suffix}`, shape: [channels], kind, fanIn: 1, fanOut: 1 });
    return {
      gamma: parameter('weight', 'gamma'),
      beta: parameter('bias', 'beta'),
      runningMean: parameter('running_mean', 'runningMean'),
      runningVar: parameter('running_var', 'runningVar'),
    };
  }
}
