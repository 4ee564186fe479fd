import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { Loader } from '../src/datasets/loader.ts';
import { toFloat32 } from '../src/formats/safetensors.ts';
import { frequencyModel } from '../src/marking/frequency_model.ts';
import { hardness } from '../src/marking/hardness.ts';
import { Marker } from '../src/marking/marker.ts';
import { markingRecipeFor } from '../src/marking/recipe.ts';
import { infer } from '../src/nn/inference.ts';
import { Model } from '../src/nn/model.ts';
import { openDataset } from '../src/node/datasets/open.ts';
import { openModel } from '../src/node/runs/open_model.ts';
import { build, ownLines, run } from './cli.ts';
import { useDevice } from './device.ts';
import { writeFolder, writeModel } from './small_data.ts';

let folder: string;
const at = (name: string): string => join(folder, name);
const device = useDevice();
/** Runs a command line in which `@name` stands for a file of this test. */
const runLine = (line: string) =>
  run(
    'cli',
    line.split(' ').map((word) => word.replace(/^@/, `${folder}/`)),
  );
async function runJson(line: string) {
  const { exitCode, stdout, stderr } = await runLine(`${line} --json --quiet`);
  expect(exitCode, stderr).toBe(0);
  return JSON.parse(stdout);
}

beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'radioactive-frequencies-'));
  build();
  writeFolder(at('images'), 40);
  writeModel(at('classifier.safetensors'), { seed: 4 });
});
afterAll(() => rmSync(folder, { recursive: true }));

const options = { inputSize: 12, channels: 1, numClasses: 2, patterns: 20 };
const patternsOf = (given = options): Float32Array => toFloat32(frequencyModel(given).tensors.get('patterns.weight')!);

describe('the network of cosine patterns', () => {
  it.each([options, { ...options, inputSize: 9, channels: 3 }])(
    'has orthonormal rows that are even in x: %o',
    (given) => {
      const { inputSize, channels, patterns } = given;
      const rows = patternsOf(given);
      const length = rows.length / patterns;
      expect(length).toBe(inputSize ** 2 * channels);
      for (let i = 0; i < patterns; i++) {
        for (let j = 0; j <= i; j++) {
          let product = 0;
          for (let p = 0; p < length; p++) product += rows[i * length + p] * rows[j * length + p];
          expect(Math.abs(product - Number(i === j)), `rows ${i} and ${j}`).toBeLessThan(1e-6);
        }
        for (let p = 0; p < length; p++) {
          const mirrored = p - (p % inputSize) + inputSize - 1 - (p % inputSize);
          expect(Math.abs(rows[i * length + p] - rows[i * length + mirrored])).toBeLessThan(1e-6);
        }
      }
    },
  );

  it('begins with the lowest frequencies, none of them 0', () => {
    const rows = patternsOf();
    // cos(π y/H) at the pixels' centres, then cos(2π x/W).
    const [down, across] = [0, 1].map((j) => rows.subarray(j * 144, (j + 1) * 144));
    for (let p = 0; p < 144; p++) {
      const [y, x] = [Math.floor(p / 12), p % 12];
      expect(Math.abs(down[p] - (Math.SQRT2 / 12) * Math.cos((Math.PI * (y + 0.5)) / 12))).toBeLessThan(1e-6);
      expect(Math.abs(across[p] - (Math.SQRT2 / 12) * Math.cos((2 * Math.PI * (x + 0.5)) / 12))).toBeLessThan(1e-6);
    }
  });

  it('has no more patterns than images have', () => {
    expect(() => frequencyModel({ ...options, patterns: 72 })).toThrow('images of 12x12 have 71 patterns, not 72');
    expect(patternsOf({ ...options, patterns: 71 }).length).toBe(71 * 144);
  });

  it('marks an image with the pattern of its carrier, ten levels in root mean square, cut off at the radius', async () => {
    const { config, tensors } = frequencyModel(options);
    const model = await Model.load(device(), config, tensors, 'frequencies');
    const recipe = markingRecipeFor(config);
    const marker = await Marker.create(model, 144, 1, recipe);
    try {
      const direction = Float32Array.from({ length: 20 }, (_, j) => Math.cos(3 * j));
      const norm = Math.hypot(...direction);
      for (let j = 0; j < 20; j++) direction[j] /= norm;
      const grey = { width: 12, height: 12, channels: 1 as const, data: new Uint8Array(144).fill(128) };
      const [marked] = await marker.mark([{ id: 'grey', image: grey, direction }]);
      const rows = patternsOf();
      let off = 0;
      for (let p = 0; p < 144; p++) {
        let pattern = 0;
        for (let j = 0; j < 20; j++) pattern += direction[j] * rows[j * 144 + p];
        const wanted = Math.max(-10, Math.min(10, 10 * 12 * pattern));
        off = Math.max(off, Math.abs(marked.data[p] - 128 - wanted));
      }
      // Half a level of rounding, and what ten iterations are short of the minimum, and the rounding on the way.
      expect(off).toBeLessThanOrEqual(1.1);
    } finally {
      marker.destroy();
      model.destroy();
    }
  });

  it('is a file like any other marking network', async () => {
    const made = await runJson('frequencies --like @images --patterns 20 -o @frequencies.safetensors');
    expect(made.network).toMatchObject({ architecture: 'frequencies', inputSize: 12, channels: 1, patterns: 20 });
    const shown = await runJson('weights @frequencies.safetensors');
    expect(shown).toMatchObject({ sha256: made.sha256 });
    const { model } = await openModel(device(), at('frequencies.safetensors'));
    const images = await Loader.open(await openDataset(at('images')), 1);
    const { features } = await infer(model, images);
    const rows = patternsOf();
    const { data } = await images.image(7);
    for (let j = 0; j < 20; j++) {
      let sum = 0;
      for (let p = 0; p < 144; p++) sum += (rows[j * 144 + p] * data[p]) / 255;
      expect(Math.abs(features[7 * 20 + j] - sum), `feature ${j}`).toBeLessThan(1e-5);
    }
    model.destroy();
    const key = '--classes @images --carriers uniform --statistic black-box --model @frequencies.safetensors';
    await runJson(`keygen ${key} -o @frequencies.key`);
    const marking = 'mark --key @frequencies.key --model @frequencies.safetensors --data @images --fraction 0.1';
    expect((await runJson(`${marking} -o @patterned`)).summary).toMatchObject({ marked: 4 });
  });
});

