import { crc32, deflateSync } from 'node:zlib';
import { describe, expect, test } from 'vitest';
import { InputError } from '../src/errors.ts';
import type { ImageCodec } from '../src/images/codec.ts';
import { decodeImage, encodeImage, imageFormat } from '../src/images/decode.ts';
import { checkImage, type Image8 } from '../src/images/image.ts';
import { psnr, ssim } from '../src/images/metrics.ts';
import { nodePortableCodec } from '../src/node/images/codec.ts';
import { sharpCodec } from '../src/node/images/sharp.ts';
import { derive } from '../src/random.ts';
import { chunk, png, readBack, SIGNATURE } from './png.ts';

function randomImage(width: number, height: number, channels: 1 | 3): Image8 {
  const random = derive(7, 'image', width, height, channels);
  return {
    width,
    height,
    channels,
    data: Uint8Array.from({ length: width * height * channels }, () => random.below(256)),
  };
}

const levels = async (image: Image8 | Promise<Image8>) => [...(await image).data];
const codecs: readonly ImageCodec[] = [await sharpCodec(), nodePortableCodec()];
const palette = chunk('PLTE', Uint8Array.of(1, 2, 3, 40, 50, 60));

describe.each(codecs)('png by $name', (codec) => {
  const decode = (bytes: Uint8Array, options = {}) => decodeImage(codec, bytes, 'cat/1.png', options);
  const encodePng = (image: Image8) => encodeImage(codec, image);

  test.each([
    [1, 1, 1],
    [1, 1, 3],
    [7, 5, 1],
    [5, 7, 3],
    [64, 33, 3],
    [300, 2, 1],
  ] as const)('round trip %ix%i, %i channels', async (width, height, channels) => {
    const image = randomImage(width, height, channels);
    const bytes = await encodePng(image);
    expect(bytes[25]).toBe(channels === 1 ? 0 : 2);
    expect(readBack(bytes)).toEqual(image);
    expect(await decode(bytes)).toEqual(image);
    expect(await encodePng(image)).toEqual(bytes);
    // A Buffer inside a larger one, as node:fs gives small files, and bytes after the end marker.
    expect(await decode(Buffer.concat([Buffer.alloc(3), bytes, Buffer.from('junk')]).subarray(3))).toEqual(image);
  });

  test('pixels that are a view into something larger', async () => {
    const data = Uint8Array.from({ length: 20 }, (_, i) => i).subarray(3, 9);
    expect(await levels(decode(await encodePng({ width: 2, height: 1, channels: 3, data })))).toEqual([
      3, 4, 5, 6, 7, 8,
    ]);
  });

  test('palette becomes RGB', async () => {
    const image = await decode(
      png({ width: 3, height: 1, depth: 1, colorType: 3, rows: [0, 0b01000000], before: [palette] }),
    );
    expect(image).toEqual({ width: 3, height: 1, channels: 3, data: Uint8Array.of(1, 2, 3, 40, 50, 60, 1, 2, 3) });
  });

  test('an index beyond the palette is black, as libpng has it', async () => {
    const image = decode(png({ width: 2, height: 1, colorType: 3, rows: [0, 1, 9], before: [palette] }));
    expect(await levels(image)).toEqual([40, 50, 60, 0, 0, 0]);
  });

  test('few bits are scaled to 0–255', async () => {
    const two = await decode(png({ width: 5, height: 1, depth: 2, colorType: 0, rows: [0, 0b00011011, 0b11000000] }));
    expect(two).toEqual({ width: 5, height: 1, channels: 1, data: Uint8Array.of(0, 85, 170, 255, 255) });
    expect(await levels(decode(png({ width: 2, height: 1, depth: 4, colorType: 0, rows: [0, 0x3f] })))).toEqual([
      51, 255,
    ]);
  });

  test('every filter', async () => {
    const rows = [0, 10, 20, 30, 1, 10, 10, 10, 2, 5, 5, 5, 3, 1, 1, 1, 4, 2, 2, 2];
    const image = await decode(png({ width: 3, height: 5, colorType: 0, rows }));
    // Sub, up, average of left and up, Paeth: by hand from the specification.
    expect(await levels(image)).toEqual([10, 20, 30, 10, 20, 30, 15, 25, 35, 8, 17, 27, 10, 19, 29]);
  });

  test('interlaced', async () => {
    const [width, height] = [9, 10];
    const image = randomImage(width, height, 3);
    const rows: number[] = [];
    const passes = ['0 0 8 8', '4 0 8 8', '0 4 4 8', '2 0 4 4', '0 2 2 4', '1 0 2 2', '0 1 1 2'];
    for (const [x0, y0, dx, dy] of passes.map((pass) => pass.split(' ').map(Number))) {
      for (let y = y0; y < height; y += dy) {
        if (x0 < width) rows.push(0);
        for (let x = x0; x < width; x += dx)
          rows.push(...image.data.subarray((y * width + x) * 3, (y * width + x) * 3 + 3));
      }
    }
    expect(await decode(png({ width, height, colorType: 2, interlace: 1, rows }))).toEqual(image);
    await expect(decode(png({ width, height, colorType: 2, interlace: 1, rows: rows.slice(1) }))).rejects.toThrow(
      'damaged',
    );
    expect(await levels(decode(png({ width: 1, height: 1, colorType: 0, interlace: 1, rows: [0, 99] })))).toEqual([99]);
  });

  test('opacity is kept beside the levels, and left out where everything is opaque', async () => {
    const opaque = png({ width: 1, height: 2, colorType: 6, rows: [0, 1, 2, 3, 255, 0, 4, 5, 6, 255] });
    expect(await decode(opaque)).toEqual({
      width: 1,
      height: 2,
      channels: 3,
      data: Uint8Array.of(1, 2, 3, 4, 5, 6),
    });
    const clear = png({ width: 1, height: 2, colorType: 6, rows: [0, 1, 2, 3, 254, 0, 4, 5, 6, 0] });
    const image = await decode(clear);
    expect(image).toEqual({
      width: 1,
      height: 2,
      channels: 3,
      data: Uint8Array.of(1, 2, 3, 4, 5, 6),
      alpha: Uint8Array.of(254, 0),
    });
    expect(readBack(await encodePng(image))).toEqual(image);
    expect(await decode(await encodePng(image))).toEqual(image);
    const gray = await decode(png({ width: 2, height: 1, colorType: 4, rows: [0, 9, 0, 8, 255] }));
    expect(gray).toEqual({
      width: 2,
      height: 1,
      channels: 1,
      data: Uint8Array.of(9, 8),
      alpha: Uint8Array.of(0, 255),
    });
    expect(readBack(await encodePng(gray))).toEqual(gray);
    expect(await decode(await encodePng(gray))).toEqual(gray);
  });

  test('a colour declared transparent keeps its levels', async () => {
    const before = [chunk('tRNS', Uint8Array.of(0, 10, 0, 20, 0, 30))];
    const keyed = await decode(png({ width: 2, height: 1, colorType: 2, rows: [0, 10, 20, 30, 1, 2, 3], before }));
    expect([...keyed.data]).toEqual([10, 20, 30, 1, 2, 3]);
    expect([...keyed.alpha!]).toEqual([0, 255]);
  });

  const gray = { width: 2, height: 2, colorType: 0, rows: [0, 1, 2, 0, 3, 4] };
  const valid = png(gray);
  const withoutEnd = valid.subarray(0, -12);
  test.each<[string, Uint8Array, string]>([
    ['empty', new Uint8Array(0), 'an empty file'],
    ['no image', Buffer.from('hello'), 'not an image'],
    ['no end marker', withoutEnd, 'truncated: no end marker'],
    ['end marker cut', valid.subarray(0, -1), 'truncated: no end marker'],
    [
      'chunk beyond the file',
      Buffer.concat([withoutEnd, Buffer.of(255, 255, 255, 255), Buffer.from('IEND1234')]),
      'no end marker',
    ],
    ['wrong CRC', valid.map((byte, i) => (i === 30 ? byte ^ 1 : byte)), 'wrong checksum of a chunk'],
    [
      'wrong pixel CRC',
      valid.map((byte, i) => (i === valid.length - 13 ? byte ^ 1 : byte)),
      'wrong checksum of a chunk',
    ],
    ['no header', Buffer.concat([SIGNATURE, chunk('IEND', Buffer.alloc(0))]), 'does not begin with its header'],
    [
      'short header',
      Buffer.concat([SIGNATURE, chunk('IHDR', Buffer.alloc(12)), valid.subarray(33)]),
      'does not begin with its header',
    ],
    ['two headers', png({ ...gray, before: [valid.subarray(8, 33)] }), 'two headers'],
    ['width 0', png({ ...gray, width: 0 }), 'its size is 0x2'],
    [
      '16 bits',
      png({ ...gray, depth: 16 }),
      'more than 8 bits per channel; convert it to 8 bits, or accept it (--accept 16-bit)',
    ],
    ['RGB of 4 bits', png({ ...gray, depth: 4, colorType: 2 }), 'colour type 2 with 4 bits does not exist'],
    ['colour type 5', png({ ...gray, colorType: 5 }), 'colour type 5 with 8 bits does not exist'],
    ['interlace 2', png({ ...gray, interlace: 2 }), 'interlace method 2 does not exist'],
    [
      'animated',
      png({ ...gray, before: [chunk('acTL', Uint8Array.of(0, 0, 0, 2, 0, 0, 0, 0))] }),
      'animated PNG; save a single frame',
    ],
    [
      'unknown critical chunk',
      png({ ...gray, before: [chunk('ABCD', Buffer.alloc(8))] }),
      'a chunk that no PNG decoder knows',
    ],
    ['filter 5', png({ ...gray, rows: [5, 1, 2, 0, 3, 4] }), 'damaged'],
    ['pixels missing', png({ ...gray, rows: [0, 1, 2, 0, 3] }), 'damaged'],
    ['no pixels', Buffer.concat([valid.subarray(0, 33), valid.subarray(-12)]), 'damaged'],
    ['no palette', png({ ...gray, colorType: 3 }), 'damaged'],
  ])('refuses: %s', async (_, bytes, message) => {
    await expect(decode(bytes)).rejects.toThrow(InputError);
    await expect(decode(bytes)).rejects.toThrow(message);
    await expect(decode(bytes)).rejects.toThrow(/^cat\/1\.png: .+; .+$/);
  });

  test('compressed pixels cut short, their chunk being intact: refused, or complete', async () => {
    const packed = deflateSync(Uint8Array.from(gray.rows));
    let complete = 0;
    for (let length = 0; length < packed.length; length++) {
      const parts = [valid.subarray(0, 33), chunk('IDAT', packed.subarray(0, length)), valid.subarray(-12)];
      const image = await decode(Buffer.concat(parts)).catch((error: unknown) => error);
      if (image instanceof InputError) continue;
      expect(image, `${length} bytes`).toMatchObject({ data: Uint8Array.of(1, 2, 3, 4) });
      complete++;
    }
    // Without its checksum of four bytes or a part of that.
    expect(complete).toBeLessThanOrEqual(4);
  });

  test('the size is checked before anything is decoded', async () => {
    const wide = png({ ...gray, width: 100_000, height: 1 });
    await expect(decode(wide)).rejects.toThrow(
      'cat/1.png: 100000x1 has a side of more than 65535 pixels; scale it down',
    );
    const huge = png({ ...gray, width: 60_000, height: 60_000 });
    await expect(decode(huge)).rejects.toThrow(
      'cat/1.png: 60000x60000 is more than 64000000 pixels; scale it down or raise the limit',
    );
    await expect(decode(valid, { maxPixels: 3 })).rejects.toThrow('2x2 is more than 3 pixels');
    expect((await decode(valid, { maxPixels: 4 })).width).toBe(2);
  });

  test.each([0, 1])('what is packed behind the pixels is not unpacked (interlace %i)', async (interlace) => {
    const bomb = png({ ...gray, interlace, rows: new Uint8Array(5e7) });
    const before = process.memoryUsage().rss;
    for (let i = 0; i < 4; i++) expect((await decode(bomb)).data).toHaveLength(4);
    expect(process.memoryUsage().rss - before).toBeLessThan(4e7);
  });

  test('damage, also behind correct checksums: decoded or refused, nothing else', async () => {
    const random = derive(3, 'fuzz');
    const samples = [
      Buffer.from(await encodePng(randomImage(6, 5, 3))),
      png({
        width: 3,
        height: 2,
        depth: 1,
        colorType: 3,
        rows: [0, 64, 0, 0],
        before: [palette, chunk('tRNS', Uint8Array.of(255, 9))],
      }),
      png({ width: 2, height: 2, colorType: 0, interlace: 1, rows: [0, 1, 0, 2, 0, 3, 4] }),
    ];
    let refused = 0;
    const attempt = async (bytes: Uint8Array) => {
      try {
        checkImage(await decode(bytes), 'decoded');
      } catch (error) {
        expect(error).toBeInstanceOf(InputError);
        expect((error as Error).message).toMatch(/^cat\/1\.png: .+; .+$/);
        refused++;
      }
    };
    for (const sample of samples) {
      for (let length = 0; length < sample.length; length++) await attempt(sample.subarray(0, length));
      expect(refused).toBe(sample.length);
      for (let i = 0; i < 1000; i++) {
        const bytes = Buffer.from(sample);
        for (let n = random.below(3); n >= 0; n--) bytes[8 + random.below(bytes.length - 8)] ^= 1 << random.below(8);
        if (i % 2 === 0) repairChecksums(bytes);
        await attempt(bytes);
      }
      expect(refused).toBeGreaterThan(sample.length + 500);
      refused = 0;
    }
  });

  function repairChecksums(bytes: Buffer): void {
    for (let offset = 8; offset + 12 <= bytes.length; ) {
      const length = bytes.readUInt32BE(offset);
      if (offset + 12 + length > bytes.length) return;
      bytes.writeUInt32BE(crc32(bytes.subarray(offset + 4, offset + 8 + length)), offset + 8 + length);
      offset += 12 + length;
    }
  }

  test('encoding refuses what is no image', async () => {
    const image = randomImage(2, 2, 3);
    await expect(encodePng({ ...image, width: 3 })).rejects.toThrow('3x2 pixels, 3 channels, 12 bytes');
    await expect(encodePng({ ...image, width: 0, data: new Uint8Array(0) })).rejects.toThrow(InputError);
    await expect(encodePng({ ...image, width: 1.5, height: 2, data: new Uint8Array(9) })).rejects.toThrow(InputError);
    await expect(encodePng({ ...image, channels: 4 as 3, data: new Uint8Array(16) })).rejects.toThrow(InputError);
  });
});

