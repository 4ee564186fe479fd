import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';
import { describe, expect, test } from 'vitest';
import { InputError } from '../src/errors.ts';
import { fromBase64, toBase64 } from '../src/formats/base64.ts';
import { parseCsv, serializeCsv } from '../src/formats/csv.ts';
import { gzip } from '../src/formats/gzip.ts';
import { parseIdx, serializeIdx } from '../src/formats/idx.ts';
import { parseNpy, serializeNpy } from '../src/formats/npy.ts';
import {
  parseSafetensors,
  type SafetensorsTensor,
  serializeSafetensors,
  toFloat32,
  toFloat64,
  toInt64Numbers,
} from '../src/formats/safetensors.ts';
import { fuzz } from './fuzz.ts';

const GOLDEN = join(import.meta.dirname, 'golden');
const FASHION = process.env.FASHION_MNIST ?? '/usr/share/datasets/fashion-mnist';

// RFC 4648, section 10, and more bytes than a call takes at a time.
test.each([
  ['', ''],
  ['f', 'Zg=='],
  ['fo', 'Zm8='],
  ['foo', 'Zm9v'],
  ['foob', 'Zm9vYg=='],
  ['fooba', 'Zm9vYmE='],
  ['foobar', 'Zm9vYmFy'],
  ['\xff\xfe\x00'.repeat(7000), '//4A'.repeat(7000)],
])('base64 %#', (text, base64) => {
  const bytes = Uint8Array.from(text, (character) => character.charCodeAt(0));
  expect(toBase64(bytes)).toBe(base64);
  expect(fromBase64(base64)).toEqual(bytes);
});

