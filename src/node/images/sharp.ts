import type { Decoded, Encoding, ImageCodec } from '../../images/codec.ts';
import type { ImageHeader } from '../../images/header.ts';
import type { Image8 } from '../../images/image.ts';
import { optionalModule } from '../optional.ts';

type Sharp = typeof import('sharp')['default'];

/** Compression that photographs gain from; more takes three times as long for a twentieth. */
const PNG_OPTIONS = { compressionLevel: 6, adaptiveFiltering: true } as const;

/**
 * The codec of sharp: libpng, libjpeg-turbo's decoder and libwebp, in threads of their own.
 *
 * @throws MissingModuleError where the optional dependency `sharp` is missing.
 */
export async function sharpCodec(): Promise<ImageCodec> {
  const sharp = await optionalModule('sharp', async () => (await import('sharp')).default);
  // Many images are decoded side by side: each by one thread, none kept.
  sharp.concurrency(1);
  sharp.cache(false);
  return {
    name: 'sharp',
    decode: (bytes, header) => decode(sharp, bytes, header),
    encode: (image, encoding) => encode(sharp, image, encoding),
  };
}

async function decode(sharp: Sharp, bytes: Uint8Array, { channels, opacity, unusual }: ImageHeader): Promise<Decoded> {
  const image = sharp(bytes, {
    // Warnings too: of a picture that is decoded in part the rest would be made up.
    failOn: 'warning',
    ignoreIcc: true,
    // The header has been checked against the limit.
    limitInputPixels: false,
  });
  const deep = unusual === '16-bit';
  // Its raw grey has no room for opacity.
  const grey = channels === 1 && !opacity;
  const space = unusual === 'CMYK' ? 'cmyk' : grey ? (deep ? 'grey16' : 'b-w') : deep ? 'rgb16' : 'srgb';
  const { data, info } = await (space === 'cmyk' ? image.pipelineColourspace(space) : image)
    .toColourspace(space)
    .raw({ depth: deep ? 'ushort' : 'uchar' })
    .toBuffer({ resolveWithObject: true });
  const { buffer, byteOffset, byteLength } = data;
  return {
    width: info.width,
    height: info.height,
    channels: info.channels,
    data: deep ? new Uint16Array(buffer, byteOffset, byteLength / 2) : new Uint8Array(buffer, byteOffset, byteLength),
  };
}

async function encode(
  sharp: Sharp,
  { width, height, channels, data, alpha }: Image8,
  encoding: Encoding,
): Promise<Uint8Array> {
  const raw = { width, height, channels };
  let pixels = sharp(data, { raw, limitInputPixels: false });
  if (alpha && encoding.format !== 'JPEG')
    pixels = pixels.joinChannel(Buffer.from(alpha), { raw: { width, height, channels: 1 } });
  const bytes = await encoder(pixels.toColourspace(channels === 1 ? 'b-w' : 'srgb'), encoding).toBuffer();
  return new Uint8Array(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}

function encoder(pixels: InstanceType<Sharp>, encoding: Encoding): InstanceType<Sharp> {
  if (encoding.format === 'PNG') return pixels.png(PNG_OPTIONS);
  if (encoding.format === 'WebP') {
    const { quality } = encoding;
    return pixels.webp(quality === 'lossless' ? { lossless: true, exact: true } : { quality });
  }
  return pixels.jpeg({
    quality: encoding.quality,
    chromaSubsampling: encoding.halfColours ? '4:2:0' : '4:4:4',
    progressive: encoding.progressive,
    optimiseCoding: encoding.ownHuffmanTables || encoding.progressive,
    // The tables of T.81, Annex K, and nothing of MozJPEG's own.
    mozjpeg: false,
    quantisationTable: 0,
  });
}
