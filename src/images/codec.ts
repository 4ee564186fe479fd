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

/** PNG: lossless. */
export interface PngEncoding {
  readonly format: 'PNG';
}

/** JPEG, as libjpeg writes it. */
export interface JpegEncoding {
  readonly format: 'JPEG';
  /** Of the tables of T.81, Annex K, scaled as libjpeg does it: 1 to 100. */
  readonly quality: number;
  /** Whether colours have half the columns and half the rows (4:2:0), or all of them (4:4:4). Of no effect for grey. */
  readonly halfColours: boolean;
  readonly progressive: boolean;
  /** Huffman tables of the picture's own in place of those of Annex K; progressive files always have them. */
  readonly ownHuffmanTables: boolean;
}

/** WebP, as libwebp writes it. */
export interface WebpEncoding {
  readonly format: 'WebP';
  /** libwebp's quality, 1 to 100; or lossless, also under transparent pixels. */
  readonly quality: number | 'lossless';
}

/** How an image file is written. */
export type Encoding = PngEncoding | JpegEncoding | WebpEncoding;

/** The formats that images are written in. */
export type EncodedFormat = Encoding['format'];

/** How PNG files are written. */
export const PNG: PngEncoding = { format: 'PNG' };

/**
 * Decodes and encodes image files. Every codec decodes to the same pixels to the bit: those of libpng, libjpeg-turbo and libwebp with
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
  /**
   * Encodes an image, without metadata; the same image gives the same bytes under the same version. JPEG has no opacity: it is left
   * out.
   */
  encode(image: Image8, encoding: Encoding): Promise<Uint8Array>;
}

/** Thrown by a codec for a file of a kind that it does not decode: `message` names the kind, like "arithmetic-coded JPEG". */
export class UndecodedError extends Error {
  override readonly name = 'UndecodedError';
}
