import { RadioactiveError } from '../errors.ts';
import { type Decoded, type JpegEncoding, UndecodedError, type WebpEncoding } from './codec.ts';
import type { ImageHeader } from './header.ts';
import type { Image8 } from './image.ts';
import { isArithmetic, type JpegFrame, jpegFrame } from './jpeg.ts';
import { webpStill } from './webp.ts';

/** A compiled decoder or encoder, its bytes, or where they are. */
export type WasmSource = WebAssembly.Module | BufferSource | Response | URL | string;

/** jsquash's decoders and encoders as WebAssembly; what is left out is looked for beside jsquash's own files. */
export interface WasmSources {
  /** `@jsquash/jpeg/codec/dec/mozjpeg_dec.wasm`, or a function that fetches it when it is first needed. */
  readonly jpeg?: WasmSource | (() => Promise<WasmSource>);
  /** `@jsquash/webp/codec/dec/webp_dec.wasm`, likewise. */
  readonly webp?: WasmSource | (() => Promise<WasmSource>);
  /** `@jsquash/jpeg/codec/enc/mozjpeg_enc.wasm`, likewise. */
  readonly jpegEncoder?: WasmSource | (() => Promise<WasmSource>);
  /** `@jsquash/webp/codec/enc/webp_enc.wasm`, likewise. */
  readonly webpEncoder?: WasmSource | (() => Promise<WasmSource>);
}

/** Decodes a file to RGBA; null where that fails. */
type Decode = (bytes: Uint8Array) => ImageData | null;

/** What Emscripten takes, and what it makes. */
interface EmscriptenOptions {
  noInitialRun: boolean;
  print(line: string): void;
  printErr(line: string): void;
  instantiateWasm?(imports: WebAssembly.Imports, done: (instance: WebAssembly.Instance) => void): unknown;
}
type EmscriptenFactory = (
  options: EmscriptenOptions,
) => Promise<{ decode(bytes: Uint8Array, ...rest: unknown[]): ImageData | null }>;

/** WebAssembly's memory ends at 2^31 bytes; coefficients and levels of a pixel take up to 10 of them. */
const MAX_PIXELS = 160_000_000;
/** Memory that a decoder has taken it never gives back: after larger images it is made anew. */
const KEPT_PIXELS = 16_000_000;

/** Bytes that are left over at the end of the data, as some cameras write them. */
const LEFT_OVER_AT_END = /^Corrupt JPEG data: \d+ extraneous bytes before marker 0xd9$/;

/** One of jsquash's decoders: loaded when it is first needed, made anew after a file that it failed on. */
class WasmDecoder {
  readonly #load: () => Promise<EmscriptenFactory>;
  readonly #source: () => Promise<WasmSource | undefined>;
  readonly #name: string;
  readonly #warnings: string[] = [];
  #compiled: Promise<WebAssembly.Module | undefined> | undefined;
  #decode: Promise<Decode> | undefined;

  constructor(name: string, load: () => Promise<EmscriptenFactory>, source: () => Promise<WasmSource | undefined>) {
    this.#name = name;
    this.#load = load;
    this.#source = source;
  }