describe('safetensors', () => {
  /** A file with the given header text and data size. */
  function file(header: string, dataBytes: number): Uint8Array {
    const text = new TextEncoder().encode(header);
    const bytes = new Uint8Array(8 + text.length + dataBytes);
    new DataView(bytes.buffer).setBigUint64(0, BigInt(text.length), true);
    bytes.set(text, 8);
    return bytes;
  }
  const parse = (bytes: Uint8Array) => parseSafetensors(bytes, 'fuzz.bin');
  const tensor = (dtype: SafetensorsTensor['dtype'], data: Uint8Array, shape: number[]): SafetensorsTensor => ({
    file: 'a.safetensors',
    name: 't',
    dtype,
    shape,
    data,
  });
  const sample = () =>
    serializeSafetensors(
      [
        ['flag', { dtype: 'U8', shape: [3], data: Uint8Array.of(1, 2, 3) }],
        ['weight', { dtype: 'F32', shape: [2, 2], data: Float32Array.of(1.5, -0, Number.NaN, 3e38) }],
        ['2', { dtype: 'F64', shape: [], data: Float64Array.of(Math.PI) }],
        ['__proto__', { dtype: 'I64', shape: [2], data: BigInt64Array.of(-5n, 9007199254740991n) }],
        ['1', { dtype: 'F32', shape: [0, 7], data: new Float32Array(0) }],
      ],
      { architecture: 'resnet18', note: 'zwölf "Zeichen"\n' },
    );

  test('round trip, in the order given, with tensors at odd offsets', () => {
    const bytes = sample();
    expect(bytes).toEqual(sample());
    expect(Number(new DataView(bytes.buffer).getBigUint64(0, true)) % 8).toBe(0);
    // A Buffer inside a larger one, as node:fs gives small files.
    const { metadata, tensors } = parse(Buffer.from(Buffer.concat([Buffer.alloc(1), bytes]).subarray(1)));
    expect(metadata).toEqual({ architecture: 'resnet18', note: 'zwölf "Zeichen"\n' });
    expect([...tensors.keys()]).toEqual(['flag', 'weight', '2', '__proto__', '1']);
    expect(tensors.get('weight')!.shape).toEqual([2, 2]);
    expect(toFloat32(tensors.get('weight')!)).toEqual(Float32Array.of(1.5, -0, Number.NaN, 3e38));
    expect(toFloat64(tensors.get('2')!)).toEqual(Float64Array.of(Math.PI));
    expect(toInt64Numbers(tensors.get('__proto__')!)).toEqual([-5, 9007199254740991]);
    expect(toFloat32(tensors.get('1')!)).toEqual(new Float32Array(0));
    expect([...tensors.get('flag')!.data]).toEqual([1, 2, 3]);
    const text = new TextDecoder().decode(bytes.subarray(8));
    expect(text.indexOf('"2"')).toBeLessThan(text.indexOf('"1"'));
  });

  const goldens = readdirSync(GOLDEN).filter((name) => name.endsWith('.safetensors'));
  test('there are golden files', () => expect(goldens.length).toBeGreaterThan(0));
  test.each(goldens)('golden %s comes back: the same header but for white space, the same data', (name) => {
    const split = (bytes: Uint8Array) => {
      const end = 8 + Number(new DataView(bytes.buffer, bytes.byteOffset).getBigUint64(0, true));
      return { header: new TextDecoder().decode(bytes.subarray(8, end)).trimEnd(), data: bytes.subarray(end) };
    };
    const bytes = readFileSync(join(GOLDEN, name));
    const { metadata, tensors } = parseSafetensors(bytes, name);
    expect(tensors.size).toBeGreaterThan(0);
    const original = split(bytes);
    const again = split(serializeSafetensors(tensors, metadata));
    expect(again.header).toBe(JSON.stringify(JSON.parse(original.header)));
    expect(Buffer.compare(again.data, original.data)).toBe(0);
  });

  test('half precision, exactly', () => {
    const f16 = Uint16Array.of(0x3c00, 0xc000, 0x0001, 0x83ff, 0x7bff, 0x7c00, 0xfc00, 0x7e00, 0x8000, 0x3555);
    const values = toFloat32(tensor('F16', new Uint8Array(f16.buffer), [10]));
    const expected = [1, -2, 2 ** -24, -1023 * 2 ** -24, 65504, Infinity, -Infinity, NaN, -0, 0.333251953125];
    expect([...values]).toEqual(expected);
    const bf16 = Uint16Array.of(0x3f80, 0xc040, 0x7f80, 0x7fc0, 0x0001, 0x8000);
    const brain = toFloat32(tensor('BF16', new Uint8Array(bf16.buffer), [6]));
    expect([...brain]).toEqual([1, -3, Infinity, NaN, 2 ** -133, -0]);
    expect(toFloat64(tensor('BF16', new Uint8Array(bf16.buffer), [6]))[4]).toBe(2 ** -133);
    const f64 = new Uint8Array(Float64Array.of(0.1, 1e300).buffer);
    expect([...toFloat32(tensor('F64', f64, [2]))]).toEqual([Math.fround(0.1), Infinity]);
  });

  test('conversions refuse other types and inexact integers', () => {
    const eight = new Uint8Array(8).fill(0x7f);
    expect(() => toFloat32(tensor('I64', eight, [1]))).toThrow(
      'a.safetensors: tensor "t" is I64, expected floating point; save it as F32',
    );
    expect(() => toFloat64(tensor('U8', eight, [8]))).toThrow(InputError);
    expect(() => toInt64Numbers(tensor('F64', eight, [1]))).toThrow('is F64, expected I64');
    expect(() => toInt64Numbers(tensor('I64', eight, [1]))).toThrow('holds 9187201950435737471, beyond exact integers');
  });

  const entry = (fields: object) =>
    JSON.stringify({ t: { dtype: 'F32', shape: [1], data_offsets: [0, 4], ...fields } });
  test.each<[string, Uint8Array, string]>([
    ['empty', new Uint8Array(0), 'an empty file; restore'],
    [
      'huge header',
      Uint8Array.of(1, 225, 245, 5, 0, 0, 0, 0, 123),
      'its header has 100000001 bytes, the limit is 100000000',
    ],
    ['absurd header', new Uint8Array(9).fill(255), 'its header has 18446744073709551615 bytes'],
    [
      'header beyond the file',
      Uint8Array.of(9, 0, 0, 0, 0, 0, 0, 0, 123, 125),
      'the header needs 17 bytes, the file has 10',
    ],
    ['array', file('[]', 0), 'does not begin with {'],
    ['space first', file(' {}', 0), 'does not begin with {'],
    ['no JSON', file('{"a":}', 0), 'not valid JSON'],
    ['no UTF-8', file('{}', 0).map((byte, i) => (i === 9 ? 0xff : byte)), 'not valid JSON'],
    ['deep nesting', file(`{"a":${'['.repeat(1e6)}`, 0), 'not valid JSON'],
    [
      'tensor twice',
      file(`{"t":{"dtype":"U8","shape":[0],"data_offsets":[0,0]},"\\u0074" : {}}`, 0),
      'the field t twice',
    ],
    [
      'field twice',
      file('{"t":{"dtype":"U8","dtype":"F32","shape":[0],"data_offsets":[0,0]}}', 0),
      'the field dtype twice',
    ],
    ['metadata of numbers', file('{"__metadata__":{"a":1}}', 0), '__metadata__ "a" is not a string'],
    ['metadata null', file('{"__metadata__":null}', 0), '__metadata__ is not an object'],
    ['entry null', file('{"t":null}', 0), 'tensor "t": its entry is not an object'],
    ['unknown dtype', file(entry({ dtype: 'F31' }), 4), 'tensor "t": unknown dtype'],
    ['dtype of Object', file(entry({ dtype: 'constructor' }), 4), 'unknown dtype'],
    ['dtype missing', file(entry({ dtype: undefined }), 4), 'unknown dtype'],
    ['negative size', file(entry({ shape: [-1] }), 4), 'its shape is not a list of counts'],
    ['fractional size', file(entry({ shape: [0.5] }), 4), 'its shape is not a list of counts'],
    ['inexact size', file(entry({ shape: [2 ** 53] }), 4), 'its shape is not a list of counts'],
    ['shape text', file(entry({ shape: '1' }), 4), 'its shape is not a list of counts'],
    ['product overflow', file(entry({ shape: [2 ** 32, 2 ** 32] }), 4), 'too large to count'],
    ['byte count overflow', file(entry({ shape: [2 ** 52] }), 4), 'too large to count'],
    ['three offsets', file(entry({ data_offsets: [0, 4, 8] }), 4), 'its data_offsets are not two counts'],
    ['reversed offsets', file(entry({ data_offsets: [4, 0] }), 4), 'F32 [1] needs 4 bytes, its range has -4'],
    ['range too long', file(entry({ data_offsets: [0, 8] }), 8), 'F32 [1] needs 4 bytes, its range has 8'],
    [
      'hole at the start',
      file(entry({ data_offsets: [4, 8] }), 8),
      'leaves a hole after the tensor before it: it begins at byte 4, expected 0',
    ],
    [
      'overlap',
      file(
        '{"a":{"dtype":"U8","shape":[4],"data_offsets":[0,4]},"b":{"dtype":"U8","shape":[4],"data_offsets":[2,6]}}',
        6,
      ),
      'tensor "b" overlaps the tensor before it: it begins at byte 2, expected 4',
    ],
    ['data truncated', file(entry({}), 3), 'truncated: tensor "t" ends at byte'],
    ['data left over', file(entry({}), 5), '1 bytes after the last tensor belong to none'],
  ])('refuses: %s', (_, bytes, message) => {
    expect(() => parse(bytes)).toThrow(InputError);
    expect(() => parse(bytes)).toThrow(message);
  });

  test('a long name stays on one short line', () => {
    const name = `a\n${'x'.repeat(5000)}`;
    const bytes = file(JSON.stringify({ [name]: 1 }), 0);
    expect(() => parse(bytes)).toThrow(/^fuzz\.bin: tensor "a\\nx{98}…": its entry is not an object; .{0,60}$/);
  });

  test('a very long string in the metadata is no problem', () => {
    const long = '\\"'.repeat(5e6);
    expect(parse(serializeSafetensors([], { long })).metadata.long.length).toBe(long.length);
  });

  test('serialising refuses what would not be a file', () => {
    const one = { dtype: 'F32', shape: [1], data: Float32Array.of(1) } as const;
    expect(() =>
      serializeSafetensors([
        ['a', one],
        ['a', one],
      ]),
    ).toThrow('tensor name "a" is taken');
    expect(() => serializeSafetensors([['__metadata__', one]])).toThrow('is taken');
    expect(() => serializeSafetensors([['a', { ...one, shape: [2] }]])).toThrow('"a" is F32 [2], its data has 4 bytes');
    expect(() => serializeSafetensors([['a', { ...one, shape: [-1, -1] }]])).toThrow(InputError);
  });

  test('damage', async () => {
    const bytes = sample();
    await fuzz(parse, bytes, bytes.length, 2000);
  });
});

