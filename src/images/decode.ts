import { InputError, RadioactiveError } from '../errors.ts';
import { type Decoded, type Encoding, type ImageCodec, PNG, UndecodedError } from './codec.ts';
import type { ImageHeader, Refuse, Unusual } from './header.ts';
import { checkImage, type Image8, type ImageShape, isTransposed, orient } from './image.ts';
import { jpegPicture, readJpegHeader } from './jpeg.ts';
import { decodeNpy, isNpyImage, readNpyHeader } from './npy_image.ts';
import { isPng, pngPicture, readPngHeader } from './png.ts';
import { readWebpHeader } from './webp.ts';

/** What is decoded, and what is refused. */
export interface DecodeOptions {
  /** Largest number of pixels (width times height) that is decoded; default 64 million. */
  readonly maxPixels?: number;
  /**
   * What to decode although it is unusual: CMYK by Pillow's plain formula, the upper 8 of 16 bits, the first frame of an animation.
   */
  readonly accept?: readonly Unusual[];
}

/** Positions along a longer side would not fit the kernels' integers. JPEG and WebP cannot have one. */
const MAX_SIDE = 65535;

export const DEFAULT_MAX_PIXELS = 64_000_000;

/** Levels of 16 bits that stay below this use 14 of them or fewer: their upper 8 bits would show a picture that is nearly black. */
const DARK_16_BIT = 16384;

interface ImageFormat {
  readonly name: string;
  /** Whether a file's first `SNIFF_BYTES` bytes are of this format. */
  readonly matches: (head: Uint8Array) => boolean;
  /** Absent for formats that are recognised, to be named in messages, but not decoded. */
  readonly header?: (bytes: Uint8Array, refuse: Refuse) => ImageHeader;
  /** The file with only what decides its pixels, so that what is wrong with the rest troubles no decoder. */
  readonly picture?: (bytes: Uint8Array) => Uint8Array;
  /** Of a format that needs no codec: its pixels. */
  readonly pixels?: (bytes: Uint8Array) => Decoded;
}

/** How many bytes of a file `imageFormat` needs. */
export const SNIFF_BYTES = 256;

/** Every format known. A format is added here and nowhere else, if the codecs know it. */
const FORMATS: readonly ImageFormat[] = [
  { name: 'PNG', matches: isPng, header: readPngHeader, picture: pngPicture },
  { name: 'JPEG', matches: (head) => begins(head, '\xff\xd8\xff'), header: readJpegHeader, picture: jpegPicture },
  { name: 'WebP', matches: (head) => begins(head, 'RIFF') && begins(head.subarray(8), 'WEBP'), header: readWebpHeader },
  { name: 'NPY', matches: isNpyImage, header: readNpyHeader, pixels: decodeNpy },
  { name: 'GIF', matches: (head) => begins(head, 'GIF87a') || begins(head, 'GIF89a') },
  { name: 'TIFF', matches: (head) => begins(head, 'II*\0') || begins(head, 'MM\0*') },
];

/** The image format of a file by its first bytes, whatever its name is; undefined where they are no known image. */
export function imageFormat(head: Uint8Array): { name: string; decodable: boolean } | undefined {
  const format = FORMATS.find(({ matches }) => matches(head));
  return format && { name: format.name, decodable: format.header !== undefined };
}

/** The formats that codecs decode, for messages. */
export const DECODABLE_FORMATS: readonly string[] = FORMATS.filter(({ header, pixels }) => header && !pixels).map(
  ({ name }) => name,
);

const RESTORE = 'restore it, save it again or remove it';

/**
 * Reads what a PNG, JPEG or WebP file says of its image and checks that it can be decoded: whole up to its end marker, not
 * larger than allowed, nothing unusual that is not accepted. Pixels are not decoded.
 *
 * @throws InputError naming the file otherwise.
 */
export function readImageHeader(bytes: Uint8Array, fileName: string, options: DecodeOptions = {}): ImageHeader {
  const fail = (what: string, cure: string): never => {
    throw new InputError(`${fileName}: ${what}; ${cure}`);
  };
  if (bytes.length === 0) fail('an empty file', 'restore or remove it');
  const format = FORMATS.find(({ matches }) => matches(bytes));
  if (format?.header === undefined) {
    const what = format ? `${format.name} images are not read` : 'not an image';
    return fail(what, `convert it to ${DECODABLE_FORMATS.join(' or ')}`);
  }
  const header = format.header(bytes, {
    damaged: (what) => fail(`damaged ${format.name}: ${what}`, RESTORE),
    unread: (what, cure) => fail(`${what}, which is not read`, cure),
  });
  const { width, height, unusual } = header;
  if (width === 0 || height === 0)
    fail(`damaged ${format.name}: its size is ${width}x${height}`, 'restore or remove it');
  if (width > MAX_SIDE || height > MAX_SIDE)
    fail(`${width}x${height} has a side of more than ${MAX_SIDE} pixels`, 'scale it down');
  const maxPixels = options.maxPixels ?? DEFAULT_MAX_PIXELS;
  if (width * height > maxPixels)
    fail(`${width}x${height} is more than ${maxPixels} pixels`, 'scale it down or raise the limit (--max-pixels)');
  if (unusual && !options.accept?.includes(unusual)) {
    const what = {
      CMYK: 'CMYK colours',
      '16-bit': 'more than 8 bits per channel',
      animated: `animated ${format.name}`,
    };
    const cure = { CMYK: 'convert it to RGB', '16-bit': 'convert it to 8 bits', animated: 'save a single frame' };
    fail(what[unusual], `${cure[unusual]}, or accept it (--accept ${unusual})`);
  }
  return header;
}