describe.each(codecs)('formats by $name', (codec) => {
  const encodePng = (image: Image8) => encodeImage(codec, image);
  const file = (text: string) => Buffer.from(text, 'latin1');
  test('are told by the first bytes', async () => {
    expect(imageFormat(await encodePng(randomImage(1, 1, 1)))).toEqual({ name: 'PNG', decodable: true });
    expect(imageFormat(file('\xff\xd8\xff\xe0'))).toEqual({ name: 'JPEG', decodable: expect.any(Boolean) });
    expect(imageFormat(file('RIFF1234WEBP'))?.name).toBe('WebP');
    expect(imageFormat(file('GIF89a'))?.name).toBe('GIF');
    expect(imageFormat(file('RIFF1234WAVE'))).toBeUndefined();
    expect(imageFormat(file(''))).toBeUndefined();
  });
  test('decodeImage decodes, or says what the file is', async () => {
    const image = randomImage(3, 2, 3);
    expect(await decodeImage(codec, await encodePng(image), 'a.jpg')).toEqual(image);
    await expect(decodeImage(codec, file('GIF89a'), 'a.png')).rejects.toThrow(
      'a.png: GIF images are not read; convert it to PNG',
    );
    await expect(decodeImage(codec, file('hello'), 'a.png')).rejects.toThrow('a.png: not an image; convert it to PNG');
    await expect(decodeImage(codec, file('hello'), 'a.png')).rejects.toThrow(InputError);
  });
});