describe('npy', () => {
  const parse = (bytes: Uint8Array) => parseNpy(bytes, 'fuzz.bin');
  const pad = ' '.repeat(56);
  const numpy = (head: string, dict: string, data: string) => {
    const text = `${dict}${pad}${' '.repeat(63)}`;
    const headerBytes = Math.ceil((head.length + dict.length + 1) / 64) * 64 - head.length;
    return Buffer.concat([
      Buffer.from(head, 'latin1'),
      Buffer.from(`${text.slice(0, headerBytes - 1)}\n`),
      Buffer.from(data, 'base64'),
    ]);
  };
  // The bytes that NumPy 2.4 wrote for these arrays.
  const v1 = numpy(
    '\x93NUMPY\x01\x00\x76\x00',
    "{'descr': '<f4', 'fortran_order': False, 'shape': (2, 2), }",
    'AADAPwAAAMAAAEBAAACAfw==',
  );
  const v2 = numpy(
    '\x93NUMPY\x02\x00\x74\x00\x00\x00',
    "{'descr': '<i8', 'fortran_order': False, 'shape': (3,), }",
    'AQAAAAAAAAD+/////////wAAAAAAAABA',
  );
  const v3 = numpy(
    '\x93NUMPY\x03\x00\x74\x00\x00\x00',
    "{'descr': '<f8', 'fortran_order': False, 'shape': (), }",
    'AAAAAAAAHUA=',
  );
  const withHeader = (dict: string, dataBytes: number) => {
    const file = Buffer.alloc(10 + dict.length + dataBytes);
    file.write('\x93NUMPY\x01\x00', 'latin1');
    file.writeUInt16LE(dict.length, 8);
    file.write(dict, 10, 'latin1');
    return file;
  };

  test("reads NumPy's files of all three versions", () => {
    expect(parse(v1)).toEqual({ dtype: 'f4', shape: [2, 2], data: Float32Array.of(1.5, -2, 3, Infinity) });
    expect(parse(v2)).toEqual({ dtype: 'i8', shape: [3], data: BigInt64Array.of(1n, -2n, 2n ** 62n) });
    expect(parse(v3)).toEqual({ dtype: 'f8', shape: [], data: Float64Array.of(7.25) });
    const odd = withHeader(`{"shape":( 2,3 ) , 'fortran_order' :False,"descr": '<i4'}\n`, 24);
    expect(parse(odd)).toEqual({ dtype: 'i4', shape: [2, 3], data: new Int32Array(6) });
    expect(parse(withHeader("{'descr':'|u1','fortran_order':True,'shape':(3,)}", 3)).data).toEqual(new Uint8Array(3));
    expect(parse(withHeader("{'descr':'|u1','fortran_order':False,'shape':(3,0),}", 0)).shape).toEqual([3, 0]);
  });

  test("writes NumPy's bytes, and reads them again", () => {
    expect(Buffer.compare(serializeNpy([2, 2], Float32Array.of(1.5, -2, 3, Infinity)), v1)).toBe(0);
    const data = Float64Array.of(Number.NaN, -0, 1e-310);
    for (const shape of [[3], [1, 3], [3, 1, 1]]) {
      const bytes = serializeNpy(shape, data);
      expect(bytes.length % 64).toBe(24);
      expect(parse(bytes)).toEqual({ dtype: 'f8', shape, data });
    }
    expect(parse(serializeNpy([], BigInt64Array.of(-1n)))).toEqual({
      dtype: 'i8',
      shape: [],
      data: BigInt64Array.of(-1n),
    });
    expect(() => serializeNpy([2], new Float32Array(3))).toThrow('shape [2] and 3 elements do not fit');
    expect(() => serializeNpy([-1, -3], new Float32Array(3))).toThrow(InputError);
  });

  test('a view that does not begin its buffer is written and read', () => {
    const data = new Float32Array([9, 1, 2, 3]).subarray(1);
    const parsed = parse(Buffer.concat([Buffer.alloc(3), serializeNpy([3], data)]).subarray(3));
    expect(parsed.data).toEqual(Float32Array.of(1, 2, 3));
  });

  const header = (descr: string, fortran: string, shape: string) =>
    `{'descr': ${descr}, 'fortran_order': ${fortran}, 'shape': ${shape}, }`;
  test.each<[string, Uint8Array, string]>([
    ['another file', Buffer.from('PK\x03\x04 not an array'), 'not an .npy file'],
    ['version 4', v1.map((byte, i) => (i === 6 ? 4 : byte)), 'format version 4 is not known'],
    ['header beyond the file', v1.subarray(0, 100), 'truncated: its header ends at byte 128 of 100'],
    ['data truncated', v1.subarray(0, -1), 'truncated: f4 [2,2] needs 16 bytes of data, the file has 15'],
    ['data left over', Buffer.concat([v1, Buffer.alloc(1)]), 'too long'],
    ['Fortran order', withHeader(header("'<f4'", 'True', '(2, 3)'), 24), 'numpy.ascontiguousarray'],
    [
      'big-endian',
      withHeader(header("'>f4'", 'False', '(2,)'), 8),
      "element type '>f4' cannot be read; convert it with astype",
    ],
    ['objects', withHeader(header("'|O'", 'False', '(2,)'), 8), "element type '|O'"],
    ['type of Object', withHeader(header("'constructor'", 'False', '(2,)'), 8), "element type 'constructor'"],
    ['named fields', withHeader(header("[('a', '<f4')]", 'False', '(2,)'), 8), 'not an array description'],
    ['a call', withHeader(header("__import__('os').system('id')", 'False', '(2,)'), 8), 'not an array description'],
    ['a call in the shape', withHeader(header("'<f4'", 'False', '(int(2),)'), 8), 'not an array description'],
    ['negative size', withHeader(header("'<f4'", 'False', '(-2,)'), 8), 'not an array description'],
    ['inexact size', withHeader(header("'<f4'", 'False', '(9007199254740993,)'), 8), 'not an array description'],
    ['number without comma', withHeader(header("'<f4'", 'False', '(2)'), 8), 'not an array description'],
    ['two commas', withHeader(header("'<f4'", 'False', '(2,,)'), 8), 'not an array description'],
    ['space in a number', withHeader(header("'<f4'", 'False', '(1 2,)'), 8), 'not an array description'],
    ['product overflow', withHeader(header("'<f4'", 'False', '(4294967296, 4294967296)'), 8), 'needs Infinity bytes'],
    ['order neither', withHeader(header("'<f4'", 'None', '(2,)'), 8), 'not an array description'],
    [
      'a key twice',
      withHeader("{'descr': '<f4', 'descr': '<f4', 'fortran_order': False, 'shape': (2,)}", 8),
      'not an array',
    ],
    ['a key more', withHeader("{'descr': '<f4', 'fortran_order': False, 'shape': (2,), 'x': 1}", 8), 'not an array'],
    ['a key less', withHeader("{'descr': '<f4', 'shape': (2,)}", 8), 'not an array'],
    ['text after', withHeader(`${header("'<f4'", 'False', '(2,)')} 1`, 8), 'not an array'],
    ['commas missing', withHeader("{'descr': '<f4' 'fortran_order': False 'shape': (2,)}", 8), 'not an array'],
    [
      'long header',
      Buffer.concat([v2.subarray(0, 8), Buffer.of(0, 0, 2, 0), Buffer.alloc(140000, 32)]),
      'its header has 131072 bytes',
    ],
  ])('refuses: %s', (_, bytes, message) => {
    expect(() => parse(bytes)).toThrow(InputError);
    expect(() => parse(bytes)).toThrow(message);
  });

  test.each([v1, v2, v3])('damage %#', async (bytes) => {
    await fuzz(parse, new Uint8Array(bytes), 80, 1000);
  });
});

