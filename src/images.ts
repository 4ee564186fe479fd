/**
 * Images of 8-bit levels in memory: crops, and how much an image was changed.
 *
 * @module images
 */

// Images of 8-bit levels, crops, quality.

export { type Crop, centreSquare, type RandomCropOptions, randomCrop, wholeImage } from './images/crop.ts';
export type { DecodeOptions } from './images/decode.ts';
export { checkImage, type Image8, type ImageShape } from './images/image.ts';
export { psnr, ssim } from './images/metrics.ts';
export { cutRegion, type Region } from './images/region.ts';