/** The shape that a header's image has once it is turned upright. */
export function uprightShape({ width, height, channels, orientation }: ImageHeader): ImageShape {
  return isTransposed(orientation) ? { width: height, height: width, channels } : { width, height, channels };
}

/**
 * Decodes an image file of any format, told by its first bytes: header checked first (`readImageHeader`), then decoded, turned
 * upright by its EXIF orientation; opacity is kept beside the levels where any pixel is not opaque. What is wrong with a file is
 * told by the file alone: the same words whatever decodes it, whose own are the error's `cause`.
 *
 * @throws InputError naming the file if it is no PNG, JPEG or WebP, damaged, too large, unusual without being accepted, or of a kind
 * that the codec does not decode; what the codec throws if it cannot be used at all.
 */
export async function decodeImage(
  codec: ImageCodec,
  bytes: Uint8Array,
  fileName: string,
  options: DecodeOptions = {},
): Promise<Image8> {
  const header = readImageHeader(bytes, fileName, options);
  let decoded: Decoded;
  try {
    const { picture, pixels } = FORMATS.find(({ name }) => name === header.format)!;
    decoded = pixels ? pixels(bytes) : await codec.decode(picture?.(bytes) ?? bytes, header);
    checkDecoded(decoded, header);
  } catch (cause) {
    if (cause instanceof RadioactiveError) throw cause;
    if (cause instanceof UndecodedError)
      throw new InputError(`${fileName}: ${cause.message}, which ${codec.name} does not decode; convert it`, { cause });
    throw new InputError(`${fileName}: damaged ${header.format}: its pixels cannot be decoded; ${RESTORE}`, { cause });
  }
  const data = decoded.data instanceof Uint16Array ? upperBits(decoded.data, decoded.channels, fileName) : decoded.data;
  return orient(
    header.unusual === 'CMYK' ? inksToRgb({ ...decoded, data }) : split({ ...decoded, data }, header),
    header.orientation,
  );
}

/**
 * Encodes an image, without metadata: 8-bit grayscale or RGB, with its opacity if it has one and the format can have it. The same
 * image gives the same bytes under the same version of the codec. To write an image like a file, see `encodeLike`.
 *
 * @throws InputError if `image` is not one (see `checkImage`); what the codec throws if it cannot be used at all.
 */
export async function encodeImage(codec: ImageCodec, image: Image8, encoding: Encoding = PNG): Promise<Uint8Array> {
  checkImage(image, encoding.format);
  return codec.encode(image, encoding);
}

/** Throws where a decoder gave something else than the header promises. */
function checkDecoded({ width, height, channels, data }: Decoded, header: ImageHeader): void {
  const possible = header.unusual === 'CMYK' ? [4] : header.channels === 1 ? [1, 3, 4] : [3, 4];
  const deep = header.unusual === '16-bit';
  if (
    width !== header.width ||
    height !== header.height ||
    !possible.includes(channels) ||
    data.length !== width * height * channels ||
    data instanceof Uint16Array !== deep
  ) {
    throw new Error(
      `${width}x${height}x${channels} was decoded in ${data.length} levels, ${header.width}x${header.height} was promised`,
    );
  }
}

/** The upper 8 of 16 bits. Throws InputError where the levels use so few of them that what is left would be nearly black. */
function upperBits(levels: Uint16Array, channels: number, fileName: string): Uint8Array {
  let largest = 0;
  for (let i = 0; i < levels.length; i++) {
    const isOpacity = channels === 4 && i % 4 === 3;
    if (!isOpacity && levels[i] > largest) largest = levels[i];
  }
  if (largest > 0 && largest < DARK_16_BIT) {
    throw new InputError(
      `${fileName}: levels to ${largest} in 16 bits, whose upper 8 would be nearly black; scale them to 65535, or convert it to 8 bits`,
    );
  }
  return Uint8Array.from(levels, (level) => level >> 8);
}

/** Pixels of 8 bits. */
type Decoded8 = Decoded & { readonly data: Uint8Array };

/** CMYK to RGB as Pillow does it: (255 − ink)·(255 − black)/255, each product rounded. */
function inksToRgb({ width, height, data: inks }: Decoded8): Image8 {
  const data = new Uint8Array(width * height * 3);
  for (let from = 0, to = 0; from < inks.length; from += 4) {
    const light = 255 - inks[from + 3];
    for (let c = 0; c < 3; c++) data[to++] = Math.max(0, light - divideBy255(inks[from + c] * light));
  }
  return { width, height, channels: 3, data };
}

/** Rounded to nearest, in integers. */
function divideBy255(value: number): number {
  const shifted = value + 128;
  return ((shifted >> 8) + shifted) >> 8;
}

/** Levels and opacity apart, as many channels as the header says. */
function split({ width, height, channels: stride, data }: Decoded8, { channels }: ImageHeader): Image8 {
  if (stride === channels) return { width, height, channels, data };
  const pixels = width * height;
  const levels = new Uint8Array(pixels * channels);
  for (let pixel = 0, to = 0; pixel < pixels; pixel++)
    for (let c = 0; c < channels; c++) levels[to++] = data[pixel * stride + c];
  const alpha = stride === 4 ? new Uint8Array(pixels).map((_, pixel) => data[pixel * stride + 3]) : undefined;
  return { width, height, channels, data: levels, ...(alpha?.some((opacity) => opacity < 255) && { alpha }) };
}

function begins(bytes: Uint8Array, text: string): boolean {
  return Array.from(text).every((character, i) => bytes[i] === character.charCodeAt(0));
}
