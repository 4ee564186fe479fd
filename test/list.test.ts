/** Lists of image files in CSV and JSON lines. */

import { mkdtempSync, readdirSync, readFileSync, rmSync, statSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type Dataset, subset } from '../src/datasets/dataset.ts';
import { openDataset } from '../src/node/datasets/open.ts';
import { openDatasetWriter } from '../src/node/datasets/write.ts';
import { photograph, writeTree } from './photographs.ts';
import { pngOf } from './png.ts';
import { refuses } from './refuses.ts';

const dot = (level: number) => pngOf({ width: 2, height: 2, channels: 1, data: new Uint8Array(4).fill(level) });
let folder: string;
const at = (name: string): string => join(folder, name);
beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'radioactive-list-'));
  const jpeg = await photograph(1, 40, 30, 'jpeg');
  writeTree(at('data'), { 'val/2.png': dot(2), 'val/10.png': dot(10), '1, "one".JPEG': jpeg, 'other.png': dot(3) });
  const rows = ['./val/10.png,owl,x', '"1, ""one"".JPEG",elk,', 'val/2.png,owl,"a ""b"""'];
  writeFileSync(at('data/list.csv'), `Path,class,note\r\n${rows.join('\r\n')}\r\n`);
  writeFileSync(at('data/plain.csv'), 'val/2.png,1\nother.png,0\n');
  writeFileSync(at('data/list.jsonl'), '{"file_name": "val/2.png", "label": 3}\n\n{"file_name":"other.png","label":0}');
});
afterAll(() => rmSync(folder, { recursive: true }));

const ids = (dataset: Dataset) => Array.from({ length: dataset.length }, (_, index) => dataset.id(index));
const named = (dataset: Dataset) => [...dataset.labels].map((label) => dataset.classes[label]);

describe('reading', () => {
  it('rows in their order, columns by their names, or the first two', async () => {
    const dataset = await openDataset(at('data/list.csv'));
    expect(dataset.format?.name).toBe('list');
    expect(ids(dataset)).toEqual(['val/10.png', '1, "one".JPEG', 'val/2.png']);
    expect(dataset.classes).toEqual(['elk', 'owl']);
    expect(named(dataset)).toEqual(['owl', 'elk', 'owl']);
    expect((await dataset.image(2)).data).toEqual(new Uint8Array(4).fill(2));
    expect(await dataset.shape(1)).toEqual({ width: 40, height: 30, channels: 3 });
    const plain = await openDataset(at('data/plain.csv'));
    expect([ids(plain), named(plain)]).toEqual([
      ['val/2.png', 'other.png'],
      ['1', '0'],
    ]);
    const lines = await openDataset(at('data/list.jsonl#0:1'));
    expect([ids(lines), named(lines), lines.classes.length]).toEqual([['val/2.png'], ['3'], 4]);
  });

  it('what does not fit is told with its row; damaged and missing files are faults', async () => {
    const list = (text: string, options = {}, name = 'data/bad.csv') => {
      writeFileSync(at(name), text);
      return openDataset(at(name), options);
    };
    await refuses(list('../x.png,1\n'), 'row 1: "../x.png" is no path from the list');
    await refuses(list('/etc/x.png,1\n'), 'is no path from the list');
    await refuses(list('a,b,c\n1,2,3\n'), 'does not say which of its 3 columns are which');
    await refuses(list('path,label\nval/2.png,\n'), 'line 2 has no path or no label');
    await refuses(list('other.png,1\n./other.png,2\n'), 'row 2: other.png is listed twice');
    await refuses(list('other.png,1\nOTHER.png,2\n'), 'row 2: OTHER.png differs only in case from other.png');
    await refuses(list(''), 'lists no images');
    await refuses(list('{"path":"a.png"}', {}, 'data/bad.jsonl'), 'line 1 is no object with a path and a label');
    await refuses(list('nonsense', {}, 'data/bad.ndjson'), 'line 1 is no object');
    writeFileSync(at('outside.png'), dot(9));
    symlinkSync(at('outside.png'), at('data/link.png'));
    writeFileSync(at('data/words.png'), 'words');
    const text = 'other.png,1\nmissing.png,1\nwords.png,0\nlink.png,1\n';
    await refuses(list(text), '3 images cannot be used: missing.png (no such file)');
    const dataset = await list(text, { keepFaults: true });
    expect([...dataset.faults!.keys()]).toEqual([1, 2, 3]);
    expect(dataset.faults!.get(3)).toMatch(/^symbolic link out of the data set/);
    await refuses(dataset.bytes(3), 'symbolic link out of the data set');
  });
});

describe('writing', () => {
  async function write(source: Dataset, out: string, options = {}): Promise<void> {
    const writer = await openDatasetWriter(source, at(out), options);
    for (let index = 0; index < source.length; index++) await writer.writeImage(index, await source.image(index));
    await writer.finish();
  }

  it('the list is the same to the byte, the files as in a folder, and no other', async () => {
    const source = await openDataset(at('data/list.csv'));
    await write(source, 'out');
    expect(readFileSync(at('out/list.csv'), 'utf8')).toBe(readFileSync(at('data/list.csv'), 'utf8'));
    expect(readdirSync(at('out'))).toEqual(['1, "one".JPEG', 'list.csv', 'val']);
    for (const name of ['', 'list.csv', 'val/2.png'])
      expect(statSync(at(`out/${name}`)).mtime.toISOString()).toBe('2000-01-01T00:00:00.000Z');
    const written = await openDataset(at('out/list.csv'));
    expect([ids(written), named(written)]).toEqual([ids(source), named(source)]);
  });

  it('as PNG files, and of a part: the rows that there are, with the new names, and all else they say', async () => {
    await write(subset(await openDataset(at('data/list.csv')), [1, 2]), 'png', { format: 'PNG' });
    expect(readFileSync(at('png/list.csv'), 'utf8')).toBe(
      'Path,class,note\n"1, ""one"".png",elk,\nval/2.png,owl,"a ""b"""\n',
    );
    expect((await openDataset(at('png/list.csv'))).length).toBe(2);
    await write(await openDataset(at('data/list.jsonl#1:2')), 'lines');
    expect(readFileSync(at('lines/list.jsonl'), 'utf8')).toBe('{"file_name":"other.png","label":0}\n');
  });
});
