import { randomBytes } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { describe, expect, it, test } from 'vitest';
import { parsePth } from '../src/formats/pth.ts';
import { parseSafetensors, type SafetensorsTensor, serializeSafetensors } from '../src/formats/safetensors.ts';
import { initialStateDict } from '../src/nn/model.ts';
import { describeModel, parseModelFile, parseWeights } from '../src/nn/model_file.ts';
import { fuzz } from './fuzz.ts';
import { smallNetwork } from './small_data.ts';
import { type ZipFile, zipOf } from './zip.ts';

const golden = (name: string): Uint8Array => new Uint8Array(readFileSync(`test/golden/${name}`));

/** Element types, shapes and bytes by name. */
const contents = (tensors: ReadonlyMap<string, SafetensorsTensor>) =>
  new Map(
    [...tensors].map(([name, { dtype, shape, data }]) => [
      name,
      { dtype, shape, data: Buffer.from(data).toString('hex') },
    ]),
  );

describe('files that PyTorch wrote', () => {
  const truth = contents(parseSafetensors(golden('pth/state.safetensors'), 'truth').tensors);
  const prefixed = new Map([...truth].map(([name, tensor]) => [`module.${name}`, tensor]));

  it.each([
    ['state', 'zip'],
    ['legacy', 'legacy'],
    ['legacy4', 'legacy'],
  ])('%s: every element type, views, parts and strides', async (name, container) => {
    const file = await parsePth(golden(`pth/${name}.pth`), name);
    expect(contents(file.tensors)).toEqual(truth);
    expect([...file.tensors.keys()].sort()).toEqual([...truth.keys()].sort());
    expect(file).toMatchObject({ container, entry: null, beside: {} });
  });

  it('a checkpoint with its optimiser, as protocol 4', async () => {
    const file = await parsePth(golden('pth/checkpoint4.pth'), 'checkpoint');
    expect(contents(file.tensors)).toEqual(prefixed);
    expect(file.entry).toBe('state_dict');
    expect(file.beside).toEqual({
      epoch: '3',
      args: 'argparse.Namespace {lr: 0.1, arch: "resnet18"}',
      optimizer: '{state: a dictionary of 1, param_groups: a list of 1}',
      best: 'null',
    });
  });

  it('a network of DataParallel under {model, params, epoch} is recognised and is that of its safetensors', async () => {
    const weights = await parseWeights(golden('resnet18_checkpoint_dataparallel.pth'), 'checkpoint.pth');
    expect(weights).toMatchObject({ container: 'pth', entry: 'model', prefix: 'module.' });
    expect(weights.beside).toEqual({ params: '{architecture: "resnet18", num_classes: 12}', epoch: '3' });
    const model = describeModel(weights, 'checkpoint.pth');
    expect(model.config).toMatchObject({ architecture: 'resnet18', width: 8, stem: 'imagenet', numClasses: 12 });
    expect(model.inferred.slice(0, 3)).toEqual(['state dict model', 'names without module.', 'architecture resnet18']);
    const truth = parseSafetensors(golden('resnet18_state.safetensors'), 'truth');
    const counters = ([name]: [string, unknown]) => !name.endsWith('num_batches_tracked');
    // Which the other file has as lists of one.
    expect([...contents(model.tensors)].filter(counters)).toEqual([...contents(truth.tensors)].filter(counters));
    expect(model.tensors.size).toBe(truth.tensors.size);
  });

  it.each(['state', 'checkpoint4', 'legacy', 'legacy4'])('%s damaged', async (name) => {
    const bytes = golden(`pth/${name}.pth`);
    await fuzz((damaged) => parsePth(damaged, 'fuzz.bin'), bytes, bytes.length, 1500);
  });
});

// Pickles by hand.

