import type { Launch, LaunchContext } from '../../tensor/tape.ts';
import type { Tensor } from '../../tensor/tensor.ts';
import { type DweightTensors, dweightLaunches } from '../conv2d/dweight.ts';
import { gather } from '../conv2d/gather.ts';

/*
 * Matrix products, by the kernels of convolutions: one pixel an image, one tap a kernel.
 */

/**
 * x [B, P, I] and weight [B, I, O] → [B, P, O]: B matrix products beside each other. Options: of how many images the rows P are; the
 * extents, where the shapes are others; the scale of a gradient (see `halfScale`).
 */
export function products(
  x: Tensor,
  weight: Tensor,
  {
    images,
    extents = [...x.shape, weight.shape[2]],
    scale,
  }: { images?: number; extents?: readonly number[]; scale?: Tensor | undefined } = {},
): Tensor {
  const [B, P, I, O] = extents;
  const [y] = x.tape.record({
    op: 'products',
    inputs: [x, weight, scale],
    outputs: [[B, P, O]],
    launches: (context, [y]) =>
      matrixProductLaunches(context, { x, weight, scale, y }, P, I, O, { batches: B, images: images ?? P }),
  });
  return y;
}

/** x [B, P, I] and dy [B, P, O] → [B, I, O], each xᵀ·dy. */
export function productsOverRows(x: Tensor, dy: Tensor, scale?: Tensor): Tensor {
  const [B, P, I] = x.shape as [number, number, number];
  const O = dy.shape[2];
  const [dweight] = x.tape.record({
    op: 'products_dweight',
    inputs: [x, dy, scale],
    outputs: [[B, I, O]],
    launches: (context, [dweight]) => productOverRowsLaunches(context, { x, dy, scale, dweight }, P, I, O, B),
  });
  return dweight;
}

/** x [batches, N, I] by weight [batches, I, O], plus bias [O]: 1×1 convolutions of 1×1 images. */
export function matrixProductLaunches(
  context: LaunchContext,
  {
    x,
    weight,
    bias,
    scale,
    y,
  }: Record<'x' | 'weight' | 'y', Tensor> & { bias?: Tensor | undefined; scale?: Tensor | undefined },
  N: number,
  I: number,
  O: number,
  { batches = 1, images = N }: { batches?: number; images?: number } = {},
): Launch[] {
  return gather(context, {
    bind: { x, weight, y },
    scale,
    epilogue: { bias },
    batches,
    images,
    input: { N: N * batches, H: 1, W: 1, C: I },
    grid: { GH: 1, GW: 1, O },
    output: { YH: 1, YW: 1, outStride: 1, phaseY: 0, phaseX: 0 },
    taps: {
      inStride: 1,
      originY: 0,
      originX: 0,
      tapStep: 1,
      tapsY: 1,
      tapsX: 1,
      KW: 1,
      firstKy: 0,
      firstKx: 0,
      kernelStep: 1,
    },
  });
}

/** x [batches, pixels, I], dy [batches, pixels, O] → [batches, I, O], each xᵀ·dy. */
export const productOverRowsLaunches = (
  context: LaunchContext,
  bind: DweightTensors,
  pixels: number,
  I: number,
  O: number,
  batches = 1,
): Launch[] =>
  dweightLaunches(
    context,
    bind,
    { pixels, H: 1, W: 1, C: I, GH: 1, GW: 1, O, rows: I, KW: 1, stride: 1, pad: 0 },
    batches,
  );
