/**
 * Images of 8-bit levels: crops, how much an image was changed, and image files decoded and encoded.
 *
 * @module images
 */

// Images of 8-bit levels, crops, quality.

export {
  type Crop,
  centreSquare,
  type RandomCropOptions,
  randomCrop,
  type Uniform,
  wholeImage,
} from './images/crop.ts';
export {
  type Fingerprint,
  FingerprintIndex,
  fingerprint,
  LIKELY_PICTURE,
  LIKELY_RATIO,
  type PictureMatch,
  pictureResidual,
  SAME_PICTURE,
} from './images/fingerprint.ts';
export { checkImage, type Image8, type ImageShape, isGrey } from './images/image.ts';

export { psnr, ssim } from './images/metrics.ts';
export { cutRegion, type Region } from './images/region.ts';

// Image files: PNG, JPEG and WebP decoded, PNG encoded, by a codec.

export {
  type Decoded,
  type EncodedFormat,
  type Encoding,
  type ImageCodec,
  type JpegEncoding,
  PNG,
  type PngEncoding,
  UndecodedError,
  type WebpEncoding,
} from './images/codec.ts';
export { type DecodeOptions, decodeImage, encodeImage, readImageHeader, uprightShape } from './images/decode.ts';
export { codingLike, type EncodedImage, type EncodeLikeOptions, encodeLike, encodingLike } from './images/encoding.ts';
export { type DecodableFormat, type ImageHeader, UNUSUAL, type Unusual } from './images/header.ts';
export type { Orientation } from './images/image.ts';
export { annexKTables, type JpegCoding, jpegCoding } from './images/jpeg_coding.ts';
export type { WasmSource, WasmSources } from './images/jsquash.ts';
export { type PortableCodecOptions, portableCodec } from './images/portable_codec.ts';

// What happens to images after they are published.

export { TREATMENTS, type Treatment } from './images/treatments.ts';
