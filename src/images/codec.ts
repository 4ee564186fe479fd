import type { ImageHeader } from './header.ts';
import type { Image8 } from './image.ts';

/** Pixels as a codec gives them, upright or not: as they are stored. */
export interface Decoded {
  readonly width: number;
  readonly height: number;
  /** 1 grey, 3 RGB, 4 RGB and opacity; 4 inks where the header says CMYK, 255 being full ink. Grey may come as RGB. */
  readonly channels: number;
  /** [height, width, channels]; levels to 65535 where the header says 16-bit, to 255 elsewhere. */
  readonly data: Uint8Array | Uint16Array;
}

/** The formats that images are written in. */
export type EncodedFormat = 'PNG';

/**
 * Decodes and encodes image files. Every codec gives the same pixels to the bit: those of libpng, libjpeg-turbo and libwebp with
 * their default settings, no colour profile, gamma or orientation applied. `sharpCodec` is for Node, `portableCodec` for every
 * runtime. Use one through `decodeImage` and `encodeImage`, which check what goes in and comes out.
 */
export interface ImageCodec {
  /** What it is called in messages. */
  readonly name: string;
  /**
   * Decodes the stored pixels of a file whose header has been read and checked; of several frames the first. `bytes` holds
   * nothing but what decides the pixels, so that every complaint of a decoder is about them.
   *
   * @throws UndecodedError where the file may be good but is of a kind that this codec does not decode; RadioactiveError where
   * the codec itself cannot be used; any other error where the pixels are damaged.
   */
  decode(bytes: Uint8Array, header: ImageHeader): Promise<Decoded>;
  /** Encodes an image, lossless and without metadata; the same image gives the same bytes under the same version. */
  encode(image: Image8, format: EncodedFormat): Promise<Uint8Array>;
}

/** Thrown by a codec for a file of a kind that it does not decode: `message` names the kind, like "arithmetic-coded JPEG". */
export class UndecodedError extends Error {
  override readonly name = 'UndecodedError';
}
