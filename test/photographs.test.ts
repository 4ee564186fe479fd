import { createHash } from 'node:crypto';
import { cpSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import { ahead, inParallel, Loader } from '../src/datasets/loader.ts';
import { changeOf, type Manifest, parseManifest } from '../src/datasets/manifest.ts';
import { randomCrop } from '../src/images/crop.ts';
import { encodeImage } from '../src/images/decode.ts';
import { encodeLike } from '../src/images/encoding.ts';
import { type Image8, isGrey } from '../src/images/image.ts';
import { psnr, ssim } from '../src/images/metrics.ts';
import { cutRegion } from '../src/images/region.ts';
import { type Key, keyCarriers } from '../src/marking/key.ts';
import { Marker } from '../src/marking/marker.ts';
import { previewMarks } from '../src/marking/preview.ts';
import { defaultMarkingRecipe, type MarkingRecipe } from '../src/marking/recipe.ts';
import { evaluationCrop, FeatureExtractor, infer } from '../src/nn/inference.ts';
import { initialStateDict, Model } from '../src/nn/model.ts';
import type { NetworkConfig } from '../src/nn/networks.ts';
import { openDataset } from '../src/node/datasets/open.ts';
import { openMarked } from '../src/node/evidence/marked.ts';
import { nodeCodec } from '../src/node/images/codec.ts';
import { type MarkDatasetOptions, markDataset } from '../src/node/runs/mark_dataset.ts';
import { derive } from '../src/random.ts';
import { cropResize, packCrops } from '../src/shaders/crop_resize/crop_resize.ts';
import { Program } from '../src/tensor/program.ts';
import { Tape } from '../src/tensor/tape.ts';
import { useDevice } from './device.ts';
import { photographKey, pictureOf, writePhotographs } from './photographs.ts';
import { expectClose } from './tolerance.ts';

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
const recipe: MarkingRecipe = {
  ...defaultMarkingRecipe(config.inputSize),
  iterations: 12,
  // Fresh weights hardly react.
  learningRate: 100,
  crop: { scale: [0.2, 1], ratio: [3 / 4, 4 / 3], flip: true },
};

let folder: string;
const at = (name: string): string => join(folder, name);
const device = useDevice();
let model: Model;
let key: Key;
beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'radioactive-photographs-'));
  model = await Model.load(device(), config, initialStateDict(config, 3), 'test');
  key = await photographKey('01'.repeat(32));
});
afterAll(() => {
  model.destroy();
  rmSync(folder, { recursive: true });
});

async function mark(data: string, out: string, options: Partial<MarkDatasetOptions> = {}): Promise<Manifest> {
  const dataset = await openDataset(data, { keepFaults: true });
  return markDataset({ key, model, dataset, fraction: 0.5, recipe, out, ...options });
}

const read = (path: string): Buffer => readFileSync(path);
const hash = (bytes: Uint8Array): string => createHash('sha256').update(bytes).digest('hex');

