import type { Crop } from '../../images/crop.ts';
import type { ErrorCase, KernelCase, Values } from '../cases.ts';
import { type CropResizeOptions, cropResize, packCrops } from './crop_resize.ts';

/** As PyTorch's documentation has it: source = (d + ½)·extent/out − ½, not below 0, neighbours inside the crop. */
function tap(d: number, extent: number, out: number): { first: number; second: number; share: number } {
  const source = Math.max(((d + 0.5) * extent) / out - 0.5, 0);
  const first = Math.min(Math.floor(source), extent - 1);
  return { first, second: Math.min(first + 1, extent - 1), share: source - first };
}

/** Images of these sizes one after another; the crops are those before packing. */
function reference(
  images: readonly Size[],
  crops: readonly Crop[],
  C: number,
  { outHeight: OH, outWidth: OW, clampMin = -Infinity, clampMax = Infinity }: CropResizeOptions,
  { x }: Values,
): Values {
  const y = new Float64Array(crops.length * OH * OW * C);
  let before = 0;
  crops.forEach(({ top, left, height, width, flip }, n) => {
    const [H, W] = images[n];
    for (let row = 0; row < OH; row++) {
      const v = tap(row, height, OH);
      for (let column = 0; column < OW; column++) {
        const h = tap(column, width, OW);
        const to = ((n * OH + row) * OW + (flip ? OW - 1 - column : column)) * C;
        for (let c = 0; c < C; c++) {
          const at = (i: number, j: number): number => x[(before + (top + i) * W + left + j) * C + c];
          const value =
            (1 - v.share) * ((1 - h.share) * at(v.first, h.first) + h.share * at(v.first, h.second)) +
            v.share * ((1 - h.share) * at(v.second, h.first) + h.share * at(v.second, h.second));
          y[to + c] = Math.min(Math.max(value, Math.fround(clampMin)), Math.fround(clampMax));
        }
      }
    }
    before += H * W;
  });
  return { y };
}

type Size = readonly [height: number, width: number];

/** `pixels`: of x, where there are more than the images need. */
function cropCase(
  images: readonly Size[],
  C: number,
  rectangles: readonly (readonly [top: number, left: number, height: number, width: number, flip?: boolean])[],
  options: CropResizeOptions,
  pixels = images.reduce((sum, [H, W]) => sum + H * W, 0),
): KernelCase {
  const crops = rectangles.map(
    ([top, left, height, width, flip = false]): Crop => ({ top, left, height, width, flip }),
  );
  const packed = packCrops(
    crops,
    images.map(([height, width]) => ({ height, width })),
  );
  return {
    name: `crop_resize ${images.map((size) => size.join('x')).join(' ')} of ${C} (${rectangles[0].join(' ')}) to ${options.outHeight}x${options.outWidth}${options.clampMin === undefined ? '' : ' clamped'}`,
    inputs: {
      x: { shape: [pixels, C] },
      crops: { shape: [crops.length, 5], dtype: 'u32', value: (_, i) => packed[i] },
    },
    record: (_, { x, crops }) => ({ y: cropResize(x, crops, options) }),
    reference: (values) => reference(images, crops, C, options, values),
    gradients: ['x'],
  };
}

export const cases: readonly KernelCase[] = [
  cropCase([[1, 1]], 1, [[0, 0, 1, 1]], { outHeight: 1, outWidth: 1 }),
  cropCase([[5, 4]], 3, [[2, 1, 1, 1, true]], { outHeight: 4, outWidth: 7 }),
  cropCase(
    [
      [12, 9],
      [12, 9],
      [12, 9],
    ],
    3,
    [
      [0, 0, 12, 9],
      [3, 2, 5, 7, true],
      [11, 8, 1, 1],
    ],
    { outHeight: 8, outWidth: 13 },
  ),
  cropCase(
    [
      [37, 41],
      [37, 41],
    ],
    5,
    [
      [2, 1, 33, 40, true],
      [5, 30, 32, 11],
    ],
    { outHeight: 7, outWidth: 5 },
  ),
  cropCase(
    [
      [8, 8],
      [8, 8],
    ],
    1,
    [
      [0, 0, 8, 8, true],
      [4, 0, 4, 8],
    ],
    { outHeight: 16, outWidth: 16 },
  ),
  cropCase(
    [
      [9, 11],
      [9, 11],
    ],
    4,
    [
      [1, 2, 7, 6],
      [0, 0, 9, 11, true],
    ],
    { outHeight: 10, outWidth: 6, clampMin: -0.3, clampMax: 0.4 },
  ),
  // Sizes mixed, pixels left over at the end.
  cropCase(
    [
      [5, 7],
      [1, 1],
      [20, 3],
      [2, 31],
    ],
    3,
    [
      [1, 0, 4, 5],
      [0, 0, 1, 1, true],
      [7, 1, 13, 2],
      [0, 30, 2, 1],
    ],
    { outHeight: 6, outWidth: 5 },
    200,
  ),
];

export const errors: readonly ErrorCase[] = [
  {
    name: 'crops of another form',
    record: (tape) =>
      cropResize(tape.input('x', [64, 3]), tape.input('crops', [2, 4], 'u32'), { outHeight: 4, outWidth: 4 }),
    message: 'crop_resize: crops must be [N,5] of u32; x [64,3], crops [2,4]',
  },
  {
    name: 'crops of floating point',
    record: (tape) => cropResize(tape.input('x', [64, 3]), tape.input('crops', [2, 5]), { outHeight: 4, outWidth: 4 }),
    message: 'crop_resize: crops must be [N,5] of u32; x [64,3], crops [2,5]',
  },
  {
    name: 'x is no list of pixels',
    record: (tape) =>
      cropResize(tape.input('x', [64]), tape.input('crops', [8, 5], 'u32'), { outHeight: 4, outWidth: 4 }),
    message: 'crop_resize: x must be pixels [..., C]; x [64], crops [8,5]',
  },
  {
    name: 'an empty result',
    record: (tape) =>
      cropResize(tape.input('x', [1, 8, 8, 3]), tape.input('crops', [1, 5], 'u32'), { outHeight: 4, outWidth: 0 }),
    message: 'crop_resize: 4x0 is no size to resize to; x [1,8,8,3], crops [1,5]',
  },
  {
    name: 'bounds the wrong way round',
    record: (tape) =>
      cropResize(tape.input('x', [1, 8, 8, 3]), tape.input('crops', [1, 5], 'u32'), {
        outHeight: 4,
        outWidth: 4,
        clampMin: 255,
        clampMax: 0,
      }),
    message: 'clamp: 255 is not below 0; x [1,4,4,3]',
  },
  {
    name: 'a crop that leaves the image',
    record: () => packCrops([{ top: 3, left: 0, height: 6, width: 8, flip: false }], [{ height: 8, width: 8 }]),
    message: 'crop 0: 6x8 at (3, 0) is not inside 8x8 pixels',
  },
];
