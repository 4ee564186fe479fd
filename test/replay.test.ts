import { createHash } from 'node:crypto';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import { Loader } from '../src/datasets/loader.ts';
import { wholeImage } from '../src/images/crop.ts';
import { createKey, type Key } from '../src/marking/key.ts';
import { defaultMarkingRecipe } from '../src/marking/recipe.ts';
import { infer, networkInput } from '../src/nn/inference.ts';
import { initialStateDict, Model } from '../src/nn/model.ts';
import { openDataset } from '../src/node/datasets/open.ts';
import { markDataset } from '../src/node/runs/mark_dataset.ts';
import { openModel } from '../src/node/runs/open_model.ts';
import { packCrops } from '../src/shaders/crop_resize/crop_resize.ts';
import { Program } from '../src/tensor/program.ts';
import { Tape } from '../src/tensor/tape.ts';
import { defaultRecipe } from '../src/training/recipe.ts';
import { createMomenta, recordDescent, train } from '../src/training/train.ts';
import { useDevice } from './device.ts';
import { CLASSES, smallNetwork, writeFolder, writeModel } from './small_data.ts';

/** All that WebGPU creates but what has to be new for every submit: command encoders. */
const CREATORS = [
  'createBuffer',
  'createTexture',
  'createSampler',
  'createBindGroup',
  'createBindGroupLayout',
  'createPipelineLayout',
  'createShaderModule',
  'createComputePipeline',
  'createComputePipelineAsync',
  'createRenderPipeline',
  'createRenderPipelineAsync',
  'createQuerySet',
] as const satisfies readonly (keyof GPUDevice)[];

describe('after the first step nothing is created on the device', () => {
  const device = useDevice();
  const folder = mkdtempSync(join(tmpdir(), 'radioactive-replay-'));
  let model: Model;
  let loader: Loader;
  let key: Key;
  beforeAll(async () => {
    const file = writeModel(join(folder, 'model.safetensors'));
    ({ model } = await openModel(device(), file));
    loader = await Loader.open(await openDataset(writeFolder(join(folder, 'images'), 12)), 1);
    key = await createKey({
      classes: CLASSES,
      model: {
        sha256: createHash('sha256').update(readFileSync(file)).digest('hex'),
        architecture: model.config.architecture,
        featureDimension: model.featureDimension,
      },
      basis: null,
      centre: true,
    });
  });
  afterAll(() => {
    model.destroy();
    rmSync(folder, { recursive: true });
  });

  /** Follows long work by its progress: what had been created after each of its batches. */
  async function createdAfterEach(
    work: (onProgress: (done: number) => void) => Promise<unknown>,
  ): Promise<Record<string, number>[]> {
    const spies = CREATORS.map((name) => vi.spyOn(device().gpu, name));
    const counts: Record<string, number>[] = [];
    try {
      await work((done) => {
        if (done > 0) counts.push(Object.fromEntries(CREATORS.map((name, i) => [name, spies[i].mock.calls.length])));
      });
    } finally {
      for (const spy of spies) spy.mockRestore();
    }
    return counts;
  }

  function expectNothingNew(counts: readonly Record<string, number>[], steps: number): void {
    expect(counts).toHaveLength(steps);
    expect(counts[0].createBuffer).toBeGreaterThan(0);
    for (const count of counts) expect(count).toEqual(counts[0]);
  }

  it.each([false, true])('when training; the last layer alone: %s', async (freezeFeatures) => {
    const recipe = {
      ...defaultRecipe(model.config, freezeFeatures ? 'linear' : 'from scratch'),
      epochs: 2,
      batchSize: 3,
      learningRate: 0.01,
    };
    expectNothingNew(await createdAfterEach((onProgress) => train(model, loader, { recipe, onProgress })), 8);
  });

  it('when extracting features', async () => {
    const counts = await createdAfterEach((onProgress) => infer(model, loader, { batchSize: 3, onProgress }));
    expectNothingNew(counts, 4);
  });

  it.each([
    ['the whole image', null],
    ['random crops', { scale: [0.5, 1], ratio: [3 / 4, 4 / 3], flip: true }],
  ] as const)('when marking, %s', async (name, crop) => {
    const recipe = { ...defaultMarkingRecipe(model.config.inputSize), iterations: 3, crop };
    const { dataset } = loader;
    const out = join(folder, `marked ${name}`);
    const counts = await createdAfterEach((onProgress) =>
      markDataset({ key, model, dataset, fraction: 1, recipe, out, batchSize: 3, onProgress }),
    );
    expectNothingNew(counts, 15);
  });
});

describe('tensors that share memory', () => {
  const device = useDevice();

  /** Trains for three steps on made-up images. With `guard` every tensor has memory of its own. */
  async function trained(guard: boolean): Promise<{ values: Float32Array[]; bytes: number }> {
    const config = {
      ...smallNetwork,
      stem: 'imagenet',
      inputSize: 33,
      channels: 3,
      mean: [0.5, 0.4, 0.3],
      std: [0.2, 0.3, 0.4],
    } as const;
    const model = await Model.load(device(), config, initialStateDict(config, 1), 'fresh weights');
    const momenta = await createMomenta(model, false);
    const tape = new Tape(device(), { precision: 'f32' });
    const levels = tape.input('levels', [5, 33, 33, 3]);
    const crops = tape.input('crops', [5, 5], 'u32');
    const labels = tape.input('labels', [5], 'u32');
    const learningRate = tape.input('learning rate', [1]);
    const logits = model.logits(model.features(networkInput(model, levels, crops), { training: true }));
    const recipe = { momentum: 0.9, weightDecay: 1e-4, nesterov: false };
    const loss = recordDescent(model, { logits, labels, learningRate }, momenta, recipe);
    const program = await Program.build(device(), tape, { name: 'training', outputs: [loss, logits], guard });
    program.write(
      levels,
      Float32Array.from({ length: levels.size }, (_, i) => (i * 31) % 256),
    );
    program.write(
      crops,
      packCrops(new Array(5).fill(wholeImage(33, 33)), new Array(5).fill({ height: 33, width: 33 })),
    );
    program.write(labels, Uint32Array.of(0, 1, 0, 1, 1));
    program.write(learningRate, Float32Array.of(0.05));
    const values: Float32Array[] = [];
    for (let step = 0; step < 3; step++) {
      await program.run();
      values.push(await program.read(loss), await program.read(logits));
    }
    for (const parameter of model.trainable()) values.push(await parameter.read());
    const { bytes } = program.plan;
    program.destroy();
    for (const momentum of momenta.values()) momentum.destroy();
    model.destroy();
    return { values, bytes };
  }

  it('hold the same bits as in memory of their own', async () => {
    const [shared, separate] = [await trained(false), await trained(true)];
    expect(shared.bytes).toBeLessThan(separate.bytes / 2);
    expect(separate.values.every((values) => values.every(Number.isFinite))).toBe(true);
    expect(shared.values).toEqual(separate.values);
  });
});
