import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { Dataset } from '../src/datasets/dataset.ts';
import { Loader } from '../src/datasets/loader.ts';
import {
  AUGMENT_OPERATIONS,
  type AugmentOperation,
  augmentWith,
  randAugment,
  randAugmentMagnitudes,
  trivialAugment,
  trivialAugmentMagnitudes,
} from '../src/images/augment.ts';
import { type Crop, shiftedCrop, wholeImage } from '../src/images/crop.ts';
import type { Image8 } from '../src/images/image.ts';
import { cutImage, cutRegion } from '../src/images/region.ts';
import { infer } from '../src/nn/inference.ts';
import { initialStateDict, Model } from '../src/nn/model.ts';
import { openDataset } from '../src/node/datasets/open.ts';
import { openModel } from '../src/node/runs/open_model.ts';
import { runTraining } from '../src/node/runs/training_run.ts';
import { derive } from '../src/random.ts';
import { mix } from '../src/shaders/mix/mix.ts';
import { softmaxCrossEntropy } from '../src/shaders/softmax_cross_entropy/softmax_cross_entropy.ts';
import { Program } from '../src/tensor/program.ts';
import { Tape } from '../src/tensor/tape.ts';
import { cutMixing, drawMixing, mixUp, softTargets, symmetricBeta } from '../src/training/mixing.ts';
import { defaultRecipe, type Recipe } from '../src/training/recipe.ts';
import { train } from '../src/training/train.ts';
import { useDevice } from './device.ts';
import { golden } from './golden.ts';
import { nchwToNhwc } from './layout.ts';
import { smallNetwork, writeFolder, writeModel } from './small_data.ts';
import { expectClose } from './tolerance.ts';

const images = golden('augment');
const steps = golden('augment_training');

/** A golden image; grey ones have no axis of channels. */
function picture(name: string): Image8 {
  const { shape, data } = images.tensors.get(`${name}/x`)!;
  const [height, width, channels = 1] = shape as [number, number, (1 | 3)?];
  return { height, width, channels, data: new Uint8Array(data) };
}

const NAMES = ['colour', 'grey', 'flat', 'large'];

describe('operations are those of torchvision on PIL images', () => {
  it.each(NAMES)('magnitudes for the picture %s', (name) => {
    let found = 0;
    for (const operation of AUGMENT_OPERATIONS) {
      const spaces = {
        rand: randAugmentMagnitudes(operation, picture(name)),
        trivial: trivialAugmentMagnitudes(operation),
      };
      for (const [space, { values }] of Object.entries(spaces)) {
        const tensor = `${name}/${space}/${operation}`;
        const expected = images.tensors.has(tensor) ? images.float64(tensor) : [];
        // torch.linspace rounds to float32, in blocks of its own.
        expectClose(values, expected, 2e-7, tensor);
        if (!operation.startsWith('Translate')) continue;
        expect(values.map(Math.trunc), tensor).toEqual(Array.from(expected, Math.trunc));
        found++;
      }
    }
    expect(found).toBe(4);
  });

  it.each(NAMES)('to the bit: %s', (name) => {
    const image = picture(name);
    const cases = JSON.parse(images.metadata[name]) as [AugmentOperation, number][];
    const results = new Uint8Array(images.tensors.get(`${name}/y`)!.data);
    expect(results.length).toBe(cases.length * image.data.length);
    cases.forEach(([operation, magnitude], i) => {
      const expected = results.subarray(i * image.data.length, (i + 1) * image.data.length);
      expect([...augmentWith(image, operation, magnitude).data], `${operation} ${magnitude}`).toEqual([...expected]);
    });
    expect(new Set(cases.map(([operation]) => operation))).toEqual(new Set(AUGMENT_OPERATIONS));
  });

  it('crops beyond the edges, and mirrored', () => {
    const image = picture('colour');
    const results = new Uint8Array(images.tensors.get('crop/y')!.data);
    const crops = JSON.parse(images.metadata.crop) as [number, number, boolean][];
    // The network's input is square; here the crop's own size is compared.
    crops.forEach(([top, left, flip], i) => {
      const { levels } = cutRegion(image, { top, left, height: image.height, width: image.width, flip }, 16);
      const expected = results.subarray(i * image.data.length, (i + 1) * image.data.length);
      const mirrored = levels.map((_, at, all) => {
        const [column, channel] = [Math.floor(at / 3) % image.width, at % 3];
        const from = flip ? at - 3 * column + 3 * (image.width - 1 - column) : at;
        return all[from - (from % 3) + channel];
      });
      expect([...mirrored]).toEqual([...expected]);
    });
  });
});

