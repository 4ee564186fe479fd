/** Folders as people have them: in torchvision's order, with links, and with more than one damaged file. */

import { readdirSync, readFileSync } from 'node:fs';
import { mkdir, mkdtemp, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { Dataset } from '../src/datasets/dataset.ts';
import { Loader } from '../src/datasets/loader.ts';
import { compareCodePoints, splitsWarning } from '../src/datasets/names.ts';
import { checkKeyMatches } from '../src/marking/key.ts';
import { openDataset } from '../src/node/datasets/open.ts';
import { openDatasetWriter } from '../src/node/datasets/write.ts';
import { nodeCodec } from '../src/node/images/codec.ts';
import { photographKey } from './photographs.ts';
import { png, pngOf } from './png.ts';

const dot = (level: number) => pngOf({ width: 2, height: 2, channels: 1, data: new Uint8Array(4).fill(level) });

let base: string;
let count = 0;
beforeAll(async () => {
  base = await mkdtemp(join(tmpdir(), 'radioactive-folders-'));
});
afterAll(() => rm(base, { recursive: true, force: true }));
async function tree(files: Readonly<Record<string, Uint8Array | string>>): Promise<string> {
  const root = join(base, `data${count++}`);
  for (const [name, content] of Object.entries(files)) {
    await mkdir(dirname(join(root, name)), { recursive: true });
    await writeFile(join(root, name), content);
  }
  return root;
}
const ids = (dataset: Dataset): string[] => Array.from({ length: dataset.length }, (_, i) => dataset.id(i));

interface Listing {
  readonly files: readonly string[];
  readonly classes: readonly string[];
  readonly samples: readonly (readonly [path: string, label: number])[];
}
const golden = JSON.parse(readFileSync('test/golden/image_folder/list.json', 'utf8')) as Listing;

const EXTENSIONS = ['.jpg', '.jpeg', '.png', '.ppm', '.bmp', '.pgm', '.tif', '.tiff', '.webp'];
const byCodePoint = (names: readonly string[]): string[] => [...names].sort(compareCodePoints);

/** What torchvision's ImageFolder finds, by its source: `sorted(os.walk(folder))`, in each the sorted files of its extensions. */
function imageFolder(root: string): Omit<Listing, 'files'> {
  const entries = (path: string) => readdirSync(join(root, path), { withFileTypes: true });
  const classes = byCodePoint(entries('').flatMap((entry) => (entry.isDirectory() ? [entry.name] : [])));
  const walk = (folder: string): string[] => [
    folder,
    ...entries(folder).flatMap((entry) => (entry.isDirectory() ? walk(`${folder}/${entry.name}`) : [])),
  ];
  const samples = classes.flatMap((name, label) =>
    byCodePoint(walk(name)).flatMap((folder) =>
      byCodePoint(entries(folder).flatMap((entry) => (entry.isFile() ? [entry.name] : [])))
        .filter((file) => EXTENSIONS.some((extension) => file.toLowerCase().endsWith(extension)))
        .map((file) => [`${folder}/${file}`, label] as const),
    ),
  );
  return { classes, samples };
}

describe("torchvision's ImageFolder", () => {
  let root: string;
  beforeAll(async () => {
    // Of formats that are not read here some are damaged for it: copied, and counted by both.
    root = await tree(
      Object.fromEntries(golden.files.map((name, i) => [name, /\.(txt|gif)$/.test(name) ? 'GIF89a' : dot(i)])),
    );
    await writeFile(join(root, 'cat/photo.bmp'), 'BM');
  });

  it('finds what its own rules say', () => {
    expect(imageFolder(root)).toEqual({ classes: golden.classes, samples: golden.samples });
  });

  it('has the order and the labels of a data set here', async () => {
    const dataset = await openDataset(root, { keepFaults: true });
    expect(dataset.classes).toEqual(golden.classes);
    const labels = new Map(golden.samples);
    const seen = ids(dataset).flatMap((id, i) => (labels.has(id) ? [[id, dataset.labels[i]] as const] : []));
    expect(seen).toEqual(golden.samples);
  });

  it.each([undefined, 'PNG'] as const)(
    'finds as many in the same order in what is written, format %s',
    async (format) => {
      const dataset = await openDataset(root, { keepFaults: true });
      const out = join(base, `out${count++}`);
      const writer = await openDatasetWriter(dataset, out, { ...(format && { format }) });
      const nameOf = new Map<string, string>();
      for (let i = 0; i < dataset.length; i++) {
        const written = dataset.faults!.has(i)
          ? await writer.copy(i)
          : await writer.writeImage(i, await dataset.image(i));
        nameOf.set(dataset.id(i), written.id);
      }
      await writer.finish();
      const { classes, samples } = imageFolder(out);
      expect(classes).toEqual(golden.classes);
      expect(samples).toEqual(golden.samples.map(([id, label]) => [nameOf.get(id), label]));
      if (format === undefined) expect(samples).toEqual(golden.samples);
    },
  );
});

describe('symbolic links', () => {
  it('are followed for reading: to files and folders elsewhere, and to class folders', async () => {
    const store = await tree({
      'blobs/1': dot(1),
      'more/2.png': dot(2),
      'more/deep/3.png': dot(3),
      'owls/4.png': dot(4),
    });
    const root = await tree({ 'elk/0.png': dot(0) });
    await symlink(join(store, 'blobs/1'), join(root, 'elk/1.png'));
    await symlink(join(store, 'more'), join(root, 'elk/more'));
    await symlink(join(store, 'owls'), join(root, 'owl'));
    const dataset = await openDataset(root);
    expect(dataset.classes).toEqual(['elk', 'owl']);
    expect(ids(dataset)).toEqual(['elk/0.png', 'elk/1.png', 'elk/more/2.png', 'elk/more/deep/3.png', 'owl/4.png']);
    for (let i = 0; i < 5; i++) expect((await dataset.image(i)).data[0]).toBe(i);
  });

  it('are followed by nothing that marks: what they lead to might not be meant for publishing', async () => {
    const secret = await tree({ 'elk/0.png': dot(0) });
    const root = await tree({ 'elk/1.png': dot(1) });
    await symlink(join(secret, 'elk/0.png'), join(root, 'elk/0.png'));
    await symlink(join(secret, 'elk'), join(root, 'elk/more'));
    const dataset = await openDataset(root, { keepFaults: true });
    expect(ids(dataset).map((id, i) => [id, dataset.faults!.get(i)?.slice(0, 13)])).toEqual([
      ['elk/0.png', 'symbolic link'],
      ['elk/1.png', undefined],
      ['elk/more', 'symbolic link'],
    ]);
    await expect(dataset.bytes(0)).rejects.toThrow('symbolic link out of the data set');
  });

  it('in circles end', async () => {
    const root = await tree({ 'elk/0.png': dot(0), 'elk/deep/1.png': dot(1) });
    await symlink('..', join(root, 'elk/deep/up'));
    await expect(openDataset(root)).rejects.toThrow('elk/deep/up: symbolic link to a folder that it lies in; remove');
    const [a, b] = [await tree({ 'x/1.png': dot(1) }), await tree({ 'y/2.png': dot(2) })];
    await symlink(join(b, 'y'), join(a, 'x/to-y'));
    await symlink(join(a, 'x'), join(b, 'y/to-x'));
    await expect(openDataset(a)).rejects.toThrow('x/to-y/to-x: symbolic link to a folder that it lies in');
  });
});

describe('several faulty files', () => {
  it('are named in one error by what opens a folder', async () => {
    const root = await tree({
      'elk/1.png': dot(1),
      'elk/2.gif': 'GIF89a',
      'elk/x\ny.png': dot(1),
      'owl/3.png': dot(3),
    });
    await symlink('gone.png', join(root, 'owl/4.png'));
    await expect(openDataset(root)).rejects.toThrow(
      /: 3 images cannot be used: elk\/2\.gif \(GIF images are not read\), elk\/x\\ny\.png \(a name .*\), owl\/4\.png \(no such file.*\); /,
    );
  });

  it('are named in one error by what reads headers, and by what decodes', async () => {
    const cut = dot(1).subarray(0, -1);
    const damaged = png({ width: 2, height: 2, colorType: 0, rows: [9, 0, 0, 9, 0, 0] });
    const root = await tree({ 'elk/1.png': cut, 'elk/2.png': dot(2), 'owl/3.png': cut, 'owl/4.png': dot(4) });
    await expect(Loader.open(await openDataset(root))).rejects.toThrow(
      /: 2 images cannot be used: elk\/1\.png \(damaged PNG: .*\), owl\/3\.png \(damaged PNG: .*\); restore it/,
    );
    const inside = await tree({
      'elk/1.png': damaged,
      'elk/2.png': dot(2),
      'owl/3.png': damaged,
      'owl/4.png': damaged,
    });
    const loader = await Loader.open(await openDataset(inside));
    await expect(loader.image(1)).resolves.toBeDefined();
    await expect(loader.image(2)).rejects.toThrow(
      /: 3 images cannot be used: elk\/1\.png \(damaged PNG: its pixels cannot be decoded\), owl\/3\.png .*, owl\/4\.png /,
    );
  });

  it('are named up to twenty, and counted', async () => {
    const files = Object.fromEntries(Array.from({ length: 30 }, (_, i) => [`elk/${100 + i}.png`, 'GIF89a']));
    await expect(openDataset(await tree({ ...files, 'elk/1.png': dot(1) }))).rejects.toThrow(
      /: 30 images cannot be read: elk\/100\.png \(GIF\), .*elk\/119\.png \(GIF\), …; convert/,
    );
  });

  it('that are something else are named for what they are', async () => {
    const root = await tree({
      'elk/1.png': dot(1),
      'elk/2.jpg': 'version https://git-lfs.github.com/spec/v1\noid sha256:00\n',
      'elk/3.jpg': '<html>404</html>',
    });
    await expect(openDataset(root)).rejects.toThrow(
      '2 images cannot be read: elk/2.jpg (a Git LFS pointer, not the file itself), elk/3.jpg (a web page); convert',
    );
    expect([...(await openDataset(root, { keepFaults: true })).faults!.values()]).toEqual([
      'a Git LFS pointer, not the file itself, not an image; fetch the file with: git lfs pull',
      'a web page, not an image; download the file itself: this is what a server said instead',
    ]);
  });
});

describe('names', () => {
  it('of one look and two Unicode compositions are told apart in words', async () => {
    const [nfc, nfd] = ['caf\u00e9', 'cafe\u0301'];
    const hint = 'differs from "caf\u00e9" only in Unicode composition, NFD for NFC';
    const key = { ...(await photographKey('00'.repeat(32))), classes: [nfc, 'dog'] };
    const found = { modelSha256: key.model.sha256, classes: [nfd, 'dog'] };
    expect(() => checkKeyMatches(key, found)).toThrow(hint);
    const root = await tree({ [`${nfd}/1.png`]: dot(1) });
    await expect(openDataset(root, { classes: [nfc] })).rejects.toThrow(hint);
    const twins = await tree({ [`elk/${nfc}.png`]: dot(1), [`elk/${nfd}.png`]: dot(2) });
    await expect(openDataset(twins)).rejects.toThrow(
      'differs only in Unicode composition from elk/cafe\u0301.png; rename one',
    );
  });

  it('of classes that are parts of a data set are pointed out', () => {
    expect(splitsWarning('photos', ['train', 'val'])).toBe(
      'photos: its classes are train, val: if these are parts of the data set, give the folder of one of them',
    );
    expect(splitsWarning('photos', ['train', 'bus'])).toBeUndefined();
  });

  it('of hidden files that torchvision would read are told with the other files', async () => {
    const dataset = await openDataset(await tree({ 'elk/1.png': dot(1), 'elk/._1.png': 'x', 'elk/.DS_Store': 'x' }));
    expect(ids(dataset)).toEqual(['elk/1.png']);
    expect(dataset.otherFiles).toEqual(['elk/._1.png']);
  });
});

it('a written image larger than the default limit is read back', async () => {
  // Uniform rows: large in pixels, small in bytes.
  const [width, height] = [9000, 8000];
  const large = png({ width, height, colorType: 0, rows: new Uint8Array(height * (width + 1)) });
  const dataset = await openDataset(await tree({ 'elk/1.png': large }), { decode: { maxPixels: 1e8 } });
  const writer = await openDatasetWriter(dataset, join(base, 'large'), { codec: await nodeCodec() });
  await writer.copy(0);
  expect(await writer.read(0)).toMatchObject({ width, height });
  await writer.close();
});
