import { defineKernel } from '../../gpu/kernel.ts';
import { isTransposed, type Orientation } from '../../images/image.ts';
import type { JpegCoding } from '../../images/jpeg_coding.ts';
import { shapeError, type Tensor } from '../../tensor/tensor.ts';
import { clamp } from '../clamp/clamp.ts';
import blocksCode from './jpeg_blocks.wgsl?raw';
import dxCode from './jpeg_dx.wgsl?raw';
import pixelsCode from './jpeg_pixels.wgsl?raw';
import samplesDxCode from './jpeg_samples_dx.wgsl?raw';
import picturesCode from './pictures.wgsl?raw';

const blocksKernel = defineKernel('jpeg_blocks', blocksCode, picturesCode);
const pixelsKernel = defineKernel('jpeg_pixels', pixelsCode, picturesCode);
const samplesDxKernel = defineKernel('jpeg_samples_dx', samplesDxCode, picturesCode);
const dxKernel = defineKernel('jpeg_dx', dxCode, picturesCode);

const LEVELS = 255;
const FIELDS = 8;
const COEFFICIENTS = 64;
const TABLES = 2;

/**
 * Images as a JPEG file gives them back: pixels x [..., C] of grey or RGB, in levels, in which images of any sizes lie one after another,
 * and what `packPictures` makes of their codings, pictures [N + 1, 8] and tables [N, 128] of u32 → y of the shape of x. Whole levels
 * within 0–255, YCbCr, fewer samples of colour, DCT of 8×8 samples, quantisation, and back: to the bit as libjpeg-turbo encodes and
 * decodes by default, in its integers. What belongs to no JPEG stays as it is, but for the limit.
 *
 * The gradient is straight-through: that of the same without any rounding, where x and y are within 0–255. Coefficients then pass
 * unchanged, and what is left is the change of colours, their means and their interpolation.
 * Throws ShapeError where shapes do not go together.
 */
export function jpegRoundTrip(x: Tensor, pictures: Tensor, tables: Tensor): Tensor {
  const fail = (problem: string): never => shapeError('jpeg_round_trip', problem, { x, pictures, tables });
  const C = x.shape.at(-1)!;
  if (x.shape.length < 2 || (C !== 1 && C !== 3)) fail('x must be pixels [..., 1 or 3]');
  const [N] = tables.shape;
  if (tables.dtype !== 'u32' || tables.shape.join() !== [N, TABLES * COEFFICIENTS].join())
    fail('tables must be [N,128] of u32');
  if (pictures.dtype !== 'u32' || pictures.shape.join() !== [N + 1, FIELDS].join())
    fail('pictures must be [N + 1,8] of u32');
  const levels = clamp(x, 0, LEVELS);
  const pixels = x.size / C;
  const [samples] = x.tape.record({
    op: 'jpeg_blocks',
    inputs: [levels, pictures, tables],
    outputs: [x.shape],
    launches: (_, [samples]) => [
      {
        kernel: blocksKernel,
        params: { N, C },
        bind: { x: levels, pictures, tables, samples },
        workgroups: Math.ceil(x.size / (8 * COEFFICIENTS)),
        flops: 40 * x.size,
      },
    ],
  });
  const [y] = x.tape.record({
    op: 'jpeg_pixels',
    inputs: [levels, samples, pictures],
    outputs: [x.shape],
    launches: (_, [y]) => [
      {
        kernel: pixelsKernel,
        params: { N, C, pixels },
        bind: { x: levels, samples, pictures, y },
        workgroups: Math.ceil(pixels / 64),
        flops: 20 * x.size,
      },
    ],
    differentiates: [levels],
    backward: (dy) => [jpegRoundTripBackward(dy, pictures)],
  });
  return clamp(y, 0, LEVELS);
}