const op = (...codes: number[]): Buffer => Buffer.from(codes);
const text = (value: string): Buffer => {
  const bytes = Buffer.from(value);
  const length = Buffer.alloc(4);
  length.writeUInt32LE(bytes.length);
  return Buffer.concat([op(0x58), length, bytes]);
};
const int = (value: number): Buffer => {
  const bytes = Buffer.alloc(4);
  bytes.writeInt32LE(value);
  return Buffer.concat([op(0x4a), bytes]);
};
const named = (module: string, name: string): Buffer => Buffer.from(`c${module}\n${name}\n`);
const tuple = (...values: Buffer[]): Buffer => Buffer.concat([op(0x28), ...values, op(0x74)]);
const dict = (...items: Buffer[]): Buffer => Buffer.concat([op(0x7d, 0x28), ...items, op(0x75)]);
const call = (callee: Buffer, ...args: Buffer[]): Buffer => Buffer.concat([callee, tuple(...args), op(0x52)]);
const REBUILD = named('torch._utils', '_rebuild_tensor_v2');
const ORDERED = call(named('collections', 'OrderedDict'));
const FALSE = op(0x89);
const storage = (elements: number, key = '0', type = 'FloatStorage'): Buffer =>
  Buffer.concat([tuple(text('storage'), named('torch', type), text(key), text('cpu'), int(elements)), op(0x51)]);
const tensor = ({ elements = 4, offset = 0, shape = [4], stride = [1], key = '0', type = 'FloatStorage' }): Buffer =>
  call(
    REBUILD,
    storage(elements, key, type),
    int(offset),
    tuple(...shape.map(int)),
    tuple(...stride.map(int)),
    FALSE,
    ORDERED,
  );
const pickle = (value: Buffer): Buffer => Buffer.concat([op(0x80, 2), value, op(0x2e)]);
const stored = (value: Buffer): ZipFile => ({ name: 'a/data.pkl', content: pickle(value) });
const four: ZipFile = { name: 'a/data/0', content: new Uint8Array(new Float32Array([1, 2, 3, 4]).buffer) };
const pth = (value: Buffer, ...others: ZipFile[]): Buffer => zipOf([stored(value), four, ...others]);
const good = dict(text('w'), tensor({}));
const repeated = (bytes: Buffer, count: number): Buffer => Buffer.concat(new Array<Buffer>(count).fill(bytes));

const refuses = async (bytes: Uint8Array, message: string | RegExp): Promise<void> => {
  const error: unknown = await parsePth(bytes, 'x.pth').catch((reason: unknown) => reason);
  expect(error).toMatchObject({ exitCode: 3 });
  const pattern = message instanceof RegExp ? message : new RegExp(`^x\\.pth: ${message}.*; \\S`);
  expect((error as Error).message).toMatch(pattern);
  expect((error as Error).message.length).toBeLessThan(400);
};

it('reads what is written by hand here', async () => {
  for (const bytes of [pth(good), zipOf([stored(good), four], { zip64: true })]) {
    const { tensors } = await parsePth(bytes, 'x.pth');
    expect([...tensors.get('w')!.data]).toEqual([...four.content]);
  }
});

it('looks once through what many keys hold', async () => {
  const names = Array.from({ length: 300_000 }, (_, i) => text(`w${i}`));
  const recalled = (index: number): Buffer[] => names.flatMap((name) => [name, op(0x68, index)]);
  // All of its entries are looked at before it is known to be a state dict. Again for every key it would take hours.
  const mixed = [op(0x7d, 0x71, 2, 0x28), ...recalled(1), text('last'), op(0x4e, 0x75)];
  const value = Buffer.concat([
    tensor({}),
    op(0x71, 1, 0x30),
    ...mixed,
    op(0x30, 0x7d, 0x28),
    ...recalled(2),
    op(0x75),
  ]);
  await refuses(pth(value), 'holds several state dicts: "w0", "w1"');
});

it('reads deflated entries', async () => {
  const content = new Uint8Array(new Float32Array(4000).fill(1.5).buffer);
  const value = dict(text('w'), tensor({ elements: 4000, shape: [4000] }));
  // Beside something that does not become smaller, as weights do not.
  const noise = { name: 'a/data/1', content: randomBytes(4000) };
  const packed = (says: ZipFile['says'] = {}) =>
    zipOf([{ ...stored(value), deflate: true }, { name: 'a/data/0', content, deflate: true, says }, noise]);
  const { tensors } = await parsePth(packed(), 'x.pth');
  expect(Buffer.from(tensors.get('w')!.data).equals(content)).toBe(true);
  await refuses(packed({ size: 15_999 }), 'damaged: the storage "0" has 15999 bytes, its 4000 F32 need 16000');
  await refuses(packed({ checksum: 1 }), 'damaged: its zip entry "a/data/0" is not what its checksum says');
});

