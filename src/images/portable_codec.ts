import type { ImageCodec } from './codec.ts';
import { Jsquash, type WasmSources } from './jsquash.ts';
import { decodePng, encodePng } from './pngjs.ts';

/** What `portableCodec` is given. */
export interface PortableCodecOptions {
  /**
   * jsquash's decoders and encoders, if they are not found without help. A bundler for browsers brings their files along by itself, and Deno
   * finds them; elsewhere pass their bytes.
   */
  readonly wasm?: WasmSources;
}

/**
 * A codec for browsers, workers, Deno and Node: JPEG and WebP by jsquash (WebAssembly), PNG by pngjs (JavaScript), with the same
 * pixels as `sharpCodec` to the bit. JPEG files with arithmetic coding, of CMYK colours, or whose colours
 * have half the rows (4:4:0) are refused by name, as no WebAssembly decoder gives their pixels to the bit. It works in the thread that calls it: use a worker to keep a page responsive. What a format needs is loaded with its first image.
 */
export function portableCodec({ wasm = {} }: PortableCodecOptions = {}): ImageCodec {
  const jsquash = new Jsquash(wasm);
  return {
    name: 'portableCodec',
    decode: (bytes, header) => {
      if (header.format === 'PNG') return decodePng(bytes, header);
      return header.format === 'JPEG' ? jsquash.decodeJpeg(bytes, header) : jsquash.decodeWebp(bytes, header);
    },
    encode: (image, encoding) => {
      if (encoding.format === 'PNG') return encodePng(image);
      return encoding.format === 'JPEG' ? jsquash.encodeJpeg(image, encoding) : jsquash.encodeWebp(image, encoding);
    },
  };
}