describe('what is drawn', () => {
  it('a shifted crop reaches every place as often, and half of them are mirrored', () => {
    const counts = new Map<string, number>();
    let flips = 0;
    const random = derive(1);
    for (let i = 0; i < 10_000; i++) {
      const { top, left, height, width, flip } = shiftedCrop(wholeImage(6, 6), { padding: 2, flip: true }, random);
      expect([height, width]).toEqual([6, 6]);
      counts.set(`${top} ${left}`, (counts.get(`${top} ${left}`) ?? 0) + 1);
      flips += Number(flip);
    }
    expect(counts.size).toBe(25);
    expect(counts.has('-2 2')).toBe(true);
    for (const count of counts.values()) expect(Math.abs(count - 400)).toBeLessThan(100);
    expect(Math.abs(flips - 5000)).toBeLessThan(250);
    expect(shiftedCrop(wholeImage(6, 6), { padding: 2, flip: false }, random).flip).toBe(false);
  });

  it('a crop of levels is what the device would make of it, rounded', () => {
    const image = picture('colour');
    const crop: Crop = { top: 1, left: 2, height: 6, width: 4, flip: true };
    const cut = cutImage(image, crop, 12);
    const plain = cutImage(image, { ...crop, flip: false }, 12);
    expect([cut.height, cut.width, cut.channels]).toEqual([12, 12, 3]);
    // The middle of two pixels, three quarters of one: bilinear, half-pixel centres.
    const at = (y: number, x: number): number => image.data[((crop.top + y) * image.width + crop.left + x) * 3];
    expect(plain.data[0]).toBe(at(0, 0));
    const [a, b] = [0.75 * at(0, 0) + 0.25 * at(1, 0), 0.75 * at(0, 1) + 0.25 * at(1, 1)];
    expect(plain.data[(12 + 1) * 3]).toBe(Math.round(a + (b - a) * (1.5 / 3 - 0.5)));
    for (let i = 0; i < cut.data.length; i += 3)
      expect(cut.data[i]).toBe(plain.data[i + 3 * (11 - 2 * ((i / 3) % 12))]);
  });

  it('RandAugment and TrivialAugment are functions of the stream, and use every operation', () => {
    const image = picture('colour');
    const variants = {
      rand: (seed: number) => randAugment(image, { operations: 2, magnitude: 9 }, derive(seed)),
      trivial: (seed: number) => trivialAugment(image, derive(seed)),
    };
    for (const augment of Object.values(variants)) {
      const results = Array.from({ length: 200 }, (_, seed) => augment(seed));
      expect(results).toEqual(Array.from({ length: 200 }, (_, seed) => augment(seed)));
      expect(new Set(results.map(({ data }) => data.join())).size).toBeGreaterThan(20);
      expect(results.every(({ height, width }) => height === image.height && width === image.width)).toBe(true);
    }
    const unchanged = Array.from({ length: 2000 }, (_, seed) => variants.rand(seed)).filter(
      ({ data }) => data === image.data,
    );
    // Both are the identity: 1 in 196.
    expect(Math.abs(unchanged.length / 2000 - 1 / 196)).toBeLessThan(0.007);
  });

  it.each([0.05, 0.2, 1, 4])('shares from the symmetric Beta of %d', (alpha) => {
    const random = derive(7);
    const values = Array.from({ length: 20_000 }, () => symmetricBeta(alpha, random));
    expect(values.every((value) => value >= 0 && value <= 1)).toBe(true);
    const mean = values.reduce((a, b) => a + b) / values.length;
    const variance = values.reduce((sum, value) => sum + (value - 0.5) ** 2, 0) / values.length;
    // Five standard errors.
    const expected = 1 / (4 * (2 * alpha + 1));
    expect(Math.abs(mean - 0.5)).toBeLessThan(5 * Math.sqrt(expected / values.length));
    expect(Math.abs(variance / expected - 1)).toBeLessThan(0.05);
  });

  it('Mixup, CutMix, or one of the two', () => {
    const draws = (recipe: Pick<Recipe, 'mixup' | 'cutmix'>) =>
      Array.from({ length: 400 }, (_, seed) => drawMixing(recipe, 12, derive(seed)));
    const cut = (drawn: ReturnType<typeof drawMixing>): boolean => drawn?.lambda === 1;
    expect(draws({}).every((drawn) => drawn === undefined)).toBe(true);
    expect(draws({ mixup: 1 }).some(cut)).toBe(false);
    expect(draws({ cutmix: 1 }).every(cut)).toBe(true);
    const both = draws({ mixup: 1, cutmix: 1 }).filter(cut).length;
    expect(Math.abs(both - 200)).toBeLessThan(50);
  });
});

