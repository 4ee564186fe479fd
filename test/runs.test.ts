/** Runs from files to files: what they are given, what they find, and who else writes there. */

import { createHash } from 'node:crypto';
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { hostname, tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import type { Dataset } from '../src/datasets/dataset.ts';
import { createKey, type Key } from '../src/marking/key.ts';
import { defaultMarkingRecipe } from '../src/marking/recipe.ts';
import { VanillaImages } from '../src/marking/vanilla.ts';
import type { Model } from '../src/nn/model.ts';
import { parseOptions } from '../src/node/cli/command.ts';
import { extract } from '../src/node/cli/extract.ts';
import { openDataset } from '../src/node/datasets/open.ts';
import { outputPath } from '../src/node/files/files.ts';
import { makeProbes, openProbeImages, openProbes } from '../src/node/runs/make_probes.ts';
import { markDataset } from '../src/node/runs/mark_dataset.ts';
import { openModel } from '../src/node/runs/open_model.ts';
import { runTraining } from '../src/node/runs/training_run.ts';
import { useDevice } from './device.ts';
import { pngOf } from './png.ts';
import { CLASSES, writeFolder, writeList, writeModel, writeShards } from './small_data.ts';

const device = useDevice();
let folder: string;
let key: Key;
let model: Model;
const at = (name: string): string => join(folder, name);
const recipe = { ...defaultMarkingRecipe(12), iterations: 2 };
const dot = pngOf({ width: 12, height: 12, channels: 1, data: new Uint8Array(144).fill(90) });

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'radioactive-runs-'));
  const bytes = readFileSync(writeModel(at('marker.safetensors')));
  model = (await openModel(device(), at('marker.safetensors'))).model;
  const sha256 = createHash('sha256').update(bytes).digest('hex');
  key = await createKey({
    classes: CLASSES,
    model: { sha256, architecture: 'resnet18', featureDimension: 32 },
    basis: null,
    centre: true,
  });
  writeFolder(at('images'), 8);
});
afterAll(() => {
  model.destroy();
  rmSync(folder, { recursive: true });
});

const mark = async (data: string, out: string, change: Partial<Parameters<typeof markDataset>[0]> = {}) =>
  markDataset({
    key,
    model,
    dataset: await openDataset(at(data), { keepFaults: true }),
    fraction: 1,
    recipe,
    out: at(out),
    ...change,
  });

const marks = (out: string): unknown => JSON.parse(readFileSync(at(`${out}.private/manifest.json`), 'utf8')).images;

describe('data sets of other forms', () => {
  beforeAll(() => mark('images', 'folder-marked'));

  it.each([
    ['webdataset', '', writeShards],
    ['list', '/list.csv', writeList],
  ])('%s: the marks are those of a folder with the same images', async (name, file, write) => {
    write(at(name), 8);
    const manifest = await mark(`${name}${file}`, `${name}-marked`);
    expect([manifest.source.layout, manifest.images.length]).toEqual([name, 8]);
    const paths = [`${name}-marked${file}`, `${name}${file}`, 'folder-marked'];
    const [marked, before, like] = await Promise.all(paths.map((path) => openDataset(at(path))));
    const numberOf = ({ id }: Dataset, i: number): number => Number(/(\d+)\.png/.exec(id(i))![1]);
    const inFolder = new Map(Array.from(like.labels, (_, i) => [numberOf(like, i), i]));
    for (let i = 0; i < 8; i++) {
      expect(await marked.image(i)).toEqual(await like.image(inFolder.get(numberOf(marked, i))!));
      expect([marked.id(i), marked.labels[i]]).toEqual([before.id(i), before.labels[i]]);
    }
    expect(() => VanillaImages.check(marked, [{ path: 'it', manifest }])).toThrow('8 of its images are marked');
  });

  it('probes of shards are a folder of images', async () => {
    const dataset = await openDataset(writeShards(at('shards-for-probes'), 4));
    const heldOut = VanillaImages.check(dataset, []);
    const out = at('shards-probes');
    const { source, layout } = await makeProbes({ key, model, heldOut, decoys: 1, perClass: 1, recipe, out });
    expect([source.layout, layout]).toEqual(['webdataset', 'folder']);
    expect((await openProbeImages(await openProbes(out))).length).toBe(6);
  });
});

