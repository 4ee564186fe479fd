import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import { InputError } from '../src/errors.ts';
import type { ImageCodec } from '../src/images/codec.ts';
import { type DecodeOptions, decodeImage, readImageHeader, uprightShape } from '../src/images/decode.ts';
import { UNUSUAL } from '../src/images/header.ts';
import { type Image8, type Orientation, orient } from '../src/images/image.ts';
import { portableCodec } from '../src/images/portable_codec.ts';
import { nodePortableCodec } from '../src/node/images/codec.ts';
import { sharpCodec } from '../src/node/images/sharp.ts';
import { chunk, png } from './png.ts';

const folder = 'test/golden/images';
const golden: Record<string, { width: number; height: number; sha256: string }> = JSON.parse(
  readFileSync(`${folder}/decoded.json`, 'utf8'),
);
const read = (name: string): Uint8Array => new Uint8Array(readFileSync(`${folder}/${name}`));
const accept = UNUSUAL;
/** A file with bytes put in somewhere. */
const insert = (bytes: Uint8Array, at: number, what: Uint8Array): Uint8Array =>
  Buffer.concat([bytes.subarray(0, at), what, bytes.subarray(at)]);

/** An animated WebP file without its frames after the first. */
function firstFrameOnly(bytes: Uint8Array): Uint8Array {
  const file = Buffer.from(bytes);
  const frame = file.indexOf('ANMF');
  const end = frame + 8 + file.readUInt32LE(frame + 4);
  const first = Buffer.from(file.subarray(0, end + (end % 2)));
  first.writeUInt32LE(first.length - 8, 4);
  return first;
}

const codecs: readonly ImageCodec[] = [await sharpCodec(), nodePortableCodec()];