describe('pickles that ask for more than weights', () => {
  const system = call(named('posix', 'system'), text('touch /tmp/owned'));
  test.each<[string, Buffer, string | RegExp]>([
    ['os.system', system, 'its pickle refers to "posix.system", which no state dict needs and which is not run here'],
    ['os.system in a state dict', dict(text('w'), system), 'its pickle refers to "posix.system"'],
    [
      'os.system within the rebuilding of a tensor',
      dict(text('w'), call(REBUILD, system, int(0))),
      'its pickle refers to "posix.system"',
    ],
    ['eval by its name on the stack', Buffer.concat([text('builtins'), text('eval'), op(0x93)]), /"builtins\.eval"/],
    ['a name that no call needs', named('os', 'environ'), /"os\.environ"/],
    ['a module that torch has', named('torch', 'load'), /"torch\.load"/],
    ['a name of 900 characters', named('a', 'b'.repeat(900)), /"a\.b{98}…"/],
    [
      'a name that is a list',
      Buffer.concat([op(0x5d), op(0x5d), op(0x93)]),
      'its pickle refers to a name that is no text',
    ],
    ['INST', Buffer.from('(iposix\nsystem\n'), 'its pickle has the instruction 0x69, which no state dict needs'],
    ['an extension', op(0x82, 1), 'its pickle has the instruction 0x82'],
    ['a call of a value', call(text('system'), text('x')), 'its pickle calls something that no state dict needs'],
    ['a call of a type', call(named('torch', 'FloatStorage'), int(3)), 'its pickle calls something'],
    [
      'a class of a model',
      call(named('torchvision.models.resnet', 'ResNet')),
      'holds torchvision.models.resnet.ResNet, no state dict',
    ],
    [
      'a whole module',
      dict(text('conv'), call(named('torch.nn.modules.conv', 'Conv2d'))),
      'holds a whole module, whose code would be needed',
    ],
    ['a class that runs programs', call(named('subprocess', 'Popen'), text('sh')), /"subprocess\.Popen"/],
    ['a function of a module of its own', call(named('__main__', 'configure')), /"__main__\.configure"/],
    [
      'a module by reference',
      Buffer.concat([tuple(text('module'), text('ResNet'), text('resnet.py'), text('source')), op(0x51)]),
      'holds a whole module',
    ],
    ['a file by reference', Buffer.concat([text('/etc/passwd'), op(0x51)]), 'damaged: it describes a storage'],
    ['attributes of a function', Buffer.concat([REBUILD, dict(), op(0x62)]), 'its pickle sets attributes of something'],
  ])('%s', async (_, value, message) => {
    await refuses(pth(value), message);
  });

  it('values of classes that are not needed are described, never made', async () => {
    const namespace = Buffer.concat([
      named('argparse', 'Namespace'),
      op(0x29, 0x81),
      dict(text('lr'), int(3)),
      op(0x62),
    ]);
    const { beside } = await parsePth(pth(dict(text('model'), good, text('args'), namespace)), 'x.pth');
    expect(beside).toEqual({ args: 'argparse.Namespace {lr: 3}' });
  });
});

