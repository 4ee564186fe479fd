import { defineKernel } from '../../gpu/kernel.ts';
import type { Crop } from '../../images/crop.ts';
import { shapeError, type Tensor } from '../../tensor/tensor.ts';
import { clamp } from '../clamp/clamp.ts';
import code from './crop_resize.wgsl?raw';
import dxCode from './crop_resize_dx.wgsl?raw';

const kernel = defineKernel('crop_resize', code);
const dxKernel = defineKernel('crop_resize_dx', dxCode);

/** Options of {@link cropResize}. */
export interface CropResizeOptions {
  /** Pixels. */
  readonly outHeight: number;
  /** Pixels. */
  readonly outWidth: number;
  /** Results are limited to this range; default: not limited. */
  readonly clampMin?: number;
  readonly clampMax?: number;
}

/** Longest side of a crop, in pixels, and of what it is resized to: positions fit 32 bits. */
const MAX_EXTENT = 65536;
const MAX_OUT = 16384;

/**
 * Cuts a rectangle out of every image, resizes it to one size, limits the values, and mirrors where asked: pixels x [..., C], in
 * which images of any sizes lie one after another, and crops [N, 5] of u32, one an image (see `packCrops`) →
 * [N, outHeight, outWidth, C]. The resize is
 * `torch.nn.functional.interpolate(mode='bilinear', align_corners=False)`, without antialias, of the rectangle alone: nothing
 * outside it is seen. This is the augmentation F(x, θ) of "Radioactive data" (docs/method.md, 2); its gradient goes to x, through the
 * limit as `torch.clamp`'s does. θ is a tensor, so that a replay takes new crops. Crops must lie inside the images: `packCrops`
 * checks that, the GPU does not.
 * Throws ShapeError where shapes do not go together.
 */
export function cropResize(x: Tensor, crops: Tensor, options: CropResizeOptions): Tensor {
  const { outHeight: OH, outWidth: OW, clampMin, clampMax } = options;
  const fail = (problem: string): never => shapeError('crop_resize', problem, { x, crops });
  if (x.shape.length < 2) fail('x must be pixels [..., C]');
  const C = x.shape.at(-1)!;
  const [N] = crops.shape;
  if (crops.dtype !== 'u32' || crops.shape.join() !== [N, 5].join()) fail('crops must be [N,5] of u32');
  for (const out of [OH, OW])
    if (!(Number.isInteger(out) && out >= 1 && out <= MAX_OUT)) fail(`${OH}x${OW} is no size to resize to`);
  const shape = [N, OH, OW, C];
  const size = N * OH * OW * C;
  const [y] = x.tape.record({
    op: 'crop_resize',
    inputs: [x, crops],
    outputs: [shape],
    launches: (_, [y]) => [
      {
        kernel,
        params: { size, C, OH, OW },
        bind: { x, crops, y },
        workgroups: Math.ceil(size / 64),
        flops: 9 * size,
      },
    ],
    backward: (dy) => {
      const [dx] = x.tape.record({
        op: 'crop_resize_dx',
        inputs: [dy, crops],
        outputs: [x.shape],
        launches: (_, [dx]) => [
          {
            kernel: dxKernel,
            params: { size: x.size, N, C, OH, OW },
            bind: { dy, crops, dx },
            workgroups: Math.ceil(x.size / 64),
            flops: 8 * size,
          },
        ],
      });
      return [dx, undefined];
    },
  });
  if (clampMin === undefined && clampMax === undefined) return y;
  return clamp(y, clampMin ?? Number.NEGATIVE_INFINITY, clampMax ?? Number.POSITIVE_INFINITY);
}

/**
 * Crops as `cropResize` takes them, [rows, 5], of images that lie one after another without gaps, in this order. Where there are
 * more rows than crops, the last crop is repeated; in the gradient it still counts once.
 * Throws RangeError for a crop that is empty, not inside its image, or has a side beyond 65 536 pixels.
 */
export function packCrops(
  crops: readonly Crop[],
  images: readonly { readonly height: number; readonly width: number }[],
  rows = crops.length,
): Uint32Array {
  const inside = (start: number, length: number, extent: number): boolean =>
    Number.isInteger(start) &&
    Number.isInteger(length) &&
    start >= 0 &&
    length >= 1 &&
    length <= MAX_EXTENT &&
    start + length <= extent;
  const packed = new Uint32Array(rows * 5);
  let pixels = 0;
  crops.forEach(({ top, left, height, width, flip }, index) => {
    const { height: H, width: W } = images[index];
    if (!inside(top, height, H) || !inside(left, width, W))
      throw new RangeError(`crop ${index}: ${height}x${width} at (${top}, ${left}) is not inside ${H}x${W} pixels`);
    packed.set([pixels + top * W + left, W, height, width, Number(flip)], index * 5);
    pixels += H * W;
  });
  for (let row = crops.length; row < rows; row++) packed.copyWithin(row * 5, (row - 1) * 5, row * 5);
  return packed;
}