/** The gradient of {@link jpegRoundTrip} without its limits: from dy [..., C] to x, nothing being rounded. */
export function jpegRoundTripBackward(dy: Tensor, pictures: Tensor): Tensor {
  const C = dy.shape.at(-1)!;
  const N = pictures.shape[0] - 1;
  const pixels = dy.size / C;
  const workgroups = Math.ceil(pixels / 64);
  const [dsamples] = dy.tape.record({
    op: 'jpeg_samples_dx',
    inputs: [dy, pictures],
    outputs: [dy.shape],
    launches: (_, [dsamples]) => [
      {
        kernel: samplesDxKernel,
        params: { N, C, pixels },
        bind: { dy, pictures, dsamples },
        workgroups: Math.ceil((2 * pixels) / 64),
        flops: 20 * dy.size,
      },
    ],
  });
  const [dx] = dy.tape.record({
    op: 'jpeg_dx',
    inputs: [dsamples, pictures],
    outputs: [dy.shape],
    launches: (_, [dx]) => [
      { kernel: dxKernel, params: { N, C, pixels }, bind: { dsamples, pictures, dx }, workgroups, flops: 6 * dy.size },
    ],
  });
  return dx;
}

/** What {@link packPictures} makes, as `jpegRoundTrip` takes it. */
export interface PackedPictures {
  readonly pictures: Uint32Array;
  readonly tables: Uint32Array;
}

/**
 * Images that lie one after another without gaps, in this order, each with its coding, or none where it is kept without loss. Where there
 * are more rows than images, the rest is of none.
 * Throws RangeError for a coding that no JPEG file has.
 */
export function packPictures(
  images: readonly { readonly height: number; readonly width: number }[],
  codings: readonly (JpegCoding | undefined)[],
  channels: number,
  rows = images.length,
): PackedPictures {
  const pictures = new Uint32Array((rows + 1) * FIELDS);
  const tables = new Uint32Array(rows * TABLES * COEFFICIENTS).fill(1);
  let pixels = 0;
  let blocks = 0;
  for (let n = 0; n <= rows; n++) {
    const image = n < rows ? images[n] : undefined;
    const coding = image && codings[n];
    pictures[n * FIELDS] = pixels;
    pictures[n * FIELDS + 7] = blocks;
    if (!image) continue;
    if (coding) {
      checkCoding(coding);
      const [columns, lines] = coding.sampling;
      const place = placeOf(image, coding.orientation);
      const { origin, column, row, width, height } = place;
      const sampling = columns + 16 * lines + (column < 0 ? 256 : 0) + (row < 0 ? 512 : 0);
      pictures.set([pixels + origin, Math.abs(column), Math.abs(row), width, height, sampling], n * FIELDS + 1);
      tables.set(Uint32Array.from(coding.luminance), n * TABLES * COEFFICIENTS);
      tables.set(Uint32Array.from(coding.chrominance), (n * TABLES + 1) * COEFFICIENTS);
      const blocksOf = (across: number, down: number): number =>
        Math.ceil(Math.ceil(place.width / across) / 8) * Math.ceil(Math.ceil(place.height / down) / 8);
      blocks += blocksOf(1, 1) + (channels - 1) * blocksOf(columns, lines);
    }
    pixels += image.width * image.height;
  }
  return { pictures, tables };
}

function checkCoding({ luminance, chrominance, sampling }: JpegCoding): void {
  for (const table of [luminance, chrominance])
    if (table.length !== COEFFICIENTS || !Array.from(table).every((step) => step >= 1 && step <= 65535))
      throw new RangeError('a quantisation table has 64 numbers from 1 to 65535');
  if (!sampling.every((count) => count === 1 || count === 2))
    throw new RangeError(`${sampling.join('x')} pixels to a sample of colour: 1 or 2 are`);
}

/** Where the stored pixels lie in an image that was turned upright: the first, and how far it is to the next column and row. */
function placeOf(
  { width: across, height: down }: { readonly height: number; readonly width: number },
  orientation: Orientation,
): Record<'origin' | 'column' | 'row' | 'width' | 'height', number> {
  const [width, height] = isTransposed(orientation) ? [down, across] : [across, down];
  const fromRight = [2, 3, 7, 8].includes(orientation);
  const fromBottom = [3, 4, 6, 7].includes(orientation);
  const [column, row] = isTransposed(orientation) ? [across, 1] : [1, across];
  return {
    origin: (fromRight ? (width - 1) * column : 0) + (fromBottom ? (height - 1) * row : 0),
    column: fromRight ? -column : column,
    row: fromBottom ? -row : row,
    width,
    height,
  };
}
