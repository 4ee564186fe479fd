/** WebDataset shards: what is read of them, and that what is written is the same but for the images. */

import { execFileSync } from 'node:child_process';
import {
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type Dataset, subset } from '../src/datasets/dataset.ts';
import { IntegrityError } from '../src/errors.ts';
import { openDataset } from '../src/node/datasets/open.ts';
import { tarBytes, tarMembers } from '../src/node/datasets/tar.ts';
import { openDatasetWriter } from '../src/node/datasets/write.ts';
import { photograph } from './photographs.ts';
import { pngOf } from './png.ts';
import { refuses } from './refuses.ts';
import { writeTar } from './small_data.ts';

let folder: string;
const at = (name: string): string => join(folder, name);
let jpeg: Buffer;
let webp: Buffer;
beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'radioactive-webdataset-'));
  [jpeg, webp] = await Promise.all([photograph(1, 40, 30, 'jpeg'), photograph(2, 30, 40, 'webp')]);
});
afterAll(() => rmSync(folder, { recursive: true }));

const dot = (level: number) => pngOf({ width: 2, height: 2, channels: 1, data: new Uint8Array(4).fill(level) });
const ids = (dataset: Dataset) => Array.from({ length: dataset.length }, (_, index) => dataset.id(index));
const named = (dataset: Dataset) => [...dataset.labels].map((label) => dataset.classes[label]);

/** What the system's tar says of an archive: a line a member, with kind and mode, owners, size, time and name. */
const listed = (path: string): string[] =>
  execFileSync('tar', ['--utc', '--full-time', '--quoting-style=literal', '-tvf', path], {
    encoding: 'utf8',
    env: { ...process.env, LC_ALL: 'C.UTF-8' },
  })
    .trim()
    .split('\n')
    .map((line) => line.replace(/ +/g, ' '));
/** The same without sizes. */
const unsized = (path: string): string[] => listed(path).map((line) => line.replace(/^(\S+ \S+) \d+ \S+ \S+/, '$1'));
const contentOf = (path: string, member: string): Buffer => execFileSync('tar', ['-xOf', path, member]);

