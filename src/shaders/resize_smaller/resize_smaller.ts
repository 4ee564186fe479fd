import { defineKernel } from '../../gpu/kernel.ts';
import { shapeError, type Tensor } from '../../tensor/tensor.ts';
import code from './resize_smaller.wgsl?raw';
import dxCode from './resize_smaller_dx.wgsl?raw';
import sizesCode from './sizes.wgsl?raw';

const kernel = defineKernel('resize_smaller', code, sizesCode);
const dxKernel = defineKernel('resize_smaller_dx', dxCode, sizesCode);

const FIELDS = 6;

/**
 * Makes images smaller, with antialias: pixels x [..., C], in which images of any sizes lie one after another, and what `packSizes` makes of
 * their sizes, [N + 1, 6] of u32 → the same number of pixels, of which those that are left over are 0. It is
 * `torch.nn.functional.interpolate(mode='bilinear', antialias=True)`, which is Pillow's BILINEAR without its roundings.
 * Throws ShapeError where shapes do not go together.
 */
export function resizeSmaller(x: Tensor, sizes: Tensor): Tensor {
  const fail = (problem: string): never => shapeError('resize_smaller', problem, { x, sizes });
  if (x.shape.length < 2) fail('x must be pixels [..., C]');
  const N = sizes.shape[0] - 1;
  if (sizes.dtype !== 'u32' || N < 1 || sizes.shape.join() !== [N + 1, FIELDS].join())
    fail('sizes must be [N + 1,6] of u32');
  const C = x.shape.at(-1)!;
  const pixels = x.size / C;
  const workgroups = Math.ceil(pixels / 64);
  const [y] = x.tape.record({
    op: 'resize_smaller',
    inputs: [x, sizes],
    outputs: [x.shape],
    launches: (_, [y]) => [{ kernel, params: { N, C, pixels }, bind: { x, sizes, y }, workgroups, flops: 8 * x.size }],
    backward: (dy) => {
      const [dx] = x.tape.record({
        op: 'resize_smaller_dx',
        inputs: [dy, sizes],
        outputs: [x.shape],
        launches: (_, [dx]) => [
          { kernel: dxKernel, params: { N, C, pixels }, bind: { dy, sizes, dx }, workgroups, flops: 8 * x.size },
        ],
      });
      return [dx, undefined];
    },
  });
  return y;
}

/**
 * Sizes as `resizeSmaller` takes them, [rows + 1, 6], of images that lie one after another without gaps, in this order, each before and
 * after. Where there are more rows than images, the rest is of none.
 * Throws RangeError where an image would become larger, or nothing.
 */
export function packSizes(
  before: readonly { readonly height: number; readonly width: number }[],
  after: readonly { readonly height: number; readonly width: number }[],
  rows = before.length,
): Uint32Array {
  const packed = new Uint32Array((rows + 1) * FIELDS);
  let [pixels, pixelsAfter] = [0, 0];
  for (let n = 0; n <= rows; n++) {
    packed[n * FIELDS] = pixels;
    packed[n * FIELDS + 3] = pixelsAfter;
    if (n >= before.length || n === rows) continue;
    const [{ width, height }, small] = [before[n], after[n]];
    if (!(small.width >= 1 && small.width <= width && small.height >= 1 && small.height <= height))
      throw new RangeError(`image ${n}: ${width}x${height} does not become smaller as ${small.width}x${small.height}`);
    packed.set([width, height], n * FIELDS + 1);
    packed.set([small.width, small.height], n * FIELDS + 4);
    pixels += width * height;
    pixelsAfter += small.width * small.height;
  }
  return packed;
}
