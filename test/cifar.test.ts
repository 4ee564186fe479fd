import { cpSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type Dataset, subset } from '../src/datasets/dataset.ts';
import { hashDataset } from '../src/datasets/hash.ts';
import { parseCifarPickle, serializeCifarPickle } from '../src/formats/cifar.ts';
import { hashBytes } from '../src/formats/sha256.ts';
import type { Image8 } from '../src/images/image.ts';
import { DATASET_OPENERS, openDataset } from '../src/node/datasets/open.ts';
import { openDatasetWriter } from '../src/node/datasets/write.ts';

const GOLDEN = 'test/golden/cifar';
const TEN = `${GOLDEN}/cifar-10-batches-py`;

let work: string;
beforeAll(() => {
  work = mkdtempSync(join(tmpdir(), 'radioactive-cifar-'));
});
afterAll(() => rmSync(work, { recursive: true }));
const at = (name: string): string => join(work, name);

/** What test/golden/cifar.py puts into image i, [32, 32, 3]. */
const pixelsOf = (i: number): number[] =>
  Array.from({ length: 3072 }, (_, at) => {
    const [y, x, c] = [Math.floor(at / 96), Math.floor(at / 3) % 32, at % 3];
    return (37 * i + 5 * x + 11 * y + 101 * c + x * y) % 256;
  });

async function expectImages(dataset: Dataset, numbers: readonly number[]): Promise<void> {
  expect(dataset.length).toBe(numbers.length);
  for (const [index, number] of numbers.entries()) {
    const { width, height, channels, data } = await dataset.image(index);
    expect([width, height, channels]).toEqual([32, 32, 3]);
    expect([...data], dataset.id(index)).toEqual(pixelsOf(number));
  }
}

const inverse = ({ data, ...shape }: Image8): Image8 => ({ ...shape, data: data.map((level) => 255 - level) });

const namesIn = (folder: string): string[] => readdirSync(folder).sort();

describe('CIFAR as its authors have it', () => {
  it.each(['cifar-10-batches-py', 'cifar-10-batches-bin'])('%s', async (name) => {
    const train = await openDataset(`${GOLDEN}/${name}`);
    // In the order of the numbers, 10 after 2.
    await expectImages(train, [0, 1, 2, 3, 4, 5]);
    expect([...train.labels]).toEqual([2, 0, 1, 0, 2, 1]);
    expect(train.classes).toEqual(['airplane', 'automobile', 'bird']);
    expect(train.id(4)).toBe('train/4');
    expect((await openDataset(`${GOLDEN}/${name}#3:5`)).id(0)).toBe('train/3');
    const test = await openDataset(`${GOLDEN}/${name}`, { split: 'test', classes: ['a', 'b', 'c', 'd'] });
    await expectImages(test, [6, 7]);
    expect([...test.labels]).toEqual([1, 0]);
    expect(test.classes).toEqual(['a', 'b', 'c', 'd']);
    expect(test.id(1)).toBe('test/1');
  });

  it('both forms hold the same data set', async () => {
    const [python, binary] = [await openDataset(TEN), await openDataset(`${GOLDEN}/cifar-10-batches-bin`)];
    expect(await hashDataset(python)).toBe(await hashDataset(binary));
    expect(python.format?.name).toBe('cifar');
  });

  it.each(['cifar-100-python', 'cifar-100-binary'])('%s: the fine classes', async (name) => {
    const train = await openDataset(`${GOLDEN}/${name}`);
    await expectImages(train, [0, 1, 2]);
    expect([...train.labels]).toEqual([1, 2, 0]);
    expect(train.classes).toEqual(['apple', 'bear', 'bee']);
    await expect(openDataset(`${GOLDEN}/${name}`, { split: 'test' })).rejects.toThrow('no images of the split test; ');
  });

  it.each(['protocol-3', 'protocol-4', 'protocol-5', 'keys-of-bytes'])('a batch as %s', (name) => {
    const batch = parseCifarPickle(readFileSync(`${GOLDEN}/${name}`), name, false);
    const published = parseCifarPickle(readFileSync(`${TEN}/data_batch_1`), 'published', false);
    expect(batch.labels).toEqual([2, 0, 1]);
    expect(batch.fileNames).toEqual(published.fileNames);
    expect(batch.title).toBe('training batch 1 of 2');
    const pixels = (each: typeof batch) => each.bytes.subarray(each.first, each.first + 3 * 3072);
    expect(hashBytes(pixels(batch))).toBe(hashBytes(pixels(published)));
  });
});