describe('photographs of many sizes and formats', () => {
  let manifest: Manifest;
  beforeAll(async () => {
    await writePhotographs(at('data'), 24, 160);
    manifest = await mark(at('data'), at('marked'));
  });

  it('keep their sizes; the manifest says what the saved files show', async () => {
    const [source, marked] = [await openDataset(at('data')), await openDataset(at('marked'))];
    expect(parseManifest(read(at('marked.private/manifest.json')).toString(), 'manifest')).toEqual(manifest);
    expect(manifest.images).toHaveLength(12);
    expect(manifest.skipped).toBeUndefined();
    const { directions } = await keyCarriers(key);
    const extractor = await FeatureExtractor.create(model, 160 * 160, 2);
    const indexOf = (dataset: typeof source, id: string): number =>
      Array.from({ length: dataset.length }, (_, i) => dataset.id(i)).indexOf(id);
    const sizes = new Set<string>();
    for (const entry of manifest.images) {
      const before = await source.image(indexOf(source, entry.source ?? entry.id));
      const after = await marked.image(indexOf(marked, entry.id));
      sizes.add(`${after.width}x${after.height}`);
      expect([after.width, after.height]).toEqual([before.width, before.height]);
      expect(entry.source).toBeUndefined();
      const change = Math.max(...after.data.map((level, i) => Math.abs(level - before.data[i])));
      expect(change).toBe(entry.maxChangeLevels);
      expect(change).toBeGreaterThan(0);
      const lossy = !entry.id.endsWith('png');
      expect(entry.changeBeforeEncoding !== undefined).toBe(lossy);
      expect(entry.changeBeforeEncoding ?? change).toBeLessThanOrEqual(recipe.radiusLevels);
      expect(Math.abs(psnr(before, after) - entry.psnr!)).toBeLessThan(1e-9);
      expect(Math.abs(ssim(before, after) - entry.ssim!)).toBeLessThan(1e-9);
      expect(hash(read(join(at('marked'), entry.id)))).toBe(entry.sha256);
      const regions = [before, after].map((image) => cutRegion(image, evaluationCrop(image, config), config.inputSize));
      const { features } = await extractor.run(regions);
      const carrier = directions.subarray(entry.class === 'elk' ? 0 : 32).subarray(0, 32);
      const gain = carrier.reduce((sum, u, i) => sum + (features[32 + i] - features[i]) * u, 0);
      expect(Math.abs(gain - entry.gain)).toBeLessThan(1e-6 * Math.max(1, Math.abs(gain)));
    }
    extractor.destroy();
    expect(sizes.size).toBe(12);
    // So few iterations of random crops move fresh weights' features little, but not the wrong way.
    expect(manifest.summary.gainMean).toBeGreaterThan(0);
  });

  it('move towards their carriers, each of them, where what is measured is what was marked', async () => {
    const { images } = await mark(at('data'), at('still'), {
      recipe: { ...recipe, crop: null, learningRate: 20 },
      format: 'PNG',
    });
    expect(images.map(({ gain }) => gain > 0.01)).toEqual(new Array(12).fill(true));
  });

  it('are written like all others: the same names and order, each encoded as it was', async () => {
    const [source, marked] = [await openDataset(at('data')), await openDataset(at('marked'))];
    const idsOf = (dataset: typeof source) => Array.from({ length: dataset.length }, (_, i) => dataset.id(i));
    expect(idsOf(marked)).toEqual(idsOf(source));
    const changed = new Set(manifest.images.map(({ id }) => id));
    for (let i = 0; i < source.length; i++) {
      const [before, after] = [await source.bytes(i), await marked.bytes(i)];
      const { bytes } = await encodeLike(await nodeCodec(), await source.image(i), before, source.id(i));
      expect(Buffer.from(after).equals(Buffer.from(bytes)), source.id(i)).toBe(!changed.has(source.id(i)));
    }
    for (const path of ['', ...(readdirSync(at('marked'), { recursive: true }) as string[])])
      expect(statSync(join(at('marked'), path)).mtime, path).toEqual(new Date('2000-01-01T00:00:00Z'));
    expect(readdirSync(at('marked')).sort()).toEqual(['elk', 'owl']);
  });

  it('all become PNG files where that is asked for, in the same order, within the radius', async () => {
    const { images } = await mark(at('data'), at('as-png'), { format: 'PNG' });
    const [source, marked] = [await openDataset(at('data')), await openDataset(at('as-png'))];
    const stem = (id: string) => id.replace(/\.[^.]*$/, '');
    for (let i = 0; i < source.length; i++) {
      expect(marked.id(i)).toBe(`${stem(source.id(i))}.png`);
      expect(Buffer.from(await marked.bytes(i)).toString('latin1', 1, 4)).toBe('PNG');
      const entry = images.find(({ id }) => id === marked.id(i));
      const [before, after] = [await source.image(i), await marked.image(i)];
      const change = Math.max(...after.data.map((level, j) => Math.abs(level - before.data[j])));
      expect(change).toBe(entry?.maxChangeLevels ?? 0);
      expect(change).toBeLessThanOrEqual(recipe.radiusLevels);
    }
  });

  it('keep the bytes of the others where that is asked for', async () => {
    const { images } = await mark(at('data'), at('copied'), { copyUnmarked: true });
    const changed = new Set(images.map(({ id }) => id));
    const source = await openDataset(at('data'));
    for (let i = 0; i < source.length; i++) {
      const id = source.id(i);
      expect(read(join(at('copied'), id)).equals(read(join(at('data'), id))), id).toBe(!changed.has(id));
    }
  });

  it('of a marked data set are noticed, from both places of its manifest', async () => {
    const onMarkedBefore = vi.fn();
    await mark(at('marked'), at('twice'), { onMarkedBefore });
    expect(onMarkedBefore).toHaveBeenCalledExactlyOnceWith(at('marked.private/manifest.json'));
    cpSync(at('marked'), at('earlier'), { recursive: true });
    cpSync(at('marked.private/manifest.json'), at('earlier/manifest.json'));
    await mark(at('earlier'), at('twice-too'), { onMarkedBefore });
    expect(onMarkedBefore).toHaveBeenLastCalledWith(at('earlier/manifest.json'));
    expect((await openMarked(at('earlier'))).manifest).toEqual(manifest);
    await mark(at('data'), at('once'), { onMarkedBefore });
    expect(onMarkedBefore).toHaveBeenCalledTimes(2);
  });

  it('get the same marks in batches of any size and with any others', async () => {
    const one = await mark(at('data'), at('one'), { batchSize: 1 });
    expect(one.images).toEqual(manifest.images);
    const few = await mark(at('data'), at('few'), { fraction: 0.2, batchSize: 3 });
    expect(few.images.length).toBeLessThan(6);
    for (const entry of few.images) expect(manifest.images).toContainEqual(entry);
  });

  it('are previewed as they will be marked', async () => {
    const dataset = await openDataset(at('data'));
    const { marks, svg } = await previewMarks({
      codec: await nodeCodec(),
      key,
      model,
      dataset,
      radii: [2, recipe.radiusLevels],
      count: 4,
      recipe,
    });
    expect(marks).toHaveLength(8);
    // Which images a run marks is the secret's choice: all of them, so that the previewed ones are among them.
    const all = await mark(at('data'), at('all'), { fraction: 1 });
    for (const { id, radiusLevels, ...measured } of marks.filter((mark) => mark.radiusLevels === recipe.radiusLevels)) {
      const { psnr, ssim, gain } = all.images.find((entry) => (entry.source ?? entry.id) === id)!;
      expect({ psnr: measured.psnr, ssim: measured.ssim }).toEqual({ psnr, ssim });
      expect(Math.abs(measured.gain - gain)).toBeLessThan(1e-6);
      const { psnr: weaker } = marks.find((mark) => mark.id === id && mark.radiusLevels === 2)!;
      expect(weaker).toBeGreaterThan(measured.psnr);
    }
    expect(svg.match(/<image /g)).toHaveLength(4 * 5);
    // Pixel for pixel, or enlarged whole times.
    for (const [, size, captioned] of svg.matchAll(
      /width="([\d.]+)" height="[\d.]+" href="[^"]*"\/>\n<text [^>]*>(\d+)×/g,
    ))
      expect(Number(size) % Number(captioned)).toBe(0);
    expect(svg.match(/>\d+×\d+</g)).toHaveLength(4);
  });

  it('are reported early where marking changes nothing', async () => {
    const still = { ...recipe, iterations: 1, learningRate: 1e-6 };
    const onUnchanged = vi.fn();
    const { images } = await mark(at('data'), at('unchanged'), { recipe: still, batchSize: 4, onUnchanged });
    expect(images.map(changeOf)).toEqual(new Array(12).fill(0));
    expect(onUnchanged).toHaveBeenCalledTimes(1);
    expect(onUnchanged.mock.calls[0][0]).toBeGreaterThanOrEqual(8);
    expect(onUnchanged.mock.calls[0][0]).toBeLessThan(12);
    const dataset = await openDataset(at('data'));
    const { marks, svg } = await previewMarks({
      codec: await nodeCodec(),
      key,
      model,
      dataset,
      radii: [10],
      count: 2,
      recipe: still,
    });
    expect(marks.map(({ psnr }) => psnr)).toEqual([Number.POSITIVE_INFINITY, Number.POSITIVE_INFINITY]);
    expect(svg.match(/>unchanged</g)).toHaveLength(2);
    onUnchanged.mockClear();
    await mark(at('data'), at('changed'), { batchSize: 4, onUnchanged });
    expect(onUnchanged).not.toHaveBeenCalled();
  });

  it('take no more device memory than the largest batch', async () => {
    const baseline = device().liveBytes;
    await expect(Marker.create(model, 2 ** 30, 1, recipe)).rejects.toThrow(/1073741824 pixels need \d+ bytes/);
    expect(device().liveBytes).toBe(baseline);
  });
});