describe('idx', () => {
  const parse = (bytes: Uint8Array) => parseIdx(bytes, 'fuzz.bin');
  const images = { shape: [2, 3, 4], data: Uint8Array.from({ length: 24 }, (_, i) => i * 9) };
  const refuses = async (bytes: Uint8Array, message: string) => {
    await expect(parse(bytes)).rejects.toThrow(InputError);
    await expect(parse(bytes)).rejects.toThrow(message);
  };

  test('round trip of labels, gray and colour images, compressed or not', async () => {
    const arrays = [
      images,
      { shape: [5], data: Uint8Array.of(4, 3, 2, 1, 0) },
      { shape: [1, 2, 2, 3], data: new Uint8Array(12).fill(7) },
      { shape: [0], data: new Uint8Array(0) },
    ];
    for (const array of arrays) {
      const bytes = serializeIdx(array);
      expect(await parse(bytes)).toEqual(array);
      expect(await parse(await gzip(bytes))).toEqual(array);
      expect(await parse(gzipSync(bytes))).toEqual(array);
    }
    expect([...serializeIdx(images).subarray(0, 16)]).toEqual([0, 0, 8, 3, 0, 0, 0, 2, 0, 0, 0, 3, 0, 0, 0, 4]);
    expect(() => serializeIdx({ shape: [3], data: new Uint8Array(4) })).toThrow('shape [3] and 4 bytes do not fit');
    expect(() => serializeIdx({ shape: [2 ** 32, 0], data: new Uint8Array(0) })).toThrow(InputError);
  });

  test('compression gives the same bytes, without time and system', async () => {
    const bytes = serializeIdx(images);
    const packed = await gzip(bytes);
    expect(packed).toEqual(await gzip(bytes));
    expect([...packed.subarray(0, 10)]).toEqual([0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255]);
  });

  test('refuses what is no such file', async () => {
    const bytes = serializeIdx(images);
    const header = (...start: number[]) => bytes.map((byte, i) => start[i] ?? byte);
    await refuses(
      bytes.slice(0, 39),
      'fuzz.bin: truncated: header says 2 images of 3x4 (40 bytes), file has 39 bytes; download it again',
    );
    await refuses(
      Buffer.concat([bytes, Buffer.alloc(1)]),
      'too long: header says 2 images of 3x4 (40 bytes), file has 41 bytes',
    );
    await refuses(header(1), 'not begin with two zero bytes');
    await refuses(header(0, 0, 13), 'it holds float32, only unsigned bytes are read');
    await refuses(header(0, 0, 255), 'it holds type 0xff');
    await refuses(header(0, 0, 8, 2), 'it has rank 2');
    await refuses(header(0, 0, 8, 255), 'it has rank 255');
    await refuses(header(0, 0, 8, 3, 255, 255, 255, 255, 255, 255, 255, 255), 'too large to count');
    await refuses(
      serializeIdx({ shape: [3], data: new Uint8Array(3) }).slice(0, 10),
      'header says 3 labels (11 bytes), file has 10',
    );
  });

  test('compressed: truncated, damaged, and longer than its header says', async () => {
    const bytes = serializeIdx(images);
    const packed = gzipSync(bytes);
    await refuses(packed.subarray(0, -1), 'damaged gzip file');
    await refuses(packed.subarray(0, 12), 'damaged gzip file');
    await refuses(Buffer.concat([packed, Buffer.from('junk')]), 'damaged gzip file');
    await refuses(gzipSync(bytes.slice(0, 30)), 'header says 2 images of 3x4 (40 bytes), unpacked it has 30 bytes');
    await refuses(gzipSync(Buffer.alloc(0)), '0 bytes are no IDX header');
    await refuses(gzipSync(serializeIdx({ shape: [3], data: new Uint8Array(3) }).slice(0, 10)), 'header says 3 labels');
    await refuses(Uint8Array.of(0, 0, 8, 1, 64, 0, 0, 0), 'header says 1073741824 labels');
    await refuses(gzipSync(Uint8Array.of(0, 0, 8, 1, 64, 0, 0, 0, ...new Uint8Array(20))), 'promises 1073741832');
    await expect(parseIdx(packed, 'a.gz', { maxBytes: 39 })).rejects.toThrow(
      'promises 40 bytes, the limit for compressed files is 39',
    );
  });

  test.each([0, 1, 11, 12, 13, 5000, 3_000_000])('compressed and plain are the same: %i labels', async (length) => {
    const data = Uint8Array.from({ length }, (_, i) => (i * 7919) >> 5);
    const labels = { shape: [length], data };
    const read = await parseIdx(gzipSync(serializeIdx(labels)), 'a.gz');
    expect(read.shape).toEqual(labels.shape);
    expect(Buffer.compare(read.data, data)).toBe(0);
  });

  test('a bomb is stopped early', async () => {
    const bomb = gzipSync(Buffer.concat([serializeIdx(images), Buffer.alloc(3e8)]));
    const before = process.memoryUsage().arrayBuffers;
    await refuses(bomb, 'too long: header says 2 images of 3x4 (40 bytes), unpacked it has more');
    expect(process.memoryUsage().arrayBuffers - before).toBeLessThan(1e8);
  });

  test('damage', async () => {
    const bytes = serializeIdx(images);
    await fuzz(parse, bytes, 40, 500);
    const packed = await gzip(bytes);
    await fuzz(parse, packed, packed.length, 300);
  });

  const missing = existsSync(join(FASHION, 't10k-labels-idx1-ubyte.gz')) ? '' : ` (skipped: no files in ${FASHION})`;
  test.skipIf(missing !== '')(`Fashion-MNIST${missing}`, async () => {
    const labels = await parseIdx(readFileSync(join(FASHION, 't10k-labels-idx1-ubyte.gz')), 'labels');
    expect(labels.shape).toEqual([10000]);
    expect([...labels.data.subarray(0, 5)]).toEqual([9, 2, 1, 1, 6]);
    const pixels = await parseIdx(readFileSync(join(FASHION, 't10k-images-idx3-ubyte.gz')), 'images');
    expect(pixels.shape).toEqual([10000, 28, 28]);
    expect(pixels.data.length).toBe(7840000);
  });
});

