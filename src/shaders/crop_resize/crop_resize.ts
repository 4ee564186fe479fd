import { defineKernel } from '../../gpu/kernel.ts';
import type { Crop } from '../../images/crop.ts';
import { shapeError, type Tensor } from '../../tensor/tensor.ts';
import { clamp } from '../clamp/clamp.ts';
import code from './crop_resize.wgsl?raw';
import dxCode from './crop_resize_dx.wgsl?raw';

const kernel = defineKernel('crop_resize', code);
const dxKernel = defineKernel('crop_resize_dx', dxCode);

export interface CropResizeOptions {
  readonly outHeight: number;
  readonly outWidth: number;
  /** Results are limited to this range; default: not limited. */
  readonly clampMin?: number;
  readonly clampMax?: number;
}

/**
 * Cuts a rectangle out of every image, resizes it to one size, limits the values, and mirrors where asked: x [N, H, W, C] and
 * crops [N, 5] of u32 (see `packCrops`) → [N, outHeight, outWidth, C]. The resize is
 * `torch.nn.functional.interpolate(mode='bilinear', align_corners=False)`, without antialias, of the rectangle alone: nothing
 * outside it is seen. This is the augmentation F(x, θ) of "Radioactive data" (docs/method.md, 2); its gradient goes to x, through the
 * limit as `torch.clamp`'s does. θ is a tensor, so that a replay takes new crops. Crops must lie inside the images: `packCrops`
 * checks that, the GPU does not.
 * Throws ShapeError where shapes do not go together, and for extents whose positions would not fit 32 bits.
 */
export function cropResize(x: Tensor, crops: Tensor, options: CropResizeOptions): Tensor {
  const { outHeight: OH, outWidth: OW, clampMin, clampMax } = options;
  const fail = (problem: string): never => shapeError('crop_resize', problem, { x, crops });
  if (x.shape.length !== 4) fail('x must be [N, H, W, C]');
  const [N, H, W, C] = x.shape as [number, number, number, number];
  if (crops.dtype !== 'u32' || crops.shape.join() !== [N, 5].join()) fail(`crops must be [${N},5] of u32`);
  for (const [extent, out] of [
    [H, OH],
    [W, OW],
  ] as const) {
    if (!(Number.isInteger(out) && out >= 1)) fail(`${OH}x${OW} is no size to resize to`);
    if ((2 * extent + 1) * out >= 2 ** 32 || (2 * out + 1) * extent >= 2 ** 32)
      fail(`${extent} pixels cannot be resized to ${out}`);
  }
  const geometry = { H, W, C, OH, OW };
  const shape = [N, OH, OW, C];
  const size = N * OH * OW * C;
  const [y] = x.tape.record({
    op: 'crop_resize',
    inputs: [x, crops],
    outputs: [shape],
    launches: (_, [y]) => [
      {
        kernel,
        params: { size, ...geometry },
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
            params: { size: x.size, ...geometry },
            bind: { dy, crops, dx },
            workgroups: Math.ceil(x.size / 64),
            flops: 8 * size,
          },
        ],
      });
      return [dx, undefined];
    },
  });
  if (clampMin === undefined && clampMax === undefined) return y!;
  return clamp(y!, clampMin ?? Number.NEGATIVE_INFINITY, clampMax ?? Number.POSITIVE_INFINITY);
}

/**
 * Crops as `cropResize` takes them, [crops.length, 5], for images of H × W pixels.
 * Throws RangeError for a crop that is empty or not inside the image.
 */
export function packCrops(crops: readonly Crop[], H: number, W: number): Uint32Array {
  const inside = (start: number, length: number, extent: number): boolean =>
    Number.isInteger(start) && Number.isInteger(length) && start >= 0 && length >= 1 && start + length <= extent;
  return Uint32Array.from(
    crops.flatMap(({ top, left, height, width, flip }, index) => {
      if (!inside(top, height, H) || !inside(left, width, W))
        throw new RangeError(`crop ${index}: ${height}x${width} at (${top}, ${left}) is not inside ${H}x${W} pixels`);
      return [top, left, height, width, Number(flip)];
    }),
  );
}
