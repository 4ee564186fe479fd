/** Parquet files in Hugging Face's form: what is read of them, and that nothing but the images changes. */

import { spawnSync } from 'node:child_process';
import {
  copyFileSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { Dataset } from '../src/datasets/dataset.ts';
import type { Image8 } from '../src/images/image.ts';
import { openDataset } from '../src/node/datasets/open.ts';
import { ParquetFile } from '../src/node/datasets/parquet_file.ts';
import { openDatasetWriter } from '../src/node/datasets/write.ts';
import { refuses } from './refuses.ts';

const golden = (name: string): string => resolve('test/golden/parquet', name);
let folder: string;
const at = (name: string): string => join(folder, name);
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'radioactive-parquet-'));
});
afterAll(() => rmSync(folder, { recursive: true }));

/** A new folder with some of the golden files. */
function folderOf(name: string, ...files: string[]): string {
  mkdirSync(at(name));
  for (const file of files) copyFileSync(golden(file), at(`${name}/${file}`));
  return at(name);
}

const named = (dataset: Dataset) => [...dataset.labels].map((label) => dataset.classes[label]);
const level = (value: number): Image8 => ({ width: 2, height: 2, channels: 1, data: new Uint8Array(4).fill(value) });

/** All rows of a file, as they are stored. */
async function rowsOf(path: string): Promise<Record<string, unknown>[]> {
  const file = await ParquetFile.open(path);
  const groups = file.metadata.row_groups.map((_, group) => file.rows(group));
  return (await Promise.all(groups)).flat();
}

describe('reading', () => {
  it('images and labels of all row groups, with the names of ClassLabel', async () => {
    const dataset = await openDataset(golden('every.parquet'));
    expect(dataset.format?.name).toBe('parquet');
    expect([dataset.length, dataset.classes]).toEqual([130, ['cat', 'dog', 'elk']]);
    expect([...dataset.labels]).toEqual(Array.from({ length: 130 }, (_, i) => i % 2));
    // Of both row groups.
    for (const index of [0, 109, 110, 129]) {
      expect(dataset.id(index)).toBe(`every.parquet/${index}`);
      expect(await dataset.image(index)).toEqual(level(index));
    }
    const classes = ['dog', 'x', 'cat', 'elk'];
    expect(named(await openDataset(golden('every.parquet'), { classes })).slice(0, 2)).toEqual(['cat', 'dog']);
    expect((await openDataset(`${golden('every.parquet')}#110:112`)).id(1)).toBe('every.parquet/111');
  });

  it('several shards of a split, labels that are texts, other codecs, and a row without an image', async () => {
    const path = folderOf(
      'shards',
      'train-00000-of-00002.parquet',
      'train-00001-of-00002.parquet',
      'test-00000-of-00001.parquet',
    );
    await refuses(openDataset(path), 'train-00000-of-00002.parquet/3: the row has no image');
    const dataset = await openDataset(path, { keepFaults: true });
    expect(named(dataset)).toEqual(['owl', 'elk', 'owl', 'owl', 'elk', 'elk', 'owl']);
    expect([...dataset.faults!.keys()]).toEqual([3]);
    await refuses(dataset.bytes(3), 'train-00000-of-00002.parquet/3: the row has no image');
    expect([await dataset.image(4), await dataset.image(6)]).toEqual([level(4), level(2)]);
    expect((await openDataset(path, { split: 'test' })).length).toBe(1);
    expect((await openDataset(join(path, 'train-{00001..00001}-of-00002.parquet'))).length).toBe(2);
  });

  it('what is no such file is told in a line', async () => {
    mkdirSync(at('bad'));
    const bytes = readFileSync(golden('every.parquet'));
    writeFileSync(at('bad/cut.parquet'), bytes.subarray(0, 9000));
    await refuses(openDataset(at('bad/cut.parquet')), 'cut.parquet: cannot be read as parquet');
    writeFileSync(at('bad/none.parquet'), 'words');
    await refuses(openDataset(at('bad/none.parquet')), 'none.parquet: cannot be read as parquet');
    // The footer is sound, the first pages are not.
    writeFileSync(
      at('bad/page.parquet'),
      Buffer.concat([bytes.subarray(0, 4), Buffer.alloc(8000, 255), bytes.subarray(8004)]),
    );
    await refuses(openDataset(at('bad/page.parquet')), 'page.parquet: cannot be read as parquet');
    const mixed = folderOf('mixed', 'every.parquet', 'item.parquet');
    await refuses(openDataset(mixed), 'item.parquet: has other columns or classes than every.parquet');
  });
});

