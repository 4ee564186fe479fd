import { createHash } from 'node:crypto';
import {
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type Manifest, parseManifest } from '../src/datasets/manifest.ts';
import { DeviceError } from '../src/errors.ts';
import { createKey, type Key, serializeKey } from '../src/marking/key.ts';
import { defaultMarkingRecipe } from '../src/marking/recipe.ts';
import { openDataset } from '../src/node/datasets/open.ts';
import { openDevice } from '../src/node/device.ts';
import { markDataset } from '../src/node/runs/mark_dataset.ts';
import { openModel } from '../src/node/runs/open_model.ts';
import { runTraining } from '../src/node/runs/training_run.ts';
import { build, ownLines, run } from './cli.ts';
import { photograph, writePhotographs, writeTree } from './photographs.ts';
import { chunk, png, pngOf } from './png.ts';
import { writeModel } from './small_data.ts';

const golden = (name: string): Buffer => readFileSync(`test/golden/images/${name}`);
const small = { width: 9, height: 8, colorType: 2, rows: new Uint8Array(8 * 28) };

/** Files that cannot be marked, each with what the report must say. */
async function hostile(): Promise<Record<string, [content: Uint8Array, reason: RegExp]>> {
  const jpeg = await photograph(100, 60, 50, 'jpeg');
  const webp = await photograph(101, 60, 50, 'webp');
  const good = await photograph(102, 60, 50, 'png');
  const middle = jpeg.length >> 1;
  return {
    'truncated.jpg': [jpeg.subarray(0, middle), /^damaged JPEG: truncated/],
    'truncated.png': [good.subarray(0, good.length >> 1), /^damaged PNG: truncated/],
    'truncated.webp': [webp.subarray(0, webp.length >> 1), /^damaged WebP: truncated/],
    // Whole by its markers, destroyed within: seen when it is decoded.
    'destroyed.jpg': [Buffer.concat([jpeg.subarray(0, middle), jpeg.subarray(-2)]), /^damaged JPEG: /],
    'bomb.png': [png({ ...small, width: 20_000, height: 20_000 }), /^20000x20000 is more than 64000000 pixels; /],
    'text.jpg': [Buffer.from('hello'), /^not an image; /],
    'empty.jpg': [Buffer.alloc(0), /^an empty file; /],
    'really a gif.png': [Buffer.from('GIF89a........'), /^GIF images are not read; /],
    'cmyk.jpg': [golden('cmyk.jpg'), /^CMYK colours; /],
    'deep.png': [png({ ...small, depth: 16, rows: new Uint8Array(8 * 55) }), /^more than 8 bits per channel; /],
    'animated.webp': [golden('animated.webp'), /^animated WebP; /],
    'animated.png': [
      png({ ...small, before: [chunk('acTL', Buffer.from([0, 0, 0, 2, 0, 0, 0, 0]))] }),
      /^animated PNG; /,
    ],
  };
}

/** Names that are trouble elsewhere, with good images. */
const ODD_NAMES = [
  'with spaces .jpg',
  '\u{1f98c}.jpg',
  'quo\'te"s & <tags>.jpg',
  '-o.jpg',
  '%41#1:2.jpg',
  'no extension',
  'wrong.gif',
];

let folder: string;
const at = (name: string): string => join(folder, name);
let key: Key;
let reasons: Record<string, RegExp>;

/** Every file of a folder, hidden ones too, with a digest of its bytes. */
function listing(root: string): Record<string, string> {
  const paths = readdirSync(root, { recursive: true, withFileTypes: true }).filter((entry) => entry.isFile());
  return Object.fromEntries(
    paths
      .map((entry) => join(entry.parentPath, entry.name))
      .sort()
      .map((path) => [path.slice(root.length + 1), createHash('sha256').update(readFileSync(path)).digest('hex')]),
  );
}

const typed = (out: string, rest = ''): string[] =>
  `mark --key ${at('owner.key')} --model ${at('marker.safetensors')} --data ${at('data')} --fraction 0.8 --iterations 2 --crop-scale 0.3,1 -o ${out} ${rest}`
    .trim()
    .split(' ');