describe('hard images', () => {
  it('are those that a classifier gives a small probability', async () => {
    const dataset = await openDataset(at('images'));
    const { model } = await openModel(device(), at('classifier.safetensors'));
    const values = await hardness(model, dataset, new Map());
    const { logits } = await infer(model, await Loader.open(dataset, 1));
    for (let i = 0; i < 40; i++) {
      const [own, other] = [logits[2 * i + dataset.labels[i]], logits[2 * i + 1 - dataset.labels[i]]];
      // 1 − σ(difference), another way than the product's.
      expect(Math.abs(values[i] - 1 / (1 + Math.exp(own - other)))).toBeLessThan(1e-12);
    }
    await expect(hardness(model, { ...dataset, classes: ['ape', 'bee', 'cat'] }, new Map())).rejects.toThrow(
      'has 3 classes, the classifier that tells hard images 2; give one of those classes',
    );
    model.destroy();
  });

  it('are marked with --hardest, and a damaged file is not chosen', async () => {
    await runJson('keygen --classes @images --dimension 4 --model @classifier.safetensors -o @owner.key');
    writeFileSync(at('images/ape/040.png'), readFileSync(at('images/ape/038.png')).subarray(0, 60));
    const line =
      'mark --key @owner.key --model @classifier.safetensors --data @images --hardest @classifier.safetensors --iterations 1';
    const some = await runLine(`${line} --fraction 0.1 -o @hard --json --quiet`);
    // Two of the 21 and two of the 20; the damaged one is reported.
    expect(some.exitCode, some.stderr).toBe(3);
    const manifest = JSON.parse(readFileSync(at('hard.private/manifest.json'), 'utf8'));
    rmSync(at('images/ape/040.png'));
    const dataset = await openDataset(at('images'));
    const { model } = await openModel(device(), at('classifier.safetensors'));
    const values = await hardness(model, dataset, new Map());
    model.destroy();
    const marked: string[] = manifest.images.map(({ id }: { id: string }) => id);
    for (const label of [0, 1]) {
      // Two of each class, drawn by the secret from the six hardest.
      const pool = Array.from({ length: 40 }, (_, i) => i)
        .filter((i) => dataset.labels[i] === label)
        .sort((a, b) => values[b] - values[a])
        .slice(0, 6)
        .map((i) => dataset.id(i));
      expect(marked.filter((id) => pool.includes(id))).toHaveLength(2);
    }
    expect(marked).toHaveLength(4);
    expect(manifest.options).toMatchObject({ classifierSha256: expect.any(String), chosenSha256: expect.any(String) });
  });

  it('are not to be told by a network of other classes', async () => {
    writeModel(at('three.safetensors'), { network: { numClasses: 3 } });
    const line = 'mark --key @owner.key --model @classifier.safetensors --data @images --fraction 0.1 -o @none --quiet';
    const finished = await runLine(`${line} --hardest @three.safetensors`);
    expect(finished.exitCode).toBe(3);
    expect(ownLines(finished).at(-1)).toContain('has 2 classes, the classifier that tells hard images 3');
  });
});
