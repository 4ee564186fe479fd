import { InputError } from '../errors.ts';

/** What is known of an image before its pixels. */
export interface ImageShape {
  /** Pixels. */
  readonly width: number;
  /** Pixels. */
  readonly height: number;
  /** 1 grey, 3 RGB. */
  readonly channels: 1 | 3;
}

/** An image of 8-bit levels: grayscale (1 channel) or RGB (3 channels), perhaps with transparency beside them. */
export interface Image8 extends ImageShape {
  /** Levels 0–255 as [height, width, channels], row-major. */
  readonly data: Uint8Array;
  /** Opacity 0–255 as [height, width]; absent where every pixel is opaque. Networks do not see it; writing keeps it. */
  readonly alpha?: Uint8Array;
}

/**
 * Checks that an image is one: positive whole sizes, 1 or 3 channels, one byte per level.
 *
 * @param what names the image in the message: its file or id.
 * @throws InputError otherwise.
 */
export function checkImage(image: Image8, what: string): void {
  const { width, height, channels, data, alpha } = image;
  // Numbers that are no bytes would be measured and encoded as if they were levels.
  const levels: unknown = data?.[Symbol.toStringTag];
  if (levels !== 'Uint8Array' && levels !== 'Uint8ClampedArray')
    throw new InputError(`${what}: no image: its data is no Uint8Array; give its levels as bytes, 0 to 255`);
  const valid = Number.isInteger(width) && width > 0 && Number.isInteger(height) && height > 0;
  if (!valid || (channels !== 1 && channels !== 3) || data.length !== width * height * channels) {
    throw new InputError(
      `${what}: no image: ${width}x${height} pixels, ${channels} channels, ${data.length} bytes; give width x height x (1 or 3) bytes`,
    );
  }
  if (alpha && alpha.length !== width * height)
    throw new InputError(
      `${what}: no image: ${alpha.length} bytes of opacity for ${width}x${height} pixels; give one each`,
    );
}

/** Whether two images have the same width, height and channels. */
export function sameShape(a: Image8, b: Image8): boolean {
  return a.width === b.width && a.height === b.height && a.channels === b.channels;
}

/** Whether an image has no colours, also where it is stored as RGB. */
export function isGrey({ channels, data }: Image8): boolean {
  if (channels === 1) return true;
  for (let i = 0; i < data.length; i += 3) if (data[i] !== data[i + 1] || data[i] !== data[i + 2]) return false;
  return true;
}

/** How a camera held sideways says so (EXIF 2.32, tag 0x0112): 1 as stored, 2 mirrored, 3 turned by half, … 8. */
export type Orientation = 1 | 2 | 3 | 4 | 5 | 6 | 7 | 8;

/** Whether an orientation exchanges width and height. */
export const isTransposed = (orientation: Orientation): boolean => orientation >= 5;

/** Turns and mirrors an image as its EXIF orientation asks (Pillow's `ImageOps.exif_transpose`). */
export function orient(image: Image8, orientation: Orientation): Image8 {
  if (orientation === 1) return image;
  const { width, height, alpha } = image;
  const transposed = isTransposed(orientation);
  const [outWidth, outHeight] = transposed ? [height, width] : [width, height];
  const fromRight = [2, 3, 7, 8].includes(orientation);
  const fromBottom = [3, 4, 6, 7].includes(orientation);
  const turn = (levels: Uint8Array, channels: number): Uint8Array => {
    const out = new Uint8Array(levels.length);
    let to = 0;
    for (let y = 0; y < outHeight; y++) {
      for (let x = 0; x < outWidth; x++) {
        const [column, row] = transposed ? [y, x] : [x, y];
        const from = (fromBottom ? height - 1 - row : row) * width + (fromRight ? width - 1 - column : column);
        for (let c = 0; c < channels; c++) out[to++] = levels[from * channels + c];
      }
    }
    return out;
  };
  return {
    ...image,
    width: outWidth,
    height: outHeight,
    data: turn(image.data, image.channels),
    ...(alpha && { alpha: turn(alpha, 1) }),
  };
}