beforeAll(async () => {
  build();
  folder = mkdtempSync(join(tmpdir(), 'radioactive-survival-'));
  const model = writeModel(at('marker.safetensors'), {
    network: { channels: 3, inputSize: 24, mean: [0.5, 0.5, 0.5], std: [0.25, 0.25, 0.25] },
  });
  key = await createKey({
    classes: ['elk', 'owl'],
    model: {
      sha256: createHash('sha256').update(readFileSync(model)).digest('hex'),
      architecture: 'resnet18',
      featureDimension: 32,
    },
    basis: null,
    centre: true,
  });
  writeFileSync(at('owner.key'), serializeKey(key));
  await writePhotographs(at('good'), 20, 50);
  for (const [i, name] of ODD_NAMES.entries())
    writeTree(at('good/elk'), { [name]: await photograph(200 + i, 40, 33, 'jpeg') });

  cpSync(at('good'), at('data'), { recursive: true });
  const files = await hostile();
  for (const [name, [content]] of Object.entries(files)) writeTree(at('data/owl'), { [name]: content });
  const level = pngOf({ width: 5, height: 5, channels: 1, data: new Uint8Array(25) });
  writeTree(at('data/owl'), { 'new\nline.png': level, 'Twin.png': level, 'twin.PNG': level });
  writeTree(folder, { 'secret.png': level });
  symlinkSync(at('secret.png'), at('data/owl/leads out.png'));
  symlinkSync('gone.png', at('data/owl/leads nowhere.png'));
  symlinkSync('..', at('data/owl/up'));
  mkdirSync(at('data/owl/a folder.jpg'));
  reasons = {
    ...Object.fromEntries(Object.entries(files).map(([name, [, reason]]) => [name, reason])),
    'new\nline.png': /^a name that is not UTF-8 or has control characters: "new\\nline.png"; rename it$/,
    'twin.PNG': /^differs only in case from owl\/Twin.png; rename one$/,
    'leads out.png': /^symbolic link out of the data set; /,
    'leads nowhere.png': /^no such file or folder; /,
    up: /^symbolic link to a folder, which is not followed; /,
  };
});
afterAll(() => rmSync(folder, { recursive: true }));

describe('a folder with hostile files among its photographs', () => {
  let manifest: Manifest;

  it('marks every good one; every bad one is a line with its reason; exit code 3', async () => {
    const finished = await run('cli', [...typed(at('marked')), '--json']);
    expect(finished.exitCode, finished.stderr).toBe(3);
    manifest = parseManifest(readFileSync(at('marked.private/manifest.json'), 'utf8'), 'manifest');
    const skipped = new Map(manifest.skipped!.map(({ id, reason }) => [id, reason]));
    // Also those that are destroyed within, and were not to be marked: all are decoded, to be written in one way.
    const unseen = Object.keys(reasons).filter((name) => !skipped.has(`owl/${name}`));
    expect(unseen).toEqual([]);
    for (const [id, reason] of skipped) expect(reason, id).toMatch(reasons[id.slice('owl/'.length)]);
    expect(skipped.size).toBe(Object.keys(reasons).length - unseen.length);
    expect(JSON.parse(finished.stdout)).toMatchObject({ skipped: manifest.skipped, summary: manifest.summary });
    const lines = ownLines(finished);
    for (const { id, reason } of manifest.skipped!.slice(0, 20))
      expect(lines).toContain(`skipped ${JSON.stringify(id)}: ${reason}`);
    expect(lines.at(-1)).toMatch(/^[\d.]+ images\/s; reading \d+ %, .*device \d+ %/);
    // However the secret chooses: of one class all are good, of the other more are chosen than are bad.
    expect(manifest.images.length).toBeGreaterThan(15);
    for (const { source, id } of manifest.images) expect(skipped.has(source ?? id)).toBe(false);
  });

  it('leaves out what cannot be read or may not be followed, and nothing else', () => {
    const before = listing(at('data'));
    const after = listing(at('marked'));
    const leftOut = ['new\nline.png', 'twin.PNG'].map((name) => `owl/${name}`);
    const expected = Object.keys(before).filter((path) => !leftOut.includes(path));
    expect(Object.keys(after).sort()).toEqual(expected.sort());
    // What cannot be decoded is copied; everything else is written anew.
    const skipped = new Set(manifest.skipped!.map(({ id }) => id));
    for (const path of skipped) if (after[path] !== undefined) expect(after[path], path).toBe(before[path]);
    const copies = Object.keys(after).filter((path) => after[path] === before[path] && !skipped.has(path));
    expect(copies.filter((path) => /jpe?g$|webp$/i.test(path))).toEqual([]);
  });

  it('gives the others the marks that they get without them', async () => {
    // The same places in the order, with good images at them.
    const other = at('all-good');
    cpSync(at('data'), other, { recursive: true, dereference: false });
    for (const { id } of manifest.skipped!) {
      rmSync(join(other, id), { recursive: true, force: true });
      if (!/\n|twin/.test(id)) writeTree(other, { [id]: await photograph(300, 50, 50, 'png') });
    }
    writeTree(other, { 'owl/new line.png': await photograph(301, 50, 50, 'png') });
    writeTree(other, { 'owl/twinned.png': await photograph(302, 50, 50, 'png') });
    expect(
      (
        await run(
          'cli',
          typed(at('without')).map((word) => (word === at('data') ? other : word)),
        )
      ).exitCode,
    ).toBe(0);
    const without = parseManifest(readFileSync(at('without.private/manifest.json'), 'utf8'), 'manifest');
    expect(without.source.count).toBe(manifest.source.count);
    // Which are marked depends on all bytes of the data set.
    let both = 0;
    for (const image of manifest.images) {
      const other = without.images.find(({ id }) => id === image.id);
      if (!other) continue;
      both++;
      expect({ sha256: other.sha256, gain: other.gain }).toEqual({ sha256: image.sha256, gain: image.gain });
    }
    expect(both).toBeGreaterThan(10);
  });

  it('is refused by commands that need every image, with its bad files in one line', async () => {
    const line = `extract --model ${at('marker.safetensors')} --data ${at('data')} -o ${at('features.npy')}`;
    const finished = await run('cli', line.split(' '));
    expect(finished.exitCode).toBe(3);
    expect(ownLines(finished).at(-1)).toMatch(
      /^error: .*\/data: \d+ images cannot be used: owl\/empty\.jpg \(an empty file\), .*owl\/twin\.PNG \(.*\); \S/,
    );
  });

  it.runIf(process.platform === 'linux')('is marked in little memory', async () => {
    const finished = await run('cli', [...typed(at('little')), '--memory', '2MB', '--quiet']);
    expect(finished.exitCode, finished.stderr).toBe(3);
    const little = parseManifest(readFileSync(at('little.private/manifest.json'), 'utf8'), 'manifest');
    expect(little.images).toEqual(manifest.images);
    expect(finished.stdout).toContain(
      `${little.images.length} of ${little.source.count} images marked, ${little.skipped!.length} skipped; median PSNR`,
    );
  });
});