describe('reading', () => {
  it('samples of several shards, in their order, with the class from .cls, .json or .txt', async () => {
    writeTar(at('read/b.tar'), {
      './000.cls': 'owl\n',
      './000.jpg': jpeg,
      './deep/001.WEBP': webp,
      './deep/001.json': '{"label": "elk", "width": 30}',
      './deep/001.seg.png': dot(1),
    });
    writeTar(at('read/a.tar.gz'), { '7.png': dot(7), '7.txt': 'owl', 'README.md': 'none', '._7.png': 'x' }, '-z');
    writeFileSync(at('read/LICENSE'), '');
    const dataset = await openDataset(at('read'));
    expect(ids(dataset)).toEqual(['a.tar.gz/7.png', 'b.tar/000.jpg', 'b.tar/deep/001.WEBP']);
    expect(dataset.classes).toEqual(['elk', 'owl']);
    expect(named(dataset)).toEqual(['owl', 'owl', 'elk']);
    expect(dataset.otherFiles).toEqual(['LICENSE']);
    expect((await dataset.image(0)).data).toEqual(new Uint8Array(4).fill(7));
    expect(Buffer.from(await dataset.bytes(1)).equals(jpeg)).toBe(true);
    expect(await dataset.shape(2)).toEqual({ width: 30, height: 40, channels: 3 });
    expect(dataset.format).toMatchObject({ name: 'webdataset', stores: 'files', pairedBy: 'id' });
  });

  it('numbers are classes of their own, or count in classes.txt or the names that are given', async () => {
    writeTar(at('numbers/x.tar'), { 'a.png': dot(1), 'a.cls': '2', 'b.png': dot(2), 'b.cls': '0' });
    expect((await openDataset(at('numbers'))).classes).toEqual(['0', '1', '2']);
    writeFileSync(at('numbers/classes.txt'), 'ape\nbee\ncat\n');
    expect(named(await openDataset(at('numbers/x.tar')))).toEqual(['cat', 'ape']);
    expect(named(await openDataset(at('numbers'), { classes: ['x', 'y', 'z', 'w'] }))).toEqual(['z', 'x']);
    await refuses(openDataset(at('numbers'), { classes: ['x', 'y'] }), 'a label is 2, there are 2 classes');
  });

  it('patterns name their shards, each of which must be there; a folder gives those of a split', async () => {
    for (const name of ['train-00', 'train-01', 'val-00']) {
      writeTar(at(`split/${name}.tar`), { 'a.png': dot(1), 'a.cls': name });
    }
    const classes = async (path: string, split?: 'train' | 'test') =>
      named(await openDataset(at(path), split === undefined ? {} : { split }));
    expect(await classes('split/train-{01..00}.tar')).toEqual(['train-01', 'train-00']);
    expect(await classes('split/*-00.tar')).toEqual(['train-00', 'val-00']);
    expect(await classes('split')).toEqual(['train-00', 'train-01']);
    expect(await classes('split', 'test')).toEqual(['val-00']);
    expect(await classes('split/train-{00,01}.tar#1:2')).toEqual(['train-01']);
    await refuses(classes('split/train-{00..02}.tar'), `${at('split/train-02.tar')}: no such file`);
    await refuses(classes('split/x*.tar'), 'no file has such a name');
    await refuses(classes('spl*/train-00.tar'), 'a pattern of folders');
  });

  it('what is damaged is told in a line, and does not hide the rest', async () => {
    writeTar(at('faults/x.tar'), {
      'a.png': dot(1),
      'a.cls': '0',
      'b.png': 'no image',
      'b.cls': '0',
      'c.png': dot(2),
      'c.jpg': jpeg,
      'c.cls': '0',
      'd.png': dot(3).subarray(0, 60),
      'd.cls': '0',
    });
    await refuses(openDataset(at('faults')), '2 images cannot be used: x.tar/b.png (not an image)');
    const dataset = await openDataset(at('faults'), { keepFaults: true });
    expect(ids(dataset)).toEqual(['x.tar/a.png', 'x.tar/b.png', 'x.tar/c.png', 'x.tar/d.png']);
    expect([...dataset.faults!.keys()]).toEqual([1, 2]);
    expect(dataset.faults!.get(2)).toBe('the sample has 2 images; keep one');
    expect(Buffer.from(await dataset.bytes(1)).toString()).toBe('no image');
    await refuses(dataset.image(3), 'x.tar/d.png: damaged PNG');

    writeTar(at('unlabelled.tar'), { 'a.png': dot(1), 'b.png': dot(1), 'b.cls': '0' });
    await refuses(openDataset(at('unlabelled.tar')), 'sample a does not say its class');
    writeTar(at('empty.tar'), { 'a.txt': 'x' });
    await refuses(openDataset(at('empty.tar')), 'no samples with an image');
  });

  it('a shard that is cut off, destroyed or no tar is refused, with all that are', async () => {
    mkdirSync(at('cut'));
    writeTar(at('cut/x.tar'), { 'a.png': dot(1), 'a.cls': '0', 'b.jpg': jpeg, 'b.cls': '0' });
    const bytes = readFileSync(at('cut/x.tar'));
    writeFileSync(at('cut/x.tar'), bytes.subarray(0, 2800));
    await refuses(openDataset(at('cut/x.tar')), 'x.tar: is damaged in its member b.jpg (Unexpected end of data)');
    writeFileSync(at('cut/y.tar'), bytes.fill(1, 1100, 1200));
    writeFileSync(at('cut/z.tar'), 'something else'.repeat(100));
    await refuses(openDataset(at('cut/y.tar')), 'y.tar: is damaged after its member a.png (Invalid tar header');
    await refuses(openDataset(at('cut/z.tar')), 'z.tar: is no tar archive');
    await refuses(openDataset(at('cut')), '(and 2 more shards');
    writeFileSync(at('cut.tar.gz'), gzipSync(bytes).subarray(0, 300));
    await refuses(openDataset(at('cut.tar.gz')), 'cut.tar.gz: is');
  });
});

