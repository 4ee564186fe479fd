import { describe, expect, expectTypeOf, it } from 'vitest';
import { jsonDocument } from '../src/formats/json.ts';
import { printable } from '../src/formats/printable.ts';
import { hashBytes } from '../src/formats/sha256.ts';
import { textTable } from '../src/formats/text_table.ts';
import { type Image8, psnr } from '../src/images.ts';
import {
  appendLook,
  arraysOf,
  blackBoxTest,
  bonferroni,
  ClassMapping,
  carrierSpace,
  chooseForMarking,
  commitment,
  concludeTest,
  createKey,
  type Dataset,
  DOUBTS,
  type detect,
  freshCoordinates,
  type HeldOutFeatures,
  hashDataset,
  InputError,
  keyCarriers,
  keyOrder,
  keyStream,
  type Manifest,
  ModelScores,
  makeReport,
  marksAlike,
  newRegister,
  parseRegister,
  parseStoredResult,
  probeResponse,
  reportPage,
  serializeFeatures,
  serializeRegister,
  testFeatures,
  VanillaImages,
  verifyEvidence,
} from '../src/index.ts';
import { areProbabilities, logProbabilities } from '../src/maths/probabilities.ts';
import { Reporter } from '../src/node/cli/progress.ts';
import { derive } from '../src/random.ts';

const CLASSES = ['ape', 'bee', 'cat'];
const [n, d, dt, K] = [40, 6, 5, 3];
const normals = (name: string, count: number): Float64Array => {
  const random = derive(5, name);
  return Float64Array.from({ length: count }, () => random.gaussian());
};

const dataset = (ids: readonly string[]): Dataset => ({
  path: 'memory',
  root: '',
  classes: CLASSES,
  length: ids.length,
  labels: Uint32Array.from(ids, (_, i) => i % K),
  id: (index) => ids[index],
  shape: async () => ({ width: 1, height: 1, channels: 1 }),
  image: async (index) => ({ width: 1, height: 1, channels: 1, data: Uint8Array.of(index) }),
  bytes: async (index) => Uint8Array.of(index),
});
const ids = Array.from({ length: n }, (_, i) => `${CLASSES[i % K]}/${i}.png`);

const image = (change: Partial<Image8> = {}): Image8 => ({
  width: 2,
  height: 2,
  channels: 3,
  data: new Uint8Array(12),
  ...change,
});

const newKey = () =>
  createKey({
    classes: CLASSES,
    model: { sha256: 'ab'.repeat(32), architecture: 'resnet18', featureDimension: d },
    basis: null,
    centre: true,
  });

const features = (classes: ClassMapping = ClassMapping.ownOrder(CLASSES, K, 'suspect')): HeldOutFeatures => ({
  images: VanillaImages.check(dataset(ids), []),
  marking: normals('marking', n * d),
  suspect: { classes, features: normals('suspect', n * dt), weight: normals('weight', classes.outputs.length * dt) },
});

describe('the images to test on', () => {
  const manifest = { images: [{ id: ids[3] }, { id: ids[7] }, { id: 'elsewhere.png' }] } as unknown as Manifest;

  it('are refused where a manifest lists some of them as marked', () => {
    const marked = [{ path: 'there/manifest.json', manifest }];
    expect(() => VanillaImages.check(dataset(ids), marked)).toThrow(
      `memory: 2 of its images are marked, says there/manifest.json, the first is ${ids[3]}; give images that never were`,
    );
    const clean = VanillaImages.check(dataset(ids.slice(8)), marked);
    expect(clean.manifests).toEqual(marked);
  });

  it('come to a test in no other way', () => {
    expectTypeOf<Parameters<typeof detect>[0]['heldOut']>().toEqualTypeOf<VanillaImages>();
    expectTypeOf<Dataset>().not.toExtend<VanillaImages>();
    expectTypeOf<{ dataset: Dataset; manifests: [] }>().not.toExtend<VanillaImages>();
    expectTypeOf<{ classes: string[]; outputs: number[] }>().not.toExtend<ClassMapping>();
    expectTypeOf<{
      kind: 'logits';
      values: Float64Array;
      rows: number;
      classCount: number;
    }>().not.toExtend<ModelScores>();
  });

  it('are as many as there are features', async () => {
    const fewer = { ...features(), images: VanillaImages.check(dataset(ids.slice(1)), []) };
    await expect(testFeatures(await newKey(), fewer)).rejects.toThrow(
      "the marking network's features are 240 numbers, 39 images have 234",
    );
  });
});

