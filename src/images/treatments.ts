/** What happens to images after they are published: saved again, resized, cropped, smoothed, recoloured. */

import { derive } from '../random.ts';
import type { Encoding, ImageCodec } from './codec.ts';
import { decodeImage, encodeImage } from './decode.ts';
import type { Image8 } from './image.ts';
import { resizedTo } from './resized.ts';

/** One thing that may happen to an image. */
export interface Treatment {
  readonly name: string;
  /** `id` names the image's stream of random numbers. An image that it leaves alone is returned as it is. */
  apply(image: Image8, codec: ImageCodec, id: string): Promise<Image8>;
}

const reencoded = (name: string, encoding: Encoding): Treatment => ({
  name,
  async apply(image, codec) {
    const bytes = await encodeImage(codec, image, encoding);
    const { width, height, data } = await decodeImage(codec, bytes, name, { maxPixels: Number.POSITIVE_INFINITY });
    return { width, height, channels: image.channels, data: data.length === image.data.length ? data : greyOf(data) };
  },
});

const jpeg = (quality: number): Treatment =>
  reencoded(`JPEG ${quality}`, {
    format: 'JPEG',
    quality,
    halfColours: true,
    progressive: false,
    ownHuffmanTables: false,
  });

const pure = (name: string, apply: (image: Image8, id: string) => Image8): Treatment => ({
  name,
  apply: async (image, _, id) => apply(image, id),
});

/** What is tried by default, each by itself. */
export const TREATMENTS: readonly Treatment[] = [
  ...[95, 90, 75, 50].map(jpeg),
  reencoded('WebP 80', { format: 'WebP', quality: 80 }),
  ...[256, 224].map((side) => pure(`shorter side ${side}`, (image) => resize(image, resizedTo(image, side)))),
  pure('centre crop, 7/8 of each side', (image) => centreCrop(image, 7 / 8)),
  pure('median 3×3', median3),
  pure('Gaussian blur, σ 1', (image) => gaussianBlur(image, 1)),
  pure('colour jitter, ±20 %', (image, id) => {
    const random = derive(0, 'colour jitter', id);
    const factor = (): number => 0.8 + 0.4 * random.uniform();
    return recolour(image, { brightness: factor(), contrast: factor(), saturation: factor() });
  }),
  pure('screenshot at 125 %', (image) => {
    const shown = { width: Math.round(1.25 * image.width), height: Math.round(1.25 * image.height) };
    return resize(resize(image, shown), image);
  }),
];

/** Levels of the first channel of RGB. */
const greyOf = (rgb: Uint8Array): Uint8Array => rgb.filter((_, i) => i % 3 === 0);

const toLevel = (value: number): number => Math.min(255, Math.max(0, Math.round(value)));

/** Pixels across and down. */
type Size = Pick<Image8, 'width' | 'height'>;

/**
 * An image in another size, smaller with antialias: Pillow's BILINEAR, and torchvision's `resize` with `antialias=True`, but for their
 * roundings.
 */
export function resize(image: Image8, { width, height }: Size): Image8 {
  if (width === image.width && height === image.height) return image;
  const { channels } = image;
  const [across, down] = [triangles(image.width, width), triangles(image.height, height)];
  const rows = new Float64Array(image.height * width * channels);
  for (let y = 0; y < image.height; y++)
    for (let x = 0; x < width; x++) {
      const { first, weights } = across[x];
      for (let c = 0; c < channels; c++) {
        let sum = 0;
        for (let i = 0; i < weights.length; i++)
          sum += weights[i] * image.data[(y * image.width + first + i) * channels + c];
        rows[(y * width + x) * channels + c] = sum;
      }
    }
  const data = new Uint8Array(height * width * channels);
  for (let y = 0; y < height; y++) {
    const { first, weights } = down[y];
    for (let at = 0; at < width * channels; at++) {
      let sum = 0;
      for (let i = 0; i < weights.length; i++) sum += weights[i] * rows[(first + i) * width * channels + at];
      data[y * width * channels + at] = toLevel(sum);
    }
  }
  return { width, height, channels, data };
}

/** For each result along an axis the pixels that it is a mean of: a triangle as wide as two pixels of the coarser of both. */
function triangles(extent: number, out: number): { readonly first: number; readonly weights: number[] }[] {
  const scale = extent / out;
  const support = Math.max(1, scale);
  return Array.from({ length: out }, (_, d) => {
    const centre = (d + 0.5) * scale;
    const first = Math.max(0, Math.floor(centre - support));
    const end = Math.min(extent, Math.ceil(centre + support));
    const heights = Array.from({ length: end - first }, (_, i) =>
      Math.max(0, 1 - Math.abs(first + i + 0.5 - centre) / support),
    );
    const total = heights.reduce((sum, height) => sum + height, 0);
    return { first, weights: heights.map((height) => height / total) };
  });
}

