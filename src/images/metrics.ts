import { InputError } from '../errors.ts';
import { checkImage, type Image8, sameShape } from './image.ts';

const MAX_LEVEL = 255;
const WINDOW = 11;
const SIGMA = 1.5;
const C1 = (0.01 * MAX_LEVEL) ** 2;
const C2 = (0.03 * MAX_LEVEL) ** 2;

/**
 * Peak signal-to-noise ratio in dB, from the mean squared difference over all pixels and channels; Infinity for equal images.
 *
 * @throws InputError if one is no image, or they differ in size or channels.
 */
export function psnr(a: Image8, b: Image8): number {
  checkSameShape('psnr', a, b);
  let sum = 0;
  for (let i = 0; i < a.data.length; i++) sum += (a.data[i] - b.data[i]) ** 2;
  return 10 * Math.log10((MAX_LEVEL ** 2 * a.data.length) / sum);
}

/**
 * Structural similarity (Wang et al. 2004): 11x11 Gaussian window with σ = 1.5 at every position inside the image,
 * K1 = 0.01, K2 = 0.03, averaged over positions and channels; 1 for equal images. Along an axis of fewer than 11 pixels the
 * window has that axis's length, so that there is one position, centred, with the weights' sum still 1.
 *
 * @throws InputError if one is no image, or they differ in size or channels.
 */
export function ssim(a: Image8, b: Image8): number {
  checkSameShape('ssim', a, b);
  const { width, height, channels } = a;
  const across = gaussianWeights(Math.min(WINDOW, width));
  const down = gaussianWeights(Math.min(WINDOW, height));
  const outWidth = width - across.length + 1;
  const outHeight = height - down.length + 1;
  // Gaussian means of x, y, x² + y² and xy: of the rows that the window covers, then at each position of one row of windows.
  const rows = Array.from({ length: down.length }, () => new Float64Array(4 * outWidth));
  const means = new Float64Array(4 * outWidth);
  let sum = 0;
  for (let c = 0; c < channels; c++) {
    for (let row = 0; row < height; row++) {
      const maps = rows[row % down.length];
      blurRow(a.data, b.data, row * width * channels + c, channels, across, maps);
      if (row < down.length - 1) continue;
      means.fill(0);
      for (let k = 0; k < down.length; k++) {
        const weight = down[k];
        const from = rows[(row + 1 + k) % down.length];
        for (let i = 0; i < means.length; i++) means[i] += weight * from[i];
      }
      for (let i = 0; i < means.length; i += 4) {
        const meanProduct = means[i] * means[i + 1];
        const meanSquares = means[i] ** 2 + means[i + 1] ** 2;
        const luminance = (2 * meanProduct + C1) / (meanSquares + C1);
        const structure = (2 * (means[i + 3] - meanProduct) + C2) / (means[i + 2] - meanSquares + C2);
        sum += luminance * structure;
      }
    }
  }
  return sum / (channels * outWidth * outHeight);
}

/** Means of one row: x, y, x² + y² and xy at every position of the window along it, into [outWidth, 4]. */
function blurRow(
  x: Uint8Array,
  y: Uint8Array,
  first: number,
  stride: number,
  weights: Float64Array,
  means: Float64Array,
): void {
  for (let i = 0, start = first; i < means.length; i += 4, start += stride) {
    let meanX = 0;
    let meanY = 0;
    let meanSquares = 0;
    let meanProduct = 0;
    for (let k = 0, at = start; k < weights.length; k++, at += stride) {
      const weight = weights[k];
      const left = x[at];
      const right = y[at];
      meanX += weight * left;
      meanY += weight * right;
      meanSquares += weight * (left * left + right * right);
      meanProduct += weight * left * right;
    }
    means[i] = meanX;
    means[i + 1] = meanY;
    means[i + 2] = meanSquares;
    means[i + 3] = meanProduct;
  }
}

function checkSameShape(what: string, a: Image8, b: Image8): void {
  checkImage(a, `${what}: the first image`);
  checkImage(b, `${what}: the second image`);
  if (sameShape(a, b)) return;
  const size = (image: Image8) => `${image.width}x${image.height}x${image.channels}`;
  throw new InputError(`${what}: images are ${size(a)} and ${size(b)}; give two of one size`);
}

function gaussianWeights(length: number): Float64Array {
  const centre = (length - 1) / 2;
  const weights = Float64Array.from({ length }, (_, i) => Math.exp(-((i - centre) ** 2) / (2 * SIGMA ** 2)));
  const sum = weights.reduce((total, weight) => total + weight, 0);
  return weights.map((weight) => weight / sum);
}
