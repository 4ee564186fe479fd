import { type EncodedFormat, type Encoding, type ImageCodec, PNG } from './codec.ts';
import { encodeImage, readImageHeader } from './decode.ts';
import type { ImageHeader } from './header.ts';
import { UNUSUAL } from './header.ts';
import { type Image8, type Orientation, orient } from './image.ts';
import { jpegEncoding, jpegMetadata, withJpegMetadata } from './jpeg.ts';
import { encodeNpy } from './npy_image.ts';
import { type PngChunk, withPngChunks, withPngMetadata } from './png.ts';
import { webpEncoding, webpMetadata, withWebpMetadata } from './webp.ts';

/** An image as a file. */
export interface EncodedImage {
  readonly bytes: Uint8Array;
  /** Whether its pixels may be others. */
  readonly lossy: boolean;
}

/** How {@link encodeLike} writes. */
export interface EncodeLikeOptions {
  /** `PNG` instead of the original's format. */
  readonly format?: 'PNG' | undefined;
  /** Leave out what the original says beside its picture; the pixels are then stored upright. */
  readonly strip?: boolean | undefined;
}

/** For files that have been read before. */
const ALL = { maxPixels: Number.POSITIVE_INFINITY, accept: UNUSUAL };

/** How each format is written like an original. */
const LIKE: Readonly<
  Record<
    EncodedFormat,
    {
      encoding(original: Uint8Array): Encoding;
      withMetadata(encoded: Uint8Array, original: Uint8Array): Uint8Array;
      /** What the original says beside its picture, as chunks of a PNG file. */
      pngChunks(original: Uint8Array, header: ImageHeader): Promise<PngChunk[]>;
    }
  >
> = {
  PNG: { encoding: () => PNG, withMetadata: withPngMetadata, pngChunks: async () => [] },
  JPEG: {
    encoding: jpegEncoding,
    withMetadata: withJpegMetadata,
    pngChunks: async (original, { unusual }) => {
      const { icc, ...found } = jpegMetadata(original);
      return pngChunks({ ...found, ...(unusual !== 'CMYK' && { icc }) });
    },
  },
  WebP: {
    encoding: webpEncoding,
    withMetadata: withWebpMetadata,
    pngChunks: async (original) => {
      const { exif, ...found } = webpMetadata(original);
      // Some writers keep the name that EXIF data has inside JPEG files.
      return pngChunks({ ...found, exif: exif?.[0] === 0x45 ? exif.subarray(6) : exif });
    },
  },
};

/** How a file that is read was encoded, as near as codecs can do it again; lossless for an array. */
export function encodingLike(original: Uint8Array, fileName: string): Encoding {
  const { format } = readImageHeader(original, fileName, ALL);
  return format === 'NPY' ? PNG : LIKE[format].encoding(original);
}

/**
 * Writes an image, upright, like the file that it was decoded from: in its format, with its settings as near as the codec can, turned
 * as it is stored, and with its metadata byte for byte. Everything depends on the original alone but the pixels: whether they are
 * the original's own or others is not seen in anything else.
 *
 * @throws InputError naming `fileName` if the original is no image that is read
 */
export async function encodeLike(
  codec: ImageCodec,
  image: Image8,
  original: Uint8Array,
  fileName: string,
  { format, strip = false }: EncodeLikeOptions = {},
): Promise<EncodedImage> {
  const header = readImageHeader(original, fileName, ALL);
  if (header.format === 'NPY')
    return {
      bytes: format === 'PNG' ? withPngChunks(await encodeImage(codec, image), []) : encodeNpy(image),
      lossy: false,
    };
  const like = LIKE[header.format];
  const same = format === undefined || format === header.format;
  const encoding = same ? like.encoding(original) : PNG;
  const stored = strip ? image : orient(image, backwards(header.orientation));
  const encoded = await encodeImage(codec, stored, encoding);
  const lossy = encoding.format === 'JPEG' || (encoding.format === 'WebP' && encoding.quality !== 'lossless');
  if (strip) return { bytes: STRIPPED[encoding.format](encoded), lossy };
  if (same) return { bytes: like.withMetadata(encoded, original), lossy };
  return { bytes: withPngChunks(encoded, await like.pngChunks(original, header)), lossy };
}

/** An encoded picture with nothing that its encoder says beside it, but for what readers of JPEG files expect. */
const STRIPPED: Readonly<Record<EncodedFormat, (encoded: Uint8Array) => Uint8Array>> = {
  PNG: (encoded) => withPngChunks(encoded, []),
  JPEG: (encoded) => encoded,
  WebP: (encoded) => encoded,
};

/** The orientation that undoes another. */
const backwards = (orientation: Orientation): Orientation =>
  orientation === 6 ? 8 : orientation === 8 ? 6 : orientation;

/** What is said beside a picture, in PNG's chunks (PNG 3, 11.3). */
async function pngChunks(found: {
  readonly icc?: Uint8Array | undefined;
  readonly exif?: Uint8Array | undefined;
  readonly xmp?: Uint8Array | undefined;
  readonly resolution?: readonly [number, number] | undefined;
}): Promise<PngChunk[]> {
  const { icc, exif, xmp, resolution } = found;
  const chunks: PngChunk[] = [];
  if (icc) {
    const { deflate } = await import('pako');
    chunks.push({ type: 'iCCP', data: joined(text('ICC profile\0\0'), deflate(icc as Uint8Array<ArrayBuffer>)) });
  }
  if (resolution) {
    const data = new Uint8Array(9);
    const view = new DataView(data.buffer);
    for (const [i, pixels] of resolution.entries()) view.setUint32(4 * i, pixels);
    data[8] = 1;
    chunks.push({ type: 'pHYs', data });
  }
  if (exif) chunks.push({ type: 'eXIf', data: exif });
  if (xmp) chunks.push({ type: 'iTXt', data: joined(text('XML:com.adobe.xmp\0\0\0\0\0'), xmp) });
  return chunks;
}

const text = (characters: string): Uint8Array => new TextEncoder().encode(characters);

function joined(a: Uint8Array, b: Uint8Array): Uint8Array {
  const both = new Uint8Array(a.length + b.length);
  both.set(a);
  both.set(b, a.length);
  return both;
}
