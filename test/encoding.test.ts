/** Files written like others: settings as other programs read them, metadata byte for byte. */

import { deflateSync, inflateSync } from 'node:zlib';
import sharp, { type Sharp } from 'sharp';
import { beforeAll, describe, expect, it } from 'vitest';
import type { ImageCodec } from '../src/images/codec.ts';
import { decodeImage } from '../src/images/decode.ts';
import { encodeLike, encodingLike } from '../src/images/encoding.ts';
import { type PngChunk, pngFile, readPngChunks } from '../src/images/png.ts';
import { nodeCodec, nodePortableCodec } from '../src/node/images/codec.ts';
import { pictureOf } from './photographs.ts';

const [WIDTH, HEIGHT] = [83, 61];
const picture = (channels: 1 | 3 = 3): Sharp => {
  const data = pictureOf(3, WIDTH, HEIGHT);
  const grey = Uint8Array.from({ length: WIDTH * HEIGHT }, (_, i) => data[3 * i]);
  const raw = { width: WIDTH, height: HEIGHT, channels };
  return channels === 3 ? sharp(data, { raw }) : sharp(grey, { raw }).toColourspace('b-w');
};

interface Segment {
  readonly marker: number;
  readonly data: Buffer;
}

/** Marker segments up to the first scan. */
function segmentsOf(file: Uint8Array): Segment[] {
  const bytes = Buffer.from(file);
  const segments: Segment[] = [];
  for (let at = 2; bytes[at + 1] !== 0xda; ) {
    const length = bytes.readUInt16BE(at + 2);
    segments.push({ marker: bytes[at + 1], data: bytes.subarray(at + 4, at + 2 + length) });
    at += 2 + length;
  }
  return segments;
}
const segment = (marker: number, data: Uint8Array): Buffer =>
  Buffer.concat([Buffer.from([0xff, marker, (data.length + 2) >> 8, (data.length + 2) & 255]), data]);
const latin = (text: string): Buffer => Buffer.from(text, 'latin1');
/** Segments in place of those that a file has before its tables. */
const withSegments = (file: Buffer, added: readonly Buffer[]): Buffer =>
  Buffer.concat([
    file.subarray(0, 2),
    ...added,
    ...segmentsOf(file)
      .filter(({ marker }) => marker < 0xe0)
      .map(({ marker, data }) => segment(marker, data)),
    file.subarray(file.indexOf(Buffer.from([0xff, 0xda]))),
  ]);

/** Chunks, to be compared. */
const hex = (chunks: readonly PngChunk[]): string[] =>
  chunks.map(({ type, data }) => `${type} ${Buffer.from(data).toString('hex')}`);

/** EXIF data that says no more than an orientation. */
const exif = (orientation: number): Buffer =>
  Buffer.from([...latin('MM\0*\0\0\0\x08'), ...[0, 1, 0x01, 0x12, 0, 3, 0, 0, 0, 1, 0, orientation, 0, 0, 0, 0, 0, 0]]);