it('grey photographs stay grey among coloured ones, and move towards their carriers', async () => {
  const names = ['elk/grey.png', 'elk/colour.png', 'owl/colour.png', 'owl/grey-as-rgb.png', 'owl/grey.png'];
  for (const [i, name] of names.entries()) {
    const [width, height] = [40 + 3 * i, 52 - 2 * i];
    const picture = pictureOf(20 + i, width, height);
    const grey = name.includes('grey');
    const channels = grey && !name.includes('rgb') ? 1 : 3;
    const length = width * height * channels;
    const data = grey ? Uint8Array.from({ length }, (_, j) => picture[3 * Math.floor(j / channels)]) : picture;
    mkdirSync(join(at('mixed'), name, '..'), { recursive: true });
    writeFileSync(join(at('mixed'), name), await encodeImage(await nodeCodec(), { width, height, channels, data }));
  }
  const still = { fraction: 1, recipe: { ...recipe, crop: null, learningRate: 20 } };
  const { images } = await mark(at('mixed'), at('mixed-marked'), still);
  expect(images.map(({ gain }) => gain > 0.01)).toEqual(new Array(5).fill(true));
  const [source, marked] = [await openDataset(at('mixed')), await openDataset(at('mixed-marked'))];
  for (let i = 0; i < source.length; i++) {
    const [before, after] = [await source.image(i), await marked.image(i)];
    expect(after.channels, source.id(i)).toBe(before.channels);
    expect(isGrey(after), source.id(i)).toBe(source.id(i).includes('grey'));
    expect(Buffer.from(after.data).equals(Buffer.from(before.data)), source.id(i)).toBe(false);
  }
  expect((await mark(at('mixed'), at('mixed-one'), { ...still, batchSize: 1 })).images).toEqual(images);
});