test('a decoder that cannot be loaded damages no file', async () => {
  const codec = portableCodec({
    wasm: { jpeg: Uint8Array.of(1, 2, 3), webp: async () => Promise.reject(Error('offline')) },
  });
  for (const [name, reason] of [
    ['grey.jpg', /^jsquash's JPEG decoder cannot be loaded \(.+\); pass its \.wasm file to portableCodec$/],
    ['lossy.webp', /^jsquash's WebP decoder cannot be loaded \(offline\); pass its \.wasm file to portableCodec$/],
  ] as const) {
    const error = await decodeImage(codec, read(name), name).catch((error: unknown) => error);
    expect(error).toMatchObject({ name: 'RadioactiveError', message: expect.stringMatching(reason) });
  }
});

/** What the portable codec leaves to sharp. */
const UNDECODED: Partial<Record<string, string>> = {
  'arithmetic.jpg': 'an arithmetic-coded JPEG',
  'cmyk.jpg': 'a JPEG of CMYK colours',
  'sampling-1x2.jpg': 'a JPEG whose colours have half the rows (4:4:0)',
};

describe.each(codecs)('$name', (codec) => {
  const refusal = (bytes: Uint8Array, options?: DecodeOptions): Promise<unknown> =>
    decodeImage(codec, bytes, 'a/1.jpg', options).catch((error: unknown) => error);

  describe('decoded as by libjpeg-turbo, libwebp and Pillow, to the bit', () => {
    test.each(Object.entries(golden))('%s', async (name, { width, height, sha256 }) => {
      const undecoded = codec.name === 'portableCodec' ? UNDECODED[name] : undefined;
      if (undecoded !== undefined) {
        const message = `${name}: ${undecoded}, which portableCodec does not decode; convert it`;
        await expect(decodeImage(codec, read(name), name, { accept })).rejects.toThrow(message);
        return;
      }
      const image = await decodeImage(codec, read(name), name, { accept });
      expect(createHash('sha256').update(image.data).digest('hex')).toBe(sha256);
      expect(image).toMatchObject({ width, height, channels: name === 'grey.jpg' ? 1 : 3 });
      expect(uprightShape(readImageHeader(read(name), name, { accept }))).toMatchObject({ width, height });
    });

    test('16 bits: the upper eight', async () => {
      const file = png({
        width: 1,
        height: 2,
        depth: 16,
        colorType: 2,
        rows: [0, 255, 254, 2, 127, 3, 128, 0, 9, 9, 8, 8, 7, 7],
      });
      const image = await decodeImage(codec, file, 'a.png', { accept: ['16-bit'] });
      expect([...image.data]).toEqual([255, 2, 3, 9, 8, 7]);
      const grey = png({ width: 2, height: 1, depth: 16, colorType: 0, rows: [0, 64, 255, 1, 255] });
      expect(await decodeImage(codec, grey, 'a.png', { accept: ['16-bit'] })).toEqual({
        width: 2,
        height: 1,
        channels: 1,
        data: Uint8Array.of(64, 1),
      });
      const before = [chunk('tRNS', Uint8Array.of(1, 255))];
      const rows = [0, 64, 255, 1, 255, 1, 254];
      const keyed = png({ width: 3, height: 1, depth: 16, colorType: 0, rows, before });
      expect(await decodeImage(codec, keyed, 'a.png', { accept: ['16-bit'] })).toEqual({
        width: 3,
        height: 1,
        channels: 1,
        data: Uint8Array.of(64, 1, 1),
        alpha: Uint8Array.of(255, 0, 255),
      });
    });

    test('an animation of one frame is a picture', async () => {
      const frame = chunk('fcTL', Buffer.alloc(26));
      const one = chunk('acTL', Uint8Array.of(0, 0, 0, 1, 0, 0, 0, 0));
      const file = (...before: Buffer[]) => png({ width: 2, height: 1, colorType: 0, rows: [0, 7, 9], before });
      expect([...(await decodeImage(codec, file(one, frame), 'a.png')).data]).toEqual([7, 9]);
      // Its still picture is none of its frames.
      expect(await refusal(file(one))).toBeInstanceOf(InputError);
      const webp = firstFrameOnly(read('animated.webp'));
      const { sha256 } = golden['animated.webp'];
      const image = await decodeImage(codec, webp, 'a.webp');
      expect(createHash('sha256').update(image.data).digest('hex')).toBe(sha256);
    });

    test('bytes left over behind the only scan are no part of the picture', async () => {
      const bytes = read('sampling-2x2.jpg');
      for (const more of [Uint8Array.of(0, 0, 0), Uint8Array.of(1, 2, 3, 4, 5)]) {
        const image = await decodeImage(codec, insert(bytes, bytes.length - 2, more), 'a.jpg');
        expect(createHash('sha256').update(image.data).digest('hex')).toBe(golden['sampling-2x2.jpg'].sha256);
      }
    });
  });

  describe('orientation', () => {
    const image: Image8 = { width: 3, height: 2, channels: 1, data: Uint8Array.of(1, 2, 3, 4, 5, 6) };
    test.each<[Orientation, number, number[]]>([
      [1, 3, [1, 2, 3, 4, 5, 6]],
      [2, 3, [3, 2, 1, 6, 5, 4]],
      [3, 3, [6, 5, 4, 3, 2, 1]],
      [4, 3, [4, 5, 6, 1, 2, 3]],
      [5, 2, [1, 4, 2, 5, 3, 6]],
      [6, 2, [4, 1, 5, 2, 6, 3]],
      [7, 2, [6, 3, 5, 2, 4, 1]],
      [8, 2, [3, 6, 2, 5, 1, 4]],
    ])('%i', (orientation, width, data) => {
      const turned = orient({ ...image, alpha: image.data.map((level) => level + 100) }, orientation);
      expect(turned).toEqual({
        width,
        height: 6 / width,
        channels: 1,
        data: Uint8Array.from(data),
        alpha: Uint8Array.from(data, (level) => level + 100),
      });
    });

    test('also from PNG and WebP, in either byte order; nonsense is none', async () => {
      const exif = (value: number, little: boolean, type = 3): Buffer => {
        const tiff = Buffer.alloc(26);
        tiff.write(little ? 'II' : 'MM', 'latin1');
        const put = (at: number, bytes: 2 | 4, number: number): unknown =>
          little ? tiff.writeUIntLE(number, at, bytes) : tiff.writeUIntBE(number, at, bytes);
        put(2, 2, 42);
        put(4, 4, 8);
        put(8, 2, 1);
        put(10, 2, 0x0112);
        put(12, 2, type);
        put(14, 4, 1);
        if (type === 1) tiff[18] = value;
        else put(18, type === 4 ? 4 : 2, value);
        return tiff;
      };
      const pixels = { width: 2, height: 1, colorType: 0, rows: [0, 7, 9] };
      for (const little of [true, false]) {
        const file = (value: number): Buffer => png({ ...pixels, before: [chunk('eXIf', exif(value, little))] });
        expect(await decodeImage(codec, file(6), 'a.png')).toMatchObject({ width: 1, height: 2 });
        expect([...(await decodeImage(codec, file(3), 'a.png')).data]).toEqual([9, 7]);
        for (const value of [0, 1, 9, 65535])
          expect([...(await decodeImage(codec, file(value), 'a.png')).data]).toEqual([7, 9]);
        // By the type of the number, as Pillow reads it: a byte, 32 bits; a letter is none.
        for (const [type, levels] of [
          [1, [9, 7]],
          [4, [9, 7]],
          [2, [7, 9]],
        ] as const) {
          const typed = png({ ...pixels, before: [chunk('eXIf', exif(3, little, type))] });
          expect([...(await decodeImage(codec, typed, 'a.png')).data], `type ${type}`).toEqual(levels);
        }
      }
      for (let length = 0; length < 26; length++) {
        const cut = png({ ...pixels, before: [chunk('eXIf', exif(6, true).subarray(0, length))] });
        expect((await decodeImage(codec, cut, 'a.png')).data).toHaveLength(2);
      }
    });
  });

  describe('refused', () => {
    test.each([
      'progressive.jpg',
      'sampling-2x2.jpg',
      'restart.jpg',
      'orientation-6.jpg',
      'lossy.webp',
      'lossless.webp',
    ])('%s cut anywhere', async (name) => {
      const bytes = read(name);
      for (let length = 0; length < bytes.length; length += 1 + (length >> 4)) {
        const error = (await refusal(bytes.subarray(0, length))) as Error;
        expect(error, `${length} bytes`).toBeInstanceOf(InputError);
        expect(error.message).toMatch(/^a\/1\.jpg: (damaged|an empty file|not an image).*; \S.*$/);
      }
      expect(await refusal(bytes.subarray(0, -1))).toMatchObject({ message: expect.stringContaining('truncated: ') });
      // Cameras put more behind the end.
      if (name.endsWith('.jpg')) expect(await refusal(Buffer.concat([bytes, bytes]))).toMatchObject({ channels: 3 });
    });

    test('JPEG data destroyed inside', async () => {
      const bytes = read('sampling-2x2.jpg');
      const middle = bytes.length - 400;
      // An end in the middle: everything after it would be made up.
      expect(await refusal(insert(bytes, middle, Uint8Array.of(0xff, 0xd9)))).toBeInstanceOf(InputError);
      expect(
        await refusal(bytes.map((byte, i) => (i > middle && i < middle + 40 ? (i % 2 === 0 ? 0xff : 0) : byte))),
      ).toBeInstanceOf(InputError);
    });

    test.each([
      ['ultra-hdr-cut.jpg', 'damaged JPEG: its pixels cannot be decoded; restore it, save it again or remove it'],
      ['plain-cut.jpg', 'damaged JPEG: its pixels cannot be decoded; restore it, save it again or remove it'],
      ['scan-missing.jpg', 'damaged JPEG: scans are missing; restore it, save it again or remove it'],
      ['two-components.jpg', 'a JPEG of 2 components, which is not read; convert it to grey or RGB'],
      ['grey-12-bit.jpg', 'a JPEG of 12 bits per channel, which is not read; convert it to 8 bits'],
      [
        'grey16-of-12-bits.png',
        'levels to 4093 in 16 bits, whose upper 8 would be nearly black; scale them to 65535, or convert it to 8 bits',
      ],
    ])('%s', async (name, message) => {
      expect(await refusal(read(name), { accept })).toMatchObject({ message: `a/1.jpg: ${message}` });
    });

    test('for the same reason each time, whatever else is decoded meanwhile', async () => {
      const cut = read('plain-cut.jpg');
      const blank = png({ width: 4, height: 4, colorType: 0, rows: [] });
      const reasons = Promise.all(Array.from({ length: 60 }, (_, i) => refusal([cut, blank, read('flat.jpg')][i % 3])));
      for (const [i, outcome] of (await reasons).entries()) {
        if (i % 3 === 2) expect(outcome).toMatchObject({ width: 33, height: 1 });
        else
          expect(outcome).toMatchObject({
            message: `a/1.jpg: damaged ${i % 3 === 0 ? 'JPEG' : 'PNG'}: its pixels cannot be decoded; restore it, save it again or remove it`,
            cause: expect.any(Error),
          });
      }
    });

    test('what is unusual, with how to accept it', async () => {
      const sixteen = png({ width: 1, height: 1, depth: 16, colorType: 0, rows: [0, 1, 2] });
      expect(await refusal(read('cmyk.jpg'))).toMatchObject({
        message: 'a/1.jpg: CMYK colours; convert it to RGB, or accept it (--accept CMYK)',
      });
      expect(await refusal(read('animated.webp'))).toMatchObject({
        message: 'a/1.jpg: animated WebP; save a single frame, or accept it (--accept animated)',
      });
      expect(await refusal(sixteen, { accept: ['CMYK', 'animated'] })).toMatchObject({
        message: 'a/1.jpg: more than 8 bits per channel; convert it to 8 bits, or accept it (--accept 16-bit)',
      });
    });

    test('by the size in the header, before anything is decoded', async () => {
      const claim = (name: string, change: (file: Buffer) => void): Buffer => {
        const file = Buffer.from(read(name));
        change(file);
        return file;
      };
      const frame = read('grey.jpg').findIndex((byte, i, all) => byte === 0xff && all[i + 1] === 0xc0);
      const jpeg = claim('grey.jpg', (file) => file.fill(0xff, frame + 5, frame + 9));
      const webp = claim('lossless.webp', (file) => file.writeUInt32LE(0x0fffffff, 21));
      const hugePng = png({ width: 20_000, height: 20_000, colorType: 0, rows: [0] });
      expect(await refusal(jpeg)).toMatchObject({
        message: expect.stringMatching(/65535x65535 is more than 64000000 pix/),
      });
      expect(await refusal(webp)).toMatchObject({
        message: expect.stringMatching(/16384x16384 is more than 64000000 pix/),
      });
      expect(await refusal(hugePng)).toMatchObject({
        message: 'a/1.jpg: 20000x20000 is more than 64000000 pixels; scale it down or raise the limit (--max-pixels)',
      });
      expect(await refusal(read('grey.jpg'), { maxPixels: 61 * 47 - 1 })).toBeInstanceOf(InputError);
      expect(await refusal(read('grey.jpg'), { maxPixels: 61 * 47 })).toMatchObject({ width: 61 });
    });
  });
});