describe('pickles that take memory and time', () => {
  test.each<[string, Buffer, string | RegExp]>([
    [
      'a million lists in each other',
      Buffer.concat([repeated(op(0x5d), 900_000), repeated(op(0x61), 899_999)]),
      /a list of 1, no state dict/,
    ],
    [
      'a deep list as the name of an entry',
      dict(Buffer.concat([repeated(op(0x5d), 900_000), repeated(op(0x61), 899_999)]), good),
      /holds no state dict but a list of 1;/,
    ],
    [
      'a deep list as a name',
      Buffer.concat([op(0x5d), repeated(op(0x85), 900_000), op(0x88, 0x93)]),
      /a name that is no text/,
    ],
    ['two million marks', repeated(op(0x28), 2_000_000), 'its pickle takes more than 2000000 steps'],
    [
      'a list of 20 000 that 200 calls copy',
      Buffer.concat([
        ...[op(0x5d, 0x71, 1, 0x28), repeated(op(0x4e, 0x4e, 0x86), 20_000), op(0x65)],
        repeated(Buffer.concat([named('collections', 'OrderedDict'), op(0x68, 1, 0x85, 0x52, 0x30)]), 200),
      ]),
      'its pickle takes more than 2000000 steps',
    ],
    ['a memo of two million', Buffer.concat([op(0x4e), repeated(op(0x94), 2_000_000)]), 'its pickle takes more than'],
    [
      'a memo at the end of numbers',
      Buffer.concat([op(0x4e), op(0x72, 255, 255, 255, 255)]),
      'holds null, no state dict',
    ],
    ['a text of 4 GB', op(0x58, 255, 255, 255, 255), 'truncated: its pickle has no end'],
    ['a text of 2^64 bytes', op(0x8d, 255, 255, 255, 255, 255, 255, 255, 255), 'truncated: its pickle has no end'],
    ['an integer of 2 GB', op(0x8b, 255, 255, 255, 127), 'its pickle has an integer of 2147483647 bytes'],
    ['an integer of a thousand digits', Buffer.from(`L${'9'.repeat(990)}L\n`), 'damaged: its pickle has the integer'],
    ['a line without end', Buffer.from(`I${'9'.repeat(5000)}`), 'damaged: its pickle has a line without end'],
    ['something that was never put in the memo', op(0x68, 9), 'damaged: its pickle takes values that it never made'],
    ['an empty stack', op(0x30, 0x52), 'damaged: its pickle takes values that it never made'],
    ['a protocol to come', op(0x80, 9), 'its pickle has protocol 9'],
    [
      'a dictionary that holds itself',
      Buffer.concat([op(0x7d, 0x71, 0), text('model'), op(0x68, 0, 0x73)]),
      'holds no state dict but "model"',
    ],
    [
      'a list that holds itself',
      dict(text('a'), Buffer.concat([op(0x5d, 0x71, 0, 0x68, 0, 0x61)])),
      'holds no state dict but "a"',
    ],
  ])('%s', async (_, value, message) => {
    await refuses(pth(value), message);
  });

  it('dictionaries in each other, each twice, are described in a line', async () => {
    let value = dict(text('a'), int(1));
    for (let depth = 1; depth < 40; depth++)
      value = Buffer.concat([
        value,
        op(0x71, depth, 0x30),
        dict(text('a'), op(0x68, depth), text('b'), op(0x68, depth)),
      ]);
    const { beside } = await parsePth(pth(dict(text('model'), good, text('laughs'), value)), 'x.pth');
    expect(beside).toEqual({ laughs: '{a: a dictionary of 2, b: a dictionary of 2}' });
  });
});

