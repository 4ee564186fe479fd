import { type Decoded, type ImageHeader, imageDecoder } from '../../images/decode.ts';
import { checkImage, type Image8 } from '../../images/image.ts';
import { optionalModule } from '../optional.ts';

type Sharp = typeof import('sharp')['default'];

let loaded: Promise<Sharp> | undefined;

/** The module, which an embedder that opens no image files does without. */
function loadSharp(): Promise<Sharp> {
  loaded ??= optionalModule('sharp', async () => (await import('sharp')).default).then((sharp) => {
    // Many images are decoded side by side: each by one thread, none kept.
    sharp.concurrency(1);
    sharp.cache(false);
    return sharp;
  });
  return loaded;
}

/** Compression that photographs gain from; more takes three times as long for a twentieth. */
const PNG_OPTIONS = { compressionLevel: 6, adaptiveFiltering: true } as const;

async function decodePixels(bytes: Uint8Array, { channels, opacity, unusual }: ImageHeader): Promise<Decoded> {
  const sharp = await loadSharp();
  const image = sharp(bytes, {
    // Warnings too: of a picture that is decoded in part the rest would be made up.
    failOn: 'warning',
    ignoreIcc: true,
    // The header has been checked against the limit.
    limitInputPixels: false,
  });
  // Its raw grey has no room for opacity.
  const space = unusual === 'CMYK' ? 'cmyk' : channels === 1 && !opacity ? 'b-w' : 'srgb';
  const { data, info } = await (space === 'cmyk' ? image.pipelineColourspace(space) : image)
    .toColourspace(space)
    .raw({ depth: 'uchar' })
    .toBuffer({ resolveWithObject: true })
    .catch((error: Error) => {
      throw new Error(error.message.replace('Warning treated as error due to failOn setting', ''), { cause: error });
    });
  return {
    width: info.width,
    height: info.height,
    channels: info.channels,
    data: new Uint8Array(data.buffer, data.byteOffset, data.byteLength),
  };
}

/**
 * Decodes a PNG, JPEG or WebP file by libpng, libjpeg-turbo's decoder and libwebp, in threads of its own; see `imageDecoder`.
 *
 * @throws InputError naming the file if it is none of these, damaged, too large, or unusual without being accepted;
 * MissingModuleError where the optional dependency `sharp` is.
 */
export const decodeImage = imageDecoder(decodePixels);

/**
 * Encodes an image as a PNG file, lossless: 8-bit grayscale or RGB, with its opacity if it has one, without metadata. The same
 * image gives the same bytes under the same version of sharp.
 *
 * @throws InputError if `image` is not one (see `checkImage`); MissingModuleError without `sharp`.
 */
export async function encodePng(image: Image8): Promise<Uint8Array> {
  checkImage(image, 'png');
  const { width, height, channels, data, alpha } = image;
  const sharp = await loadSharp();
  const raw = { width, height, channels };
  let pixels = sharp(data, { raw, limitInputPixels: false });
  if (alpha) pixels = pixels.joinChannel(Buffer.from(alpha), { raw: { width, height, channels: 1 } });
  const bytes = await pixels
    .toColourspace(channels === 1 ? 'b-w' : 'srgb')
    .png(PNG_OPTIONS)
    .toBuffer();
  return new Uint8Array(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}