describe('writing', () => {
  const long = `${'directory/'.repeat(14)}grüße ${'x'.repeat(60)}`;
  const members = {
    'a.cls': '0',
    'a.jpg': Buffer.of(),
    [`${long}.png`]: dot(5),
    [`${long}.json`]: '{"label": 1}',
    'notes/none.txt': 'words',
    'z.webp': Buffer.of(),
    'z.txt': '0',
  };

  async function write(source: Dataset, out: string, options = {}): Promise<void> {
    const writer = await openDatasetWriter(source, at(out), { resume: true, ...options });
    for (let index = 0; index < source.length; index++) await writer.writeImage(index, await source.image(index));
    await writer.finish();
    await writer.close();
  }

  it.each([
    ['gnu', '--format=gnu'],
    ['pax', '--format=pax'],
    ['gzip', '-z'],
  ])('the same members in the same order, with one time, and nothing else changed: %s', async (name, flag) => {
    const shard = name === 'gzip' ? 'x.tgz' : 'x.tar';
    const path = at(`${name}/${shard}`);
    writeTar(
      path,
      { ...members, 'a.jpg': jpeg, 'z.webp': webp },
      flag,
      '--owner=someone:12',
      '--group=some:3000000',
      '--mode=640',
    );
    const source = await openDataset(at(name));
    await write(source, `${name}-out`);
    const out = at(`${name}-out/${shard}`);
    expect(readdirSync(at(`${name}-out`))).toEqual([shard]);
    expect(unsized(out)).toEqual(unsized(path));
    expect(unsized(out)).toHaveLength(7);
    for (const line of listed(out)) expect(line).toContain(' 2000-01-01 00:00:00 ');
    for (const member of ['a.cls', `${long}.json`, 'notes/none.txt', 'z.txt'])
      expect(contentOf(out, member).equals(contentOf(path, member))).toBe(true);
    expect(statSync(out).mtime.toISOString()).toBe('2000-01-01T00:00:00.000Z');
    // Owner and group are told to the number, also beyond what a header holds.
    expect(listed(out)[0]).toMatch(/^-rw-r----- someone\/some /);
    const numeric = execFileSync('tar', ['--numeric-owner', '-tvf', out], { encoding: 'utf8' });
    expect(numeric.split('\n')[0]).toContain('12/3000000');
    expect(readFileSync(out).subarray(0, 2).toString('hex') === '1f8b').toBe(name === 'gzip');
    const marked = await openDataset(at(`${name}-out`));
    expect(ids(marked)).toEqual(ids(source));
    expect(await marked.image(1)).toEqual(await source.image(1));
    expect(named(marked)).toEqual(named(source));
  });

  it('all as PNG files: their names alone are others; copies keep theirs', async () => {
    writeTar(at('png/x.tar'), { ...members, 'a.jpg': jpeg, 'z.webp': webp });
    writeFileSync(at('png/classes.txt'), 'elk\nowl\n');
    const source = await openDataset(at('png'));
    const writer = await openDatasetWriter(source, at('png-out'), { format: 'PNG' });
    const { id } = await writer.writeImage(0, await source.image(0));
    expect(id).toBe('x.tar/a.png');
    expect((await writer.read(0)).data).toEqual((await source.image(0)).data);
    await writer.writeImage(1, await source.image(1));
    expect(await writer.stored(2)).toBeUndefined();
    await expect(writer.finish()).rejects.toThrow(IntegrityError);
    await writer.copy(2);
    const stored = await Promise.all([0, 1, 2].map((index) => writer.stored(index)));
    await writer.finish();
    const marked = await openDataset(at('png-out'));
    expect(ids(marked)).toEqual(['x.tar/a.png', `x.tar/${long}.png`, 'x.tar/z.webp']);
    expect(marked.classes).toEqual(['elk', 'owl']);
    expect(contentOf(at('png-out/x.tar'), 'z.webp').equals(webp)).toBe(true);

    // What was finished can be gone on with: what is stored is known, and may be changed.
    const again = await openDatasetWriter(source, at('png-out'), { format: 'PNG', resume: true });
    expect(await Promise.all([0, 1, 2].map((index) => again.stored(index)))).toEqual(stored);
    await again.writeImage(2, await source.image(2));
    await again.finish();
    const changed = await openDataset(at('png-out'));
    expect(ids(changed)[2]).toBe('x.tar/z.png');
    expect(Buffer.from(await changed.bytes(0)).equals(Buffer.from(await marked.bytes(0)))).toBe(true);
    expect(readdirSync(at('png-out'))).toEqual(['classes.txt', 'x.tar']);
  });

  it('what a loss of power has left half-written is as if it never was', async () => {
    writeTar(at('power/x.tar'), { 'a.png': dot(1), 'a.cls': '0', 'b.png': dot(2), 'b.cls': '1' });
    const source = await openDataset(at('power'));
    const writer = await openDatasetWriter(source, at('power-out'));
    // Side by side, as runs write.
    await Promise.all([1, 0].map(async (index) => writer.writeImage(index, await source.image(0))));
    const whole = await Promise.all([0, 1].map((index) => writer.stored(index)));
    const data = readFileSync(at('power-out/.writing/0.data'));
    // The bytes of one of the two never came to the disk.
    const { length } = data;
    writeFileSync(at('power-out/.writing/0.data'), data.fill(0, length - 10));
    const again = await openDatasetWriter(source, at('power-out'), { resume: true });
    const stored = await Promise.all([0, 1].map((index) => again.stored(index)));
    const lost = stored.indexOf(undefined);
    expect(stored[1 - lost]).toEqual(whole[1 - lost]);
    await expect(again.finish()).rejects.toThrow('1 of 2 images were not written');
    await again.copy(lost);
    await again.finish();
    expect(await (await openDataset(at('power-out'))).image(lost)).toEqual(await source.image(lost));
  });

  it('of a part of the items, their samples alone, and what is none', async () => {
    writeTar(at('part/x.tar'), { 'a.png': dot(1), 'a.cls': '0', 'b.png': dot(2), 'b.cls': '1', README: '' });
    writeTar(at('part/y.tar'), { 'c.png': dot(3), 'c.cls': '1' });
    await write(subset(await openDataset(at('part')), [1]), 'part-out');
    expect(readdirSync(at('part-out'))).toEqual(['x.tar']);
    expect(execFileSync('tar', ['-tf', at('part-out/x.tar')], { encoding: 'utf8' })).toBe('b.png\nb.cls\nREADME\n');
  });

  it('members of more than 8 GB', async () => {
    const size = 9 * 2 ** 30 + 5;
    writeTar(at('small.tar'), { 'a.bin': 'x' });
    async function* one() {
      for await (const member of tarMembers(at('small.tar')))
        yield { header: { ...member.header, size }, name: 'large.bin', content: endless() };
    }
    async function* endless() {
      for (;;) yield new Uint8Array(512);
    }
    for await (const piece of tarBytes(one(), false)) {
      writeFileSync(at('large.tar'), piece.subarray(0, 512));
      break;
    }
    truncateSync(at('large.tar'), 512 + Math.ceil(size / 512) * 512 + 1024);
    expect(listed(at('large.tar'))[0]).toContain(` ${size} `);
    for await (const member of tarMembers(at('large.tar'))) {
      expect([member.name, member.size, member.offset]).toEqual(['large.bin', size, 512]);
      break;
    }
  });
});