describe('an output with a separator at its end', () => {
  it.each([
    ['out/', 'out'],
    ['a//b///', 'a/b'],
    ['/', '/'],
    ['.', '.'],
    ['./x/', 'x'],
  ])('%s is %s', (given, path) => expect(outputPath(given)).toBe(path));

  it('is what it is without, in every option that names one', () => {
    const args = '--model m --data d -o f/ --labels l/ --logits g/'.split(' ');
    expect(parseOptions(extract.options, args)).toMatchObject({ output: 'f', labels: 'l', logits: 'g', data: 'd' });
  });

  it('loses no run: mark, probes, train', async () => {
    await mark('images', 'slash/');
    const dataset = await openDataset(at('images'));
    await makeProbes({
      key,
      model,
      heldOut: VanillaImages.check(dataset, []),
      decoys: 1,
      perClass: 1,
      recipe,
      out: at('slash-probes/'),
    });
    const network = { width: 4 };
    await runTraining({ device: device(), dataset, out: at('slash.safetensors/'), network, recipe: { epochs: 1 } });
    const names = readdirSync(folder).filter((name) => name.startsWith('slash'));
    expect(names.sort()).toEqual([
      'slash',
      'slash-probes',
      'slash.private',
      'slash.safetensors',
      'slash.safetensors.json',
    ]);
    expect(readdirSync(at('slash')).sort()).toEqual(['ape', 'bee']);
    expect(readdirSync(at('slash.private'))).toEqual(['manifest.json']);
    expect(
      [statSync(at('slash.private')), statSync(at('slash.private/manifest.json'))].map(({ mode }) => mode & 0o777),
    ).toEqual([0o700, 0o600]);
  });
});

describe('names', () => {
  it('with a backslash are marked; what no manifest can hold is found before the work', async () => {
    writeFolder(at('windows'), 4);
    for (const name of ['a\\b.png', '\\c.png', 'x\\..\\d.png']) writeFileSync(at(`windows/ape/${name}`), dot);
    const { images, skipped } = await mark('windows', 'windows-marked');
    expect(images.map(({ id }) => id)).toContain('ape/a\\b.png');
    expect(skipped).toEqual(
      ['ape/\\c.png', 'ape/x\\..\\d.png'].map((id) => ({ id, reason: 'a name that no manifest can hold; rename it' })),
    );
    // Copied like others that cannot be marked.
    expect(readdirSync(at('windows-marked/ape'))).toContain('\\c.png');
    const onProgress = vi.fn();
    await expect(
      mark('windows', 'windows-refused', { dataset: await openDataset(at('windows')), onProgress }),
    ).rejects.toThrow('a name that no manifest can hold; rename it');
    expect(onProgress).not.toHaveBeenCalled();
  });

  it("macOS' icons of folders are nothing; an image with such a name is a fault", async () => {
    writeFolder(at('finder'), 4);
    writeFileSync(at('finder/Icon\r'), '');
    writeFileSync(at('finder/ape/Icon\r'), '');
    const dataset = await openDataset(at('finder'));
    expect([dataset.length, dataset.otherFiles]).toEqual([4, []]);
    writeFileSync(at('finder/ape/odd\r'), dot);
    await expect(openDataset(at('finder'))).rejects.toThrow(
      'a name that is not UTF-8 or has control characters: "odd\\r"',
    );
    expect([...(await openDataset(at('finder'), { keepFaults: true })).faults!.values()]).toHaveLength(1);
    mkdirSync(at('finder/cow\r'));
    await expect(openDataset(at('finder'), { keepFaults: true })).rejects.toThrow('"cow\\r"; rename it');
  });
});

it('files that are no images are told of; photographs in other formats count as images that cannot be read', async () => {
  writeFolder(at('beside'), 4);
  for (const name of ['LICENSE', 'ape/000.txt', 'ape/Thumbs.db', 'bee/.hidden', 'bee/metadata.jsonl'])
    writeFileSync(at(`beside/${name}`), 'text');
  expect((await openDataset(at('beside'))).otherFiles).toEqual(['LICENSE', 'ape/000.txt', 'bee/metadata.jsonl']);
  for (const name of ['1.jxl', '2.heif', '3.hif', '4.jp2', '5.tga']) writeFileSync(at(`beside/ape/${name}`), 'pixels');
  const { faults, otherFiles } = await openDataset(at('beside'), { keepFaults: true });
  expect([faults!.size, otherFiles!.length]).toEqual([5, 3]);
});

