/** JPEG files as the marking of their pixels sees them: what the device computes is what libjpeg-turbo gives back. */

import { readFileSync } from 'node:fs';
import { beforeAll, describe, expect, it } from 'vitest';
import type { Device } from '../src/gpu/device.ts';
import type { ImageCodec, JpegEncoding } from '../src/images/codec.ts';
import { decodeImage, encodeImage } from '../src/images/decode.ts';
import { codingLike, encodeLike, encodingLike } from '../src/images/encoding.ts';
import type { Image8 } from '../src/images/image.ts';
import { annexKTables, type JpegCoding, jpegCoding } from '../src/images/jpeg_coding.ts';
import { nodeCodec } from '../src/node/images/codec.ts';
import { jpegRoundTrip, packPictures } from '../src/shaders/jpeg_round_trip/jpeg_round_trip.ts';
import { Program } from '../src/tensor/program.ts';
import { Tape } from '../src/tensor/tape.ts';
import { useDevice } from './device.ts';
import { pictureOf } from './photographs.ts';

const device = useDevice();
let codec: ImageCodec;
beforeAll(async () => {
  codec = await nodeCodec();
});

/** Images by the device, all in one batch. */
async function throughDevice(
  device: Device,
  images: readonly Image8[],
  codings: readonly (JpegCoding | undefined)[],
): Promise<Uint8Array[]> {
  const [{ channels }] = images;
  const levels = Float32Array.from(images.flatMap(({ data }) => [...data]));
  const tape = new Tape(device, { precision: 'f32' });
  const x = tape.input('x', [levels.length / channels, channels]);
  const pictures = tape.input('pictures', [images.length + 1, 8], 'u32');
  const tables = tape.input('tables', [images.length, 128], 'u32');
  const y = jpegRoundTrip(x, pictures, tables);
  const program = await Program.build(device, tape, { name: 'jpeg', outputs: [y] });
  try {
    const packed = packPictures(images, codings, channels);
    program.write(x, levels);
    program.write(pictures, packed.pictures);
    program.write(tables, packed.tables);
    await program.run();
    const result = await program.read(y);
    let at = 0;
    return images.map(({ data }) => {
      const levels = Uint8Array.from(result.subarray(at, at + data.length));
      at += data.length;
      return levels;
    });
  } finally {
    program.destroy();
  }
}

/** Something like a photograph, with noise that no encoding keeps. */
const picture = (seed: number, width: number, height: number, channels: 1 | 3): Image8 => {
  const rgb = Uint8Array.from(pictureOf(seed, width, height));
  const data = channels === 3 ? rgb : rgb.filter((_, i) => i % 3 === 0);
  return { width, height, channels, data };
};
const encoding = (quality: number, halfColours: boolean): JpegEncoding => ({
  format: 'JPEG',
  quality,
  halfColours,
  progressive: false,
  ownHuffmanTables: false,
});

describe('what the device makes of an image is what is decoded from its file, to the bit', () => {
  it.each([3, 1] as const)('%i channels, several qualities and samplings of colour', async (channels) => {
    const kinds = [100, 95, 90, 70, 50, 10, 1].flatMap((quality) => [true, false].map((half) => ({ quality, half })));
    const images = kinds.map((_, i) => picture(i, 40 + 7 * (i % 5), 33 + 5 * (i % 4), channels));
    const codings = kinds.map(({ quality, half }) => jpegCoding(encoding(quality, half)));
    const seen = await throughDevice(device(), images, codings);
    for (const [i, { quality, half }] of kinds.entries()) {
      const file = await encodeImage(codec, images[i], encoding(quality, half));
      const { data } = await decodeImage(codec, file, 'a.jpg');
      expect(Buffer.compare(seen[i], data), `quality ${quality}, half the colours: ${half}`).toBe(0);
    }
  });

  it('files that are stored turned', async () => {
    const files = [1, 2, 3, 4, 5, 6, 7, 8].map((n) => readFileSync(`test/golden/images/orientation-${n}.jpg`));
    const originals = await Promise.all(files.map((file) => decodeImage(codec, file, 'a.jpg')));
    // Others than those that were encoded before.
    const images = originals.map(({ width, height }, i) => picture(i, width, height, 3));
    const seen = await throughDevice(
      device(),
      images,
      files.map((file) => codingLike(file, 'a.jpg')),
    );
    for (const [i, file] of files.entries()) {
      const { bytes } = await encodeLike(codec, images[i], file, 'a.jpg');
      const { data } = await decodeImage(codec, bytes, 'b.jpg');
      expect(Buffer.compare(seen[i], data), `orientation ${i + 1}`).toBe(0);
    }
  });

  it('files of other encoders, with tables of their own, and colours of fewer columns or rows', async () => {
    const original = await decodeImage(codec, readFileSync('test/golden/jpeg/picture.png'), 'picture.png');
    const table = (first: number, down: number, across: number): number[] =>
      Array.from({ length: 64 }, (_, i) => first + down * (i >> 3) + across * (i & 7));
    const samplings = {
      'pillow-444': [1, 1],
      'pillow-422': [2, 1],
      'cjpeg-440': [1, 2],
      'pillow-420': [2, 2],
    } as const;
    const tables = { luminance: table(9, 3, 2), chrominance: table(14, 7, 4), orientation: 1 } as const;
    const seen = await throughDevice(
      device(),
      Object.values(samplings).map(() => original),
      Object.values(samplings).map((sampling) => ({ ...tables, sampling })),
    );
    for (const [i, name] of Object.keys(samplings).entries()) {
      const { data } = await decodeImage(codec, readFileSync(`test/golden/jpeg/${name}.jpg`), name);
      expect(Buffer.compare(seen[i], data), name).toBe(0);
    }
  });
});

it('what encoders cannot write like its original becomes finer: tables of their own, colours of fewer columns or rows', () => {
  const sum = (quality: number): number => {
    const { luminance, chrominance } = annexKTables(quality);
    return [...Array.from(luminance), ...Array.from(chrominance)].reduce((total, step) => total + step, 0);
  };
  // Of the tables in these files: 64 steps from 9 up by 3 a row and 2 a column, 64 from 14 up by 7 and 4.
  const steps = 64 * (9 + 14) + 8 * 28 * (3 + 2 + 7 + 4);
  for (const [name, halfColours] of Object.entries({
    'pillow-444': false,
    'pillow-422': false,
    'cjpeg-440': false,
    'pillow-420': true,
  })) {
    const encoding = encodingLike(readFileSync(`test/golden/jpeg/${name}.jpg`), name);
    if (encoding.format !== 'JPEG') throw new Error(`${name} is ${encoding.format}`);
    expect(encoding.halfColours, name).toBe(halfColours);
    expect(sum(encoding.quality), name).toBeLessThanOrEqual(steps);
    expect(sum(encoding.quality - 1), name).toBeGreaterThan(steps);
  }
});