describe('tensors that are not in their storages', () => {
  const one = (options: Parameters<typeof tensor>[0], ...others: ZipFile[]): Buffer =>
    pth(dict(text('w'), tensor(options)), ...others);
  test.each<[string, Buffer, string | RegExp]>([
    ['a storage that is shorter', one({ elements: 5 }), 'damaged: the storage "0" has 16 bytes, its 5 F32 need 20'],
    [
      'a storage that is longer',
      one({ elements: 3, shape: [3] }),
      'damaged: the storage "0" has 16 bytes, its 3 F32 need 12',
    ],
    [
      'a storage of another type',
      one({ type: 'DoubleStorage' }),
      'damaged: the storage "0" has 16 bytes, its 4 F64 need 32',
    ],
    ['a storage that is not there', one({ key: '1' }), 'damaged: the storage "1" is missing'],
    [
      'a storage out of the archive',
      one({ key: '../../etc/passwd' }),
      'damaged: the storage "../../etc/passwd" is missing',
    ],
    [
      'an element too many',
      one({ shape: [5] }),
      /a tensor \[5\] with strides \[1\] from element 0 on is not in its storage of 4/,
    ],
    ['an offset too far', one({ offset: 1 }), 'damaged: a tensor'],
    ['a stride too far', one({ shape: [2, 2], stride: [3, 1] }), 'damaged: a tensor'],
    ['a storage repeated without end', one({ shape: [100_000, 100_000], stride: [0, 0] }), 'damaged: a tensor'],
    ['a negative stride', one({ offset: 3, stride: [-1] }), 'damaged: it describes a tensor in an unknown way'],
    ['a negative size', one({ shape: [-4] }), 'damaged: it describes a tensor in an unknown way'],
    ['2^62 elements', one({ shape: [2 ** 30, 2 ** 30, 4], stride: [0, 0, 1] }), 'damaged: a tensor'],
    [
      '17 dimensions',
      one({ shape: new Array(17).fill(1), stride: new Array(17).fill(1) }),
      'damaged: it describes a tensor',
    ],
    ['fewer strides', one({ shape: [2, 2] }), 'damaged: it describes a tensor in an unknown way'],
    [
      'one storage of two types',
      pth(dict(text('w'), tensor({}), text('v'), tensor({ type: 'LongStorage' }))),
      'damaged: the storage "0" is described in two ways',
    ],
    ['a quantised type', one({ type: 'QInt8Storage' }), /"torch\.QInt8Storage"/],
  ])('%s', async (_, bytes, message) => {
    await refuses(bytes, message);
  });

  it('copies of one storage without end', async () => {
    const content = randomBytes(400_000);
    const transposed = tensor({ elements: 100_000, shape: [250, 400], stride: [1, 250] });
    const many = dict(...Array.from({ length: 60 }, (_, i) => Buffer.concat([text(`w${i}`), transposed])));
    await refuses(
      zipOf([stored(many), { name: 'a/data/0', content }]),
      'has overlapping tensors that need more than four times the file',
    );
  });
});

