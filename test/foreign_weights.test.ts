/** Files of weights that are of other types, hold two networks, or are no weights at all. */

import { describe, expect, it } from 'vitest';
import { type SafetensorsDtype, serializeSafetensors, type TensorData } from '../src/formats/safetensors.ts';
import { parseMatrix } from '../src/nn/matrix_file.ts';
import { initialStateDict, Model } from '../src/nn/model.ts';
import { parseModelFile } from '../src/nn/model_file.ts';
import { useDevice } from './device.ts';
import { smallNetwork } from './small_data.ts';

const device = useDevice();
const flags = { stem: 'small', inputSize: 12, mean: [0.5], std: [0.25] } as const;
const fresh = (seed: number, prefix = ''): [string, TensorData][] =>
  [...initialStateDict(smallNetwork, seed)].map(([name, tensor]) => [prefix + name, tensor]);
const counter = (dtype: SafetensorsDtype, shape: readonly number[], data: ArrayBufferView) =>
  ['bn1.num_batches_tracked', { dtype, shape, data }] as const;

describe('what inference does not need', () => {
  it.each([
    ['float16', counter('F16', [], Uint16Array.of(0x4700)), 7],
    ['bfloat16', counter('BF16', [], Uint16Array.of(0x40e0)), 7],
    ['float32, an average', counter('F32', [], Float32Array.of(6.75)), 7],
    ['float64', counter('F64', [1], Float64Array.of(7)), 7],
    ['int32', counter('I32', [], Int32Array.of(7)), 7],
    ['uint8', counter('U8', [], Uint8Array.of(7)), 7],
    ['int64', counter('I64', [], BigInt64Array.of(7n)), 7],
    ['8-bit floating point', counter('F8_E4M3', [], Uint8Array.of(7)), 0],
    ['no number', counter('F32', [], Float32Array.of(Number.NaN)), 0],
    ['a negative number', counter('I64', [], BigInt64Array.of(-3n)), 0],
    ['nothing', counter('F32', [0], new Float32Array(0)), 0],
  ])('may be %s', async (_, tracked, expected) => {
    const { config, tensors } = await parseModelFile(serializeSafetensors([...fresh(0), tracked]), 'a file', flags);
    const model = await Model.load(device(), config, tensors, 'a file');
    expect(model.batchesTracked).toBe(expected);
    model.destroy();
  });
});

describe('two networks in one file', () => {
  const both = (a: [string, TensorData][], b: [string, TensorData][]) =>
    parseModelFile(serializeSafetensors([...a, ...b]), 'a file', flags);

  it('give the one that has the usual name, and say so', async () => {
    const { inferred, tensors } = await both(fresh(1, 'ema_model.'), fresh(0, 'model.'));
    expect(inferred).toContain('names without model.');
    expect(inferred).toContain('other weights under ema_model. left out');
    const [[name, { data }]] = fresh(0);
    expect(Buffer.from(tensors.get(name)!.data).equals(new Uint8Array(data.buffer))).toBe(true);
  });

  it('give either where they are the same', async () => {
    const { inferred } = await both(fresh(0, 'teacher.'), fresh(0, 'student.'));
    expect(inferred).toContain('the same weights under student. left out');
  });

  it('are refused where nothing tells which is meant', async () => {
    await expect(both(fresh(0, 'teacher.'), fresh(1, 'student.'))).rejects.toThrow(
      'a file: holds several networks, under teacher., student.; save the one to use alone',
    );
  });
});