it('a device sees a region alike, whether it is resized there or before', async () => {
  const random = derive(4, 'regions');
  const image: Image8 = { width: 91, height: 77, channels: 3, data: pictureOf(5, 91, 77) };
  const scale = [0.02, 1] as const;
  const crops = Array.from({ length: 12 }, () =>
    randomCrop(77, 91, { scale, ratio: [3 / 4, 4 / 3], flip: true }, random),
  );
  const size = 16;
  const ways = crops.map((crop) => cutRegion(image, crop, size).levels instanceof Float32Array);
  expect(new Set(ways).size).toBe(2);
  const extract = async (run: (crop: (typeof crops)[number]) => [ArrayLike<number>, Uint32Array], pixels: number) => {
    const tape = new Tape(device(), { precision: 'f32' });
    const x = tape.input('x', [pixels, 3]);
    const views = tape.input('crops', [1, 5], 'u32');
    const y = cropResize(x, views, { outHeight: size, outWidth: size });
    const program = await Program.build(device(), tape, { name: 'resize', outputs: [y] });
    const results: Float32Array[] = [];
    for (const crop of crops) {
      const [levels, packed] = run(crop);
      const padded = new Float32Array(pixels * 3);
      padded.set(levels);
      program.write(x, padded);
      program.write(views, packed);
      await program.run();
      results.push(await program.read(y));
    }
    program.destroy();
    return results;
  };
  const whole = await extract((crop) => [image.data, packCrops([crop], [image])], 91 * 77);
  const cut = await extract(
    (crop) => {
      const region = cutRegion(image, crop, size);
      const { height, width, flip } = region;
      return [region.levels, packCrops([{ top: 0, left: 0, height, width, flip }], [region])];
    },
    4 * size * size,
  );
  for (const [i, expected] of whole.entries()) expectClose(cut[i], expected, 1e-6, `crop ${i}`);
});

describe('loading', () => {
  it('features do not depend on what else is in the batch', async () => {
    const loader = await Loader.open(await openDataset(at('data')), 3);
    const all = await infer(model, loader, { batchSize: 7 });
    const single = await infer(model, loader, { batchSize: 1 });
    expect(single).toEqual(all);
  });

  it('works ahead by one, in order, and reports a failure at its turn', async () => {
    const begun: number[] = [];
    const work = async (item: number): Promise<number> => {
      begun.push(item);
      if (item === 3) throw new Error('three');
      return item;
    };
    const seen: number[] = [];
    const run = async (): Promise<void> => {
      for await (const item of ahead([1, 2, 3, 4, 5], work)) {
        seen.push(item);
        expect(begun).toEqual(Array.from({ length: item + 1 }, (_, i) => i + 1));
      }
    };
    await expect(run()).rejects.toThrow('three');
    expect(seen).toEqual([1, 2]);
    expect(begun).not.toContain(5);
  });

  it('works on several at a time, and begins no more after a failure', async () => {
    let running = 0;
    let most = 0;
    let begun = 0;
    const work = async (index: number): Promise<void> => {
      begun++;
      most = Math.max(most, ++running);
      await new Promise(setImmediate);
      running--;
      if (index === 20) throw new Error('twenty');
    };
    await inParallel(20, work);
    expect(begun).toBe(20);
    expect(most).toBeGreaterThan(1);
    begun = 0;
    await expect(inParallel(1000, work)).rejects.toThrow('twenty');
    expect(begun).toBeLessThan(60);
    // Nothing goes on behind the caller's back.
    expect(running).toBe(0);
  });
});
