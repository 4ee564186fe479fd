import { crc32, deflateSync } from 'node:zlib';
import { PNG } from 'pngjs';
import type { Image8 } from '../src/images/image.ts';

/** PNG files made by hand, valid or not. */
export const SIGNATURE = Buffer.from('\x89PNG\r\n\x1a\n', 'latin1');

export function chunk(type: string, data: Uint8Array): Buffer {
  const whole = Buffer.alloc(12 + data.length);
  whole.writeUInt32BE(data.length, 0);
  whole.write(type, 4, 'latin1');
  whole.set(data, 8);
  whole.writeUInt32BE(crc32(whole.subarray(4, 8 + data.length)), 8 + data.length);
  return whole;
}

export interface Parts {
  width: number;
  height: number;
  depth?: number;
  colorType: number;
  interlace?: number;
  /** Rows before compression, each with its filter byte. */
  rows: number[] | Uint8Array;
  before?: Buffer[];
}

export function png({ width, height, depth = 8, colorType, interlace = 0, rows, before = [] }: Parts): Buffer {
  const header = Buffer.alloc(13);
  header.writeUInt32BE(width, 0);
  header.writeUInt32BE(height, 4);
  header.set([depth, colorType, 0, 0, interlace], 8);
  const pixels = chunk('IDAT', deflateSync(Uint8Array.from(rows)));
  return Buffer.concat([SIGNATURE, chunk('IHDR', header), ...before, pixels, chunk('IEND', Buffer.alloc(0))]);
}

/** A PNG file of an image, without waiting. */
export function pngOf({ width, height, channels, data }: Image8): Uint8Array {
  const stride = width * channels;
  const rows = new Uint8Array(height * (stride + 1));
  for (let y = 0; y < height; y++) rows.set(data.subarray(y * stride, (y + 1) * stride), y * (stride + 1) + 1);
  return new Uint8Array(png({ width, height, colorType: channels === 1 ? 0 : 2, rows }));
}

/**
 * What pngjs itself reads in a PNG file: an oracle for what was written. Channels and opacity are those that the file's
 * header names.
 */
export function readBack(file: Uint8Array): Image8 {
  const { width, height, data, color, alpha } = PNG.sync.read(Buffer.from(file)) as unknown as {
    width: number;
    height: number;
    data: Buffer;
    color: boolean;
    alpha: boolean;
  };
  const channels = color ? 3 : 1;
  const pixels = Array.from({ length: width * height }, (_, i) => data.subarray(4 * i, 4 * i + 4));
  const levels = Uint8Array.from(pixels.flatMap((rgba) => [...rgba.subarray(0, channels)]));
  const opacity = Uint8Array.from(pixels, (rgba) => rgba[3]);
  return { width, height, channels, data: levels, ...(alpha && { alpha: opacity }) };
}