  /** RGBA levels. Throws where the file is damaged, also where the decoder only warns of it, but for what is `harmless`. */
  async decode(bytes: Uint8Array, { width, height }: ImageHeader, harmless?: RegExp): Promise<Decoded> {
    const pixels = width * height;
    if (pixels > MAX_PIXELS) throw new UndecodedError(`${width}x${height} is more than ${MAX_PIXELS} pixels`);
    const decode = await this.#ready();
    // From here on nothing else runs until the file is decoded.
    this.#warnings.length = 0;
    let image: ImageData | null;
    try {
      image = decode(bytes);
    } catch (cause) {
      this.#decode = undefined;
      throw new Error(this.#warnings[0] ?? 'the decoder failed', { cause });
    }
    if (pixels > KEPT_PIXELS) this.#decode = undefined;
    const [warning] = this.#warnings;
    if (!image || (warning !== undefined && !harmless?.test(warning)))
      throw new Error(warning ?? 'the decoder gave no picture');
    const { data } = image;
    return {
      width: image.width,
      height: image.height,
      channels: 4,
      data: new Uint8Array(data.buffer, data.byteOffset, data.length),
    };
  }

  async #ready(): Promise<Decode> {
    for (;;) {
      this.#decode ??= this.#start();
      const started = this.#decode;
      let decode: Decode;
      try {
        decode = await started;
      } catch (cause) {
        this.#decode = undefined;
        this.#compiled = undefined;
        throw cannotLoad(this.#name, cause);
      }
      // Another file may have broken it meanwhile.
      if (started === this.#decode) return decode;
    }
  }

  async #start(): Promise<Decode> {
    this.#compiled ??= this.#source().then((source) => (source === undefined ? undefined : compile(source)));
    const [factory, compiled] = await Promise.all([this.#load(), this.#compiled]);
    const decoder = await factory({ ...quietly(compiled), printErr: (line) => this.#warnings.push(line) });
    // The decoders differ in how many arguments they must be given: the orientation is applied later.
    return this.#name === 'JPEG decoder' ? (bytes) => decoder.decode(bytes, false) : (bytes) => decoder.decode(bytes);
  }
}

/** Encodes RGBA levels; null where that fails. */
type Encode = (levels: Uint8Array, width: number, height: number, options: object) => Uint8Array | null;
type EncoderFactory = (options: EmscriptenOptions) => Promise<{ readonly encode: Encode }>;

/** One of jsquash's encoders: loaded when it is first needed, made anew after it has failed. */
class WasmEncoder {
  readonly #load: () => Promise<EncoderFactory>;
  readonly #source: () => Promise<WasmSource | undefined>;
  readonly #name: string;
  #encode: Promise<Encode> | undefined;

  constructor(name: string, load: () => Promise<EncoderFactory>, source: () => Promise<WasmSource | undefined>) {
    this.#name = name;
    this.#load = load;
    this.#source = source;
  }

  async encode({ width, height, channels, data, alpha }: Image8, options: object): Promise<Uint8Array> {
    this.#encode ??= this.#start();
    let encode: Encode;
    try {
      encode = await this.#encode;
    } catch (cause) {
      this.#encode = undefined;
      throw cannotLoad(this.#name, cause);
    }
    const levels = new Uint8Array(4 * width * height);
    for (let pixel = 0; pixel < width * height; pixel++) {
      for (let c = 0; c < 3; c++) levels[4 * pixel + c] = data[channels === 1 ? pixel : 3 * pixel + c];
      levels[4 * pixel + 3] = alpha ? alpha[pixel] : 255;
    }
    let bytes: Uint8Array | null;
    try {
      bytes = encode(levels, width, height, options);
    } catch (cause) {
      this.#encode = undefined;
      throw new RadioactiveError(`jsquash's ${this.#name} failed on ${width}x${height} pixels; use sharp`, 5, {
        cause,
      });
    }
    if (width * height > KEPT_PIXELS) this.#encode = undefined;
    if (!bytes) throw new RadioactiveError(`jsquash's ${this.#name} gave no file; use sharp`, 5);
    return bytes.slice();
  }

  async #start(): Promise<Encode> {
    const [factory, source] = await Promise.all([this.#load(), this.#source()]);
    const module = await factory(quietly(source === undefined ? undefined : await compile(source)));
    return (...given) => module.encode(...given);
  }
}

/** Options for a module that says nothing, of this code if it is given. */
const quietly = (compiled: WebAssembly.Module | undefined): EmscriptenOptions => ({
  noInitialRun: true,
  print: () => {},
  printErr: () => {},
  ...(compiled && { instantiateWasm: instantiate(compiled) }),
});

const instantiate =
  (compiled: WebAssembly.Module): NonNullable<EmscriptenOptions['instantiateWasm']> =>
  (imports, done) => {
    const instance = new WebAssembly.Instance(compiled, imports);
    done(instance);
    return instance.exports;
  };

const cannotLoad = (name: string, cause: unknown): RadioactiveError =>
  new RadioactiveError(
    `jsquash's ${name} cannot be loaded (${(cause as Error).message}); pass its .wasm file to portableCodec`,
    3,
    { cause },
  );

/** What libwebp does by default (`WebPConfigInit`). */
const WEBP_DEFAULTS = {
  ...{ target_size: 0, target_PSNR: 0, method: 4, sns_strength: 50, filter_strength: 60, filter_sharpness: 0 },
  ...{ filter_type: 1, partitions: 0, segments: 4, pass: 1, show_compressed: 0, preprocessing: 0, autofilter: 0 },
  ...{ partition_limit: 0, alpha_compression: 1, alpha_filtering: 1, alpha_quality: 100, image_hint: 0 },
  ...{ emulate_jpeg_size: 0, thread_level: 0, low_memory: 0, near_lossless: 100, use_delta_palette: 0 },
  use_sharp_yuv: 0,
};

/** Decodes and encodes JPEG and WebP files by jsquash. */
export class Jsquash {
  readonly #jpeg: WasmDecoder;
  readonly #webp: WasmDecoder;
  readonly #jpegEncoder: WasmEncoder;
  readonly #webpEncoder: WasmEncoder;

  constructor(wasm: WasmSources) {
    this.#jpeg = new WasmDecoder(
      'JPEG decoder',
      async () => (await import('@jsquash/jpeg/codec/dec/mozjpeg_dec.js')).default as unknown as EmscriptenFactory,
      async () => (await given(wasm.jpeg)) ?? beside('@jsquash/jpeg/codec/dec/mozjpeg_dec.wasm'),
    );
    this.#webp = new WasmDecoder(
      'WebP decoder',
      async () => (await import('@jsquash/webp/codec/dec/webp_dec.js')).default as unknown as EmscriptenFactory,
      async () => (await given(wasm.webp)) ?? beside('@jsquash/webp/codec/dec/webp_dec.wasm'),
    );
    this.#jpegEncoder = new WasmEncoder(
      'JPEG encoder',
      async () => (await import('@jsquash/jpeg/codec/enc/mozjpeg_enc.js')).default as unknown as EncoderFactory,
      async () => (await given(wasm.jpegEncoder)) ?? beside('@jsquash/jpeg/codec/enc/mozjpeg_enc.wasm'),
    );
    this.#webpEncoder = new WasmEncoder(
      'WebP encoder',
      async () => (await import('@jsquash/webp/codec/enc/webp_enc.js')).default as unknown as EncoderFactory,
      async () => (await given(wasm.webpEncoder)) ?? beside('@jsquash/webp/codec/enc/webp_enc.wasm'),
    );
  }

  async encodeJpeg(image: Image8, encoding: JpegEncoding): Promise<Uint8Array> {
    const { quality, halfColours, progressive, ownHuffmanTables } = encoding;
    return this.#jpegEncoder.encode(image, {
      quality,
      baseline: !progressive,
      arithmetic: false,
      progressive,
      optimize_coding: ownHuffmanTables || progressive,
      smoothing: 0,
      // Grey or YCbCr.
      color_space: image.channels === 1 ? 1 : 3,
      // The tables of T.81, Annex K, and nothing of MozJPEG's own.
      quant_table: 0,
      trellis_multipass: false,
      trellis_opt_zero: false,
      trellis_opt_table: false,
      trellis_loops: 1,
      auto_subsample: false,
      chroma_subsample: halfColours ? 2 : 1,
      separate_chroma_quality: false,
      chroma_quality: quality,
    });
  }

  async encodeWebp(image: Image8, { quality }: WebpEncoding): Promise<Uint8Array> {
    const lossless = quality === 'lossless';
    const chosen = lossless ? { lossless: 1, exact: 1, quality: 75 } : { lossless: 0, exact: 0, quality };
    return this.#webpEncoder.encode(image, { ...WEBP_DEFAULTS, ...chosen });
  }

  async decodeJpeg(bytes: Uint8Array, header: ImageHeader): Promise<Decoded> {
    if (header.unusual === 'CMYK') throw new UndecodedError('a JPEG of CMYK colours');
    const frame = jpegFrame(bytes);
    if (isArithmetic(frame)) throw new UndecodedError('an arithmetic-coded JPEG');
    if (frame.components.some((component) => hasHalfTheRows(component, frame)))
      // Its MozJPEG (3.3) rounds every second row of them down, where libjpeg-turbo has rounded to nearest since.
      throw new UndecodedError('a JPEG whose colours have half the rows (4:4:0)');
    // libvips never sees them behind a single scan, as it stops after the last row.
    return this.#jpeg.decode(bytes, header, frame.scans === 1 ? LEFT_OVER_AT_END : undefined);
  }

  async decodeWebp(bytes: Uint8Array, header: ImageHeader): Promise<Decoded> {
    const still = webpStill(bytes);
    if (!still) return this.#webp.decode(bytes, header);
    const frame = await this.#webp.decode(still.bytes, header);
    return onCanvas(frame, still.left, still.top, header);
  }
}

const given = (source: WasmSources['jpeg']): WasmSource | undefined | Promise<WasmSource> =>
  typeof source === 'function' ? source() : source;

/** Where an installed file of a package is, for runtimes that know; browsers find it by the bundler's way. */
function beside(specifier: string): URL | undefined {
  try {
    return new URL(import.meta.resolve(specifier));
  } catch {
    return undefined;
  }
}

async function compile(source: WasmSource): Promise<WebAssembly.Module> {
  if (source instanceof WebAssembly.Module) return source;
  if (source instanceof Response) return WebAssembly.compile(await source.arrayBuffer());
  if (source instanceof URL || typeof source === 'string') return compile(await fetch(source));
  return WebAssembly.compile(source);
}

/** Whether a component has one row for two of the picture's, and as many columns. */
function hasHalfTheRows({ horizontal, vertical }: JpegFrame['components'][number], { components }: JpegFrame): boolean {
  const most = (side: 'horizontal' | 'vertical'): number => Math.max(...components.map((other) => other[side]));
  return horizontal === most('horizontal') && 2 * vertical === most('vertical');
}

/** A frame in its place on a canvas that is transparent elsewhere. */
function onCanvas(frame: Decoded, left: number, top: number, { width, height }: ImageHeader): Decoded {
  if (left + frame.width > width || top + frame.height > height) throw new Error('a frame beyond the canvas');
  const data = new Uint8Array(4 * width * height);
  for (let y = 0; y < frame.height; y++)
    data.set(
      frame.data.subarray(4 * y * frame.width, 4 * (y + 1) * frame.width) as Uint8Array,
      4 * ((top + y) * width + left),
    );
  return { width, height, channels: 4, data };
}
