import { InputError } from '../errors.ts';

/** An image of 8-bit levels: grayscale (1 channel) or RGB (3 channels). */
export interface Image8 {
  /** Pixels. */
  readonly width: number;
  /** Pixels. */
  readonly height: number;
  readonly channels: 1 | 3;
  /** Levels 0–255 as [height, width, channels], row-major. */
  readonly data: Uint8Array;
}

/**
 * Checks that an image is one: positive whole sizes, 1 or 3 channels, one byte per level.
 *
 * @param what names the image in the message: its file or id.
 * @throws InputError otherwise.
 */
export function checkImage(image: Image8, what: string): void {
  const { width, height, channels, data } = image;
  const valid = Number.isInteger(width) && width > 0 && Number.isInteger(height) && height > 0;
  if (!valid || (channels !== 1 && channels !== 3) || data.length !== width * height * channels) {
    throw new InputError(
      `${what}: no image: ${width}x${height} pixels, ${channels} channels, ${data.length} bytes; give width x height x (1 or 3) bytes`,
    );
  }
}

/** Whether two images have the same width, height and channels. */
export function sameShape(a: Image8, b: Image8): boolean {
  return a.width === b.width && a.height === b.height && a.channels === b.channels;
}
