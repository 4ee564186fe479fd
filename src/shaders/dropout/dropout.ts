import { defineKernel } from '../../gpu/kernel.ts';
import { shapeError, type Tensor } from '../../tensor/tensor.ts';
import code from './dropout.wgsl?raw';

const kernel = defineKernel('dropout', code);

/** Options of {@link dropout}. */
export interface DropoutOptions {
  /** Probability that an element is dropped, 0 ≤ share < 1. */
  readonly share: number;
  /** Dropouts with one seed drop independently where their streams differ: a number below 2³². */
  readonly stream?: number;
}

/**
 * Sets a random share of the elements of x to 0 and divides the others by 1 − share (`torch.nn.functional.dropout` in training),
 * any shape. What is dropped is a function of `seed` [2] of u32, the stream and the element's index: write a new seed for every step.
 * Throws ShapeError where the seed is no such tensor or the share is no probability below 1.
 */
export function dropout(x: Tensor, seed: Tensor, { share, stream = 0 }: DropoutOptions): Tensor {
  const fail = (problem: string): never => shapeError('dropout', problem, { x, seed });
  if (seed.dtype !== 'u32' || seed.shape.join() !== '2') fail('seed must be [2] of u32');
  if (!(share >= 0 && share < 1)) fail(`share ${share} is not from 0 to below 1`);
  const quads = Math.ceil(x.size / 4);
  const params = { quads, stream, threshold: Math.floor(share * 2 ** 32), factor: 1 / (1 - share) };
  const [y] = x.tape.record({
    op: 'dropout',
    inputs: [x, seed],
    outputs: [x.shape],
    launches: (_, [y]) => [{ kernel, params, bind: { x, seed, y }, workgroups: Math.ceil(quads / 256), flops: x.size }],
    // The same elements of dy are dropped: the operator is its own gradient.
    backward: (dy) => [dropout(dy, seed, { share, stream }), undefined],
  });
  return y;
}
