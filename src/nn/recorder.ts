import { add } from '../shaders/add/add.ts';
import { batchNorm, foldBatchNorm } from '../shaders/batch_norm/batch_norm.ts';
import { concat } from '../shaders/concat/concat.ts';
import { type Conv2dOptions, conv2d } from '../shaders/conv2d/conv2d.ts';
import { dropout } from '../shaders/dropout/dropout.ts';
import { expand } from '../shaders/expand/expand.ts';
import { linear } from '../shaders/linear/linear.ts';
import { reshape } from '../shaders/reshape/reshape.ts';
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
  /** What it is to its layer. */
  readonly kind: ParameterKind;
  /** Values that one output of its layer is computed from, and outputs that one input reaches, as PyTorch counts them; 1 for batch norms. */
  readonly fanIn: number;
  readonly fanOut: number;
  /** [C, H, W], where the inputs of a linear layer are the pixels of an image. */
  readonly flattens?: readonly [number, number, number];
}

export const layoutOf = (kind: ParameterKind): Layout =>
  kind === 'convolution' || kind === 'linear' ? kind : 'vector';

/** Whether it belongs to a batch norm. */
export const isNorm = (kind: ParameterKind): boolean =>
  kind === 'gamma' || kind === 'beta' || kind === 'runningMean' || kind === 'runningVar';

/** Whether gradient descent changes it (running statistics change by themselves). */
export const isTrainable = (kind: ParameterKind): boolean => kind !== 'runningMean' && kind !== 'runningVar';

/** A convolution as {@link Recorder} records it, with what follows it. */
export interface ConvolutionOptions {
  /** Output channels. */
  readonly out: number;
  /** Height and width of the kernel. */
  readonly kernel: number;
  /** Default 1. */
  readonly stride?: number;
  /** Zeros at every side, default 0. */
  readonly padding?: number;
  /** Name of the batch norm that follows. */
  readonly norm?: string;
  /** Whether the convolution has a bias of its own. */
  readonly bias?: boolean;
  /** Added at the end, before `relu`; shaped as the output. */
  readonly residual?: Tensor;
  /** Ends in max(0, ·). */
  readonly relu?: boolean;
}

/**
 * Records a network's layers by their torchvision names. A network is written once, as a function of a recorder: what it asks
 * for is at the same time the list of its parameters. When frozen, batch norms are folded into the convolutions before them.
 */
export class Recorder {
  /** Where it records. */
  readonly tape: Tape;
  /** Batch statistics, unfolded layers, dropout, parameters as variables that may change. */
  readonly training: boolean;
  readonly #parts: (spec: ParameterSpec) => readonly Tensor[];
  readonly #seed: Tensor | undefined;
  #dropouts = 0;

  /**
   * @param parts the tensors that hold a parameter, see `Parameter`.
   * @param seed [2] of u32, for the dropouts of a network in training.
   */
  constructor(tape: Tape, training: boolean, parts: (spec: ParameterSpec) => readonly Tensor[], seed?: Tensor) {
    this.tape = tape;
    this.training = training;
    this.#parts = parts;
    this.#seed = seed;
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

  /** A batch norm of x [N, H, W, C] by itself: one that no convolution comes before. */
  norm(name: string, x: Tensor, { relu = false }: { relu?: boolean } = {}): Tensor {
    return this.tape.scope(name, () => batchNorm(x, this.#norm(name, x.shape[3]), { training: this.training, relu }));
  }

  /** A fully connected layer with bias of x [N, I], or of all pixels of x [N, H, W, C]. */
  linear(name: string, x: Tensor, out: number): Tensor {
    return this.tape.scope(name, () => {
      const [N, H, W, C] = x.shape as [number, number, number, number];
      const image = x.shape.length === 4;
      const rows = image ? reshape(x, [N, H * W * C]) : x;
      const spec = { fanIn: rows.shape[1], fanOut: out, ...(image && { flattens: [C, H, W] as const }) };
      const weights = this.#parts({ name: `${name}.weight`, shape: [out, spec.fanIn], kind: 'linear', ...spec });
      const bias = this.#parameter({
        name: `${name}.bias`,
        shape: [out],
        kind: 'bias',
        fanIn: spec.fanIn,
        fanOut: out,
      });
      if (weights.length === 1) return linear(rows, weights[0], bias);
      const y = concat(weights.map((weight) => linear(rows, weight)));
      return add(y, expand(bias, y.shape));
    });
  }

  /** In training, sets a random share of x to 0 and scales the rest up; otherwise nothing. Each call drops independently. */
  dropout(x: Tensor, share: number): Tensor {
    if (!this.training || share === 0) return x;
    if (!this.#seed) throw new Error('a network with dropout is trained with a seed');
    return dropout(x, this.#seed, { share, stream: this.#dropouts++ });
  }

  #parameter(spec: ParameterSpec): Tensor {
    return this.#parts(spec)[0];
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
