import { shapeError, type Tensor } from '../tensor/tensor.ts';

/** Options of `maxPool2d` and `avgPool2d`. */
export interface Pool2dOptions {
  /** Height and width of the window. */
  readonly kernel: number;
  /** Pixels from one window to the next; default: `kernel`. */
  readonly stride?: number;
  /** Pixels around the image on every side, at most half the window; default 0. */
  readonly padding?: number;
}

/** What pooling kernels take as parameters, but for `size`, their number of invocations. */
export interface PoolGeometry extends Record<string, number> {
  readonly H: number;
  readonly W: number;
  readonly C: number;
  readonly OH: number;
  readonly OW: number;
  readonly kernel: number;
  readonly stride: number;
  readonly padding: number;
}

/** The windows of a pooling of x [N, H, W, C], whole ones only. Throws ShapeError where there are none or one would lie outside the image. */
export function poolGeometry(op: string, x: Tensor, options: Pool2dOptions): PoolGeometry {
  const { kernel, stride = kernel, padding = 0 } = options;
  const fail = (problem: string): never => shapeError(op, problem, { x });
  if (x.shape.length !== 4) fail('x must be [N, H, W, C]');
  const [, H, W, C] = x.shape as [number, number, number, number];
  if (!(Number.isInteger(kernel) && kernel >= 1)) fail(`kernel ${kernel} is not a positive integer`);
  if (!(Number.isInteger(stride) && stride >= 1)) fail(`stride ${stride} is not a positive integer`);
  if (!(Number.isInteger(padding) && padding >= 0 && padding <= kernel / 2))
    fail(`padding ${padding} is not an integer from 0 to half the kernel, ${kernel}`);
  const OH = Math.floor((H + 2 * padding - kernel) / stride) + 1;
  const OW = Math.floor((W + 2 * padding - kernel) / stride) + 1;
  if (OH < 1 || OW < 1) fail(`the ${kernel}x${kernel} window does not fit into ${H}x${W} with padding ${padding}`);
  return { H, W, C, OH, OW, kernel, stride, padding };
}