describe('checked values', () => {
  // As JavaScript makes them, and TypeScript with a cast.
  const held = features();
  const scores = ModelScores.ofScores(new Float64Array(4), 2);
  const constructed = (from: object, ...args: unknown[]): unknown =>
    Reflect.construct(from.constructor as new (...args: unknown[]) => unknown, args);

  it.each([
    ['VanillaImages', () => constructed(held.images, undefined, dataset(ids), [])],
    ['ClassMapping', () => constructed(held.suspect.classes, Symbol('checked'), CLASSES, [2, 1, 0], true)],
    ['ModelScores', () => constructed(scores, undefined, 'logits', Float64Array.of(Number.NaN), 1, 'scores')],
  ])('%s: no constructor makes one', (name, make) => {
    expect(make).toThrow(new InputError(`${name}: only its own functions, which check what they are given, make one`));
  });

  it('are told from what looks like them', async () => {
    const key = await newKey();
    const { classes } = held.suspect;
    const refused = (name: string) =>
      new InputError(`expected a ${name}; make it with its own functions, of the same copy of radioactive`);
    const copyOf = <T extends object>(value: T): T =>
      Object.assign(Object.create(Object.getPrototypeOf(value)), {
        ...value,
        rowsOf: (weight: Float64Array) => weight,
      });
    for (const images of [copyOf(held.images), { ...held.images } as VanillaImages])
      await expect(testFeatures(key, { ...held, images })).rejects.toThrow(refused('VanillaImages'));
    for (const copy of [copyOf(classes), scores as unknown as ClassMapping])
      await expect(testFeatures(key, { ...held, suspect: { ...held.suspect, classes: copy } })).rejects.toThrow(
        refused('ClassMapping'),
      );
    const layout = { labels: [0, 1], classCount: 2, sets: 2 };
    expect(() => probeResponse(copyOf(scores), layout)).toThrow(refused('ModelScores'));
  });

  it('stay as they were checked', () => {
    const { classes } = held.suspect;
    expect(() => Object.assign(classes, { outputs: [2, 1, 0] })).toThrow(TypeError);
    expect(() => (classes.outputs as number[]).reverse()).toThrow(TypeError);
    expect(() => Object.assign(held.images, { dataset: dataset([]) })).toThrow(TypeError);
    expect(() => Object.assign(scores, { classCount: 1 })).toThrow(TypeError);
  });
});

describe('arguments that are no numbers of their kind', () => {
  const source = { version: 1 as const, secret: new Uint8Array(32), salt: new Uint8Array(0) };
  const response = Float64Array.from({ length: 20 }, (_, i) => (i * i) % 7);
  const test = { response, classes: ['a', 'b'] };

  it.each<[string, () => unknown]>([
    ['0 tests', () => bonferroni(-3, 0)],
    ['1.5 tests', () => bonferroni(-3, 1.5)],
    ['NaN tests', () => bonferroni(-3, Number.NaN)],
    ['a number of classes', () => ModelScores.ofScores(new Float64Array(5), 2.5)],
    ['no class', () => ModelScores.ofLabels([], 0)],
    ['no bytes', () => keyStream(source, 'x', Number.NaN)],
    ['half a thing', () => keyOrder(source, 'x', 2.5)],
    ['fewer than no things', () => keyOrder(source, 'x', -1)],
    ['an index', () => freshCoordinates(Number.NaN, 2, 2)],
    ['fresh keys', async () => testFeatures(await newKey(), features(), { freshKeys: Number.NaN, despite: DOUBTS })],
    [
      'fresh keys, fewer than none',
      async () => testFeatures(await newKey(), features(), { freshKeys: -1, despite: DOUBTS }),
    ],
    ['a purpose', async () => keyCarriers(await newKey(), 'probe' as 'mark')],
    ['a combination', () => blackBoxTest({ ...test, combine: 'product' as 'sum' })],
    ['marks that are NaN', () => marksAlike([response.with(3, Number.NaN)], 2)],
    ['no marks', () => marksAlike([], 2)],
    ['levels that are no bytes', () => psnr(image({ data: new Float32Array(12) as never }), image())],
    ['too few levels', () => psnr(image(), image({ data: new Uint8Array(3) }))],
  ])('%s', async (_, call) => {
    await expect(async () => call()).rejects.toThrow(InputError);
  });

  it.each([
    ['hardness', { hardness: Array.from({ length: 6 }, () => Number.NaN) }, 'choice: the hardness of image 0 is NaN'],
    ['a hash', { dataSha256: 'AB'.repeat(32) }, 'choice: dataSha256 is no SHA-256 of 64 lower-case hex digits'],
  ])('choice: %s', async (_, change, message) => {
    const options = { key: await newKey(), labels: [0, 0, 1, 1, 2, 2], fraction: 0.5, dataSha256: 'ab'.repeat(32) };
    await expect(chooseForMarking({ ...options, ...change })).rejects.toThrow(message);
  });

  it.each([Number.NaN, 3, Number.POSITIVE_INFINITY])('log10 p %f enters no register', async (log10p) => {
    const key = await newKey();
    const register = newRegister('register', await commitment(key), true);
    const finding = { ...(await testFeatures(key, features(), { freshKeys: 1, despite: DOUBTS })), log10p };
    const circumstances = {
      key,
      test: 'white-box' as const,
      suspect: { path: 'suspect', sha256: 'cd'.repeat(32) },
      data: { path: 'memory', count: n, sha256: 'ef'.repeat(32) },
      adapter: 'none',
      runtime: 'none',
      command: [],
    };
    await expect(concludeTest(finding, circumstances, (look) => appendLook(register, look))).rejects.toThrow(
      `register: log10 p ${log10p} is of no probability; nothing was entered`,
    );
  });

  it('a key says what it cannot be made of', async () => {
    const model = { sha256: 'ab'.repeat(32), architecture: 'resnet18', featureDimension: d };
    await expect(createKey({ classes: ['a', 'a'], model, basis: null, centre: true })).rejects.toThrow(
      'key: classes: expected every class once; a key cannot be made of this',
    );
  });
});