describe('what is refused', () => {
  const published = () => readFileSync(`${TEN}/data_batch_1`);
  it.each<[string, () => Uint8Array, string]>([
    [
      'bytes that are text',
      () => readFileSync(`${GOLDEN}/text-of-bytes`),
      'refers to "_codecs.encode", which no batch of CIFAR needs',
    ],
    ['an array by columns', () => readFileSync(`${GOLDEN}/by-columns`), 'its data is no array of bytes [n, 3072]; '],
    ['a file cut off', () => published().subarray(0, 5000), 'truncated: its pickle has no end; '],
    ['more after the end', () => Buffer.concat([published(), Buffer.of(0)]), 'is no dictionary in a pickle; '],
    [
      'a call of something else',
      () => Buffer.from("cos\nsystem\n(S'true'\ntR."),
      'refers to "os.system", which no batch of CIFAR needs and which is not run here; ',
    ],
    ['fewer labels', () => serializeCifarPickle([], 't', false), 'its data is no array'],
  ])('%s', (_, bytes, message) => {
    expect(() => parseCifarPickle(bytes(), 'file', false)).toThrow(message);
  });

  it('a folder without names of classes, a broken record, a label without a class', async () => {
    cpSync(`${GOLDEN}/cifar-10-batches-bin`, at('broken'), { recursive: true });
    rmSync(at('broken/batches.meta.txt'));
    await expect(openDataset(at('broken'))).rejects.toThrow('has no batches.meta.txt with the names of the classes; ');
    await expect(openDataset(at('broken'), { classes: ['a', 'b'] })).rejects.toThrow(
      'item 0 has label 2, there are 2 classes; ',
    );
    writeFileSync(at('broken/data_batch_2.bin'), new Uint8Array(3074));
    await expect(openDataset(at('broken'), { classes: ['a', 'b', 'c'] })).rejects.toThrow(
      'data_batch_2.bin: 3074 bytes are no whole number of records of 3073; ',
    );
  });

  it('as a place for images of another size', () => {
    const begin = () => DATASET_OPENERS.cifar.begin([{ width: 28, height: 28, channels: 1 }]);
    expect(begin).toThrow("not all colour images of 32x32 pixels, which CIFAR's files hold; ");
  });
});

describe('written in the same form', () => {
  it.each([
    ['cifar-10-batches-py', 'data_batch_2'],
    ['cifar-10-batches-bin', 'data_batch_2.bin'],
    ['cifar-100-python', 'train'],
    ['cifar-100-binary', 'train.bin'],
  ])('%s: nothing but changed pixels differs', async (name, file) => {
    const source = await openDataset(`${GOLDEN}/${name}`);
    const changed = name.includes('100') ? 1 : 4;
    const writer = await openDatasetWriter(source, at(name));
    const image = inverse(await source.image(changed));
    await writer.writeImage(changed, image);
    await writer.close();
    // Closed and opened again it goes on.
    const again = await openDatasetWriter(source, at(name), { resume: true });
    expect((await again.read(changed)).data).toEqual(image.data);
    await again.finish();
    const written = await openDataset(at(name));
    expect((await written.image(changed)).data).toEqual(image.data);
    expect([...written.labels]).toEqual([...source.labels]);
    expect(written.classes).toEqual(source.classes);
    const originals = namesIn(`${GOLDEN}/${name}`).filter((each) => !each.startsWith('test_'));
    expect(namesIn(at(name))).toEqual(originals);
    for (const each of originals) {
      const [before, after] = [readFileSync(`${GOLDEN}/${name}/${each}`), readFileSync(at(`${name}/${each}`))];
      expect(after.length, each).toBe(before.length);
      const differing = before.filter((byte, i) => byte !== after[i]).length;
      expect(differing, each).toBe(each === file ? 3072 : 0);
    }
  });

  it('a part of a pickle is what Python writes', async () => {
    const source = await openDataset(`${TEN}#1:3`);
    const writer = await openDatasetWriter(source, at('part'));
    await writer.finish();
    expect(namesIn(at('part'))).toEqual(['batches.meta', 'data_batch_1']);
    expect(readFileSync(at('part/data_batch_1'))).toEqual(readFileSync(`${GOLDEN}/part`));
    await expectImages(await openDataset(at('part')), [1, 2]);
  });

  it('parts of several files, and another order', async () => {
    for (const [name, form] of [
      ['parts', TEN],
      ['parts-bin', `${GOLDEN}/cifar-10-batches-bin`],
      ['parts-100', `${GOLDEN}/cifar-100-binary`],
    ]) {
      const whole = await openDataset(form);
      const chosen = name === 'parts-100' ? [0, 2] : [2, 3, 5];
      const writer = await openDatasetWriter(subset(whole, chosen), at(name));
      await writer.finish();
      const written = await openDataset(at(name));
      await expectImages(written, chosen);
      expect([...written.labels]).toEqual(chosen.map((index) => whole.labels[index]));
      expect(namesIn(at(name)).length).toBe(name === 'parts-100' ? 3 : 4);
    }
    const whole = await openDataset(TEN);
    const writer = await openDatasetWriter(subset(whole, [5, 0, 3]), at('shuffled'));
    await writer.finish();
    await expectImages(await openDataset(at('shuffled')), [5, 0, 3]);
  });

  it('resumed after it was finished it is the same', async () => {
    const source = await openDataset(TEN);
    for (const round of [0, 1]) {
      const writer = await openDatasetWriter(source, at('finished'), { resume: round > 0 });
      if (round === 0) await writer.writeImage(3, inverse(await source.image(3)));
      await writer.finish();
    }
    expect((await (await openDataset(at('finished'))).image(3)).data).toEqual(inverse(await source.image(3)).data);
  });

  it('new images, as probes are', async () => {
    const source = await openDataset(TEN);
    const shape = { width: 32, height: 32, channels: 3 } as const;
    const made = DATASET_OPENERS.cifar.begin([shape, shape]);
    const grid = { ...subset(source, [1, 0]), format: made.format, id: (index: number) => made.id(index, 'a/b') };
    const writer = await openDatasetWriter(grid, at('probes'));
    await writer.finish();
    expect(namesIn(at('probes'))).toEqual(['batches.meta.txt', 'test_batch.bin']);
    expect(made.file('test/0')).toBe('test_batch.bin');
    const written = await openDataset(at('probes'), { split: 'test' });
    await expectImages(written, [1, 0]);
    expect(written.classes).toEqual(source.classes);
  });
});