/** The middle of an image, with a share of both its sides. */
export function centreCrop({ width, height, channels, data }: Image8, share: number): Image8 {
  const [w, h] = [Math.max(1, Math.round(share * width)), Math.max(1, Math.round(share * height))];
  const [left, top] = [Math.floor((width - w) / 2), Math.floor((height - h) / 2)];
  const out = new Uint8Array(w * h * channels);
  for (let y = 0; y < h; y++) {
    const from = ((top + y) * width + left) * channels;
    out.set(data.subarray(from, from + w * channels), y * w * channels);
  }
  return { width: w, height: h, channels, data: out };
}

/** The median of 3×3 pixels, channel by channel; beyond the border are the border's pixels (Pillow's `MedianFilter(3)`). */
export function median3(image: Image8): Image8 {
  const around = new Uint8Array(9);
  return neighbourhoods(image, (at, x, y) => {
    for (let i = 0; i < 9; i++) around[i] = at(x + (i % 3) - 1, y + Math.floor(i / 3) - 1);
    return around.sort()[4];
  });
}

/** torchvision's `gaussian_blur` with a kernel of 5×5; beyond the border the image is mirrored in its last pixel. */
export function gaussianBlur(image: Image8, sigma: number): Image8 {
  const heights = [-2, -1, 0, 1, 2].map((i) => Math.exp(-0.5 * (i / sigma) ** 2));
  const total = heights.reduce((sum, height) => sum + height, 0);
  const mirrored = (i: number, extent: number): number => {
    const inside = i < 0 ? -i : i >= extent ? 2 * (extent - 1) - i : i;
    return Math.min(extent - 1, Math.max(0, inside));
  };
  const { width, height } = image;
  return neighbourhoods(image, (at, x, y) => {
    let sum = 0;
    for (let v = -2; v <= 2; v++)
      for (let h = -2; h <= 2; h++)
        sum += heights[v + 2] * heights[h + 2] * at(mirrored(x + h, width), mirrored(y + v, height));
    return toLevel(sum / total ** 2);
  });
}

/** An image whose every level is made of those around it; places beyond the border are those of the border. */
function neighbourhoods(
  { width, height, channels, data }: Image8,
  of: (at: (x: number, y: number) => number, x: number, y: number) => number,
): Image8 {
  const out = new Uint8Array(data.length);
  for (let c = 0; c < channels; c++) {
    const at = (x: number, y: number): number =>
      data[(Math.min(height - 1, Math.max(0, y)) * width + Math.min(width - 1, Math.max(0, x))) * channels + c];
    for (let y = 0; y < height; y++) for (let x = 0; x < width; x++) out[(y * width + x) * channels + c] = of(at, x, y);
  }
  return { width, height, channels, data: out };
}

/**
 * Brightness, contrast and saturation by factors, in this order, as torchvision's `adjust_brightness`, `adjust_contrast` and
 * `adjust_saturation` do it to 8-bit levels.
 */
export function recolour(
  image: Image8,
  { brightness, contrast, saturation }: Readonly<Record<'brightness' | 'contrast' | 'saturation', number>>,
): Image8 {
  const { channels } = image;
  // In float32, and the digits cut off.
  const times = (factor: number, level: number): number => Math.fround(Math.fround(factor) * level);
  const cut = (value: number): number => Math.min(255, Math.max(0, Math.trunc(value)));
  const blend = (factor: number, level: number, other: number): number =>
    cut(Math.fround(times(factor, level) + times(1 - factor, other)));
  const greys = (data: Uint8Array): Uint8Array =>
    channels === 1
      ? data
      : Uint8Array.from({ length: data.length / 3 }, (_, i) => {
          const [red, green, blue] = data.subarray(3 * i, 3 * i + 3);
          return cut(Math.fround(Math.fround(times(0.2989, red) + times(0.587, green)) + times(0.114, blue)));
        });
  const brighter = image.data.map((level) => blend(brightness, level, 0));
  const grey = greys(brighter);
  const mean = Math.fround(grey.reduce((sum, level) => sum + level, 0) / grey.length);
  const clearer = brighter.map((level) => blend(contrast, level, mean));
  const beside = greys(clearer);
  const { width, height } = image;
  const data =
    channels === 1 ? clearer : clearer.map((level, i) => blend(saturation, level, beside[Math.floor(i / 3)]));
  return { width, height, channels, data };
}
