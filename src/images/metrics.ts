import { InputError } from '../errors.ts';
import { type Image8, sameShape } from './image.ts';

const MAX_LEVEL = 255;
const WINDOW = 11;
const SIGMA = 1.5;
const C1 = (0.01 * MAX_LEVEL) ** 2;
const C2 = (0.03 * MAX_LEVEL) ** 2;

/**
 * Peak signal-to-noise ratio in dB, from the mean squared difference over all pixels and channels; Infinity for equal images.
 *
 * @throws InputError if the images differ in size or channels.
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
 * @throws InputError if the images differ in size or channels.
 */
export function ssim(a: Image8, b: Image8): number {
  checkSameShape('ssim', a, b);
  const { width, height, channels } = a;
  const blur = gaussianBlur(width, height);
  const pixels = width * height;
  let sum = 0;
  let positions = 0;
  for (let c = 0; c < channels; c++) {
    const x = Float64Array.from({ length: pixels }, (_, i) => a.data[i * channels + c]);
    const y = Float64Array.from({ length: pixels }, (_, i) => b.data[i * channels + c]);
    const meanX = blur(x);
    const meanY = blur(y);
    const meanXX = blur(x.map((value) => value * value));
    const meanYY = blur(y.map((value) => value * value));
    const meanXY = blur(x.map((value, i) => value * y[i]));
    for (let i = 0; i < meanX.length; i++) {
      const varianceX = meanXX[i] - meanX[i] ** 2;
      const varianceY = meanYY[i] - meanY[i] ** 2;
      const covariance = meanXY[i] - meanX[i] * meanY[i];
      const luminance = (2 * meanX[i] * meanY[i] + C1) / (meanX[i] ** 2 + meanY[i] ** 2 + C1);
      const structure = (2 * covariance + C2) / (varianceX + varianceY + C2);
      sum += luminance * structure;
    }
    positions += meanX.length;
  }
  return sum / positions;
}

function checkSameShape(what: string, a: Image8, b: Image8): void {
  if (sameShape(a, b)) return;
  const size = (image: Image8) => `${image.width}x${image.height}x${image.channels}`;
  throw new InputError(`${what}: images are ${size(a)} and ${size(b)}; give two of one size`);
}

/** Gaussian mean of a [height, width] map at every window position inside it, rows first, then columns. */
function gaussianBlur(width: number, height: number): (map: Float64Array) => Float64Array {
  const across = gaussianWeights(Math.min(WINDOW, width));
  const down = gaussianWeights(Math.min(WINDOW, height));
  const outWidth = width - across.length + 1;
  const outHeight = height - down.length + 1;
  return (map) => {
    const rows = new Float64Array(height * outWidth);
    for (let y = 0; y < height; y++) {
      for (let x = 0; x < outWidth; x++) {
        let sum = 0;
        for (let k = 0; k < across.length; k++) sum += across[k] * map[y * width + x + k];
        rows[y * outWidth + x] = sum;
      }
    }
    const out = new Float64Array(outHeight * outWidth);
    for (let y = 0; y < outHeight; y++) {
      for (let x = 0; x < outWidth; x++) {
        let sum = 0;
        for (let k = 0; k < down.length; k++) sum += down[k] * rows[(y + k) * outWidth + x];
        out[y * outWidth + x] = sum;
      }
    }
    return out;
  };
}

function gaussianWeights(length: number): Float64Array {
  const centre = (length - 1) / 2;
  const weights = Float64Array.from({ length }, (_, i) => Math.exp(-((i - centre) ** 2) / (2 * SIGMA ** 2)));
  const sum = weights.reduce((total, weight) => total + weight, 0);
  return weights.map((weight) => weight / sum);
}
