/**
 * RandAugment and TrivialAugment: operations on 8-bit images, drawn at random. Operations, magnitudes and, to the bit, results are those
 * of torchvision's transforms on PIL images (`torchvision.transforms.RandAugment`, `TrivialAugmentWide`; Pillow's ImageOps, ImageEnhance
 * and Image.transform with nearest neighbours). What lies outside an image is black.
 */

import type { Uniform } from './crop.ts';
import type { Image8 } from './image.ts';
import { MAGNITUDE_BINS } from './magnitudes.ts';

/** An operation with its magnitude: a length, an angle, or a change of a factor. */
type Operation = (image: Image8, magnitude: number) => Image8;

/** By torchvision's names, in its order. */
const OPERATIONS = {
  Identity: (image) => image,
  ShearX: (image, share) => affine(image, [1, share, 0, 0, 1, 0]),
  ShearY: (image, share) => affine(image, [1, 0, 0, share, 1, 0]),
  TranslateX: (image, pixels) => affine(image, [1, 0, -Math.trunc(pixels), 0, 1, 0]),
  TranslateY: (image, pixels) => affine(image, [1, 0, 0, 0, 1, -Math.trunc(pixels)]),
  Rotate: rotate,
  Brightness: (image, change) => blend(image, () => 0, change),
  Color: (image, change) => {
    const grey = greyOf(image);
    return blend(image, (i) => grey[Math.floor(i / image.channels)], change);
  },
  Contrast: (image, change) => {
    const grey = greyOf(image);
    const mean = Math.floor(grey.reduce((sum, level) => sum + level, 0) / grey.length + 0.5);
    return blend(image, () => mean, change);
  },
  Sharpness: (image, change) => {
    const smooth = smoothed(image);
    return blend(image, (i) => smooth[i], change);
  },
  Posterize: (image, bits) => {
    const mask = 0xff & ~(2 ** (8 - Math.trunc(bits)) - 1);
    return look(image, () => (level) => level & mask);
  },
  Solarize: (image, threshold) => look(image, () => (level) => (level < threshold ? level : 255 - level)),
  AutoContrast: (image) => look(image, stretch),
  Equalize: (image) => look(image, equalise),
} satisfies Readonly<Record<string, Operation>>;

/** An operation of RandAugment and TrivialAugment, as torchvision calls it. */
export type AugmentOperation = keyof typeof OPERATIONS;

/** All of them, in torchvision's order. */
export const AUGMENT_OPERATIONS = Object.keys(OPERATIONS) as AugmentOperation[];

/** Does one operation; what the magnitude is depends on it (torchvision's `_apply_op`). */
export const augmentWith = (image: Image8, operation: AugmentOperation, magnitude: number): Image8 =>
  OPERATIONS[operation](image, magnitude);

/** The magnitudes of an operation, weakest first, and whether half of them are negative; none where there is but one. */
interface Magnitudes {
  readonly values: readonly number[];
  readonly signed: boolean;
}

/** How strong operations become: the ends of their ranges. */
interface Space {
  readonly shear: number;
  readonly translateX: number;
  readonly translateY: number;
  readonly degrees: number;
  readonly change: number;
  readonly bits: number;
}

function magnitudesOf(operation: AugmentOperation, space: Space): Magnitudes {
  const signed = (end: number): Magnitudes => ({ values: linspace(0, end), signed: true });
  switch (operation) {
    case 'ShearX':
    case 'ShearY':
      return signed(space.shear);
    case 'TranslateX':
      return signed(space.translateX);
    case 'TranslateY':
      return signed(space.translateY);
    case 'Rotate':
      return signed(space.degrees);
    case 'Brightness':
    case 'Color':
    case 'Contrast':
    case 'Sharpness':
      return signed(space.change);
    case 'Posterize': {
      const step = (MAGNITUDE_BINS - 1) / space.bits;
      return { values: bins((bin) => 8 - Math.round(bin / step)), signed: false };
    }
    case 'Solarize':
      return { values: linspace(255, 0), signed: false };
    default:
      return { values: [], signed: false };
  }
}

/** The magnitudes of RandAugment for images of this size, weakest first (torchvision's `_augmentation_space`). */
export const randAugmentMagnitudes = (
  operation: AugmentOperation,
  { height, width }: Pick<Image8, 'height' | 'width'>,
): Magnitudes =>
  magnitudesOf(operation, {
    shear: 0.3,
    translateX: (150 / 331) * width,
    translateY: (150 / 331) * height,
    degrees: 30,
    change: 0.9,
    bits: 4,
  });

/** The magnitudes of TrivialAugment, "wide". */
export const trivialAugmentMagnitudes = (operation: AugmentOperation): Magnitudes =>
  magnitudesOf(operation, { shear: 0.99, translateX: 32, translateY: 32, degrees: 135, change: 0.99, bits: 6 });

/** How {@link randAugment} goes. */
export interface RandAugmentOptions {
  /** One after another. */
  readonly operations: number;
  /** How strong all of them are, from 0 to 30. */
  readonly magnitude: number;
}

/** So many operations of one strength, each drawn anew (Cubuk et al. 2020; `torchvision.transforms.RandAugment`). */
export function randAugment(image: Image8, { operations, magnitude }: RandAugmentOptions, random: Uniform): Image8 {
  let result = image;
  for (let i = 0; i < operations; i++) {
    const name = AUGMENT_OPERATIONS[random.below(AUGMENT_OPERATIONS.length)];
    const { values, signed } = randAugmentMagnitudes(name, image);
    result = augmentWith(result, name, (values[magnitude] ?? 0) * (signed ? signOf(random) : 1));
  }
  return result;
}