describe('archives', () => {
  const files = [stored(good), four];
  const value = stored(good);
  test.each<[string, Uint8Array, string | RegExp]>([
    [
      'another kind of zip',
      zipOf([{ name: 'word/document.xml', content: op(1) }]),
      'a zip archive, but not of torch.save',
    ],
    ['two pickles', zipOf([...files, { ...value, name: 'b/data.pkl' }]), 'a zip archive, but not of torch.save'],
    [
      'TorchScript',
      zipOf([...files, { name: 'a/constants.pkl', content: op(1) }]),
      'a TorchScript program, not weights',
    ],
    [
      'a big-endian machine',
      zipOf([...files, { name: 'a/byteorder', content: Buffer.from('big') }]),
      'written by a big-endian machine',
    ],
    [
      'an archive of PyTorch 0.1',
      Buffer.concat([Buffer.from('storages'), Buffer.alloc(249), Buffer.from('ustar'), Buffer.alloc(250)]),
      'written by PyTorch before 0.1.10',
    ],
    ['something else', Buffer.from('something else'), 'not a file of torch.save'],
    ['an empty file', Buffer.alloc(0), 'an empty file, not weights'],
    [
      'more after the pickle',
      zipOf([{ ...value, content: Buffer.concat([value.content, op(0)]) }, four]),
      'damaged: its pickle has more after its end',
    ],
    [
      'a checksum that is wrong',
      zipOf([value, { ...four, says: { checksum: 1 } }]),
      'damaged: its zip entry "a/data/0" is not what',
    ],
    ['two entries of a name', zipOf([value, four, four]), 'damaged: the zip archive has two entries "a/data/0"'],
    ['an encrypted entry', zipOf([value, { ...four, says: { flags: 1 } }]), 'its zip entry "a/data/0" is encrypted'],
    [
      'another compression',
      zipOf([value, { ...four, says: { method: 14 } }]),
      'its zip entry "a/data/0" is compressed by method 14',
    ],
    [
      'an entry beyond the file',
      zipOf([value, { ...four, says: { offset: 1e9 } }]),
      'damaged: no zip entry "a/data/0" where the directory says',
    ],
    [
      'an entry of another name',
      zipOf([value, { ...four, localName: 'a/data/1' }]),
      'damaged: its zip entry "a/data/0" has another name',
    ],
    [
      'an entry at its neighbour',
      zipOf([value, { ...four, says: { offset: 0 } }]),
      'damaged: its zip entry "a/data/0" has another name',
    ],
    [
      'an entry into its neighbour',
      zipOf([{ ...four, says: { size: 40, packedBytes: 40 } }, value]),
      'damaged: its zip entries "a/data/0" and "a/data.pkl" overlap',
    ],
    [
      'an entry into the directory',
      zipOf([value, { ...four, says: { size: 60, packedBytes: 60 } }]),
      'damaged: its zip entry "a/data/0" ends at byte',
    ],
    [
      'stored, and smaller',
      zipOf([value, { ...four, says: { size: 15 } }]),
      'damaged: its stored zip entry "a/data/0" has 16 bytes and says 15',
    ],
    [
      'a bomb',
      zipOf([value, { name: 'a/data/0', content: new Uint8Array(1e7), deflate: true }]),
      'its zip entries say that they unpack to 10000\\d\\d\\d bytes, more than 16 times the file',
    ],
    [
      'a bomb of 2^64 bytes',
      zipOf([value, { ...four, says: { size: 2 ** 53 } }], { zip64: true }),
      'damaged: its zip archive has the size 9007199254740992',
    ],
    [
      'a large number in 32 bits alone',
      zipOf([value, { ...four, says: { size: 0xffffffff } }]),
      'damaged: its stored zip entry',
    ],
  ])('%s', async (_, bytes, message) => {
    await refuses(bytes, message);
  });

  it('a deflated bomb that lies about its size', async () => {
    const noise = { name: 'a/data/1', content: randomBytes(4e5) };
    const bomb = { name: 'a/data/0', content: new Uint8Array(1e7), deflate: true, says: { size: 16 } };
    await refuses(zipOf([value, bomb, noise]), 'damaged: its zip entry "a/data/0" is not what its checksum says');
  });

  it.each([false, true])('damaged; with zip64 %s', async (zip64) => {
    const bytes = new Uint8Array(zipOf(files, { zip64 }));
    await fuzz((damaged) => parsePth(damaged, 'fuzz.bin'), bytes, bytes.length, 2000);
  });

  it('zip and zip64 that disagree', async () => {
    const bytes = zipOf(files, { zip64: true });
    bytes.writeUInt16LE(7, bytes.length - 12);
    await refuses(bytes, 'damaged: its zip and zip64 records disagree');
  });
});

describe('checkpoints', () => {
  const model = (name: string): Buffer[] => [text(name), good];
  it('of several state dicts give the usual one', async () => {
    const { entry } = await parsePth(pth(dict(...model('ema'), ...model('state_dict'))), 'x.pth');
    expect(entry).toBe('state_dict');
    await refuses(
      pth(dict(...model('teacher'), ...model('student'))),
      'holds several state dicts: "teacher", "student"',
    );
  });

  it('may have values among the tensors, which are told beside them', async () => {
    for (const [name, value, said] of [
      ['epoch', int(3), '3'],
      ['_extra_state', op(0x4e), 'null'],
      ['_extra_state', dict(text('scale'), tensor({})), '{scale: a tensor [4]}'],
    ] as const) {
      const many = dict(text('w'), tensor({}), text('v'), tensor({}), text(name), value);
      const { entry, tensors, beside } = await parsePth(pth(many), 'x.pth');
      expect({ entry, beside }).toEqual({ entry: null, beside: { [name]: said } });
      expect([...tensors.keys()]).toEqual(['w', 'v']);
      const within = await parsePth(pth(dict(text('model'), many, text('seed'), int(5))), 'x.pth');
      expect({ entry: within.entry, beside: within.beside }).toEqual({
        entry: 'model',
        beside: { seed: '5', [name]: said },
      });
    }
  });

  it('may hold it two dictionaries deep', async () => {
    const deep = dict(text('model'), dict(text('weights'), good, text('config'), dict()), text('optimizer'), dict());
    expect(await parsePth(pth(deep), 'x.pth')).toMatchObject({ entry: 'model.weights' });
    const two = dict(text('a'), dict(text('weights'), good), text('b'), dict(text('weights'), good));
    await refuses(pth(two), 'holds several state dicts: a.weights, b.weights');
  });

  it('may hold numpy arrays, times, paths and objects of classes of their own, which are described, never made', async () => {
    const { beside, tensors } = await parsePth(golden('pth/objects.pth'), 'x.pth');
    expect(beside).toEqual({
      mean: 'numpy.core.multiarray._reconstruct',
      time: 'datetime.datetime',
      path: 'pathlib.PosixPath',
      losses: 'collections.deque',
      config: '__main__.Config {lr: 0.1}',
      table: '__main__.Table',
      rng: '{numpy: a list of 5}',
    });
    expect([...tensors.keys()]).toEqual(['w']);
  });

  it('without one say what they hold', async () => {
    await refuses(pth(dict(text('epoch'), int(3), text('loss'), op(0x4e))), 'holds no state dict but "epoch", "loss"');
    await refuses(pth(dict()), 'holds no state dict but nothing');
    await refuses(pth(int(3)), 'holds 3, no state dict');
    await refuses(pth(dict(...model('model'), text('w'), op(0x4e)).subarray(0, -1)), /x\.pth: /);
  });
});

