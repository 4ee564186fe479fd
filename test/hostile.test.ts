/** Small files that take much: every one ends with one line, before the work is done. */

import { expect, it } from 'vitest';
import { parseSafetensors } from '../src/formats/safetensors.ts';
import { decodeImage, readImageHeader } from '../src/images/decode.ts';
import { parseClassNames } from '../src/node/datasets/idx.ts';
import { nodePortableCodec } from '../src/node/images/codec.ts';
import { chunk, png } from './png.ts';

/** A progressive grey JPEG, 16×16, whose last refinement of the DC coefficients is sent so many times. */
function manyScans(scans: number): Uint8Array {
  const segment = (marker: number, ...data: number[]) => [0xff, marker, 0, data.length + 2, ...data];
  const frame = [8, 0, 16, 0, 16, 1, 1, 0x11, 0];
  // One code of one bit each: a DC difference of 0, and an end of block.
  const table = (kind: number) => [kind, 1, ...new Array<number>(15).fill(0), 0];
  const scan = (first: number, last: number, bits: number) => [...segment(0xda, 1, 1, 0, first, last, bits), 0];
  return Uint8Array.from([
    ...[0xff, 0xd8],
    ...segment(0xdb, 0, ...new Array<number>(64).fill(1)),
    ...segment(0xc2, ...frame),
    ...segment(0xc4, ...table(0)),
    ...segment(0xc4, ...table(0x10)),
    ...scan(0, 0, 0),
    ...Array.from({ length: scans - 1 }, () => scan(1, 63, 0)).flat(),
    ...[0xff, 0xd9],
  ]);
}

it('a JPEG of more than a hundred scans', async () => {
  const refused = 'x: a JPEG of 101 scans, which is not read; save it again with at most 100';
  expect(() => readImageHeader(manyScans(101), 'x')).toThrow(refused);
  await expect(decodeImage(nodePortableCodec(), manyScans(101), 'x')).rejects.toThrow(refused);
  expect(readImageHeader(manyScans(100), 'x')).toMatchObject({ format: 'JPEG', width: 16, height: 16 });
});

it('a PNG of a million chunks', () => {
  const few = png({ width: 1, height: 1, colorType: 0, rows: [0, 9] });
  const end = few.length - 12;
  const empty = chunk('tEXt', new Uint8Array(0));
  const many = (count: number) =>
    new Uint8Array(Buffer.concat([few.subarray(0, end), ...Array<Buffer>(count).fill(empty), few.subarray(end)]));
  expect(() => readImageHeader(many(1_000_000), 'x')).toThrow('x: a PNG of more than 65536 chunks');
  expect(readImageHeader(many(1000), 'x')).toMatchObject({ width: 1 });
});

const safetensorsOf = (count: number): Uint8Array => {
  const entry = '{"dtype":"U8","shape":[0],"data_offsets":[0,0]}';
  const json = Buffer.from(`{${Array.from({ length: count }, (_, i) => `"t${i}":${entry}`).join(',')}}`);
  const length = Buffer.alloc(8);
  length.writeBigUInt64LE(BigInt(json.length));
  return new Uint8Array(Buffer.concat([length, json]));
};

it('300 000 tensors of no elements', () => {
  expect(() => parseSafetensors(safetensorsOf(300_000), 'x')).toThrow('x: names 300000 tensors, the limit is 65536');
  expect(parseSafetensors(safetensorsOf(1000), 'x').tensors.size).toBe(1000);
});

it('a class list of 300 000 lines, which were compared with one another', () => {
  const lines = Array.from({ length: 300_000 }, (_, i) => `${i}`);
  expect(parseClassNames(lines.join('\n'), 'x')).toHaveLength(300_000);
  expect(() => parseClassNames([...lines, '7'].join('\n'), 'x')).toThrow('x: line 300001 is there already');
});
