import { readFile } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { MissingModuleError } from '../../errors.ts';
import type { ImageCodec } from '../../images/codec.ts';
import { portableCodec } from '../../images/portable_codec.ts';
import { sharpCodec } from './sharp.ts';

/** Node's codec: sharp where it is installed, else the portable one, which is slower and gives the same pixels. */
export async function nodeCodec(): Promise<ImageCodec> {
  try {
    return await sharpCodec();
  } catch (error) {
    if (!(error instanceof MissingModuleError)) throw error;
    return nodePortableCodec();
  }
}

/** `portableCodec` in Node, which fetches no files: jsquash's files are read from disk. */
export function nodePortableCodec(): ImageCodec {
  const require = createRequire(import.meta.url);
  const read = (specifier: string) => async () => readFile(require.resolve(specifier));
  return portableCodec({
    wasm: {
      jpeg: read('@jsquash/jpeg/codec/dec/mozjpeg_dec.wasm'),
      webp: read('@jsquash/webp/codec/dec/webp_dec.wasm'),
      jpegEncoder: read('@jsquash/jpeg/codec/enc/mozjpeg_enc.wasm'),
      webpEncoder: read('@jsquash/webp/codec/enc/webp_enc.wasm'),
    },
  });
}
