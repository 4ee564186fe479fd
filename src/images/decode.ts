import { InputError, RadioactiveError } from '../errors.ts';
import { type Image8, type ImageShape, isTransposed, type Orientation, orient } from './image.ts';
import { readJpegHeader } from './jpeg.ts';
import { isPng, readPngHeader } from './png.ts';
import { readWebpHeader } from './webp.ts';

/** What is refused unless it is asked for: CMYK colours, more than 8 bits a channel, more than one frame. */
export const UNUSUAL = ['CMYK', '16-bit', 'animated'] as const;
export type Unusual = (typeof UNUSUAL)[number];

export interface DecodeOptions {
  /** Largest number of pixels (width times height) that is decoded; default 64 million. */
  readonly maxPixels?: number;
  /**
   * What to decode although it is unusual, as Pillow's `convert('RGB')` does: CMYK by the plain formula, the upper 8 of 16 bits,
   * the first frame of an animation.
   */
  readonly accept?: readonly Unusual[];
}

/** Positions along a longer side would not fit the kernels' integers. JPEG and WebP cannot have one. */
const MAX_SIDE = 65535;

export const DEFAULT_MAX_PIXELS = 64_000_000;

/** What a file says of its image before any pixel is decoded. */
export interface ImageHeader {
  /** Pixels, as stored: before the orientation is applied. */
  readonly width: number;
  readonly height: number;
  /** Channels after decoding, without opacity. */
  readonly channels: 1 | 3;
  /** It may have transparent pixels. */
  readonly opacity?: boolean;
  readonly orientation: Orientation;
  readonly unusual?: Unusual;
}

/** Ends reading a header: what is wrong with the file. */
export type Damaged = (what: string) => never;

/** Pixels as a decoder gives them. */
export interface Decoded {
  readonly width: number;
  readonly height: number;
  /** 1 grey, 3 RGB, 4 RGB and opacity; 4 inks where the header says CMYK, 255 being full ink. Grey may come as RGB. */
  readonly channels: number;
  /** [height, width, channels]. */
  readonly data: Uint8Array;
}

/**
 * Decodes the pixels of a PNG, JPEG or WebP file: bit for bit those of libpng, libjpeg-turbo and libwebp with their defaults, no
 * colour profile, gamma or orientation applied, the upper 8 of 16 bits, the first of several frames. Rejects where the file is
 * damaged. The runtime brings one: `sharp.ts` is Node's.
 */
export type PixelDecoder = (bytes: Uint8Array, header: ImageHeader) => Promise<Decoded>;

interface ImageFormat {
  readonly name: string;
  /** Whether a file's first `SNIFF_BYTES` bytes are of this format. */
  readonly matches: (head: Uint8Array) => boolean;
  /** Absent for formats that are recognised, to be named in messages, but not decoded. */
  readonly header?: (bytes: Uint8Array, damaged: Damaged) => ImageHeader;
}

/** How many bytes of a file `imageFormat` needs. */
export const SNIFF_BYTES = 12;

/** Every format known. A format is added here and nowhere else, if the runtimes' decoders know it. */
const FORMATS: readonly ImageFormat[] = [
  { name: 'PNG', matches: isPng, header: readPngHeader },
  { name: 'JPEG', matches: (head) => begins(head, '\xff\xd8\xff'), header: readJpegHeader },
  { name: 'WebP', matches: (head) => begins(head, 'RIFF') && begins(head.subarray(8), 'WEBP'), header: readWebpHeader },
  { name: 'GIF', matches: (head) => begins(head, 'GIF87a') || begins(head, 'GIF89a') },
  { name: 'TIFF', matches: (head) => begins(head, 'II*\0') || begins(head, 'MM\0*') },
];

/** The image format of a file by its first bytes, whatever its name is; undefined where they are no known image. */
export function imageFormat(head: Uint8Array): { name: string; decodable: boolean } | undefined {
  const format = FORMATS.find(({ matches }) => matches(head));
  return format && { name: format.name, decodable: format.header !== undefined };
}

/** The formats that are decoded, for messages. */
export const DECODABLE_FORMATS: readonly string[] = FORMATS.filter(({ header }) => header).map(({ name }) => name);

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
  const header = format.header(bytes, (what) =>
    fail(`damaged ${format.name}: ${what}`, 'restore it, save it again or remove it'),
  );
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
 * Makes the function that decodes an image file of any format, told by its first bytes: header checked first
 * (`readImageHeader`), then decoded, turned upright by its EXIF orientation; opacity is kept beside the levels where any pixel is
 * not opaque. It rejects with InputError naming the file.
 */
export function imageDecoder(decodePixels: PixelDecoder) {
  return async (bytes: Uint8Array, fileName: string, options: DecodeOptions = {}): Promise<Image8> => {
    const header = readImageHeader(bytes, fileName, options);
    let decoded: Decoded;
    try {
      decoded = await decodePixels(bytes, header);
    } catch (error) {
      if (error instanceof RadioactiveError) throw error;
      const reason = (error as Error).message.trim().replaceAll(/\s+/g, ' ');
      throw new InputError(`${fileName}: damaged: ${reason}; restore it, save it again or remove it`, { cause: error });
    }
    return orient(header.unusual === 'CMYK' ? inksToRgb(decoded) : split(decoded, header), header.orientation);
  };
}

/** CMYK to RGB as Pillow does it: (255 − ink)·(255 − black)/255, each product rounded. */
function inksToRgb({ width, height, data: inks }: Decoded): Image8 {
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
function split({ width, height, channels: stride, data }: Decoded, { channels }: ImageHeader): Image8 {
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
