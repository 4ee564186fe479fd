/**
 * A region of an image to be resized to the network's input, perhaps mirrored: what the crop_resize kernel takes, in pixels. `cutRegion`
 * takes one that leaves the image too, and makes black what lies outside.
 */
export interface Crop {
  /** First row, in pixels. */
  readonly top: number;
  /** First column, in pixels. */
  readonly left: number;
  /** Rows. */
  readonly height: number;
  /** Columns. */
  readonly width: number;
  /** Mirrored left to right. */
  readonly flip: boolean;
}

/** How {@link randomCrop} draws: torchvision's `RandomResizedCrop` and `RandomHorizontalFlip`. */
export interface RandomCropOptions {
  /** Share of the image's area, smallest and largest. */
  readonly scale: readonly [number, number];
  /** Width over height, smallest and largest; drawn evenly in its logarithm. */
  readonly ratio: readonly [number, number];
  /** Whether to mirror every other crop. */
  readonly flip: boolean;
}

/** How {@link shiftedCrop} draws: torchvision's `RandomCrop` with padding and `RandomHorizontalFlip`. */
export interface PadCropOptions {
  /** Black pixels on each side of the image. */
  readonly padding: number;
  /** Whether to mirror every other crop. */
  readonly flip: boolean;
}

/** A source of random numbers; `Random` is one. */
export interface Uniform {
  /** A number in [0, 1). */
  uniform(): number;
  /** A whole number from 0 to below n. */
  below(n: number): number;
}

const TRIES = 10;

/** The whole image. */
export function wholeImage(height: number, width: number): Crop {
  return { top: 0, left: 0, height, width, flip: false };
}

/** The largest centred square, times `share` of its side (torchvision's Resize(256) + CenterCrop(224) is 224/256). */
export function centreSquare(height: number, width: number, share = 1): Crop {
  const side = Math.max(1, Math.round(Math.min(height, width) * share));
  return {
    top: Math.floor((height - side) / 2),
    left: Math.floor((width - side) / 2),
    height: side,
    width: side,
    flip: false,
  };
}

/**
 * A random region of random area and aspect (`torchvision.transforms.RandomResizedCrop`): ten tries, then the centre with the
 * aspect clamped to the allowed range.
 */
export function randomCrop(height: number, width: number, options: RandomCropOptions, random: Uniform): Crop {
  const { scale, ratio, flip } = options;
  const mirrored = flip && random.below(2) === 1;
  for (let attempt = 0; attempt < TRIES; attempt++) {
    const area = height * width * (scale[0] + (scale[1] - scale[0]) * random.uniform());
    const aspect = Math.exp(Math.log(ratio[0]) + (Math.log(ratio[1]) - Math.log(ratio[0])) * random.uniform());
    const w = Math.round(Math.sqrt(area * aspect));
    const h = Math.round(Math.sqrt(area / aspect));
    if (w < 1 || h < 1 || w > width || h > height) continue;
    return {
      top: random.below(height - h + 1),
      left: random.below(width - w + 1),
      height: h,
      width: w,
      flip: mirrored,
    };
  }
  const aspect = Math.min(Math.max(width / height, ratio[0]), ratio[1]);
  const w = Math.min(width, Math.max(1, Math.round(height * aspect)));
  const h = Math.min(height, Math.max(1, Math.round(width / aspect)));
  return { top: Math.floor((height - h) / 2), left: Math.floor((width - w) / 2), height: h, width: w, flip: mirrored };
}

/**
 * A crop moved by up to `padding` pixels each way, so that it may leave the image: `torchvision.transforms.RandomCrop(size, padding)` where
 * it was all of the image.
 */
export function shiftedCrop(crop: Crop, { padding, flip }: PadCropOptions, random: Uniform): Crop {
  const mirrored = flip && random.below(2) === 1;
  const shift = (): number => random.below(2 * padding + 1) - padding;
  return { ...crop, top: crop.top + shift(), left: crop.left + shift(), flip: mirrored };
}