describe("a suspect's classes", () => {
  it('are as many as the key has, or named', () => {
    expect(() => ClassMapping.ownOrder(CLASSES, 4, 'suspect.pth')).toThrow(
      'suspect.pth: has 4 classes, expected 3 (ape, bee, cat); name its classes',
    );
    const names = (...each: string[]) => ({ names: each, file: 'names.txt' });
    expect(() => ClassMapping.byName(CLASSES, names('cat', 'ape'), 2, 's')).toThrow('names.txt: has no class bee');
    expect(() => ClassMapping.byName(CLASSES, names('cat', 'ape', 'bee', 'ape'), 4, 's')).toThrow(
      'names.txt: has the class ape twice',
    );
    expect(() => ClassMapping.byName(CLASSES, names('cat', 'ape', 'bee'), 4, 's')).toThrow(
      'names.txt: names 3 classes, s has 4',
    );
  });

  it('are taken by name, whatever the order of the outputs', async () => {
    const key = await newKey();
    const own = features();
    const weight = own.suspect.weight;
    // Outputs: cat, other, ape, bee.
    const shuffled = Float64Array.of(
      ...weight.slice(2 * dt, 3 * dt),
      ...normals('other', dt),
      ...weight.slice(0, dt),
      ...weight.slice(dt, 2 * dt),
    );
    const classes = ClassMapping.byName(CLASSES, { names: ['cat', 'other', 'ape', 'bee'], file: 'f' }, 4, 's');
    const named = { ...own, suspect: { ...own.suspect, classes, weight: shuffled } };
    expect(arraysOf(named).suspect.weight).toEqual(weight);
    expect((await testFeatures(key, named, { freshKeys: 1, despite: DOUBTS })).log10p).toBe(
      (await testFeatures(key, own, { freshKeys: 1, despite: DOUBTS })).log10p,
    );
    const others = ClassMapping.ownOrder(['ape', 'bee', 'dog'], 3, 's');
    await expect(testFeatures(key, features(others))).rejects.toThrow(InputError);
  });
});

describe('scores', () => {
  it('of probability 0 have one floor, in every reader', () => {
    const scores = Float64Array.of(0.75, 0.25, 1, 0, 0.5, 0.5);
    expect(areProbabilities(scores, 2)).toBe(true);
    expect(ModelScores.ofScores(scores, 2).logits()).toEqual(logProbabilities(scores));
    expect(logProbabilities(scores)[3]).toBe(Math.log(0.125));
  });
});

describe('where carriers are drawn', () => {
  it.each([
    [10, 512, {}, 32],
    [256, 512, {}, null],
    [255, 512, {}, 32],
    [1000, 512, { dimension: 8 }, 8],
    [10, 512, { carriers: 'uniform' as const }, null],
    [1000, 512, { carriers: 'subspace' as const }, 32],
  ])('%i classes, %i features, %o: %s', (classes, dimension, options, expected) => {
    expect(carrierSpace(classes, dimension, options)).toBe(expected);
  });
});