it('a module beside the network that may be a part of it is never left out', async () => {
  const attention: [string, TensorData] = ['attention.scale', { dtype: 'F32', shape: [4], data: new Float32Array(4) }];
  for (const prefix of ['', 'model.'])
    await expect(
      parseModelFile(serializeSafetensors([...fresh(0, prefix), attention]), 'a file', flags),
    ).rejects.toThrow(
      /nearest resnet18: attention\.scale is unknown; of another network give features: --suspect-features/,
    );
  // Nor is one of two layers taken for the last.
  const layers = fresh(0).filter(([name]) => !name.startsWith('fc.'));
  const layer = (name: string, shape: number[]): [string, TensorData] => [
    name,
    { dtype: 'F32', shape, data: new Float32Array(shape[0] * shape[1]) },
  ];
  const headed = [...layers, layer('head.0.weight', [32, 32]), layer('head.2.weight', [2, 32])];
  await expect(parseModelFile(serializeSafetensors(headed), 'a file', flags)).rejects.toThrow(
    'fc.weight is missing; fc.bias is missing; head.0.weight is unknown; head.2.weight is unknown',
  );
});

it('a matrix is found by its name in the file, with what stands before all names or without', async () => {
  const bytes = serializeSafetensors(fresh(0, 'module.'));
  const plain = await parseMatrix(bytes, 'a.safetensors#fc.weight');
  expect(await parseMatrix(bytes, 'a.safetensors#module.fc.weight')).toEqual(plain);
});

describe('what is no weights', () => {
  const ascii = (text: string): Buffer => Buffer.from(text, 'latin1');
  const tar = Buffer.concat([ascii('checkpoint.pth'), Buffer.alloc(243), ascii('ustar'), Buffer.alloc(600)]);
  it.each<[string, Buffer, string]>([
    [
      'a Git LFS pointer',
      ascii('version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 46807446\n'),
      'a Git LFS pointer, not the file itself, not W; fetch the file with: git lfs pull',
    ],
    ['GGUF', Buffer.concat([ascii('GGUF\x03\0\0\0'), Buffer.alloc(500)]), 'a GGUF file, of llama.cpp, not W; '],
    [
      'an index',
      ascii(`{"metadata": {"total_size": 1}, "weight_map": {"conv1.weight": "${'m'.repeat(900)}.safetensors"}}`),
      'the index of weights in several files, not W; join the files it lists',
    ],
    ['JSON', ascii('{"architectures": ["ResNetForImageClassification"]}'), 'JSON, not W; give the file of weights'],
    [
      'a web page',
      ascii('\n<!DOCTYPE html><html><body>404</body></html>'),
      'a web page, not W; download the file itself',
    ],
    ['HDF5', ascii('\x89HDF\r\n\x1a\n\0\0\0\0\0\x08\x08\0'), 'an HDF5 file, as Keras writes them, not W; '],
    ['a NumPy array', ascii("\x93NUMPY\x01\0v\0{'descr': '<f4', }"), 'a NumPy array, not W; '],
    ['ONNX', ascii('\x08\x07\x12\x07pytorch\x1a\x051.13.1:'), 'an ONNX model, not W; '],
    ['TensorFlow Lite', ascii('\x1c\0\0\0TFL3\x14\0\x20\0'), 'a TensorFlow Lite model, not W; '],
    ['gzip', ascii('\x1f\x8b\x08\0\0\0\0\0\0\x03'), 'a gzip archive, not W; unpack it first'],
    ['Zstandard', ascii('\x28\xb5\x2f\xfd\x24\0\x01\0\0\0'), 'a Zstandard archive, not W; unpack it first'],
    ['a tar archive', tar, 'a tar archive, not W; unpack it first'],
  ])('%s is named for what it is, under any name', async (_, bytes, expected) => {
    for (const [name, wanted] of [
      ['a.safetensors', 'safetensors'],
      ['a.pth', 'weights'],
      ['model.bin', 'weights'],
    ])
      await expect(parseModelFile(new Uint8Array(bytes), name)).rejects.toThrow(
        expect.objectContaining({
          exitCode: 3,
          message: expect.stringContaining(`${name}: ${expected.replace('W', wanted)}`),
        }),
      );
  });

  it('and safetensors are not taken for any of these', async () => {
    // A header of 0x3c7b… bytes would begin like other things: what stands at its place decides.
    const { container } = await parseModelFile(serializeSafetensors(fresh(0)), 'a file', flags);
    expect(container).toBe('safetensors');
  });
});
