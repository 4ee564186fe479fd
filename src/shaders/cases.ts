import type { Tape } from '../tensor/tape.ts';
import type { DType, Shape, Tensor } from '../tensor/tensor.ts';

/** Values of the tensors of a case, by name; float64, but exactly what the float32 tensors hold. */
export type Values = Readonly<Record<string, Float64Array>>;

export interface CaseInput {
  readonly shape: Shape;
  readonly dtype?: DType;
  /** One value from a uniform random number in [0, 1); default: 2t − 1. */
  readonly value?: (t: number, index: number) => number;
}

/**
 * One shape of one operator with its float64 reference. The same list feeds the tests (agreement with the reference, gradient
 * against finite differences of the reference, guard words, repeatability) and, by its FLOPs, the bench.
 */
export interface KernelCase {
  readonly name: string;
  readonly inputs: Readonly<Record<string, CaseInput>>;
  /** Inputs that are variables, written in place by the operator; the reference returns their values afterwards. */
  readonly variables?: readonly string[];
  /** Records the operator; returns its results by name (none where it only updates variables). */
  record(tape: Tape, tensors: Readonly<Record<string, Tensor>>): Readonly<Record<string, Tensor>>;
  /** The results, and the variables afterwards, by name; plain loops. */
  reference(values: Values): Values;
  /** Inputs whose gradient (of the first result) is checked. */
  readonly gradients?: readonly string[];
  /** Largest error, relative to the largest value of the reference. Default 2e-5. */
  readonly tolerance?: number;
}

/** A call that must be refused, with the exact message. */
export interface ErrorCase {
  readonly name: string;
  record(tape: Tape): void;
  readonly message: string;
}