describe('model files', () => {
  const fresh = initialStateDict(smallNetwork, 0);
  const flags = { stem: 'small', inputSize: 12, mean: [0.5], std: [0.25] } as const;

  it('are told by their bytes, not by their names; but for what is neither', async () => {
    const bytes = serializeSafetensors(fresh);
    expect((await parseModelFile(bytes, 'model.dat', flags)).container).toBe('safetensors');
    await expect(parseModelFile(bytes, 'model.pth', flags)).rejects.toThrow('model.pth: not a file of torch.save; ');
    await expect(parseModelFile(pth(good), 'model.safetensors')).rejects.toThrow(
      'model.safetensors: its tensors are of no network known here',
    );
  });

  it('may have prefixes before all names', async () => {
    const prefixed = [...fresh].map(([name, tensor]) => [`_orig_mod.module.${name}`, tensor] as const);
    const model = await parseModelFile(serializeSafetensors(prefixed), 'model', flags);
    expect([...model.tensors.keys()]).toEqual([...fresh.keys()]);
    expect(model.inferred[0]).toBe('names without _orig_mod.module.');
    const partly = prefixed.map(([name, tensor], i) => [i === 3 ? `other.${name}` : name, tensor] as const);
    await expect(parseModelFile(serializeSafetensors(partly), 'model', flags)).rejects.toThrow(
      'nearest resnet18: bn1.running_mean is missing; other.module.bn1.running_mean is unknown',
    );
  });

  it('list what is missing, unknown and misshapen', async () => {
    const [missing, misshapen] = ['layer1.0.bn1.bias', 'layer2.0.conv1.weight'];
    const changed = [...fresh]
      .filter(([name]) => name !== missing)
      .map(([name, tensor]) => [name, name === misshapen ? { ...tensor, shape: [4, 8, 3, 3] } : tensor] as const);
    const bytes = serializeSafetensors([...changed, ['extra', { dtype: 'F32', shape: [], data: new Float32Array(1) }]]);
    const problems = `${missing} is missing; ${misshapen} is [4,8,3,3] instead of [8,4,3,3]; extra is unknown`;
    await expect(parseModelFile(bytes, 'a.pt.safetensors', { ...flags, architecture: 'resnet18' })).rejects.toThrow(
      `a.pt.safetensors: the weights do not fit resnet18: ${problems}`,
    );
    await expect(parseModelFile(bytes, 'a file', flags)).rejects.toThrow(
      `a file: the weights do not fit any network known here, nearest resnet18: ${problems}`,
    );
    const headless = serializeSafetensors([...fresh].filter(([name]) => !name.startsWith('fc.')));
    await expect(parseModelFile(headless, 'a file', flags)).rejects.toThrow(
      'a file: the weights do not fit any network known here, nearest resnet18: fc.weight is missing; fc.bias is missing',
    );
  });
});
