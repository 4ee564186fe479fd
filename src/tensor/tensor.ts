import type { Tape } from './tape.ts';

/** Extents of the axes, the last one contiguous; images are [N, H, W, C]. */
export type Shape = readonly number[];
/** Element types: float32, and unsigned 32-bit integers for labels and crops. */
export type DType = 'f32' | 'u32';

/** Elements of a shape. */
export const sizeOf = (shape: Shape): number => shape.reduce((product, extent) => product * extent, 1);

/**
 * Bytes a tensor takes on the device: 4 an element, rounded up to 16 so that element-wise kernels may work on whole `vec4f`.
 * What the padding holds is nobody's business.
 */
export const bytesOf = (shape: Shape): number => Math.max(16, Math.ceil((sizeOf(shape) * 4) / 16) * 16);

/** A shape as messages show it: `[8,64,56,56]`. */
export const show = (shape: Shape): string => `[${shape.join(',')}]`;

/** A value in a recorded computation: a shape and a name, no data. Activations are channels-last: [N, H, W, C]. */
export class Tensor {
  /** The tape it is on. */
  readonly tape: Tape;
  /** Number on its tape. */
  readonly id: number;
  /** Shown in messages. */
  readonly name: string;
  /** Extents of the axes, the last one contiguous. */
  readonly shape: Shape;
  /** Type of the elements. */
  readonly dtype: DType;

  constructor(tape: Tape, id: number, name: string, shape: Shape, dtype: DType) {
    this.tape = tape;
    this.id = id;
    this.name = name;
    this.shape = shape;
    this.dtype = dtype;
  }

  /** Number of elements. */
  get size(): number {
    return sizeOf(this.shape);
  }

  /** Bytes on the device, padding included. */
  get bytes(): number {
    return bytesOf(this.shape);
  }
}

/** Throws in the one form shape errors have: `conv2d: weight has 3 input channels, x has 4; x [8,32,32,4], weight [3,3,3,16]`. */
export function shapeError(op: string, problem: string, tensors: Readonly<Record<string, Tensor | undefined>>): never {
  const shapes = Object.entries(tensors).flatMap(([name, tensor]) => (tensor ? [`${name} ${show(tensor.shape)}`] : []));
  throw new ShapeError(`${op}: ${problem}; ${shapes.join(', ')}`);
}

/** Tensors of these shapes cannot be combined this way. */
export class ShapeError extends Error {
  override name = 'ShapeError';
}