/** One operation of any strength (Müller and Hutter 2021; `torchvision.transforms.TrivialAugmentWide`). */
export function trivialAugment(image: Image8, random: Uniform): Image8 {
  const name = AUGMENT_OPERATIONS[random.below(AUGMENT_OPERATIONS.length)];
  const { values, signed } = trivialAugmentMagnitudes(name);
  const magnitude = values.length > 0 ? values[random.below(values.length)] : 0;
  return augmentWith(image, name, magnitude * (signed ? signOf(random) : 1));
}

const signOf = (random: Uniform): number => (random.below(2) === 1 ? -1 : 1);

const bins = (value: (bin: number) => number): number[] =>
  Array.from({ length: MAGNITUDE_BINS }, (_, bin) => value(bin));

const linspace = (start: number, end: number): number[] =>
  bins((bin) => start + ((end - start) * bin) / (MAGNITUDE_BINS - 1));

/** Each pixel from where a matrix [a b c; d e f] sends it, nearest neighbour, in the 16.16 fixed-point numbers of Pillow. */
function affine({ height, width, channels, data }: Image8, [a, b, c, d, e, f]: readonly number[]): Image8 {
  const fixed = (value: number): number => Math.floor(value * 65536 + 0.5);
  const [stepX, rowX, stepY, rowY] = [fixed(a), fixed(b), fixed(d), fixed(e)];
  const [firstX, firstY] = [fixed(c + a * 0.5 + b * 0.5), fixed(f + d * 0.5 + e * 0.5)];
  const moved = new Uint8Array(data.length);
  for (let y = 0; y < height; y++)
    for (let x = 0; x < width; x++) {
      const column = Math.floor((firstX + x * stepX + y * rowX) / 65536);
      const row = Math.floor((firstY + x * stepY + y * rowY) / 65536);
      if (column < 0 || column >= width || row < 0 || row >= height) continue;
      const from = (row * width + column) * channels;
      moved.set(data.subarray(from, from + channels), (y * width + x) * channels);
    }
  return { height, width, channels, data: moved };
}

/** Anticlockwise about the centre. */
function rotate(image: Image8, degrees: number): Image8 {
  const round = (value: number): number => Math.round(value * 1e15) / 1e15;
  const angle = (-degrees * Math.PI) / 180;
  const [cos, sin] = [round(Math.cos(angle)), round(Math.sin(angle))];
  const [x, y] = [image.width / 2, image.height / 2];
  return affine(image, [cos, sin, x - cos * x - sin * y, -sin, cos, y + sin * x - cos * y]);
}

/** From `base` to the image and, for a change above 0, beyond (Pillow's `Image.blend`, in float32, cut off). */
function blend(image: Image8, base: (index: number) => number, change: number): Image8 {
  const share = Math.fround(1 + change);
  const data = image.data.map((level, i) => {
    const from = base(i);
    const value = Math.fround(from + Math.fround(share * (level - from)));
    return Math.min(255, Math.max(0, Math.trunc(value)));
  });
  return { ...image, data };
}

/** Luma of ITU-R 601 [height, width], as Pillow rounds it. */
function greyOf({ channels, data }: Image8): Uint8Array {
  if (channels === 1) return data;
  return Uint8Array.from(
    { length: data.length / 3 },
    (_, i) => (data[3 * i] * 19595 + data[3 * i + 1] * 38470 + data[3 * i + 2] * 7471 + 0x8000) >> 16,
  );
}

/** Pillow's filter SMOOTH: 5/13 of the pixel and 1/13 of each of its eight neighbours; the border stays. */
function smoothed({ height, width, channels, data }: Image8): Uint8Array {
  const smooth = data.slice();
  const stride = width * channels;
  for (let y = 1; y < height - 1; y++)
    for (let i = y * stride + channels; i < (y + 1) * stride - channels; i++) {
      let sum = 4 * data[i];
      for (const row of [i - stride, i, i + stride]) sum += data[row - channels] + data[row] + data[row + channels];
      smooth[i] = Math.floor((2 * sum + 13) / 26);
    }
  return smooth;
}

/** Every level of a channel by a table of its own, made from the channel's histogram. */
function look(image: Image8, tableOf: (histogram: readonly number[]) => (level: number) => number): Image8 {
  const { channels, data } = image;
  const tables = Array.from({ length: channels }, (_, channel) => {
    const histogram = new Array<number>(256).fill(0);
    for (let i = channel; i < data.length; i += channels) histogram[data[i]]++;
    const table = tableOf(histogram);
    return Uint8Array.from({ length: 256 }, (_, level) => Math.min(255, Math.max(0, table(level))));
  });
  return { ...image, data: data.map((level, i) => tables[i % channels][level]) };
}

/** From the lowest and highest level to 0 and 255 (Pillow's `ImageOps.autocontrast`). */
function stretch(histogram: readonly number[]): (level: number) => number {
  const lowest = histogram.findIndex((count) => count > 0);
  const highest = histogram.findLastIndex((count) => count > 0);
  if (highest <= lowest) return (level) => level;
  const scale = 255 / (highest - lowest);
  return (level) => Math.trunc(level * scale - lowest * scale);
}

/** So that all levels are about equally frequent (Pillow's `ImageOps.equalize`). */
function equalise(histogram: readonly number[]): (level: number) => number {
  const last = histogram.findLast((count) => count > 0) ?? 0;
  const step = Math.floor((histogram.reduce((sum, count) => sum + count, 0) - last) / 255);
  if (step === 0) return (level) => level;
  let below = Math.floor(step / 2);
  const table = histogram.map((count) => {
    const level = Math.floor(below / step);
    below += count;
    return level;
  });
  return (level) => table[level];
}
