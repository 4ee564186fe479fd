import { crc32, deflateSync } from 'node:zlib';
import { describe, expect, test } from 'vitest';
import { InputError } from '../src/errors.ts';
import { decodeImage, imageFormat } from '../src/images/decode.ts';
import { checkImage, type Image8 } from '../src/images/image.ts';
import { psnr, ssim } from '../src/images/metrics.ts';
import { decodePng, encodePng } from '../src/images/png.ts';
import { derive } from '../src/random.ts';

const SIGNATURE = Buffer.from('\x89PNG\r\n\x1a\n', 'latin1');

function chunk(type: string, data: Uint8Array): Buffer {
  const whole = Buffer.alloc(12 + data.length);
  whole.writeUInt32BE(data.length, 0);
  whole.write(type, 4, 'latin1');
  whole.set(data, 8);
  whole.writeUInt32BE(crc32(whole.subarray(4, 8 + data.length)), 8 + data.length);
  return whole;
}

interface Parts {
  width: number;
  height: number;
  depth?: number;
  colorType: number;
  interlace?: number;
  /** Rows before compression, each with its filter byte. */
  rows: number[] | Uint8Array;
  before?: Buffer[];
}

function png({ width, height, depth = 8, colorType, interlace = 0, rows, before = [] }: Parts): Buffer {
  const header = Buffer.alloc(13);
  header.writeUInt32BE(width, 0);
  header.writeUInt32BE(height, 4);
  header.set([depth, colorType, 0, 0, interlace], 8);
  const pixels = chunk('IDAT', deflateSync(Uint8Array.from(rows)));
  return Buffer.concat([SIGNATURE, chunk('IHDR', header), ...before, pixels, chunk('IEND', Buffer.alloc(0))]);
}

function randomImage(width: number, height: number, channels: 1 | 3): Image8 {
  const random = derive(7, 'image', width, height, channels);
  return {
    width,
    height,
    channels,
    data: Uint8Array.from({ length: width * height * channels }, () => random.below(256)),
  };
}

const levels = (image: Image8) => [...image.data];
const decode = (bytes: Uint8Array, options = {}) => decodePng(bytes, 'cat/1.png', options);
const palette = chunk('PLTE', Uint8Array.of(1, 2, 3, 40, 50, 60));

