import { createHash } from 'node:crypto';
import { existsSync, readFileSync } from 'node:fs';
import { chmod, mkdir, mkdtemp, readdir, readFile, rm, stat, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { subset } from '../src/datasets/dataset.ts';
import { hashDataset } from '../src/datasets/hash.ts';
import { type Manifest, parseManifest, serializeManifest } from '../src/datasets/manifest.ts';
import { selectLargest, selectStratified } from '../src/datasets/select.ts';
import { InputError, IntegrityError } from '../src/errors.ts';
import { gzip } from '../src/formats/gzip.ts';
import { parseIdx, serializeIdx } from '../src/formats/idx.ts';
import type { Image8 } from '../src/images/image.ts';
import { openDataset } from '../src/node/datasets/open.ts';
import { openDatasetWriter } from '../src/node/datasets/write.ts';
import { fileError } from '../src/node/files/files.ts';
import { hashFile, writeAtomic } from '../src/node/files/write.ts';
import { derive, Random } from '../src/random.ts';
import { pngOf, readBack } from './png.ts';

const FASHION = process.env.FASHION_MNIST ?? '/usr/share/datasets/fashion-mnist';

let base: string;
beforeAll(async () => {
  base = await mkdtemp(join(tmpdir(), 'radioactive-'));
});
afterAll(() => rm(base, { recursive: true, force: true }));

let folders = 0;
/** A new folder with the given files. */
async function tree(files: Record<string, Uint8Array | string>): Promise<string> {
  const root = join(base, `data${folders++}`);
  await mkdir(root);
  for (const [name, content] of Object.entries(files)) {
    await mkdir(dirname(join(root, name)), { recursive: true });
    await writeFile(join(root, name), content);
  }
  return root;
}

const freshPath = () => join(base, `new${folders++}`);

/** A 2x2 grayscale image whose every level is `level`. */
const flat = (level: number): Image8 => ({ width: 2, height: 2, channels: 1, data: new Uint8Array(4).fill(level) });
const dot = (level: number) => pngOf(flat(level));

async function refuses(promise: Promise<unknown>, message: string): Promise<void> {
  const error = await promise.then(
    () => undefined,
    (reason: unknown) => reason,
  );
  expect(error).toBeInstanceOf(InputError);
  expect((error as Error).message).toContain(message);
  expect((error as Error).message).toMatch(/^[^\n]+; [^\n]+$/);
}

const ids = (dataset: { length: number; id(index: number): string }) =>
  Array.from({ length: dataset.length }, (_, i) => dataset.id(i));

describe('random', () => {
  test('xoshiro128** gives the published sequence', () => {
    const random = new Random([1, 2, 3, 4]);
    const values = Array.from({ length: 10 }, () => random.uint32());
    expect(values).toEqual([
      11520, 0, 5927040, 70819200, 2031721883, 1637235492, 1287239034, 3734860849, 3729100597, 4258142804,
    ]);
  });

  test('derived streams are those of an independent implementation', () => {
    expect(derive(42, 'crop', 2, 7).state).toEqual([3284574599, 1814897442, 1500056945, 3059877808]);
    const first = (random: Random) => [random.uint32(), random.uint32()];
    expect(first(derive(42, 'crop', 2, 7))).toEqual([4153834878, 2040800680]);
    expect(first(derive(0))).toEqual([4149807384, 978855005]);
    expect(first(derive(42, 'grüße, world'))).toEqual([17540790, 1551254042]);
  });

  test('different labels give different streams', () => {
    const streams = [
      derive(1),
      derive(2),
      derive(1, 0),
      derive(1, 0, 0),
      derive(1, ''),
      derive(1, '', ''),
      derive(1, 1),
      derive(1, '1'),
      derive(1, 'ab', 'c'),
      derive(1, 'a', 'bc'),
      derive(1, 'abc'),
      derive(1, 'abc\0'),
      derive(1, 1, 2),
      derive(1, 2, 1),
      derive(2 ** 53 - 1),
    ];
    expect(new Set(streams.map((stream) => stream.state.join())).size).toBe(streams.length);
  });

  test('goes on from a saved state', () => {
    const random = derive(5);
    random.uniform();
    const again = new Random(random.state);
    expect(again.uint32()).toBe(random.uint32());
    for (const state of [
      [0, 0, 0, 0],
      [1, 2, 3],
      [1, 2, 3, -1],
      [1, 2, 3, 2 ** 32],
      [1, 2, 3, Number.NaN],
    ]) {
      expect(() => new Random(state)).toThrow(InputError);
    }
    for (const seed of [-1, 0.5, 2 ** 53, Number.NaN]) expect(() => derive(seed)).toThrow(InputError);
    expect(() => derive(1, -1)).toThrow('random: -1 cannot seed a stream');
  });

  test('uniform: in [0, 1), with the right mean and variance', () => {
    const random = derive(6);
    const n = 100_000;
    const values = Array.from({ length: n }, () => random.uniform());
    expect(values.every((value) => value >= 0 && value < 1)).toBe(true);
    const mean = values.reduce((sum, value) => sum + value, 0) / n;
    const variance = values.reduce((sum, value) => sum + (value - mean) ** 2, 0) / n;
    expect(Math.abs(mean - 1 / 2)).toBeLessThan(5 * Math.sqrt(1 / 12 / n));
    expect(Math.abs(variance - 1 / 12)).toBeLessThan(5 * Math.sqrt(1 / 180 / n));
  });

  test('below: every value equally likely, also where a plain remainder would not be', () => {
    const random = derive(7);
    const n = 3 * 2 ** 30;
    let low = 0;
    for (let i = 0; i < 30_000; i++) {
      const value = random.below(n);
      expect(value < n && value >= 0).toBe(true);
      if (value < 2 ** 30) low++;
    }
    // A plain remainder would give one half rather than one third.
    expect(Math.abs(low / 30_000 - 1 / 3)).toBeLessThan(0.015);
    expect(random.below(1)).toBe(0);
    for (const bad of [0, -1, 1.5, 2 ** 32 + 1, Number.NaN]) expect(() => random.below(bad)).toThrow(InputError);
  });

  test('shuffle: every order of three equally likely, elements kept', () => {
    const random = derive(8);
    const counts = new Map<string, number>();
    for (let i = 0; i < 6000; i++) {
      const order = random.shuffle([1, 2, 3]).join('');
      counts.set(order, (counts.get(order) ?? 0) + 1);
    }
    expect([...counts.keys()].sort()).toEqual(['123', '132', '213', '231', '312', '321']);
    for (const count of counts.values()) expect(Math.abs(count - 1000)).toBeLessThan(150);
    expect(random.shuffle(new Uint32Array(0))).toEqual(new Uint32Array(0));
  });
});

describe('selectStratified', () => {
  const labels = Uint32Array.from({ length: 1000 }, (_, i) => (i % 10 === 0 ? 1 : 0));

  test('takes the share of every class; the two parts are disjoint and complete', () => {
    const { selected, rest } = selectStratified(labels, 2, { fraction: 0.1 }, 3);
    expect(selected.filter((i) => labels[i] === 0).length).toBe(90);
    expect(selected.filter((i) => labels[i] === 1).length).toBe(10);
    expect([...selected, ...rest].sort((a, b) => a - b)).toEqual(Array.from({ length: 1000 }, (_, i) => i));
    expect(selected).toEqual(selected.slice().sort());
    expect(rest).toEqual(rest.slice().sort());
  });

  test('is a function of the seed; more includes less', () => {
    const at = (fraction: number, seed: number) => selectStratified(labels, 2, { fraction }, seed).selected;
    expect(at(0.1, 3)).toEqual(at(0.1, 3));
    expect(at(0.1, 3)).not.toEqual(at(0.1, 4));
    const more = new Set(at(0.2, 3));
    expect(at(0.1, 3).every((i) => more.has(i))).toBe(true);
    expect(at(0, 3).length).toBe(0);
    expect(at(1, 3).length).toBe(1000);
  });

  test('takes a number per class', () => {
    const { selected } = selectStratified(labels, 2, { perClass: 7 }, 3);
    expect(selected.filter((i) => labels[i] === 1).length).toBe(7);
    expect(selected.length).toBe(14);
    expect(() => selectStratified(labels, 2, { perClass: 101 }, 3)).toThrow(
      'cannot take 101 of the 100 items of class 1',
    );
  });

  test('refuses what makes no sense', () => {
    for (const fraction of [-0.1, 1.1, Number.NaN]) {
      expect(() => selectStratified(labels, 2, { fraction }, 3)).toThrow(InputError);
    }
    expect(() => selectStratified(labels, 2, { perClass: 0.5 }, 3)).toThrow(InputError);
    expect(() => selectStratified(labels, 1, { fraction: 1 }, 3)).toThrow('item 0 has label 1, there are 1 classes');
  });
});

describe('selectLargest', () => {
  const labels = Uint32Array.from({ length: 20 }, (_, i) => i % 2);
  const values = Float64Array.from({ length: 20 }, (_, i) => [3, 1, 2][i % 3]);

  test('takes the largest values of every class, of equal ones the first; more includes less', () => {
    for (const label of [0, 1]) {
      const members = Array.from({ length: 20 }, (_, i) => i).filter((i) => labels[i] === label);
      const three = members.filter((i) => values[i] === 3).slice(0, 3);
      const at = (perClass: number) =>
        [...selectLargest(labels, 2, { perClass }, values).selected].filter((i) => labels[i] === label);
      expect(at(3)).toEqual(three);
      expect(at(7)).toEqual(expect.arrayContaining(at(5)));
      expect(at(10)).toEqual(members);
    }
    const { selected, rest } = selectLargest(labels, 2, { fraction: 0.2 }, values);
    expect([selected.length, rest.length]).toEqual([4, 16]);
  });
});

describe('a folder of classes', () => {
  test("has torchvision's order, by code point and with files before sub-folders", async () => {
    const root = await tree({
      'dog/10.png': dot(1),
      'dog/9.png': dot(2),
      'cat/b/1.png': dot(3),
      'cat/b/d/1.png': dot(8),
      'cat/b-c/1.png': dot(4),
      'cat/z.png': dot(5),
      'Zebra/\u{1f600}.png': dot(6),
      'Zebra/\u{ff21}.png': dot(7),
    });
    const dataset = await openDataset(root);
    expect(dataset.format?.name).toBe('folder');
    expect(dataset.path).toBe(root);
    expect(dataset.classes).toEqual(['Zebra', 'cat', 'dog']);
    const expected = [
      'Zebra/\u{ff21}.png',
      'Zebra/\u{1f600}.png',
      'cat/z.png',
      'cat/b/1.png',
      'cat/b-c/1.png',
      'cat/b/d/1.png',
      'dog/10.png',
      'dog/9.png',
    ];
    expect(ids(dataset)).toEqual(expected);
    expect(dataset.length).toBe(8);
    expect([...dataset.labels]).toEqual([0, 0, 1, 1, 1, 1, 2, 2]);
    expect(await dataset.image(4)).toEqual(flat(4));
    expect(await dataset.bytes(4)).toEqual(dot(4));
  });

  test('leaves out what is hidden, beside the classes, or no image; the name says nothing', async () => {
    const root = await tree({
      'manifest.json': '{}',
      'stray.png': dot(0),
      '.cache/1.png': dot(0),
      'a/.DS_Store': 'x',
      'a/.hidden.png': dot(0),
      'a/notes.txt': 'BM not a bitmap',
      'a/picture.jpg': dot(9),
      'a/empty.txt': '',
    });
    const dataset = await openDataset(root);
    expect(ids(dataset)).toEqual(['a/picture.jpg']);
    expect((await dataset.image(0)).data[0]).toBe(9);
  });

  test('images that cannot be decoded are named in one error', async () => {
    const root = await tree({
      'a/1.png': dot(1),
      'a/2.gif': 'GIF89a......',
      'a/3': 'II*\0........',
      'b/4.png': 'hello',
      'b/5.png': '',
    });
    await refuses(
      openDataset(root),
      '4 images cannot be read: a/2.gif (GIF), a/3 (TIFF), b/4.png (no image), b/5.png (empty); convert them',
    );
  });

  test('a damaged image is an error of its own, naming the file', async () => {
    const root = await tree({ 'a/1.png': dot(1).subarray(0, -1), 'a/2.png': dot(2) });
    const dataset = await openDataset(root);
    await refuses(dataset.image(0), join(root, 'a/1.png: damaged PNG: truncated'));
    expect((await dataset.image(1)).data[0]).toBe(2);
  });

  test('given classes number the labels; order and ids stay', async () => {
    const root = await tree({ 'cat/1.png': dot(1), 'dog/1.png': dot(2) });
    const dataset = await openDataset(root, { classes: ['dog', 'bird', 'cat'] });
    expect(dataset.classes).toEqual(['dog', 'bird', 'cat']);
    expect(ids(dataset)).toEqual(['cat/1.png', 'dog/1.png']);
    expect([...dataset.labels]).toEqual([2, 0]);
    await refuses(openDataset(root, { classes: ['dog', 'bird'] }), 'sub-folder cat is none of the 2 classes');
    await refuses(openDataset(root, { classes: ['dog', 'cat', 'dog'] }), 'class dog is listed twice');
    await refuses(openDataset(root, { classes: [] }), 'the list of classes is empty');
  });

  test('refuses what is no data set', async () => {
    await refuses(openDataset(join(base, 'nowhere')), 'no such file or folder');
    await refuses(openDataset(await tree({})), 'no sub-folders and no IDX files');
    await refuses(openDataset(await tree({ 'a/1.png': dot(1), 'b/x.txt': 'x' })), 'class b has no images');
    const file = join(await tree({ 'a.png': dot(1) }), 'a.png');
    await refuses(openDataset(file), 'not named like IDX images');
    await refuses(openDataset(join(file, 'x')), 'part of the path is a file');
    await refuses(openDataset(await tree({ 'a/x\ny.png': dot(1) })), 'control characters: "x\\ny.png"');
  });

  // Cannot be made where the file system ignores case.
  test.skipIf(process.platform !== 'linux')('refuses names that differ only in case', async () => {
    await refuses(
      openDataset(await tree({ 'a/X.png': dot(1), 'a/x.PNG': dot(2) })),
      'a/x.PNG: differs only in case from a/X.png; rename one',
    );
    await refuses(
      openDataset(await tree({ 'Ä/1.png': dot(1), 'ä/2.png': dot(2) })),
      'ä: differs only in case from Ä; rename one',
    );
  });

  test('symbolic links to publish: to a file inside is one, out of the folder or to a folder is refused', async () => {
    const inside = await tree({ 'a/1.png': dot(1), 'b/.keep': '' });
    await symlink('../a/1.png', join(inside, 'b/link.png'));
    expect(ids(await openDataset(inside))).toEqual(['a/1.png', 'b/link.png']);
    const linkedRoot = freshPath();
    await symlink(inside, linkedRoot);
    expect((await openDataset(linkedRoot)).length).toBe(2);

    const outside = await tree({ 'a/1.png': dot(1) });
    await symlink(join(inside, 'a/1.png'), join(outside, 'a/2.png'));
    const toPublish = (root: string) => openDataset(root, { keepFaults: true });
    expect((await toPublish(outside)).faults!.get(1)).toContain('symbolic link out of the data set');
    const outerFolder = await tree({ 'a/1.png': dot(1) });
    await symlink(inside, join(outerFolder, 'b'));
    await refuses(toPublish(outerFolder), 'b: symbolic link out of the data set');
    const circle = await tree({ 'a/1.png': dot(1) });
    await symlink('..', join(circle, 'a/up'));
    expect((await toPublish(circle)).faults!.get(1)).toContain('symbolic link to a folder');
    const dangling = await tree({ 'a/1.png': dot(1) });
    await symlink('gone.png', join(dangling, 'a/2.png'));
    await refuses(openDataset(dangling), 'a/2.png: no such file');
  });
});

describe('IDX files', () => {
  const pixels = (n: number, shape = [2, 3]) => {
    const size = shape.reduce((product, axis) => product * axis, n);
    return serializeIdx({ shape: [n, ...shape], data: Uint8Array.from({ length: size }, (_, i) => i) });
  };
  const labels = (...data: number[]) => serializeIdx({ shape: [data.length], data: Uint8Array.from(data) });

  test('both splits, compressed or not', async () => {
    const root = await tree({
      'train-images-idx3-ubyte': pixels(3),
      'train-labels-idx1-ubyte.gz': await gzip(labels(7, 0, 9)),
      't10k-images-idx3-ubyte.gz': await gzip(pixels(2)),
      't10k-labels-idx1-ubyte': labels(1, 2),
    });
    const train = await openDataset(root);
    expect(train.format?.name).toBe('idx');
    expect(train.classes).toEqual(['0', '1', '2', '3', '4', '5', '6', '7', '8', '9']);
    expect([...train.labels]).toEqual([7, 0, 9]);
    expect(ids(train)).toEqual(['train/0', 'train/1', 'train/2']);
    expect(await train.image(1)).toEqual({ width: 3, height: 2, channels: 1, data: Uint8Array.of(6, 7, 8, 9, 10, 11) });
    (await train.bytes(1)).fill(0);
    expect([...(await train.bytes(1))]).toEqual([6, 7, 8, 9, 10, 11]);
    await expect(train.image(3)).rejects.toThrow(RangeError);
    const held = await openDataset(root, { split: 'test' });
    expect(ids(held)).toEqual(['test/0', 'test/1']);
    const direct = await openDataset(join(root, 't10k-images-idx3-ubyte.gz'));
    expect(ids(direct)).toEqual(ids(held));
    await refuses(openDataset(join(root, 't10k-images-idx3-ubyte.gz'), { split: 'train' }), 'is not the split train');
  });

  test('colour, and names of classes', async () => {
    const root = await tree({
      'train-images-idx4-ubyte': pixels(2, [1, 2, 3]),
      'train-labels-idx1-ubyte': labels(0, 1),
      'classes.txt': 'cat\r\nbig dog\r\n',
    });
    const dataset = await openDataset(root);
    expect(dataset.classes).toEqual(['cat', 'big dog']);
    expect(await dataset.image(1)).toEqual({
      width: 2,
      height: 1,
      channels: 3,
      data: Uint8Array.of(6, 7, 8, 9, 10, 11),
    });
    expect((await openDataset(root, { classes: ['a', 'b', 'c'] })).classes).toEqual(['a', 'b', 'c']);
    await refuses(openDataset(root, { classes: ['a'] }), 'item 1 has label 1, there are 1 classes');
    await writeFile(join(root, 'classes.txt'), 'cat\n\ndog\n');
    await refuses(openDataset(root), 'classes.txt: line 2 is empty');
    await writeFile(join(root, 'classes.txt'), 'cat\ndog\ncat\n');
    await refuses(openDataset(root), 'classes.txt: line 3 is there already');
    await writeFile(join(root, 'classes.txt'), '');
    await refuses(openDataset(root), 'classes.txt: is empty');
  });

  test('the uncompressed file of two is read; other names by their path', async () => {
    const root = await tree({
      'train-images-idx3-ubyte': pixels(1),
      'train-images-idx3-ubyte.gz': 'never read',
      'train-labels-idx1-ubyte': labels(1),
      'mine-images-idx3-ubyte': pixels(2),
      'mine-labels-idx1-ubyte': labels(1, 1),
    });
    expect((await openDataset(root)).length).toBe(1);
    expect(ids(await openDataset(join(root, 'mine-images-idx3-ubyte')))).toEqual(['mine/0', 'mine/1']);
    await refuses(
      openDataset(root, { split: 'test' }),
      'no images of the split test among mine-images-idx3-ubyte, train-',
    );
    await writeFile(join(root, 'letters-train-images-idx3-ubyte'), pixels(1));
    await refuses(openDataset(root), 'several images of the split train');
  });

  test('refuses what does not fit', async () => {
    const open = async (images: Uint8Array, labelled?: Uint8Array) =>
      openDataset(
        await tree({ 'train-images-idx3-ubyte': images, ...(labelled && { 'train-labels-idx1-ubyte': labelled }) }),
      );
    await refuses(open(pixels(2)), 'no labels for train-images-idx3-ubyte; put train-labels-idx1-ubyte');
    await refuses(open(pixels(2), labels(1)), 'has 2 images, train-labels-idx1-ubyte 1 labels');
    await refuses(open(pixels(2), labels(1, 10)), 'item 1 has label 10, there are 10 classes');
    await refuses(open(labels(1, 2), labels(1, 2)), 'is not that of images');
    await refuses(open(pixels(2), pixels(2)), 'is not that of labels');
    await refuses(open(pixels(2, [1, 2, 2]), labels(1, 2)), 'is not that of images');
    await refuses(open(pixels(2, [0, 2]), labels(1, 2)), 'is not that of images');
    await refuses(open(pixels(0), labels()), 'has no images');
    await refuses(
      open(pixels(2).subarray(0, 20), labels(1, 2)),
      'truncated: header says 2 images of 2x3 (28 bytes), file has 20',
    );
  });
});

describe('ranges and subsets', () => {
  test('path#START:END', async () => {
    const root = await tree(Object.fromEntries(Array.from({ length: 6 }, (_, i) => [`c${i % 2}/${i}.png`, dot(i)])));
    const all = await openDataset(root);
    const some = await openDataset(`${root}#2:5`);
    expect(some.path).toBe(`${root}#2:5`);
    expect(ids(some)).toEqual(ids(all).slice(2, 5));
    expect([...some.labels]).toEqual([...all.labels.slice(2, 5)]);
    expect(await some.image(0)).toEqual(await all.image(2));
    expect((await openDataset(`${root}#:2`)).length).toBe(2);
    expect((await openDataset(`${root}#4:`)).length).toBe(2);
    expect((await openDataset(`${root}#:`)).length).toBe(6);
    for (const range of ['2:2', '3:2', '0:7', '6:', '0:99999999999999999999']) {
      await refuses(openDataset(`${root}#${range}`), `#${range}: no range of its 6 items; give 0 <= START < END <= 6`);
    }
    for (const range of ['3', '-1:2', '1:2:3', 'a:b']) {
      await refuses(openDataset(`${root}#${range}`), 'no such file or folder');
    }
  });

  test('a folder may have # in its name', async () => {
    const root = `${await tree({})}#c`;
    await mkdir(join(root, 'a'), { recursive: true });
    await writeFile(join(root, 'a/1.png'), dot(1));
    expect((await openDataset(root)).length).toBe(1);
    expect((await openDataset(`${root}#0:1`)).length).toBe(1);
  });

  test('subset keeps ids and takes the order given', async () => {
    const dataset = await openDataset(await tree({ 'a/1.png': dot(1), 'b/2.png': dot(2), 'b/3.png': dot(3) }));
    const part = subset(dataset, [2, 0]);
    expect(ids(part)).toEqual(['b/3.png', 'a/1.png']);
    expect([...part.labels]).toEqual([1, 0]);
    expect(ids(subset(part, Uint32Array.of(1)))).toEqual(['a/1.png']);
    expect(subset(dataset, []).length).toBe(0);
    for (const indices of [[3], [-1], [0.5], [Number.NaN]]) {
      expect(() => subset(dataset, indices)).toThrow('is none of its 3 items');
    }
    expect(() => subset(dataset, [1, 1])).toThrow(InputError);
  });
});

describe('writeAtomic and hashes', () => {
  test('replaces a file as a whole, with the permissions asked for', async () => {
    const path = join(await tree({ 'x.bin': 'old' }), 'x.bin');
    await writeAtomic(path, Uint8Array.of(1, 2, 3), 0o600);
    expect([...(await readFile(path))]).toEqual([1, 2, 3]);
    if (process.platform !== 'win32') expect((await stat(path)).mode & 0o777).toBe(0o600);
    expect(await readdir(dirname(path))).toEqual(['x.bin']);
    expect(await hashFile(path)).toBe(
      createHash('sha256')
        .update(Uint8Array.of(1, 2, 3))
        .digest('hex'),
    );
    await writeAtomic(join(dirname(path), `${'n'.repeat(250)}.png`), Uint8Array.of(1));
  });

  test('leaves nothing behind when it fails', async () => {
    const root = await tree({ 'taken/x': 'a folder cannot be replaced' });
    await refuses(writeAtomic(join(root, 'taken'), Uint8Array.of(1)), join(root, 'taken'));
    expect(await readdir(root)).toEqual(['taken']);
    await refuses(writeAtomic(join(root, 'no/x'), Uint8Array.of(1)), 'no/x: no such file or folder');
    await refuses(hashFile(join(root, 'no/x')), 'no/x: no such file or folder');
    if (process.getuid?.() !== 0) {
      await chmod(root, 0o500);
      await refuses(writeAtomic(join(root, 'x'), Uint8Array.of(1)), 'no permission');
      await chmod(root, 0o700);
    }
  });

  test.skipIf(!existsSync('/dev/full'))('a full disk gives one clear line', async () => {
    const full = await writeFile('/dev/full', 'x').catch((reason: unknown) => reason);
    const message = 'out/1.png: no space left on the device; free some and run again';
    expect(fileError('out/1.png', full).message).toBe(message);
  });

  test('the hash of a data set sees names, classes, order and bytes, not the place', async () => {
    const files = { 'a/1.png': dot(1), 'b/2.png': dot(2) };
    const dataset = await openDataset(await tree(files));
    const hash = await hashDataset(dataset);
    const sha = (bytes: Uint8Array) => createHash('sha256').update(bytes).digest('hex');
    const listing = `["a/1.png","a","${sha(dot(1))}"]\n["b/2.png","b","${sha(dot(2))}"]\n`;
    expect(hash).toBe(sha(Buffer.from(listing)));
    expect(await hashDataset(await openDataset(await tree(files)))).toBe(hash);
    const others = [
      { 'a/1.png': dot(1), 'b/3.png': dot(2) },
      { 'a/1.png': dot(1), 'b/2.png': dot(3) },
    ].map(tree);
    for (const other of await Promise.all(others)) expect(await hashDataset(await openDataset(other))).not.toBe(hash);
    expect(await hashDataset(subset(dataset, [1, 0]))).not.toBe(hash);
  });
});

describe('dataset writer', () => {
  test('folder: pixels like the own file of an item, copies byte for byte, resumable', async () => {
    const source = await openDataset(await tree({ 'a/x/1.jpg': dot(1), 'a/2.png': dot(2), 'b/3.PNG': dot(3) }));
    expect(ids(source)).toEqual(['a/2.png', 'a/x/1.jpg', 'b/3.PNG']);
    const out = freshPath();
    const writer = await openDatasetWriter(source, out);
    const copied = await writer.copy(0);
    expect(copied).toEqual({ id: 'a/2.png', sha256: createHash('sha256').update(dot(2)).digest('hex') });
    expect((await writer.writeImage(1, flat(50))).id).toBe('a/x/1.jpg');
    expect(await writer.read(1)).toEqual(flat(50));
    await expect(writer.finish()).rejects.toThrow(IntegrityError);
    await expect(writer.finish()).rejects.toThrow(
      '1 of 3 images were not written, the first is b/3.PNG; resume the run',
    );
    await writer.close();

    await refuses(openDatasetWriter(source, out), 'not empty; choose a new folder, or resume');
    const again = await openDatasetWriter(source, out, { resume: true });
    expect((await again.writeImage(2, flat(60))).id).toBe('b/3.PNG');
    await again.finish();
    await again.close();
    const result = await openDataset(out);
    expect(ids(result)).toEqual(ids(source));
    expect(await result.bytes(0)).toEqual(dot(2));
    expect(readBack(readFileSync(join(out, 'a/x/1.jpg')))).toEqual(flat(50));
    expect(await result.image(2)).toEqual(flat(60));
    expect(await hashFile(join(out, 'a/2.png'))).toBe(copied.sha256);

    // A copy after all takes the place of the new pixels.
    const third = await openDatasetWriter(source, out, { resume: true });
    await third.copy(1);
    expect(await third.read(1)).toEqual(flat(1));
    await third.finish();
    expect(await (await openDataset(out)).bytes(1)).toEqual(dot(1));
    expect(await readdir(out)).toEqual(['a', 'b']);
  });

  test('folder: refuses to write into the source, and two items under one name', async () => {
    const root = await tree({ 'a/1.png': dot(1) });
    const source = await openDataset(root);
    await refuses(openDatasetWriter(source, root, { resume: true }), "is the data set's own folder or inside it");
    await refuses(openDatasetWriter(source, join(root, 'out/deep')), "is the data set's own folder or inside it");
    expect(await readdir(root)).toEqual(['a']);
    const link = freshPath();
    await symlink(root, link);
    await refuses(openDatasetWriter(source, join(link, 'out')), "is the data set's own folder or inside it");
    const clash = await openDataset(await tree({ 'a/1.jpg': dot(1), 'a/1.jpg.png': dot(2), 'a/1.png': dot(3) }));
    await refuses(
      openDatasetWriter(clash, freshPath(), { format: 'PNG' }),
      'a/1.jpg.png would be written as a/1.jpg.png, which is there; rename one',
    );
    await refuses(openDatasetWriter(source, join(root, 'a/1.png')), 'own folder or inside it');
    const file = join(await tree({ x: '' }), 'x');
    await refuses(openDatasetWriter(source, file), file);
  });

  test.each([
    [
      ['a/1.PNG', 'a/1.jpg', 'a/2.jpg', 'a/2.webp', 'a/3'],
      ['a/1.PNG', 'a/1.jpg.png', 'a/2.jpg.png', 'a/2.webp.png', 'a/3'],
    ],
    // What ImageFolder reads stays in its order, and what it does not read stays unread.
    [
      ['a/001.jpg', 'a/001.large.jpg', 'a/002.png'],
      ['a/001.jpg.png', 'a/001.large.jpg.png', 'a/002.png'],
    ],
    [
      ['a/1.JPEG', 'a/2.webp', 'a/3.jfif', 'a/4.jpg_large'],
      ['a/1.png', 'a/2.png', 'a/3.jfif', 'a/4.jpg_large'],
    ],
  ])('folder, all as PNG: %j are called %j', async (before, after) => {
    const source = await openDataset(await tree(Object.fromEntries(before.map((name, i) => [name, dot(i)]))));
    expect(ids(source)).toEqual(before);
    const out = freshPath();
    const writer = await openDatasetWriter(source, out, { format: 'PNG' });
    const written: string[] = [];
    for (let i = 0; i < before.length; i++) written.push((await writer.writeImage(i, flat(i))).id);
    expect(written).toEqual(after);
    await writer.finish();
    const result = await openDataset(out);
    expect(ids(result)).toEqual(after);
    for (let i = 0; i < before.length; i++) expect(await result.image(i)).toEqual(flat(i));
  });

  const data = Uint8Array.from({ length: 24 }, (_, i) => i);
  const idxFiles = async () => ({
    'train-images-idx3-ubyte.gz': await gzip(serializeIdx({ shape: [4, 2, 3], data })),
    'train-labels-idx1-ubyte': serializeIdx({ shape: [4], data: Uint8Array.of(1, 0, 1, 2) }),
    'classes.txt': 'x\ny\nz\n',
  });
  const gray = (level: number): Image8 => ({ width: 3, height: 2, channels: 1, data: new Uint8Array(6).fill(level) });

  test('IDX: the same names and form, only the marked pixels changed', async () => {
    const root = await tree(await idxFiles());
    const source = await openDataset(root);
    const out = freshPath();
    const writer = await openDatasetWriter(source, out);
    const item = await writer.writeImage(2, gray(99));
    expect(item).toEqual({ id: 'train/2', sha256: createHash('sha256').update(gray(99).data).digest('hex') });
    expect(await writer.read(2)).toEqual(gray(99));
    expect((await writer.copy(0)).id).toBe('train/0');
    await refuses(writer.writeImage(1, flat(1)), 'train/1: image is 2x2x1, train-images-idx3-ubyte.gz holds 3x2x1');
    await refuses(writer.writeImage(1, { ...gray(1), data: new Uint8Array(5) }), 'train/1: no image');
    await expect(writer.writeImage(4, gray(1))).rejects.toThrow(RangeError);
    await writer.finish();
    await writer.close();
    expect((await readdir(out)).sort()).toEqual([
      'classes.txt',
      'train-images-idx3-ubyte.gz',
      'train-labels-idx1-ubyte',
    ]);
    const packed = await readFile(join(out, 'train-images-idx3-ubyte.gz'));
    expect([packed[0], packed[1]]).toEqual([0x1f, 0x8b]);
    expect([...(await parseIdx(packed, 'out')).data]).toEqual([
      ...data.slice(0, 12),
      99,
      99,
      99,
      99,
      99,
      99,
      ...data.slice(18),
    ]);
    for (const name of ['classes.txt', 'train-labels-idx1-ubyte']) {
      expect(await hashFile(join(out, name))).toBe(await hashFile(join(root, name)));
    }
    expect((await openDataset(out)).classes).toEqual(['x', 'y', 'z']);
  });

  test('IDX: what was written is still there when resumed, before and after finishing', async () => {
    const source = await openDataset(await tree(await idxFiles()));
    const out = freshPath();
    const first = await openDatasetWriter(source, out);
    await first.writeImage(1, gray(10));
    await first.close();
    const second = await openDatasetWriter(source, out, { resume: true });
    expect(await second.read(1)).toEqual(gray(10));
    await second.writeImage(2, gray(20));
    await second.finish();
    const third = await openDatasetWriter(source, out, { resume: true });
    await third.writeImage(3, gray(30));
    await third.finish();
    const result = await openDataset(out);
    expect(await Promise.all([0, 1, 2, 3].map(async (i) => (await result.image(i)).data[0]))).toEqual([0, 10, 20, 30]);
    await refuses(openDatasetWriter(subset(source, [0, 1]), out, { resume: true }), 'shape [4,2,3], expected [2,2,3]');
  });

  test('IDX: a part of the items gives files of those alone', async () => {
    const root = await tree(await idxFiles());
    const out = freshPath();
    const writer = await openDatasetWriter(await openDataset(`${root}#1:3`), out);
    expect((await writer.writeImage(1, gray(5))).id).toBe('train/1');
    await writer.finish();
    const result = await openDataset(out);
    expect([...result.labels]).toEqual([0, 1]);
    expect([...(await result.bytes(0))]).toEqual([6, 7, 8, 9, 10, 11]);
    expect(await result.image(1)).toEqual(gray(5));
  });
});

describe('manifest', () => {
  const hex = (digit: string) => digit.repeat(64);
  const manifest = (): Manifest => ({
    format: 'radioactive-manifest',
    version: 2,
    source: { path: 'data', layout: 'folder', count: 3, sha256: hex('a') },
    keyCommitment: hex('b'),
    options: {
      radiusLevels: 10,
      iterations: 90,
      lr: 1,
      lambdaFeatures: 0.01,
      lambdaImage: 5e-4,
      seed: 1,
      fraction: 0.1,
      flip: true,
    },
    classes: ['cat', 'dog'],
    summary: { count: 2, meanPsnr: 31.7, note: 'ok' },
    merkleRoot: hex('e'),
    images: [
      { id: 'cat/1.png', class: 'cat', psnr: 31.25, maxChangeLevels: 10, gain: 1.5, sha256: hex('c') },
      { id: 'dog/x/1.png', class: 'dog', psnr: null, maxChangeLevels: 0, gain: 0, sha256: hex('d') },
    ],
  });

  test('round trip, one line per image', () => {
    const text = serializeManifest(manifest());
    expect(parseManifest(text, 'm.json')).toEqual(manifest());
    expect(serializeManifest(parseManifest(text, 'm.json'))).toBe(text);
    expect(text.split('\n').filter((line) => line.includes('"psnr"')).length).toBe(2);
    const none = { ...manifest(), images: [] };
    expect(parseManifest(serializeManifest(none), 'm.json')).toEqual(none);
  });

  const image = (fields: object) => ({ images: [manifest().images[0], { ...manifest().images[1], ...fields }] });
  test.each<[object, string]>([
    [{ format: 'other' }, 'is no manifest'],
    [{ version: 1 }, 'is a manifest of version 1, this program reads version 2'],
    [{ merkleRoot: 'e' }, 'merkleRoot: expected 64 lower-case hex digits'],
    [{ extra: 1 }, 'extra: '],
    [{ source: { ...manifest().source, count: 1.5 } }, 'source.count: expected a whole number'],
    [{ source: { ...manifest().source, count: 1 } }, 'images: expected at most source.count, 1'],
    [{ source: { ...manifest().source, layout: 'zip' } }, 'source.layout: expected '],
    [{ keyCommitment: hex('B') }, 'keyCommitment: expected 64 lower-case hex digits'],
    [{ options: { lr: null } }, 'options.lr: expected'],
    [{ classes: [] }, 'classes: expected at least one class'],
    [{ classes: ['cat', 'dog', 'cat'] }, 'classes: expected every class once'],
    [{ classes: ['cat'] }, 'images[1].class: expected one of classes'],
    [{ images: {} }, 'images: expected a list'],
    [image({ psnr: 'high' }), 'images[1].psnr: expected'],
    [image({ maxChangeLevels: 256 }), 'images[1].maxChangeLevels: expected 255 or less'],
    [image({ gain: undefined }), 'images[1].gain: missing'],
    [image({ id: 'cat/1.png' }), 'images[1].id: is there twice'],
    [image({ id: '../../etc/passwd' }), 'images[1].id: expected a path inside the data set'],
    [image({ id: '/etc/passwd' }), 'images[1].id: expected a path inside the data set'],
    [image({ id: 'a\\..\\b' }), 'images[1].id: expected a path inside the data set'],
    [image({ id: 'a\nb' }), 'images[1].id: expected a path inside the data set'],
    [image({ sha256: `${hex('d')}\n` }), 'images[1].sha256: expected 64 lower-case hex digits'],
    [image({ class: 'x\n'.repeat(500) }), 'images[1].class: expected one of classes'],
  ])('refuses %j', (fields, message) => {
    const text = JSON.stringify({ ...manifest(), ...fields });
    expect(() => parseManifest(text, 'm.json')).toThrow(InputError);
    expect(() => parseManifest(text, 'm.json')).toThrow(`m.json: ${message}`);
    expect(() => parseManifest(text, 'm.json')).toThrow(
      /^.{1,260}; (restore or remake it|use the version of radioactive that wrote it)$/,
    );
  });

  test('refuses what is no JSON, and numbers that JSON does not have', () => {
    expect(() => parseManifest('{"format":\n', 'm.json')).toThrow('m.json: not valid JSON; restore or remake it');
    expect(() => parseManifest('null', 'm.json')).toThrow('m.json: is no manifest');
    for (const psnr of [Number.POSITIVE_INFINITY, Number.NaN]) {
      const wrong = { ...manifest(), images: [{ ...manifest().images[0], psnr }] };
      expect(() => serializeManifest(wrong)).toThrow('manifest.json: images[0].psnr: expected');
    }
  });
});

const missing = existsSync(join(FASHION, 'train-images-idx3-ubyte.gz')) ? '' : ` (skipped: no files in ${FASHION})`;
describe.skipIf(missing !== '')(`Fashion-MNIST${missing}`, () => {
  test('opens whole and in part', async () => {
    const train = await openDataset(`${FASHION}#59990:`);
    expect(train.length).toBe(10);
    expect(train.id(0)).toBe('train/59990');
    const held = await openDataset(FASHION, { split: 'test' });
    expect(held.length).toBe(10_000);
    expect([...held.labels.subarray(0, 5)]).toEqual([9, 2, 1, 1, 6]);
    const perClass = new Uint32Array(10);
    for (const label of held.labels) perClass[label]++;
    expect([...perClass]).toEqual(new Array(10).fill(1000));
    const { width, height, channels } = await held.image(9999);
    expect([width, height, channels]).toEqual([28, 28, 1]);
    const { selected } = selectStratified(held.labels, 10, { fraction: 0.01 }, 1);
    expect(selected.length).toBe(100);
  });
});