describe.each(['sharp', 'portableCodec'])('by %s', (name) => {
  let codec: ImageCodec;
  beforeAll(async () => {
    codec = name === 'sharp' ? await nodeCodec() : nodePortableCodec();
    expect(codec.name).toBe(name);
  });
  const again = async (file: Buffer, options = {}): Promise<Buffer> => {
    const accept = { accept: ['CMYK', '16-bit', 'animated'] as const };
    const { bytes } = await encodeLike(codec, await decodeImage(codec, file, 'x', accept), file, 'x', options);
    return Buffer.from(bytes);
  };

  it.each([
    [70, '4:2:0', false],
    [75, '4:4:4', true],
    [30, '4:2:0', true],
    [92, '4:2:0', false],
    [100, '4:4:4', false],
  ])(
    'JPEG of quality %i, %s, progressive %s keeps its tables, sampling and kind',
    async (quality, sampling, progressive) => {
      const options = { quality, chromaSubsampling: sampling, progressive };
      const file = await picture().jpeg(options).toBuffer();
      const written = await again(file);
      const decisive = (bytes: Buffer): Segment[] =>
        segmentsOf(bytes).filter(({ marker }) => [0xc0, 0xc1, 0xc2, 0xdb].includes(marker));
      const tables = (bytes: Buffer): string[] =>
        decisive(bytes)
          .filter(({ marker }) => marker === 0xdb)
          .map(({ data }) => data.toString('hex'));
      expect(tables(written).join('')).toBe(tables(file).join(''));
      const frame = (bytes: Buffer): Segment => decisive(bytes).find(({ marker }) => marker !== 0xdb)!;
      expect(frame(written)).toEqual(frame(file));
    },
  );

  it('other quantisation tables get the nearest quality that is no coarser on the whole', async () => {
    const file = await picture().jpeg({ quality: 80, chromaSubsampling: '4:4:4' }).toBuffer();
    for (const [change, quality] of [
      [0, 80],
      [1, 80],
      [-1, 81],
    ]) {
      const other = Buffer.from(file);
      other[other.indexOf(Buffer.from([0xff, 0xdb])) + 8] += change;
      expect(encodingLike(other, 'x'), `${change}`).toMatchObject({ format: 'JPEG', quality });
    }
  });

  it('Huffman tables are those of Annex K where the original has them', async () => {
    for (const optimiseCoding of [false, true]) {
      const file = await picture().jpeg({ quality: 80, optimiseCoding }).toBuffer();
      expect(encodingLike(file, 'x')).toMatchObject({ ownHuffmanTables: optimiseCoding });
      if (name === 'sharp') expect(encodingLike(await again(file), 'x')).toEqual(encodingLike(file, 'x'));
    }
  });

  it('grey JPEG, lossless and lossy WebP stay what they are', async () => {
    const grey = await picture(1).jpeg({ quality: 85 }).toBuffer();
    expect((await decodeImage(codec, await again(grey), 'x')).channels).toBe(1);
    const lossless = await picture().webp({ lossless: true }).toBuffer();
    expect(encodingLike(lossless, 'x')).toEqual({ format: 'WebP', quality: 'lossless' });
    expect(await decodeImage(codec, await again(lossless), 'x')).toEqual(await decodeImage(codec, lossless, 'x'));
    for (const quality of [10, 40, 75, 80, 95]) {
      const lossy = await picture().webp({ quality }).toBuffer();
      const { quality: told } = encodingLike(lossy, 'x') as { quality: number };
      expect(Math.abs(told - quality), `${quality}`).toBeLessThanOrEqual(4);
      expect(encodingLike(await again(lossy), 'x')).toMatchObject({ format: 'WebP', quality: expect.any(Number) });
    }
  });

  const said = [
    segment(0xe0, latin('JFIF\0\x01\x02\x01\x01\x2c\x01\x2c\0\0')),
    segment(0xe1, Buffer.concat([latin('Exif\0\0'), exif(6)])),
    segment(0xe1, latin('http://ns.adobe.com/xap/1.0/\0<x:xmpmeta/>')),
    segment(0xe2, latin('ICC_PROFILE\0\x01\x02first half, ')),
    segment(0xe2, latin('ICC_PROFILE\0\x02\x02second half')),
    segment(0xed, latin('Photoshop 3.0\x008BIM')),
    segment(0xfe, latin('a comment')),
  ];
  const bound = [
    segment(0xe0, latin('JFXX\0\x10')),
    segment(0xe2, latin('MPF\0MM\0*')),
    segment(0xeb, latin('JP\0\x01\0\0\0\x01\0\0\0\x20jumb')),
  ];

  it('JPEG keeps what it says, byte for byte and in order, but for what is bound to its bytes', async () => {
    const file = withSegments(await picture().jpeg({ quality: 90 }).toBuffer(), [...said, ...bound]);
    const before = await decodeImage(codec, file, 'x');
    // Sideways: what is marked is upright.
    expect([before.width, before.height]).toEqual([HEIGHT, WIDTH]);
    const written = await again(file);
    const beside = segmentsOf(written).filter(({ marker }) => marker >= 0xe0);
    expect(Buffer.concat(beside.map(({ marker, data }) => segment(marker, data)))).toEqual(Buffer.concat(said));
    const after = await decodeImage(codec, written, 'x');
    expect([after.width, after.height]).toEqual([HEIGHT, WIDTH]);
    const worst = Math.max(...after.data.map((level, i) => Math.abs(level - before.data[i])));
    expect(worst).toBeLessThan(16);
    const stripped = await again(file, { strip: true });
    expect(segmentsOf(stripped).filter(({ marker }) => marker >= 0xe1)).toEqual([]);
    expect((await decodeImage(codec, stripped, 'x')).width).toBe(HEIGHT);
  });

  it('JPEG becomes PNG with what it says in PNG’s chunks', async () => {
    const file = withSegments(await picture().jpeg({ quality: 90 }).toBuffer(), [...said, ...bound]);
    const written = await again(file, { format: 'PNG' });
    const chunks = readPngChunks(written);
    expect(new Set(chunks.map(({ type }) => type))).toEqual(
      new Set(['IHDR', 'iCCP', 'pHYs', 'eXIf', 'iTXt', 'IDAT', 'IEND']),
    );
    expect(await decodeImage(codec, written, 'x')).toEqual(await decodeImage(codec, file, 'x'));
    const { density, xmp } = await sharp(withoutProfile(written)).metadata();
    expect([density, xmp?.toString()]).toEqual([300, '<x:xmpmeta/>']);
    const profile = chunks.find(({ type }) => type === 'iCCP')!.data;
    expect(inflateSync(profile.subarray('ICC profile\0\0'.length)).toString()).toBe('first half, second half');
    expect(Buffer.from(chunks.find(({ type }) => type === 'eXIf')!.data)).toEqual(exif(6));
  });
  /** libvips refuses a profile that is none. */
  const withoutProfile = (file: Buffer): Uint8Array =>
    pngFile(readPngChunks(file).filter(({ type }) => type !== 'iCCP'));

  it('PNG keeps what it says in its place, and nothing else is said', async () => {
    const [header, ...rest] = readPngChunks(await picture().png().toBuffer()).filter(({ type }) =>
      ['IHDR', 'IDAT', 'IEND'].includes(type),
    );
    const chunk = (type: string, data: Uint8Array) => ({ type, data: new Uint8Array(data) });
    const first = [
      chunk('gAMA', Buffer.from([0, 1, 0x86, 0xa0])),
      chunk('cICP', Buffer.from([12, 13, 0, 1])),
      chunk('iCCP', Buffer.concat([latin('P3\0\0'), deflateSync(latin('a profile'))])),
      chunk('pHYs', Buffer.from([0, 0, 11, 19, 0, 0, 11, 19, 1])),
      chunk('eXIf', exif(8)),
    ];
    const last = [chunk('tEXt', latin('Comment\0behind')), chunk('tIME', Buffer.from([7, 228, 1, 2, 3, 4, 5]))];
    const lost = [chunk('caBX', latin('jumb')), chunk('prVW', latin('preview'))];
    const file = Buffer.from(pngFile([header, ...first, ...lost, ...rest.slice(0, -1), ...last, rest.at(-1)!]));
    const chunks = readPngChunks(await again(file));
    const pixels = chunks.findIndex(({ type }) => type === 'IDAT');
    expect(hex(chunks.slice(1, pixels))).toEqual(hex(first));
    expect(hex(chunks.slice(pixels).filter(({ type }) => type !== 'IDAT'))).toEqual(hex([...last, rest.at(-1)!]));
    expect(await decodeImage(codec, await again(file), 'x')).toEqual(await decodeImage(codec, file, 'x'));
    const bare = readPngChunks(await again(file, { strip: true })).map(({ type }) => type);
    expect(new Set(bare)).toEqual(new Set(['IHDR', 'IDAT', 'IEND']));
  });

  it.each([
    ['lossless', { lossless: true }],
    ['lossy', { quality: 80 }],
  ])('WebP, %s, keeps profile, EXIF and XMP, and its opacity', async (_, options) => {
    const opacity = Buffer.from(Uint8Array.from({ length: WIDTH * HEIGHT }, (_each, i) => (i % 7 === 0 ? 0 : 255)));
    const raw = { width: WIDTH, height: HEIGHT, channels: 1 as const };
    for (const alpha of [false, true]) {
      const pixels = alpha ? picture().joinChannel(opacity, { raw }) : picture();
      const file = await pixels
        .webp(options)
        .withXmp('<x:xmpmeta xmlns:x="adobe:ns:meta/"/>')
        .withExif({ IFD0: { Copyright: 'nobody' } })
        .withIccProfile('p3')
        .toBuffer();
      const written = await again(file);
      const [before, after] = [await sharp(file).metadata(), await sharp(written).metadata()];
      for (const what of ['icc', 'exif', 'xmp'] as const) {
        expect(before[what], what).toBeDefined();
        expect(after[what], what).toEqual(before[what]);
      }
      expect(after.hasAlpha).toBe(alpha);
      const [a, b] = [await decodeImage(codec, file, 'x'), await decodeImage(codec, written, 'x')];
      expect(b.alpha).toEqual(a.alpha);
      const { exif: none } = await sharp(await again(file, { strip: true })).metadata();
      expect(none).toBeUndefined();
    }
  });
});