describe('png', () => {
  test.each([
    [1, 1, 1],
    [1, 1, 3],
    [7, 5, 1],
    [5, 7, 3],
    [64, 33, 3],
    [300, 2, 1],
  ] as const)('round trip %ix%i, %i channels', (width, height, channels) => {
    const image = randomImage(width, height, channels);
    const bytes = encodePng(image);
    expect(bytes[25]).toBe(channels === 1 ? 0 : 2);
    expect(decode(bytes)).toEqual(image);
    expect(encodePng(image)).toEqual(bytes);
    // A Buffer inside a larger one, as node:fs gives small files, and bytes after the end marker.
    expect(decode(Buffer.concat([Buffer.alloc(3), bytes, Buffer.from('junk')]).subarray(3))).toEqual(image);
  });

  test('pixels that are a view into something larger', () => {
    const data = Uint8Array.from({ length: 20 }, (_, i) => i).subarray(3, 9);
    expect(levels(decode(encodePng({ width: 2, height: 1, channels: 3, data })))).toEqual([3, 4, 5, 6, 7, 8]);
  });

  test('palette becomes RGB', () => {
    const image = decode(
      png({ width: 3, height: 1, depth: 1, colorType: 3, rows: [0, 0b01000000], before: [palette] }),
    );
    expect(image).toEqual({ width: 3, height: 1, channels: 3, data: Uint8Array.of(1, 2, 3, 40, 50, 60, 1, 2, 3) });
  });

  test('few bits are scaled to 0–255', () => {
    const two = decode(png({ width: 5, height: 1, depth: 2, colorType: 0, rows: [0, 0b00011011, 0b11000000] }));
    expect(two).toEqual({ width: 5, height: 1, channels: 1, data: Uint8Array.of(0, 85, 170, 255, 255) });
    expect(levels(decode(png({ width: 2, height: 1, depth: 4, colorType: 0, rows: [0, 0x3f] })))).toEqual([51, 255]);
  });

  test('every filter', () => {
    const rows = [0, 10, 20, 30, 1, 10, 10, 10, 2, 5, 5, 5, 3, 1, 1, 1, 4, 2, 2, 2];
    const image = decode(png({ width: 3, height: 5, colorType: 0, rows }));
    // Sub, up, average of left and up, Paeth: by hand from the specification.
    expect(levels(image)).toEqual([10, 20, 30, 10, 20, 30, 15, 25, 35, 8, 17, 27, 10, 19, 29]);
  });

  test('interlaced', () => {
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
    expect(decode(png({ width, height, colorType: 2, interlace: 1, rows }))).toEqual(image);
    expect(() => decode(png({ width, height, colorType: 2, interlace: 1, rows: rows.slice(1) }))).toThrow(
      'bytes of pixel data',
    );
    expect(levels(decode(png({ width: 1, height: 1, colorType: 0, interlace: 1, rows: [0, 99] })))).toEqual([99]);
  });

  test('opaque alpha is dropped, transparency is refused unless allowed', () => {
    const opaque = png({ width: 1, height: 2, colorType: 6, rows: [0, 1, 2, 3, 255, 0, 4, 5, 6, 255] });
    expect(levels(decode(opaque))).toEqual([1, 2, 3, 4, 5, 6]);
    const clear = png({ width: 1, height: 2, colorType: 6, rows: [0, 1, 2, 3, 254, 0, 4, 5, 6, 255] });
    expect(() => decode(clear)).toThrow('cat/1.png: it has transparent pixels; flatten it');
    expect(levels(decode(clear, { dropAlpha: true }))).toEqual([1, 2, 3, 4, 5, 6]);
    const gray = png({ width: 2, height: 1, colorType: 4, rows: [0, 9, 0, 8, 255] });
    expect(() => decode(gray)).toThrow(InputError);
    expect(decode(gray, { dropAlpha: true })).toEqual({ width: 2, height: 1, channels: 1, data: Uint8Array.of(9, 8) });
  });

  test('a colour declared transparent keeps its levels when alpha is dropped', () => {
    const before = [chunk('tRNS', Uint8Array.of(0, 10, 0, 20, 0, 30))];
    const keyed = png({ width: 2, height: 1, colorType: 2, rows: [0, 10, 20, 30, 1, 2, 3], before });
    expect(() => decode(keyed)).toThrow('transparent pixels');
    expect(levels(decode(keyed, { dropAlpha: true }))).toEqual([10, 20, 30, 1, 2, 3]);
  });

  const gray = { width: 2, height: 2, colorType: 0, rows: [0, 1, 2, 0, 3, 4] };
  const valid = png(gray);
  const withoutEnd = valid.subarray(0, -12);
  test.each<[string, Uint8Array, string]>([
    ['empty', new Uint8Array(0), 'not a PNG file'],
    ['JPEG', Buffer.from('\xff\xd8\xff\xe0', 'latin1'), 'not a PNG file'],
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
    ['16 bits', png({ ...gray, depth: 16 }), '16 bits per channel; convert it to 8 bits'],
    ['RGB of 4 bits', png({ ...gray, depth: 4, colorType: 2 }), 'colour type 2 with 4 bits does not exist'],
    ['colour type 5', png({ ...gray, colorType: 5 }), 'colour type 5 with 8 bits does not exist'],
    ['interlace 2', png({ ...gray, interlace: 2 }), 'interlace method 2 does not exist'],
    ['animated', png({ ...gray, before: [chunk('acTL', Buffer.alloc(8))] }), 'animated PNG; save a single frame'],
    [
      'unknown critical chunk',
      png({ ...gray, before: [chunk('ABCD', Buffer.alloc(8))] }),
      'a chunk that no PNG decoder knows',
    ],
    ['filter 5', png({ ...gray, rows: [5, 1, 2, 0, 3, 4] }), 'filter type - 5'],
    ['pixels missing', png({ ...gray, rows: [0, 1, 2, 0, 3] }), '5 bytes of pixel data, 2x2 needs 6'],
    ['pixels left over', png({ ...gray, rows: [0, 1, 2, 0, 3, 4, 5] }), 'more pixel data than 2x2 needs'],
    ['no pixels', Buffer.concat([valid.subarray(0, 33), valid.subarray(-12)]), 'unexpected end of file'],
    ['no palette', png({ ...gray, colorType: 3 }), 'palette not found'],
    ['index beyond the palette', png({ ...gray, colorType: 3, before: [palette] }), 'not in palette'],
  ])('refuses: %s', (_, bytes, message) => {
    expect(() => decode(bytes)).toThrow(InputError);
    expect(() => decode(bytes)).toThrow(message);
    expect(() => decode(bytes)).toThrow(/^cat\/1\.png: .+; .+$/);
  });

  test('compressed pixels cut short, their chunk being intact', () => {
    const packed = deflateSync(Uint8Array.from(gray.rows));
    for (let length = 0; length < packed.length; length++) {
      const parts = [valid.subarray(0, 33), chunk('IDAT', packed.subarray(0, length)), valid.subarray(-12)];
      expect(() => decode(Buffer.concat(parts)), `${length} bytes`).toThrow('unexpected end of file');
    }
  });

  test('the size is checked before anything is decoded', () => {
    const huge = png({ ...gray, width: 100_000, height: 100_000 });
    expect(() => decode(huge)).toThrow(
      'cat/1.png: 100000x100000 is more than 64000000 pixels; scale it down or raise the limit',
    );
    expect(() => decode(valid, { maxPixels: 3 })).toThrow('2x2 is more than 3 pixels');
    expect(decode(valid, { maxPixels: 4 }).width).toBe(2);
  });

  test.each([0, 1])('a bomb is not unpacked (interlace %i)', (interlace) => {
    const bomb = png({ ...gray, interlace, rows: new Uint8Array(2e8) });
    const before = process.memoryUsage().arrayBuffers;
    expect(() => decode(bomb)).toThrow('more pixel data than 2x2 needs');
    expect(process.memoryUsage().arrayBuffers - before).toBeLessThan(5e7);
  });

  test('damage, also behind correct checksums: decoded or refused, nothing else', () => {
    const random = derive(3, 'fuzz');
    const samples = [
      Buffer.from(encodePng(randomImage(6, 5, 3))),
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
    const attempt = (bytes: Uint8Array) => {
      try {
        checkImage(decode(bytes, { dropAlpha: random.below(2) === 1 }), 'decoded');
      } catch (error) {
        expect(error).toBeInstanceOf(InputError);
        expect((error as Error).message).toMatch(/^cat\/1\.png: .+; .+$/);
        refused++;
      }
    };
    for (const sample of samples) {
      for (let length = 0; length < sample.length; length++) attempt(sample.subarray(0, length));
      expect(refused).toBe(sample.length);
      for (let i = 0; i < 1000; i++) {
        const bytes = Buffer.from(sample);
        for (let n = random.below(3); n >= 0; n--) bytes[8 + random.below(bytes.length - 8)] ^= 1 << random.below(8);
        if (i % 2 === 0) repairChecksums(bytes);
        attempt(bytes);
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

  test('encoding refuses what is no image', () => {
    const image = randomImage(2, 2, 3);
    expect(() => encodePng({ ...image, width: 3 })).toThrow('3x2 pixels, 3 channels, 12 bytes');
    expect(() => encodePng({ ...image, width: 0, data: new Uint8Array(0) })).toThrow(InputError);
    expect(() => encodePng({ ...image, width: 1.5, height: 2, data: new Uint8Array(9) })).toThrow(InputError);
    expect(() => encodePng({ ...image, channels: 4 as 3, data: new Uint8Array(16) })).toThrow(InputError);
  });
});

describe('formats', () => {
  const file = (text: string) => Buffer.from(text, 'latin1');
  test('are told by the first bytes', async () => {
    expect(imageFormat(encodePng(randomImage(1, 1, 1)))).toEqual({ name: 'PNG', decodable: true });
    expect(imageFormat(file('\xff\xd8\xff\xe0'))).toEqual({ name: 'JPEG', decodable: expect.any(Boolean) });
    expect(imageFormat(file('RIFF1234WEBP'))?.name).toBe('WebP');
    expect(imageFormat(file('GIF89a'))?.name).toBe('GIF');
    expect(imageFormat(file('RIFF1234WAVE'))).toBeUndefined();
    expect(imageFormat(file(''))).toBeUndefined();
  });
  test('decodeImage decodes, or says what the file is', async () => {
    const image = randomImage(3, 2, 3);
    expect(await decodeImage(encodePng(image), 'a.jpg')).toEqual(image);
    await expect(decodeImage(file('GIF89a'), 'a.png')).rejects.toThrow(
      'a.png: GIF images are not read; convert it to PNG',
    );
    await expect(decodeImage(file('hello'), 'a.png')).rejects.toThrow('a.png: not an image; convert it to PNG');
    await expect(decodeImage(file('hello'), 'a.png')).rejects.toThrow(InputError);
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
