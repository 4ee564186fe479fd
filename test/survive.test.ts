/** What is left of marks after what happens to files: each treatment as Pillow and torchvision do it, the measure, the command. */

import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import sharp from 'sharp';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { ImageCodec } from '../src/images/codec.ts';
import { decodeImage, encodeImage } from '../src/images/decode.ts';
import type { Image8 } from '../src/images/image.ts';
import { jpegCoding } from '../src/images/jpeg_coding.ts';
import { psnr } from '../src/images/metrics.ts';
import { resizedTo } from '../src/images/resized.ts';
import { centreCrop, gaussianBlur, median3, recolour, resize, TREATMENTS } from '../src/images/treatments.ts';
import { createKey, type Key, keyCarriers } from '../src/marking/key.ts';
import { Marker } from '../src/marking/marker.ts';
import { defaultMarkingRecipe, recipeOfRecord, recipeRecord } from '../src/marking/recipe.ts';
import { measureSurvival } from '../src/marking/survival.ts';
import { parseTransformation } from '../src/marking/transformation.ts';
import type { Model } from '../src/nn/model.ts';
import { openDataset } from '../src/node/datasets/open.ts';
import { nodeCodec } from '../src/node/images/codec.ts';
import { markDataset } from '../src/node/runs/mark_dataset.ts';
import { openModel } from '../src/node/runs/open_model.ts';
import { datasetSurvival } from '../src/node/runs/survive.ts';
import { useDevice } from './device.ts';
import { photograph, pictureOf, writeTree } from './photographs.ts';
import { writeModel } from './small_data.ts';

let codec: ImageCodec;
let folder: string;
const at = (name: string): string => join(folder, name);
beforeAll(async () => {
  codec = await nodeCodec();
  folder = mkdtempSync(join(tmpdir(), 'survive-'));
});
afterAll(() => rmSync(folder, { recursive: true }));

const read = async (path: string): Promise<Image8> => decodeImage(codec, readFileSync(`test/golden/${path}`), path);

describe('treatments are those of Pillow and torchvision', () => {
  it.each<[string, (image: Image8) => Image8, levels: number]>([
    // Pillow rounds after each axis and computes in fixed point.
    ['smaller', (image) => resize(image, { width: 35, height: 23 }), 1],
    ['larger', (image) => resize(image, { width: 90, height: 61 }), 1],
    ['median', median3, 0],
    // torchvision computes in float32.
    ['blurred', (image) => gaussianBlur(image, 1), 1],
    ['recoloured', (image) => recolour(image, { brightness: 1.17, contrast: 0.83, saturation: 1.1 }), 1],
  ])('%s', async (name, apply, levels) => {
    const [made, expected] = [apply(await read('jpeg/picture.png')), await read(`treatments/${name}.png`)];
    expect([made.width, made.height]).toEqual([expected.width, expected.height]);
    const errors = made.data.map((level, i) => Math.abs(level - expected.data[i]));
    expect(Math.max(...errors)).toBeLessThanOrEqual(levels);
    expect(errors.reduce((sum, error) => sum + error, 0)).toBeLessThan(
      (name.endsWith('er') ? 0.25 : 0.01) * errors.length,
    );
  });

  it('a centre crop, sizes, and grey', async () => {
    const image = await read('jpeg/picture.png');
    const crop = centreCrop(image, 7 / 8);
    expect([crop.width, crop.height]).toEqual([59, 39]);
    expect(crop.data.subarray(0, 3)).toEqual(image.data.subarray(3 * (3 * 67 + 4), 3 * (3 * 67 + 4) + 3));
    // torchvision's Resize: the longer side is cut down to a whole number.
    expect(resizedTo({ width: 400, height: 534 }, 224)).toEqual({ width: 224, height: 299 });
    expect(resizedTo({ width: 640, height: 333 }, 256)).toEqual({ width: 492, height: 256 });
    expect(resizedTo({ width: 200, height: 300 }, 224)).toEqual({ width: 200, height: 300 });
    const grey: Image8 = { ...image, channels: 1, data: image.data.filter((_, i) => i % 3 === 0) };
    for (const { apply } of TREATMENTS) {
      const treated = await apply(grey, codec, 'grey');
      expect(treated.data.length).toBe(treated.width * treated.height);
    }
  });
});