describe('training agrees with PyTorch', () => {
  const device = useDevice();

  it('Mixup and CutMix of images, and the loss of their labels, smoothed', async () => {
    const x = nchwToNhwc(steps.float32('mix/x'), steps.shape('mix/x'));
    const shape = [4, 8, 8, 3];
    const cases = JSON.parse(steps.metadata.mix) as {
      readonly name: string;
      readonly lambda: number;
      readonly at: readonly [number, number] | null;
      readonly box: readonly number[];
      readonly share: number;
    }[];
    const tape = new Tape(device(), { precision: 'f32' });
    const [input, lambda] = [tape.input('x', shape), tape.input('lambda', [1])];
    const box = tape.input('box', [4], 'u32');
    const [logits, targets] = [tape.input('logits', [4, 5]), tape.input('targets', [4, 5])];
    const [y, loss] = [mix(input, lambda, box), softmaxCrossEntropy(logits, targets)];
    const program = await Program.build(device(), tape, { name: 'mix', outputs: [y, loss] });
    try {
      for (const { name, at, ...each } of cases) {
        const mixing = at === null ? mixUp(each.lambda) : cutMixing(each.lambda, 8, ...at);
        expect(mixing.box, name).toEqual(each.box);
        expectClose([mixing.ownShare], [each.share], 1e-12, name);
        program.write(input, x);
        program.write(lambda, Float32Array.of(mixing.lambda));
        program.write(box, Uint32Array.from(mixing.box));
        program.write(logits, steps.float32(`${name}/logits`));
        const rows = [0, 3, 1, 2].map((label) => Float32Array.from({ length: 5 }, (_, k) => Number(k === label)));
        program.write(targets, softTargets(rows, 0.1, mixing.ownShare));
        await program.run();
        expectClose(
          await program.read(y),
          nchwToNhwc(steps.float32(`${name}/y`), steps.shape(`${name}/y`)),
          1e-6,
          name,
        );
        expectClose(await program.read(loss), steps.float32(`${name}/loss`), 1e-5, `${name}: loss`);
      }
    } finally {
      program.destroy();
    }
  });

  /** Six images in memory, which only their features are seen of. */
  const dataset: Dataset = {
    path: 'memory',
    root: '.',
    classes: ['a', 'b', 'c', 'd'],
    length: 6,
    labels: Uint32Array.from([0, 3, 1, 2, 3, 0]),
    id: String,
    shape: async () => ({ height: 12, width: 12, channels: 1 }),
    image: async () => ({ height: 12, width: 12, channels: 1, data: new Uint8Array(144) }),
    bytes: async () => new Uint8Array(144),
  };

  it.each(['short', 'long'])(
    'smoothed labels, clipped gradients, averaged weights: gradients may be %s',
    async (name) => {
      const { most, norms } = JSON.parse(steps.metadata[name]) as { most: number; norms: number[] };
      // Either every step clips or none does.
      expect(norms.every((norm) => norm > most)).toBe(name === 'short');
      const config = { ...smallNetwork, width: 1, numClasses: 4 };
      const loader = await Loader.open(dataset, 1);
      const recipe: Recipe = {
        ...defaultRecipe(config, 'linear'),
        ...{ epochs: 5, batchSize: 6, learningRate: 0.3, weightDecay: 0.01 },
        labelSmoothing: 0.2,
        clipNorm: most,
      };
      for (const [changes, result] of [
        [{}, 'after'],
        [{ ema: 0.8 }, 'average'],
      ] as const) {
        const fresh = initialStateDict(config, 0);
        for (const parameter of ['weight', 'bias'])
          fresh.set(`fc.${parameter}`, steps.tensors.get(`${name}/${parameter}`)!);
        const model = await Model.load(device(), config, fresh, 'golden');
        try {
          const features = steps.float32('features');
          const { epochLosses } = await train(model, loader, { recipe: { ...recipe, ...changes }, features });
          expectClose(epochLosses, steps.float32(`${name}/losses`), 1e-5, 'losses');
          for (const { spec } of model.trainable(true)) {
            const parameter = model.parameters().find((each) => each.spec.name === spec.name)!;
            const expected = steps.float32(`${name}/${spec.name.slice('fc.'.length)}/${result}`);
            expectClose(await parameter.read(), expected, 1e-5, `${spec.name} ${result}`);
          }
        } finally {
          model.destroy();
        }
      }
    },
  );
});