describe('writing', () => {
  /** Inverted images. */
  async function write(source: Dataset, out: string, options = {}): Promise<void> {
    const writer = await openDatasetWriter(source, at(out), options);
    for (let index = 0; index < source.length; index++) {
      if (source.faults?.has(index)) continue;
      const image = await source.image(index);
      const { id } = await writer.writeImage(index, { ...image, data: image.data.map((value) => 255 - value) });
      expect(id).toBe(`${source.id(0).split('/')[0]}/${index}`);
    }
    await writer.finish(new Set(source.faults?.keys()));
  }

  it('other columns, schema and notes are as they were, at most 100 rows a group', async () => {
    await write(await openDataset(folderOf('every', 'every.parquet')), 'every-out');
    expect(readdirSync(at('every-out'))).toEqual(['every.parquet']);
    expect(statSync(at('every-out/every.parquet')).mtime.toISOString()).toBe('2000-01-01T00:00:00.000Z');
    const [before, after] = await Promise.all(
      [at('every'), at('every-out')].map((path) => rowsOf(join(path, 'every.parquet'))),
    );
    expect(before).toHaveLength(130);
    for (const [i, { image, ...others }] of before.entries()) {
      const { image: marked, ...same } = after[i] as { image: { path: unknown } };
      expect(same).toEqual(others);
      expect(marked.path).toEqual((image as { path: unknown }).path);
    }
    const [from, to] = await Promise.all(
      [at('every'), at('every-out')].map((path) => ParquetFile.open(join(path, 'every.parquet'))),
    );
    expect(to.metadata.key_value_metadata).toEqual(from.metadata.key_value_metadata);
    expect(to.metadata.row_groups.map(({ num_rows }) => Number(num_rows))).toEqual([100, 30]);
    const marked = await openDataset(at('every-out'));
    for (const index of [0, 99, 100, 129]) expect(await marked.image(index)).toEqual(level(255 - index));
  });

  it('pyarrow reads the same columns, to the value and the type', (context) => {
    const code = `
import sys
import pyarrow.parquet as pq
a, b = (pq.read_table(path) for path in sys.argv[1:])
assert a.schema.equals(b.schema, check_metadata=True), (a.schema, b.schema)
assert pq.ParquetFile(sys.argv[1]).schema.to_arrow_schema().equals(pq.ParquetFile(sys.argv[2]).schema.to_arrow_schema())
for name in a.column_names:
    if name != 'image':
        assert a[name].equals(b[name]), name
assert [row['path'] for row in a['image'].to_pylist()] == [row['path'] for row in b['image'].to_pylist()]
print(len(a.column_names))`;
    const python = (...args: string[]) => spawnSync('python3', ['-c', ...args], { encoding: 'utf8' });
    if (python('import pyarrow').status !== 0) return context.skip('no pyarrow for python3');
    const { stdout, stderr } = python(code, at('every/every.parquet'), at('every-out/every.parquet'));
    expect(stderr).toBe('');
    expect(stdout.trim()).toBe('18');
  });

  it('shards of other codecs, rows without an image, PNG names, a part of the rows', async () => {
    const path = folderOf('few', 'train-00000-of-00002.parquet', 'train-00001-of-00002.parquet');
    await write(await openDataset(path, { keepFaults: true }).then(onlyFirst), 'few-out', { format: 'PNG' });
    const [before, after] = await Promise.all(
      [path, at('few-out')].map((root) => rowsOf(join(root, 'train-00000-of-00002.parquet'))),
    );
    const pathOf = (row: Record<string, unknown>) => (row.img as { path: Uint8Array } | null)?.path;
    const text = (bytes: Uint8Array | null | undefined) => bytes && new TextDecoder().decode(bytes);
    expect(before.map((row) => text(pathOf(row)))).toEqual([
      null,
      'grüße 1.jpg',
      'grüße 2.jpg',
      undefined,
      'grüße 4.jpg',
    ]);
    expect(after.map((row) => text(pathOf(row)))).toEqual([
      null,
      'grüße 1.png',
      'grüße 2.png',
      undefined,
      'grüße 4.png',
    ]);
    const again = await openDataset(at('few-out'), { keepFaults: true });
    expect([...again.faults!.keys()]).toEqual([3]);

    // Rows count anew.
    const part = await openDataset(`${golden('every.parquet')}#120:123`);
    await write(part, 'part-out');
    const written = await openDataset(at('part-out'));
    expect([written.length, written.id(2), part.id(2)]).toEqual([3, 'every.parquet/2', 'every.parquet/122']);
    expect(await written.image(2)).toEqual(level(255 - 122));
    expect((await rowsOf(at('part-out/every.parquet'))).map(({ id }) => id)).toEqual([120, 121, 122]);
  });

  it('lists whose items have another name, and what is not written', async () => {
    await write(await openDataset(folderOf('item', 'item.parquet')), 'item-out');
    expect((await rowsOf(at('item-out/item.parquet')))[0].list).toEqual((await rowsOf(golden('item.parquet')))[0].list);
    const times = await openDataset(golden('int96.parquet'));
    await refuses(openDatasetWriter(times, at('int96-out')), 'int96.parquet: column when has times of 96 bits');
  });
});

/** The items of the first shard. */
async function onlyFirst(dataset: Dataset): Promise<Dataset> {
  return openDataset(`${join(dataset.root, 'train-00000-of-00002.parquet')}`, { keepFaults: true });
}