describe('marks', () => {
  const device = useDevice();
  let model: Model;
  let key: Key;
  const recipe = {
    ...defaultMarkingRecipe(24),
    iterations: 12,
    learningRate: 30,
    lambdaImage: 0,
    crop: null,
  };
  beforeAll(async () => {
    const path = writeModel(at('model.safetensors'), {
      network: { channels: 3, inputSize: 24, mean: [0.5, 0.5, 0.5], std: [0.25, 0.25, 0.25] },
    });
    const opened = await openModel(device(), path);
    model = opened.model;
    const drawn = await createKey({
      classes: ['elk', 'owl'],
      model: { sha256: opened.sha256, architecture: 'resnet18', featureDimension: model.featureDimension },
      basis: null,
      centre: true,
    });
    // The same each time: what is expected depends on the carriers.
    key = { ...drawn, secret: '5a'.repeat(32), nonce: '5a'.repeat(32), created: '2031-01-02T03:04:05.000Z' };
    const files = Object.fromEntries(
      await Promise.all(
        ['elk', 'owl'].flatMap((name, c) =>
          [0, 1].map(async (i) => [`${name}/${i}.jpg`, await photograph(2 * c + i, 36, 40 + i, 'jpeg')] as const),
        ),
      ),
    );
    writeTree(at('data'), files);
  });
  afterAll(() => model?.destroy());

  it('are measured beside what is left of them', async () => {
    const { directions, featureDimension: d } = await keyCarriers(key);
    const original: Image8 = { width: 40, height: 36, channels: 3, data: Uint8Array.from(pictureOf(9, 40, 36)) };
    const marker = await Marker.create(model, 40 * 36, 1, recipe);
    const [marked] = await marker.mark([
      { id: 'a', image: original, direction: Float32Array.from(directions.subarray(0, d)) },
    ]);
    marker.destroy();
    const copy = (image: Image8): Image8 => ({ ...image });
    const flat = (image: Image8): Image8 => ({ ...image, data: image.data.map(() => 90) });
    const half = (image: Image8): Image8 =>
      psnr(image, original) === Number.POSITIVE_INFINITY ? copy(image) : flat(image);
    const report = await measureSurvival({
      key,
      model,
      count: 1,
      pair: async () => ({ id: 'a', label: 0, original, marked }),
      codec,
      treatments: [
        { name: 'nothing', apply: async (image) => image },
        { name: 'a copy', apply: async (image) => copy(image) },
        { name: 'flat', apply: async (image) => flat(image) },
        { name: 'another image', apply: async (image) => half(image) },
      ],
    });
    expect(report.gain).toBeGreaterThan(0);
    expect(report.psnr).toBeCloseTo(psnr(original, marked), 9);
    const [nothing, same, gone, other] = report.treatments;
    expect(nothing).toEqual({
      treatment: 'nothing',
      images: 0,
      gainBefore: null,
      gainAfter: null,
      left: null,
      leftOfImages: null,
    });
    expect(same).toMatchObject({ images: 1, gainBefore: report.gain, left: 1, leftOfImages: [1, 1, 1] });
    expect(gone).toMatchObject({ gainAfter: 0, left: 0 });
    expect(other.gainAfter).not.toBe(0);
    expect(other.left).toBe(other.gainAfter! / report.gain);
  });

  it('that are found through JPEG files of low quality leave more in the file, at the same PSNR', async () => {
    const { directions, featureDimension: d } = await keyCarriers(key);
    const coding = jpegCoding({ quality: 15, halfColours: true });
    const encoding = {
      format: 'JPEG',
      quality: 15,
      halfColours: true,
      progressive: false,
      ownHuffmanTables: false,
    } as const;
    const saved = async (image: Image8): Promise<Image8> =>
      decodeImage(codec, await encodeImage(codec, image, encoding), 'a.jpg');
    const jobs = await Promise.all(
      [0, 1, 2, 3, 4, 5].map(async (i) => ({
        id: String(i),
        image: await saved({ width: 40, height: 36, channels: 3, data: Uint8Array.from(pictureOf(i, 40, 36)) }),
        direction: Float32Array.from(directions.subarray((i % 2) * d, ((i % 2) + 1) * d)),
        coding,
      })),
    );
    const measured: { readonly gain: number; readonly psnr: number | null }[] = [];
    for (const [throughEncoding, radiusLevels] of [
      [false, 10],
      [false, 14],
      [true, 10],
    ] as const) {
      const marker = await Marker.create(
        model,
        6 * 40 * 36,
        6,
        { ...recipe, radiusLevels, throughEncoding },
        { coded: true },
      );
      const marked = await Promise.all((await marker.mark(jobs)).map(saved));
      marker.destroy();
      const report = await measureSurvival({
        key,
        model,
        count: jobs.length,
        pair: async (i) => ({ id: jobs[i].id, label: i % 2, original: jobs[i].image, marked: marked[i] }),
        codec,
        treatments: [],
      });
      measured.push(report);
    }
    const [weak, strong, through] = measured as { readonly gain: number; readonly psnr: number }[];
    // What marks that were found before the encoding gain at the same PSNR, which lies between theirs.
    expect(through.psnr).toBeGreaterThan(strong.psnr);
    expect(through.psnr).toBeLessThan(weak.psnr);
    const share = (weak.psnr - through.psnr) / (weak.psnr - strong.psnr);
    expect(through.gain).toBeGreaterThan(1.15 * weak.gain * (strong.gain / weak.gain) ** share);
  });

  it('of a data set are measured from its files, and what it must survive is written down', async () => {
    const dataset = await openDataset(at('data'));
    const survive = ['jpeg:30', 'resize:30'];
    const manifest = await markDataset({
      key,
      model,
      dataset,
      fraction: 1,
      recipe: { ...recipe, survive, throughEncoding: true },
      out: at('out'),
    });
    expect(manifest.options).toMatchObject({ survive: 'jpeg:30,resize:30', throughEncoding: true });
    const marked = await openDataset(at('out'));
    const report = await datasetSurvival({ key, model, marked, original: dataset, images: 3 });
    expect(report.images).toBe(3);
    expect(report.treatments.map(({ treatment }) => treatment)).toEqual(TREATMENTS.map(({ name }) => name));
    const files = new Map(manifest.images.map(({ id, gain }) => [id, gain]));
    const gains = ['elk/0.jpg', 'owl/0.jpg', 'elk/1.jpg'].map((id) => files.get(id)!);
    expect(report.gain).toBeCloseTo(gains.reduce((sum, gain) => sum + gain, 0) / 3, 5);
    // None is larger than these.
    expect(report.treatments.filter(({ images }) => images === 0).map(({ treatment }) => treatment)).toEqual([
      'shorter side 256',
      'shorter side 224',
    ]);
    // Another key; another original.
    const stranger = { ...key, secret: '11'.repeat(32) };
    await expect(datasetSurvival({ key: stranger, model, marked, original: dataset, images: 3 })).rejects.toThrow(
      /out: was marked with another key/,
    );
    writeFileSync(at('data/elk/0.jpg'), await sharp(at('data/elk/1.jpg')).jpeg().toBuffer());
    await expect(
      datasetSurvival({ key, model, marked, original: await openDataset(at('data')), images: 3 }),
    ).rejects.toThrow(/elk\/0\.jpg changes by .* give the data set that was marked/);
  });

  it('survive what is written as a transformation', () => {
    expect(parseTransformation('jpeg:75')).toEqual({ kind: 'jpeg', quality: 75 });
    expect(parseTransformation('resize:224')).toEqual({ kind: 'resize', side: 224 });
    for (const wrong of ['jpeg', 'jpeg:0', 'jpeg:101', 'resize:0', 'blur:3', 'jpeg:75 ', 'JPEG:75'])
      expect(parseTransformation(wrong), wrong).toBeUndefined();
    const robust = { ...recipe, survive: ['jpeg:75', 'resize:224'], throughEncoding: true };
    expect(recipeRecord(robust)).toMatchObject({ survive: 'jpeg:75,resize:224', throughEncoding: true });
    expect(recipeOfRecord(recipeRecord(robust))).toEqual(robust);
    expect(recipeOfRecord(recipeRecord(recipe))).toEqual(recipe);
    expect(recipeOfRecord({ ...recipeRecord(recipe), survive: 'jpeg:0' })).toBeUndefined();
  });
});