describe('csv', () => {
  test('reads what it writes, whatever is in the fields', () => {
    const rows = [
      ['index', 'file', 'class, with comma'],
      ['0', 'a "quoted" name.png', ''],
      ['1', 'two\nlines', ' spaces '],
    ];
    const text = serializeCsv(rows);
    expect(text.split('\n')[0]).toBe('index,file,"class, with comma"');
    // Spaces around a field that needs no quotes are layout.
    expect(parseCsv(text, 'x.csv').rows).toEqual([...rows.slice(0, 2), ['1', 'two\nlines', 'spaces']]);
  });

  test.each([
    [
      'a,b\r\n1,2\r\n',
      [
        ['a', 'b'],
        ['1', '2'],
      ],
    ],
    [
      '\uFEFFa,b\n\n 1 , "2" \n\n',
      [
        ['a', 'b'],
        ['1', '2'],
      ],
    ],
    ['a\n1\n2', [['a'], ['1'], ['2']]],
    [
      'a,b\n1,',
      [
        ['a', 'b'],
        ['1', ''],
      ],
    ],
    ['', []],
  ])('reads %j', (text, rows) => {
    expect(parseCsv(text, 'x.csv').rows).toEqual(rows);
  });

  test.each([
    ['a,b\n1\n', 'x.csv: line 2 has 1 fields, the first has 2'],
    ['a,b\n1,"2\n', 'x.csv: line 2: a quote is not closed'],
    ['a,b\n1,"2"3\n', 'x.csv: line 2: text after a closing quote'],
    ['a,b\n\n\r\n"1\n\n""\r\n",2\n3\n', 'x.csv: line 8 has 1 fields, the first has 2'],
    ['a,b\n"1\n2","\n3\n', 'x.csv: line 3: a quote is not closed'],
    ['a,b\n"1\n2","3\n"4\n', 'x.csv: line 4: text after a closing quote'],
    ['a,b\r\n1,2\r3,4\r5\r', 'x.csv: line 4 has 1 fields, the first has 2'],
    ['\n\n a , b\n\n"1\n2",3\n4\n', 'x.csv: line 7 has 1 fields, the first has 2'],
  ])('refuses %j', (text, message) => {
    expect(() => parseCsv(text, 'x.csv')).toThrow(message);
  });

  test('tells the line of the file on which each row begins', () => {
    const text = '\uFEFFa,b\r\n\r\n1,"x\r\ny\n"\n\n\n"\n","""\r"\r2,3';
    expect(parseCsv(text, 'x.csv')).toEqual({
      rows: [
        ['a', 'b'],
        ['1', 'x\r\ny\n'],
        ['\n', '"\r'],
        ['2', '3'],
      ],
      lines: [1, 3, 8, 11],
    });
  });

  test.each(['x', '""', '\n'])('reads fields of ten million characters: %j', (character) => {
    const field = character.repeat(10_000_000 / character.length);
    const [row] = parseCsv(`"${field}",1\n`, 'x.csv').rows;
    expect(row).toHaveLength(2);
    expect(row[0]).toHaveLength(character === '""' ? 5_000_000 : 10_000_000);
    expect(() => parseCsv(`1,"${field}\n`, 'x.csv')).toThrow('x.csv: line 1: a quote is not closed');
  });
});
