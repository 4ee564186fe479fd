import { mkdir, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { createServer } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { parseManifest } from '../src/datasets/manifest.ts';
import { serializeIdx } from '../src/formats/idx.ts';
import { fetchFashionMnist } from '../src/node/datasets/fashion_mnist.ts';
import { openDataset } from '../src/node/datasets/open.ts';
import { runDemo } from '../src/node/demo/demo.ts';
import { derive } from '../src/random.ts';
import { useDevice } from './device.ts';

let work: string;
let folder: string;
beforeAll(async () => {
  work = await mkdtemp(join(tmpdir(), 'radioactive-demo-'));
  folder = join(work, 'data');
  await mkdir(folder);
});
afterAll(() => rm(work, { recursive: true }));

/** Blurred blobs, a place a class: enough for a network to tell something apart. */
async function writeIdx(name: string, count: number, seed: number): Promise<void> {
  const random = derive(seed, name);
  const images = new Uint8Array(count * 784);
  const labels = Uint8Array.from({ length: count }, (_, i) => i % 10);
  for (let i = 0; i < count; i++) {
    const [cy, cx] = [6 + 4 * Math.floor(labels[i] / 3), 6 + 7 * (labels[i] % 3)];
    for (let y = 0; y < 28; y++)
      for (let x = 0; x < 28; x++) {
        const blob = 200 * Math.exp(-((y - cy) ** 2 + (x - cx) ** 2) / 30);
        images[i * 784 + y * 28 + x] = Math.min(255, blob + 50 * random.uniform());
      }
  }
  await writeFile(join(folder, `${name}-images-idx3-ubyte`), serializeIdx({ shape: [count, 28, 28], data: images }));
  await writeFile(join(folder, `${name}-labels-idx1-ubyte`), serializeIdx({ shape: [count], data: labels }));
}

describe('the demo', () => {
  const device = useDevice();

  it('leaves marked images, keys, models, a verified report and a picture, with both controls', async () => {
    await writeIdx('train', 240, 1);
    await writeIdx('t10k', 200, 2);
    const out = join(work, 'out');
    const titles: string[] = [];
    const result = await runDemo({
      openDevice: async () => device(),
      marker: 'weights/marker.safetensors',
      data: folder,
      out,
      fraction: 0.25,
      ownerRange: [40, 240],
      progress: (title) => {
        titles.push(title);
        return { update: () => undefined, done: () => undefined };
      },
      log: () => undefined,
    });
    expect(result.results.map(({ name }) => name)).toEqual(['marked', 'control: unmarked', 'control: other key']);
    for (const { log10p, meanCosine, accuracy } of result.results) {
      expect(log10p).toBeLessThanOrEqual(0);
      expect(Math.abs(meanCosine)).toBeLessThanOrEqual(1);
      expect(accuracy).toBeGreaterThan(0.1);
    }
    // The same model and data under two keys: only the carriers differ.
    expect(result.results[0].accuracy).toBe(result.results[2].accuracy);
    expect(result.results[0].log10p).not.toBe(result.results[2].log10p);
    expect(result.marked).toBe(50);
    expect(Object.keys(result.secondsByStage)).toEqual([...new Set(titles)]);
    expect((await readdir(out)).sort()).toEqual(
      [
        ...['demo.json', 'marked', 'marked.svg', 'owner.key', 'unused.key', 'evidence'],
        ...['owner.key.register.jsonl', 'unused.key.register.jsonl'],
        ...['suspect.safetensors', 'suspect.safetensors.json', 'innocent.safetensors', 'innocent.safetensors.json'],
        ...['result-marked.json', 'result-unmarked.json', 'result-other-key.json'],
        ...['report.html', 'verification.json', 'marked.private'],
      ].sort(),
    );
    const manifest = parseManifest(
      await readFile(join(out, 'marked.private', 'manifest.json'), 'utf8'),
      'manifest.json',
    );
    expect(manifest.keyCommitment).toBe(result.keyCommitment);
    expect(manifest.summary.maxChangeLevels).toBe(10);
    expect(Number(manifest.summary.gainMean)).toBeGreaterThan(0);
    const [before, after] = [await openDataset(`${folder}#40:240`), await openDataset(join(out, 'marked'))];
    const marked = new Set(manifest.images.map(({ id }) => id));
    for (let i = 0; i < 200; i++) {
      const [a, b] = [await before.image(i), await after.image(i)];
      const change = Math.max(...a.data.map((value, j) => Math.abs(value - b.data[j])));
      expect(change > 0, after.id(i)).toBe(marked.has(after.id(i)));
      expect(change).toBeLessThanOrEqual(10);
    }
    expect(result.verification.failed).toBe(0);
    const page = await readFile(join(out, 'report.html'), 'utf8');
    expect(page).toContain(result.keyCommitment);
    expect(page.match(/<img /g)).toHaveLength(3 * 8);
    const picture = await readFile(join(out, 'marked.svg'), 'utf8');
    expect(picture.match(/<image /g)).toHaveLength(18);
    await expect(
      runDemo({
        openDevice: async () => device(),
        marker: 'weights/marker.safetensors',
        data: folder,
        out,
        fraction: 0.25,
        ownerRange: [40, 240],
        progress: () => ({ update: () => undefined, done: () => undefined }),
        log: () => undefined,
      }),
    ).rejects.toThrow(`${out}: exists already`);
  });
});

describe('the data', () => {
  it('is downloaded where no package has it, and refused where it is not the official one', async () => {
    const served: string[] = [];
    const server = createServer((request, response) => {
      served.push(request.url!);
      response.end('not the data');
    });
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    const { port } = server.address() as { port: number };
    const cache = join(work, 'cache');
    await expect(fetchFashionMnist(cache, `http://127.0.0.1:${port}`, () => undefined)).rejects.toThrow(
      'what was downloaded is not the official file',
    );
    expect(served).toEqual(['/train-labels-idx1-ubyte.gz']);
    await new Promise((resolve) => server.close(resolve));
    await expect(fetchFashionMnist(cache, `http://127.0.0.1:${port}`, () => undefined)).rejects.toThrow(
      'cannot be downloaded',
    );
    expect(await readdir(work)).not.toContain('cache');
  });
});