describe('a whole run', () => {
  const device = useDevice();
  let folder: string;
  let data: Dataset;
  const at = (name: string): string => join(folder, name);
  beforeAll(async () => {
    folder = mkdtempSync(join(tmpdir(), 'radioactive-augment-'));
    data = await openDataset(writeFolder(at('images'), 16));
  });
  afterAll(() => rmSync(folder, { recursive: true }));

  const everything: Partial<Recipe> = {
    epochs: 2,
    batchSize: 4,
    crop: { padding: 2, flip: true },
    randAugment: { operations: 2, magnitude: 9 },
    mixup: 0.4,
    cutmix: 1,
    labelSmoothing: 0.1,
    ema: 0.7,
    clipNorm: 1,
  };
  const run = (out: string, recipe: Partial<Recipe>, more: Partial<Parameters<typeof runTraining>[0]> = {}) =>
    runTraining({
      device: device(),
      dataset: data,
      out: at(out),
      network: { width: 2, stem: 'small' },
      recipe,
      ...more,
    });

  it('with everything at once ends with the same bytes when it was interrupted, and saves the average', async () => {
    const report = await run('whole.safetensors', everything);
    expect(report.recipe).toMatchObject(everything);
    const controller = new AbortController();
    let images = 0;
    const interrupted = run('parts.safetensors', everything, {
      signal: controller.signal,
      checkpointSteps: 2,
      onProgress: (done) => {
        images = done;
        if (done >= 20) controller.abort();
      },
    });
    await expect(interrupted).rejects.toThrow();
    expect(images).toBe(20);
    await run('parts.safetensors', everything, { resume: true });
    expect(readFileSync(at('parts.safetensors'))).toEqual(readFileSync(at('whole.safetensors')));
    // What was measured is what was saved.
    const { model } = await openModel(device(), at('whole.safetensors'));
    const { logits } = await infer(model, await Loader.open(data, 1));
    const right = Array.from(data.labels).filter((label, i) => (logits[2 * i + 1] > logits[2 * i] ? 1 : 0) === label);
    expect(report.accuracy.training).toBe(right.length / data.length);
    model.destroy();
  });

  it('each of them changes what is learned', async () => {
    const base = { epochs: 1, batchSize: 8, crop: null };
    const models = [(await run('plain.safetensors', base)).sha256];
    const fields = ['crop', 'randAugment', 'mixup', 'cutmix', 'labelSmoothing', 'ema', 'clipNorm'] as const;
    for (const field of fields) {
      const changed = { ...base, [field]: field === 'clipNorm' ? 0.1 : everything[field] };
      models.push((await run(`${field}.safetensors`, changed)).sha256);
    }
    expect(new Set(models).size).toBe(1 + fields.length);
  });

  it('a teacher sees the same mixed images, at its own size', async () => {
    const teacher = { model: writeModel(at('teacher.safetensors'), { network: { inputSize: 16 }, seed: 5 }) };
    const recipe = { epochs: 1, batchSize: 4, cutmix: 1, mixup: 1, trivialAugment: true };
    const report = await run('student.safetensors', recipe, { teacher });
    expect(report.epochLosses.every(Number.isFinite)).toBe(true);
    await expect(run('none.safetensors', { labelSmoothing: 0.1 }, { teacher })).rejects.toThrow('leave one out');
  });

  it.each([
    [{ freezeFeatures: true, mixup: 1 }, 'recipe: mixup changes images, and frozen features are computed once'],
    [{ trivialAugment: true, randAugment: { operations: 1, magnitude: 1 } }, 'recipe: randAugment and trivialAugment'],
  ])('%j is refused', async (recipe, message) => {
    const init = writeModel(at('init.safetensors'), { network: { width: 2 } });
    await expect(run('refused.safetensors', recipe, { init })).rejects.toThrow(message);
  });
});