it('classes without a marked image are named in the manifest', async () => {
  writeFolder(at('few'), 4);
  for (let i = 0; i < 8; i++) writeFileSync(at(`few/ape/more-${i}.png`), dot);
  expect(await mark('few', 'few-all')).not.toHaveProperty('unmarkedClasses');
  for (const name of readdirSync(at('few/bee'))) writeFileSync(at(`few/bee/${name}`), dot.subarray(0, 40));
  expect((await mark('few', 'few-marked', { fraction: 0.2 })).unmarkedClasses).toEqual(['bee']);
  expect(readFileSync(at('few-marked.private/manifest.json'), 'utf8')).toContain(
    '"unmarkedClasses": [\n    "bee"\n  ]',
  );
});

describe('two runs with one output', () => {
  const busy = (out: string): string => `${at(out)}: another run is writing there (process `;

  it('the second is refused while the first goes on; nothing is left beside', async () => {
    const dataset = await openDataset(at('images'));
    const refused: unknown[] = [];
    const onProgress = async (): Promise<void> => {
      if (refused.length > 0) return;
      refused.push('asked');
      refused.push(await mark('images', 'shared').catch((error: Error) => error.message));
    };
    await mark('images', 'shared', { onProgress: () => void onProgress() });
    await vi.waitFor(() => expect(refused).toHaveLength(2));
    expect(refused[1]).toContain(busy('shared'));
    expect(readdirSync(folder).filter((name) => name.startsWith('shared'))).toEqual(['shared', 'shared.private']);

    const stop = new AbortController();
    const training = (onStep?: () => void) =>
      runTraining({
        device: device(),
        dataset,
        out: at('shared.safetensors'),
        network: { width: 4 },
        recipe: { epochs: 2, batchSize: 2 },
        signal: stop.signal,
        onProgress: () => onStep?.(),
      });
    let second: Promise<unknown> | undefined;
    await training(() => {
      second ??= training().catch((error: Error) => error.message);
    });
    expect(await second).toContain(busy('shared.safetensors'));
  });

  it.each([
    ['of a process that has died', { pid: 2 ** 30, host: hostname() }, 0, true],
    ['of one with this number before a restart', { pid: process.pid, host: hostname() }, 0, true],
    ['of a process that lives', { pid: process.ppid, host: hostname() }, 3600, false],
    ['of another machine, touched a moment ago', { pid: 1, host: 'elsewhere' }, 10, false],
    ['of another machine, long silent', { pid: 1, host: 'elsewhere' }, 90, true],
    ['that was never written', undefined, 0, true],
  ])('a lock %s', async (name, holder, secondsAgo, taken) => {
    const out = `lock ${name}`;
    writeFileSync(at(`${out}.lock`), holder ? JSON.stringify({ ...holder, token: 'a' }) : '{"pid": 1');
    const then = Date.now() / 1000 - secondsAgo;
    utimesSync(at(`${out}.lock`), then, then);
    const run = mark('images', out);
    if (taken) await run;
    else await expect(run).rejects.toThrow(busy(out));
    expect(readdirSync(folder).filter((found) => found.startsWith(out))).toEqual(
      taken ? [out, `${out}.private`] : [`${out}.lock`],
    );
  });
});

it('a run that goes on trusts no journal: what is stored is hashed again, and what is damaged marked again', async () => {
  await mark('images', 'undisturbed');
  const stop = new AbortController();
  const stopped = mark('images', 'touched', {
    batchSize: 2,
    signal: stop.signal,
    onProgress: (done) => void (done >= 6 && stop.abort()),
  });
  await expect(stopped).rejects.toThrow('aborted');
  const journal = at('touched.private/.journal.ndjson');
  const [head, ...lines] = readFileSync(journal, 'utf8').trimEnd().split('\n');
  expect(lines.length).toBeGreaterThanOrEqual(4);
  const [, first] = JSON.parse(lines[0]) as [number, { id: string; gain: number }];
  writeFileSync(at(`touched.partial/.writing/${first.id}`), dot);
  const [index, second] = JSON.parse(lines[1]) as [number, object];
  lines[1] = JSON.stringify([index, { ...second, gain: 'much' }]);
  lines[2] = lines[2].slice(0, 20);
  writeFileSync(journal, `${[head, ...lines, '[99999, {"skipped": "none of these"}]'].join('\n')}\n`);
  const onResume = vi.fn();
  await mark('images', 'touched', { batchSize: 2, onResume });
  expect(onResume).toHaveBeenCalledExactlyOnceWith(lines.length - 3);
  expect(marks('touched')).toEqual(marks('undisturbed'));
  expect(existsSync(at('touched.partial'))).toBe(false);
});
