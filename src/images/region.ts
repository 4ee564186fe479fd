import { type Crop, wholeImage } from './crop.ts';
import type { Image8 } from './image.ts';

/** The pixels of a crop alone, on their way to a device that resizes them to the network's input. */
export interface Region {
  readonly height: number;
  readonly width: number;
  /** Whether to mirror it after resizing. */
  readonly flip: boolean;
  /** 8-bit levels [height, width, channels]; with fractions where the region was resized already. */
  readonly levels: Uint8Array | Float32Array;
}

/** A region of more than so many pixels for each pixel of the input is resized before it goes to the device. */
const OVERSAMPLING = 4;

/** Most pixels that a region of images with up to `imagePixels` can have. */
export function regionPixels(inputSize: number, imagePixels: number): number {
  return Math.min(OVERSAMPLING * inputSize ** 2, Math.max(imagePixels, inputSize ** 2));
}

/**
 * Cuts a crop out of an image. A large one is resized to the input here, by the formula of the kernel `crop_resize` (bilinear,
 * no antialias), so that what a batch needs on the device does not grow with the photographs; which way a crop takes depends
 * on its size alone. What lies outside the image is black.
 */
export function cutRegion(image: Image8, crop: Crop, inputSize: number): Region {
  const { height, width, flip } = crop;
  if (!isInside(image, crop)) return cutRegion(cutOut(image, crop), { ...crop, top: 0, left: 0 }, inputSize);
  if (height * width > OVERSAMPLING * inputSize ** 2)
    return { height: inputSize, width: inputSize, flip, levels: resize(image, crop, inputSize) };
  return { height, width, flip, levels: cutOut(image, crop).data };
}

/**
 * A crop as 8-bit levels at the input's size, mirrored where it is to be: what operations on images in memory take. Resized by the same
 * formula, and rounded.
 */
export function cutImage(image: Image8, crop: Crop, inputSize: number): Image8 {
  const { height, width, levels, flip } = cutRegion(image, crop, inputSize);
  const { channels } = image;
  const sized =
    height === inputSize && width === inputSize
      ? levels
      : resize({ height, width, channels, data: levels }, wholeImage(height, width), inputSize);
  const data = new Uint8Array(inputSize * inputSize * channels);
  for (let i = 0; i < data.length; i++) {
    const column = Math.floor(i / channels) % inputSize;
    data[i] = Math.round(sized[flip ? i + (inputSize - 1 - 2 * column) * channels : i]);
  }
  return { height: inputSize, width: inputSize, channels, data };
}

const isInside = (image: Image8, { top, left, height, width }: Crop): boolean =>
  top >= 0 && left >= 0 && top + height <= image.height && left + width <= image.width;

/** A rectangle of an image, without its opacity and not mirrored; what lies outside the image is black. */
export function cutOut(image: Image8, { top, left, height, width }: Crop): Image8 {
  const { channels, data } = image;
  if (top === 0 && left === 0 && height === image.height && width === image.width)
    return { height, width, channels, data };
  const levels = new Uint8Array(height * width * channels);
  const [first, end] = [Math.max(0, left), Math.min(image.width, left + width)];
  for (let y = Math.max(0, -top); y < Math.min(height, image.height - top) && first < end; y++) {
    const row = (top + y) * image.width;
    levels.set(data.subarray((row + first) * channels, (row + end) * channels), (y * width + first - left) * channels);
  }
  return { height, width, channels, data: levels };
}

/** The middle of an image, at most `side` pixels wide and high. */
export function cutMiddle(image: Image8, side: number): Image8 {
  const [width, height] = [Math.min(side, image.width), Math.min(side, image.height)];
  const [top, left] = [(image.height - height) >> 1, (image.width - width) >> 1];
  return cutOut(image, { top, left, height, width, flip: false });
}

/** Bilinear with half-pixel centres, as `torch.nn.functional.interpolate(align_corners=False)`; [size, size, channels]. */
function resize(
  image: Pick<Image8, 'height' | 'width' | 'channels'> & { readonly data: ArrayLike<number> },
  { top, left, height, width }: Crop,
  size: number,
): Float32Array {
  const { channels, data } = image;
  const across = taps(width, size);
  const levels = new Float32Array(size * size * channels);
  let to = 0;
  for (const down of taps(height, size)) {
    const upper = (top + down.first) * image.width + left;
    const lower = (top + down.second) * image.width + left;
    for (const { first, second, share } of across) {
      for (let c = 0; c < channels; c++) {
        const a = data[(upper + first) * channels + c] * (1 - share) + data[(upper + second) * channels + c] * share;
        const b = data[(lower + first) * channels + c] * (1 - share) + data[(lower + second) * channels + c] * share;
        levels[to++] = a * (1 - down.share) + b * down.share;
      }
    }
  }
  return levels;
}

/** For each result along an axis of `extent` pixels: the two pixels it lies between and the second's share. */
function taps(extent: number, size: number): { first: number; second: number; share: number }[] {
  return Array.from({ length: size }, (_, d) => {
    const position = Math.max(((d + 0.5) * extent) / size - 0.5, 0);
    const first = Math.min(Math.floor(position), extent - 1);
    return { first, second: Math.min(first + 1, extent - 1), share: position - first };
  });
}

/** Levels of regions or images one after another, as `packCrops` takes them, in an array of `length`; the rest is 0. */
export function packLevels(images: readonly { readonly levels: ArrayLike<number> }[], length: number): Float32Array {
  const packed = new Float32Array(length);
  let at = 0;
  for (const { levels } of images) {
    packed.set(levels, at);
    at += levels.length;
  }
  return packed;
}