describe('metrics', () => {
  const clamp = (level: number) => Math.min(255, Math.max(0, level));
  function pair(width: number, height: number, channels: 1 | 3): [Image8, Image8] {
    const a = Uint8Array.from(
      { length: width * height * channels },
      (_, i) => (3 * i * i + 5 * i + ((7 * i) >> 3)) % 256,
    );
    const b = a.map((level, i) => clamp(level + ((13 * i) % 21) - 10));
    return [
      { width, height, channels, data: a },
      { width, height, channels, data: b },
    ];
  }

  // From NumPy in float64: a direct sum over each window.
  test.each([
    [20, 16, 3, 0.9966583118710364, 32.581749743629715],
    [11, 13, 1, 0.9964212115526356, 32.57706832608635],
    [8, 5, 3, 0.9968380642094657, 32.60310780656318],
  ] as const)('%ix%i, %i channels: SSIM %f, PSNR %f dB', (width, height, channels, similarity, ratio) => {
    const [a, b] = pair(width, height, channels);
    expect(Math.abs(ssim(a, b) - similarity)).toBeLessThan(1e-12);
    expect(Math.abs(psnr(a, b) - ratio)).toBeLessThan(1e-9);
    expect(Math.abs(ssim(b, a) - similarity)).toBeLessThan(1e-12);
  });

  test('equal images, and extreme ones', () => {
    const [a] = pair(20, 16, 3);
    expect(psnr(a, a)).toBe(Infinity);
    expect(ssim(a, a)).toBe(1);
    const black: Image8 = { width: 12, height: 12, channels: 1, data: new Uint8Array(144) };
    const white = { ...black, data: black.data.map(() => 255) };
    expect(psnr(black, white)).toBe(0);
    expect(Math.abs(ssim(black, white) - 6.5025 / (255 ** 2 + 6.5025))).toBeLessThan(1e-12);
  });

  test('images of different shape are refused', () => {
    const [a] = pair(4, 6, 1);
    const [b] = pair(6, 4, 1);
    expect(() => psnr(a, b)).toThrow('psnr: images are 4x6x1 and 6x4x1');
    expect(() => ssim(a, b)).toThrow(InputError);
  });
});