describe('what stops a run', () => {
  const recipe = { ...defaultMarkingRecipe(24), iterations: 3 };

  it('too large an image for the device is skipped, with what to do', async () => {
    const data = at('mixed');
    cpSync(at('good'), data, { recursive: true });
    writeTree(data, { 'elk/large.png': await photograph(9, 700, 650, 'png') });
    const line = typed(at('mixed-out'), '--memory 4MB').map((word) => (word === at('data') ? data : word));
    const finished = await run(
      'cli',
      line.map((word) => (word === '0.8' ? '1' : word)),
    );
    expect(finished.exitCode, finished.stderr).toBe(3);
    const { skipped, images } = parseManifest(readFileSync(at('mixed-out.private/manifest.json'), 'utf8'), 'manifest');
    expect(skipped).toEqual([
      {
        id: 'elk/large.png',
        reason:
          'its 455000 pixels are too many for the device; scale it down, or use an adapter or a --memory that allows more',
      },
    ]);
    expect(images).toHaveLength(27);
  });

  it('a lost device stops train with an error that can be retried, and it goes on', async () => {
    const dataset = await openDataset(at('good'));
    const train = async (out: string, loseAt = Number.POSITIVE_INFINITY): Promise<unknown> => {
      const device = await openDevice();
      const onProgress = (done: number): void => {
        if (done >= loseAt) device.gpu.destroy();
      };
      try {
        return await runTraining({
          device,
          dataset,
          out,
          network: { width: 4, inputSize: 24 },
          recipe: { epochs: 2, batchSize: 5 },
          checkpointSteps: 2,
          resume: true,
          onProgress,
        });
      } finally {
        device.destroy();
      }
    };
    await train(at('whole.safetensors'));
    const out = at('lost.safetensors');
    const lost = await train(out, 25).catch((error: unknown) => error);
    expect(lost).toMatchObject({ exitCode: 5, name: 'DeviceError' });
    expect(existsSync(out)).toBe(false);
    expect(existsSync(`${out}.checkpoint`)).toBe(true);
    await train(out);
    for (const extension of ['', '.json'])
      expect(readFileSync(out + extension).equals(readFileSync(at('whole.safetensors') + extension))).toBe(true);
  });

  it('a lost device: an error that can be retried, and a run that goes on', async () => {
    const dataset = await openDataset(at('good'));
    const marking = { key, dataset, fraction: 1, recipe, batchSize: 2 };
    const mark = async (out: string, onProgress?: (done: number) => void): Promise<Manifest> => {
      const device = await openDevice();
      const { model } = await openModel(device, at('marker.safetensors'));
      const lose = (done: number): void => {
        onProgress?.(done);
        if (onProgress && done >= 9) device.gpu.destroy();
      };
      try {
        return await markDataset({ ...marking, model, out, onProgress: lose });
      } finally {
        device.destroy();
      }
    };
    const whole = await mark(at('undisturbed'));
    const lost = await mark(at('lost'), () => undefined).catch((error: unknown) => error);
    expect(lost).toBeInstanceOf(DeviceError);
    expect((lost as DeviceError).exitCode).toBe(5);
    expect(existsSync(at('lost'))).toBe(false);
    const journal = readFileSync(at('lost.private/.journal.ndjson'), 'utf8').trim().split('\n');
    expect(journal.length).toBeGreaterThan(3);
    expect(journal.length).toBeLessThan(12);
    expect(await mark(at('lost'))).toEqual(whole);
    expect(listing(at('lost'))).toEqual(listing(at('undisturbed')));
  });
});
