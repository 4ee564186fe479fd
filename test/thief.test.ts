/**
 * Plays somebody who has what was published, has read the source, and wants to tell the marked images from the others. Containers must
 * give no more than coins; what sizes and simple figures of pixels give is printed.
 */

import { mkdtempSync, rmSync, utimesSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import sharp from 'sharp';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { serializeIdx } from '../src/formats/idx.ts';
import type { Key } from '../src/marking/key.ts';
import { defaultMarkingRecipe } from '../src/marking/recipe.ts';
import { initialStateDict, Model } from '../src/nn/model.ts';
import type { NetworkConfig } from '../src/nn/networks.ts';
import { openDataset } from '../src/node/datasets/open.ts';
import { type MarkDatasetOptions, markDataset } from '../src/node/runs/mark_dataset.ts';
import { derive } from '../src/random.ts';
import { useDevice } from './device.ts';
import { photographKey, pictureOf, writeTree } from './photographs.ts';
import { aboveChance, containerFeatures, pixelFeatures, sizeFeatures, steal, type Theft } from './thief.ts';

const COUNT = 160;
const config: NetworkConfig = {
  architecture: 'resnet18',
  width: 4,
  stem: 'small',
  numClasses: 2,
  inputSize: 24,
  channels: 3,
  mean: [0.5, 0.45, 0.4],
  std: [0.22, 0.23, 0.24],
};
const recipe = { ...defaultMarkingRecipe(config.inputSize), iterations: 6, learningRate: 100 };

let folder: string;
const at = (name: string): string => join(folder, name);
const device = useDevice();
let model: Model;
let key: Key;
beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'radioactive-thief-'));
  model = await Model.load(device(), config, initialStateDict(config, 3), 'test');
  key = await photographKey('02'.repeat(32));
});
afterAll(() => {
  model.destroy();
  rmSync(folder, { recursive: true });
});

/** A file as a camera, a scanner or a web page might have written it: settings, metadata and times of all kinds. */
async function original(index: number, format: 'jpeg' | 'png' | 'webp'): Promise<Buffer> {
  const random = derive(9, 'original', index);
  const [width, height] = [40 + random.below(40), 40 + random.below(40)];
  let image = sharp(pictureOf(index, width, height), { raw: { width, height, channels: 3 } });
  if (random.below(2)) image = image.withExif({ IFD0: { Copyright: `number ${index}` } });
  if (random.below(3) === 0) image = image.withIccProfile('p3');
  if (format === 'png')
    return image.png({ compressionLevel: random.below(2) ? 9 : 2, palette: random.below(4) === 0 }).toBuffer();
  if (format === 'webp')
    return image.webp(random.below(2) ? { lossless: true } : { quality: 70 + random.below(25) }).toBuffer();
  const file = await image
    .jpeg({
      quality: 60 + random.below(36),
      chromaSubsampling: random.below(2) ? '4:2:0' : '4:4:4',
      progressive: random.below(3) === 0,
      optimiseCoding: random.below(2) === 0,
    })
    .toBuffer();
  // Previews behind the end, as cameras put them.
  return Buffer.concat([file, Buffer.alloc(1 + random.below(9), 'preview')]);
}

const FORMATS = { mixed: ['jpeg', 'png', 'webp'], jpeg: ['jpeg'], png: ['png'], idx: [] } as const;
const EXTENSIONS = { jpeg: 'jpg', png: 'png', webp: 'webp' };

async function writeOriginals(kind: keyof typeof FORMATS): Promise<string> {
  const root = at(kind);
  if (kind === 'idx') {
    const [side, random] = [28, derive(9, 'idx')];
    const data = Buffer.concat(
      Array.from({ length: COUNT }, (_, i) => pictureOf(i, side, side).filter((_level, at) => at % 3 === 0)),
    );
    const labels = Uint8Array.from({ length: COUNT }, () => random.below(2));
    return writeTree(root, {
      'train-images-idx3-ubyte': serializeIdx({ shape: [COUNT, side, side], data }),
      'train-labels-idx1-ubyte': serializeIdx({ shape: [COUNT], data: labels }),
      'classes.txt': 'elk\nowl\n',
    });
  }
  for (let i = 0; i < COUNT; i++) {
    const format = FORMATS[kind][i % FORMATS[kind].length];
    const name = `${i % 2 ? 'owl' : 'elk'}/${String(i).padStart(4, '0')}.${EXTENSIONS[format]}`;
    writeTree(root, { [name]: await original(i, format) });
    utimesSync(join(root, name), 1_700_000_000 + 977 * i, 1_700_000_000 + 977 * i);
  }
  return root;
}

/** What a thief can tell of a published data set. */
async function robbed(kind: keyof typeof FORMATS, out: string, change: Partial<MarkDatasetOptions> = {}) {
  const dataset = await openDataset(at(kind), { keepFaults: true });
  const { images, summary } = await markDataset({
    key,
    model,
    dataset,
    fraction: 0.5,
    recipe,
    out: at(out),
    ...change,
  });
  const published = await openDataset(at(out));
  const chosen = new Set(images.map(({ id }) => id));
  const marked = Array.from({ length: published.length }, (_, i) => chosen.has(published.id(i)));
  expect(chosen.size).toBe(COUNT / 2);
  const containers = await containerFeatures(published);
  const pixels = await Promise.all(marked.map(async (_, i) => pixelFeatures(await published.image(i))));
  const sizes = steal(await sizeFeatures(published), marked);
  return { containers: steal(containers, marked), sizes, pixels: steal(pixels, marked), summary };
}

describe.each(Object.keys(FORMATS) as (keyof typeof FORMATS)[])('a set of %s', (kind) => {
  beforeAll(async () => {
    await writeOriginals(kind);
  });

  it('gives marked images away by no container', async () => {
    const { containers, sizes, pixels, summary } = await robbed(kind, `${kind}-out`);
    const bound = aboveChance(containers.tested);
    const told = ({ stump, logistic, feature }: Theft): string =>
      `stump ${(100 * stump).toFixed(0)} % (${feature}), logistic ${(100 * logistic).toFixed(0)} %`;
    process.stderr.write(
      `${kind}, ${Number(summary.psnrMedian).toFixed(1)} dB: containers ${told(containers)}; sizes ${told(sizes)}; pixels ${told(pixels)}; ` +
        `coins stay below ${(100 * bound).toFixed(0)} % of ${containers.tested}\n`,
    );
    const found = [containers.stump, containers.logistic];
    // Files without loss are as large as their pixels are rough, and no container hides that.
    if (kind === 'jpeg') found.push(sizes.stump, sizes.logistic);
    for (const share of found) expect(share).toBeLessThan(bound);
  });

  // The thief is good enough to find what there is to find.
  it.skipIf(kind === 'idx')('whose unmarked files are copies gives them away', async () => {
    const { containers } = await robbed(kind, `${kind}-copied`, { copyUnmarked: true });
    expect(Math.max(containers.stump, containers.logistic)).toBeGreaterThanOrEqual(aboveChance(containers.tested));
  });
});

it('chance is what coins reach', () => {
  // 2^-10 is the probability of ten of ten; 11 · 2^-10 that of nine or more.
  expect([aboveChance(10), aboveChance(2), aboveChance(100)]).toEqual([1, 1.5, 0.66]);
});