it('evidence needs no files: from features to a result that is counted, verified and reported', async () => {
  const key = await newKey();
  const keyCommitment = await commitment(key);
  let register = newRegister('register', keyCommitment, true);
  const held = features();
  const finding = await testFeatures(key, held, { freshKeys: 20, despite: DOUBTS });
  const files = serializeFeatures(arraysOf(held));
  const result = await concludeTest(
    finding,
    {
      key,
      test: 'white-box',
      suspect: { path: 'suspect', sha256: 'cd'.repeat(32) },
      data: { path: 'memory', count: n, sha256: await hashDataset(held.images.dataset) },
      adapter: 'none',
      runtime: 'none',
      command: ['none'],
      saved: Object.fromEntries(Object.entries(files).map(([name, bytes]) => [name, hashBytes(bytes)])),
    },
    (look) => {
      register = appendLook(register, look);
      return register;
    },
  );
  expect(register.looks).toHaveLength(1);
  const text = serializeRegister(register);
  expect(parseRegister(text, 'register', keyCommitment)).toEqual(register);
  const stored = parseStoredResult(jsonDocument(result), 'result.json');
  const material = {
    key,
    published: keyCommitment,
    result: stored,
    register: { path: 'register', text },
    arrays: { folder: 'arrays', files },
    heldOut: held.images.dataset,
    sample: 10,
  };
  const states = async (change: Partial<typeof material> = {}) =>
    Object.fromEntries((await verifyEvidence({ ...material, ...change })).map(({ check, state }) => [check, state]));
  expect(await states()).toMatchObject({ statistics: 'ok', entry: 'ok', register: 'ok', carriers: 'ok' });
  // A cosine that was changed, in either of its places; arrays that were; and a register that was cut off.
  const { perClass, statistics } = result;
  const changed = (value: object) => ({ result: { ...stored, value: { ...stored.value, ...value } as typeof result } });
  const [first, ...rest] = perClass!;
  expect(await states(changed({ perClass: [{ ...first, cosine: 0.5 }, ...rest] }))).toMatchObject({
    statistics: 'failed',
  });
  const [one] = statistics;
  const scores = one.perClass.map((entry, i) => (i === 1 ? { ...entry, score: 0.5 } : entry));
  expect(await states(changed({ statistics: [{ ...one, perClass: scores }] }))).toMatchObject({ statistics: 'failed' });
  const [name, bytes] = Object.entries(files)[0];
  const other = { ...files, [name]: bytes.map((byte, i) => (i === bytes.length - 1 ? byte ^ 1 : byte)) };
  expect(await states({ arrays: { folder: 'arrays', files: other } })).toMatchObject({ statistics: 'failed' });
  expect(await states({ register: { path: 'register', text: text.slice(0, -5) } })).toMatchObject({
    register: 'failed',
  });

  const report = makeReport({ result: stored, files: [], register });
  expect(report.corrected).toMatchObject({ looks: 1, complete: true });
  expect(reportPage(report)).toContain(keyCommitment);
});

describe('what a file can do to a screen', () => {
  const HOSTILE = 'a\x1b[2J\x1b]0;title\x07b\rc\u009bd\u202ee\u200bf\x7fg\ud800';
  const SHOWN = 'a\\u001b[2J\\u001b]0;title\\u0007b\\u000dc\\u009bd\\u202ee\\u200bf\\u007fg\\ud800';

  it.each(['bar', 'lines', 'json'] as const)('nothing: %s', (style) => {
    let text = '';
    let now = 0;
    const reporter = new Reporter({ write: (chunk) => (text += chunk), columns: 200 }, style, () => now);
    const progress = reporter.progress(HOSTILE, 2, 'images');
    now = 10_000;
    progress.update(1);
    reporter.log(`${HOSTILE}\nok`);
    reporter.error(`error: ${HOSTILE}`);
    progress.done();
    // What the display itself writes, and no other.
    const rest = text.replaceAll('\r\x1b[K', '').replaceAll('\n', '');
    expect(rest).toBe(printable(rest));
    expect(text).toContain(`${SHOWN}\\u000aok`);
    expect(text).toContain(`error: ${SHOWN}`);
  });

  it('leaves a JSON document the same value', () => {
    const value = { name: HOSTILE.slice(0, -1) };
    const text = printable(jsonDocument(value), '\n');
    expect(JSON.parse(text)).toEqual(value);
    expect(text.replaceAll('\n', '')).toBe(printable(text.replaceAll('\n', '')));
  });
});

it('a table of text has its numbers to the right', () => {
  const rows = [
    ['name', 'count', 'what'],
    ['a', '12345678', 'x'],
  ];
  expect(textTable(rows, { left: [0, 2] })).toEqual(['name     count  what', 'a     12345678  x']);
  expect(textTable(rows, { left: 'all', indent: 2 })).toEqual(['  name  count     what', '  a     12345678  x']);
  expect(textTable([])).toEqual([]);
});
