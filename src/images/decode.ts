import { InputError } from '../errors.ts';
import type { Image8 } from './image.ts';
import { type DecodeOptions, decodePng, isPng } from './png.ts';

interface ImageFormat {
  readonly name: string;
  /** Whether a file's first `SNIFF_BYTES` bytes are of this format. */
  readonly matches: (head: Uint8Array) => boolean;
  /** Absent for formats that are recognised, to be named in messages, but not decoded. */
  readonly decode?: (bytes: Uint8Array, fileName: string, options: DecodeOptions) => Image8 | Promise<Image8>;
}

/** How many bytes of a file `imageFormat` needs. */
export const SNIFF_BYTES = 12;

/** Every format known. A decoder is added here and nowhere else. */
const FORMATS: readonly ImageFormat[] = [
  { name: 'PNG', matches: isPng, decode: decodePng },
  { name: 'JPEG', matches: (head) => begins(head, '\xff\xd8\xff') },
  { name: 'WebP', matches: (head) => begins(head, 'RIFF') && begins(head.subarray(8), 'WEBP') },
  { name: 'GIF', matches: (head) => begins(head, 'GIF87a') || begins(head, 'GIF89a') },
  { name: 'TIFF', matches: (head) => begins(head, 'II*\0') || begins(head, 'MM\0*') },
];

/** The image format of a file by its first bytes, whatever its name is; undefined where they are no known image. */
export function imageFormat(head: Uint8Array): { name: string; decodable: boolean } | undefined {
  const format = FORMATS.find(({ matches }) => matches(head));
  return format && { name: format.name, decodable: format.decode !== undefined };
}

/** The formats that `decodeImage` takes, for messages. */
export const DECODABLE_FORMATS: readonly string[] = FORMATS.filter(({ decode }) => decode).map(({ name }) => name);

/**
 * Decodes an image file of any format that is decoded at all, told by its first bytes.
 *
 * @throws InputError if it is of no such format or is damaged; see the format's own decoder.
 */
export async function decodeImage(bytes: Uint8Array, fileName: string, options: DecodeOptions = {}): Promise<Image8> {
  const format = FORMATS.find(({ matches }) => matches(bytes));
  if (format?.decode === undefined) {
    const what = format ? `${format.name} images are not read` : 'not an image';
    throw new InputError(`${fileName}: ${what}; convert it to ${DECODABLE_FORMATS.join(' or ')}`);
  }
  return format.decode(bytes, fileName, options);
}

function begins(bytes: Uint8Array, text: string): boolean {
  return Array.from(text).every((character, i) => bytes[i] === character.charCodeAt(0));
}
