import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { Dataset } from '../src/datasets/dataset.ts';
import { Loader } from '../src/datasets/loader.ts';
import { serializeNpy } from '../src/formats/npy.ts';
import { infer } from '../src/nn/inference.ts';
import { initialStateDict, Model } from '../src/nn/model.ts';
import type { NetworkConfig } from '../src/nn/networks.ts';
import { openDataset } from '../src/node/datasets/open.ts';
import { openModel } from '../src/node/runs/open_model.ts';
import { runTraining, type TrainingReport, type TrainingRunOptions } from '../src/node/runs/training_run.ts';
import { Program } from '../src/tensor/program.ts';
import { Tape } from '../src/tensor/tape.ts';
import { defaultRecipe, type Recipe } from '../src/training/recipe.ts';
import { createMomenta, recordDescent, type Teacher, train } from '../src/training/train.ts';
import { useDevice } from './device.ts';
import { CLASSES, smallNetwork, writeFolder, writeModel } from './small_data.ts';
import { expectClose } from './tolerance.ts';

const device = useDevice();
let folder: string;
const at = (name: string): string => join(folder, name);
let dataset: Dataset;
let loader: Loader;
/** Of another width, stem and input size than the network it teaches, with scores that are far from even. */
let teacher: Model;
beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'radioactive-distillation-'));
  dataset = await openDataset(writeFolder(at('images'), 12));
  loader = await Loader.open(dataset, 1);
  writeModel(at('teacher.safetensors'), {
    network: { architecture: 'resnet34', width: 3, stem: 'cifar', inputSize: 16 },
    seed: 5,
    change: (tensors) => {
      const weight = tensors.get('fc.weight')!;
      weight.set(weight.map((value) => 12 * value));
    },
  });
  teacher = (await openModel(device(), at('teacher.safetensors'))).model;
});
afterAll(() => {
  teacher.destroy();
  rmSync(folder, { recursive: true });
});

const softmax = (row: readonly number[], temperature: number): number[] => {
  const exponentials = row.map((value) => Math.exp((value - Math.max(...row)) / temperature));
  const sum = exponentials.reduce((a, b) => a + b);
  return exponentials.map((value) => value / sum);
};

it.each([1, 4])('a step follows the gradient of cross-entropy at temperature %d', async (temperature) => {
  const [N, K, d] = [3, 2, 32];
  const model = await Model.load(device(), smallNetwork, initialStateDict(smallNetwork, 0), 'fresh weights');
  const momenta = await createMomenta(model, true);
  const tape = new Tape(device(), { precision: 'f32' });
  const features = tape.input('features', [N, d]);
  const labels = tape.input('probabilities', [N, K]);
  const learningRate = tape.input('learning rate', [1]);
  const logits = model.logits(features);
  const recipe = { momentum: 0, weightDecay: 0, nesterov: false, temperature };
  const loss = recordDescent(model, { logits, labels, learningRate }, momenta, recipe);
  const program = await Program.build(device(), tape, { name: 'training', outputs: [loss, logits] });
  const x = Float32Array.from({ length: N * d }, (_, i) => 3 * Math.sin(i));
  const probabilities = [0.9, 0.1, 0.3, 0.7, 0.5, 0.5];
  program.write(features, x);
  program.write(labels, Float32Array.from(probabilities));
  program.write(learningRate, Float32Array.of(1));
  const bias = model.trainable().find(({ spec }) => spec.name === 'fc.bias')!;
  const before = await bias.read();
  await program.run();
  const z = [...(await program.read(logits))];
  const said = Array.from({ length: N }, (_, n) => softmax(z.slice(n * K, (n + 1) * K), temperature));
  const entropy = said.flat().reduce((sum, p, i) => sum - probabilities[i] * Math.log(p), 0) / N;
  expectClose(await program.read(loss), [temperature ** 2 * entropy], 1e-5, 'loss');
  // d(T²·CE(z/T))/dz = T·(softmax(z/T) − t).
  const gradient = Array.from({ length: K }, (_, k) =>
    said.reduce((sum, row, n) => sum + (temperature * (row[k] - probabilities[n * K + k])) / N, 0),
  );
  const after = await bias.read();
  expectClose(
    after.map((value, k) => before[k] - value),
    gradient,
    1e-5,
    'gradient',
  );
  program.destroy();
  for (const momentum of momenta.values()) momentum.destroy();
  model.destroy();
});

describe('what a teacher says', () => {
  /** Weights after two epochs in which nothing is random, and their losses. */
  async function taught(by: Teacher, changes: Partial<Recipe> = {}) {
    const model = await Model.load(device(), smallNetwork, initialStateDict(smallNetwork, 1), 'fresh weights');
    const recipe = { ...defaultRecipe(smallNetwork, 'from scratch'), epochs: 2, batchSize: 4, crop: null, ...changes };
    const { epochLosses } = await train(model, loader, { recipe, teacher: by });
    const weights = await model.trainable().at(0)!.read();
    const head = await model.headWeight();
    model.destroy();
    return { epochLosses, weights, head };
  }

  it.each([
    ['the whole network', { temperature: 3 }],
    ['the last layer', { temperature: 3, freezeFeatures: true }],
  ])('is the same from the model and from its scores: %s', async (_, changes) => {
    const { logits } = await infer(teacher, loader);
    expect(Math.max(...logits) - Math.min(...logits)).toBeGreaterThan(1);
    const byModel = await taught({ model: teacher }, changes);
    const byScores = await taught({ logits }, changes);
    expectClose(byModel.epochLosses, byScores.epochLosses, 1e-5, 'losses');
    expectClose(byModel.head, byScores.head, 1e-4, 'last layer');
    expectClose(byModel.weights, byScores.weights, 1e-4, 'first layer');
    // The other way round it would be another network.
    const other = await taught({ logits: logits.map((value) => -value) }, changes);
    expect(other.head).not.toEqual(byScores.head);
  });

  it('does not change the teacher, in evaluation mode', async () => {
    const before = await teacher.stateDict();
    await taught({ model: teacher });
    expect(await teacher.stateDict()).toEqual(before);
  });
});

describe('a run', () => {
  const distil = (name: string, options: Partial<TrainingRunOptions>): Promise<TrainingReport> =>
    runTraining({
      device: device(),
      dataset,
      out: at(name),
      network: { width: 4 },
      recipe: { epochs: 2, batchSize: 4 },
      ...options,
    });

  it('with a teacher remembers whose outputs it learned, and goes on with those alone', async () => {
    const file = { model: at('teacher.safetensors') };
    const whole = await distil('whole.safetensors', { teacher: file });
    expect(whole.teacher).toMatchObject({ path: file.model, kind: 'model' });
    expect(whole.recipe.temperature).toBe(1);
    const stop = new AbortController();
    const onProgress = (done: number): void => {
      if (done >= 12) stop.abort();
    };
    const stopped = distil('stopped.safetensors', { teacher: file, onProgress, signal: stop.signal });
    await expect(stopped).rejects.toThrow('aborted');
    await expect(distil('stopped.safetensors', { resume: true })).rejects.toThrow(
      /stopped\.safetensors\.checkpoint: belongs to a run with other data, network or recipe/,
    );
    await distil('stopped.safetensors', { teacher: file, resume: true });
    expect(readFileSync(at('stopped.safetensors')).equals(readFileSync(at('whole.safetensors')))).toBe(true);
  });

  it('takes scores as logits or as probabilities, whatever they are', async () => {
    const { logits } = await infer(teacher, loader);
    const rows = Array.from({ length: 12 }, (_, n) => [...logits.slice(2 * n, 2 * n + 2)]);
    writeFileSync(at('logits.npy'), serializeNpy([12, 2], logits));
    const probabilities = Float64Array.from(rows.flatMap((row) => softmax(row, 1)));
    writeFileSync(at('probabilities.npy'), serializeNpy([12, 2], probabilities));
    const logs = probabilities.map(Math.log);
    writeFileSync(at('logs.npy'), serializeNpy([12, 2], logs));
    const remarks: string[] = [];
    const weights = [];
    for (const [name, kind] of [
      ['logits', 'logits'],
      ['probabilities', 'probabilities'],
      ['logs', 'logits'],
    ] as const) {
      const report = await distil(`by-${name}.safetensors`, {
        teacher: { scores: at(`${name}.npy`) },
        onRemark: (line) => remarks.push(line),
      });
      expect(report.teacher).toMatchObject({ path: at(`${name}.npy`), kind });
      const { model } = await openModel(device(), at(`by-${name}.safetensors`));
      weights.push(await model.headWeight());
      model.destroy();
    }
    expect(remarks).toEqual([
      `${at('logits.npy')}: taken as logits`,
      `${at('probabilities.npy')}: taken as probabilities`,
      `${at('logs.npy')}: taken as logits`,
    ]);
    expectClose(weights[1], weights[0], 1e-4, 'from probabilities');
    expectClose(weights[2], weights[0], 1e-4, 'from their logarithms');
  });

  it('refuses teachers that do not fit, and leaves nothing', async () => {
    const before = device().liveBytes;
    writeModel(at('three.safetensors'), { network: { numClasses: 3 } });
    writeModel(at('colour.safetensors'), { network: { channels: 3, mean: [0, 0, 0], std: [1, 1, 1] } });
    const scores = (name: string, shape: number[], values: ArrayLike<number>): { scores: string } => {
      writeFileSync(at(name), serializeNpy(shape, Float32Array.from(values)));
      return { scores: at(name) };
    };
    const nothing = new Array<number>(24).fill(0).with(7, Number.NaN);
    for (const [teacher, message] of [
      [
        { model: at('three.safetensors') },
        `three.safetensors: has 3 classes, ${at('images')} 2; give a teacher of those`,
      ],
      [{ model: at('colour.safetensors') }, 'colour.safetensors: takes 3 channels, the network to train 1; give'],
      [{ model: at('gone.safetensors') }, 'gone.safetensors: no such file or folder; check the path'],
      [scores('few.npy', [11, 2], new Array(22).fill(0)), 'few.npy: is [11, 2], '],
      [scores('nan.npy', [12, 2], nothing), 'nan.npy: row 3 is 0, NaN; give numbers'],
      [
        scores('infinite.npy', [12, 2], new Array(24).fill(-Infinity)),
        'infinite.npy: row 0 is -Infinity, -Infinity; give',
      ],
    ] as const)
      await expect(distil('never.safetensors', { teacher })).rejects.toThrow(
        expect.objectContaining({ exitCode: 3, message: expect.stringContaining(message) }),
      );
    expect(device().liveBytes).toBe(before);
  });
});

it('fine-tuning starts from other weights, with a new last layer where the classes are others', async () => {
  const config: NetworkConfig = { ...smallNetwork, numClasses: 5 };
  writeModel(at('other.safetensors'), { network: config, seed: 9 });
  const options = { device: device(), dataset, recipe: { epochs: 1, batchSize: 4, learningRate: 1e-6 } };
  const report = await runTraining({ ...options, init: at('other.safetensors'), out: at('tuned.safetensors') });
  expect(report.network).toMatchObject({ numClasses: CLASSES.length, width: 4, stem: 'small' });
  expect(report.recipe).toMatchObject({ freezeFeatures: false, learningRate: 1e-6 });
  expect(defaultRecipe(config, 'fine-tuning').learningRate).toBeLessThan(
    defaultRecipe(config, 'from scratch').learningRate,
  );
  const [before, after] = [
    await openModel(device(), at('other.safetensors')),
    await openModel(device(), at('tuned.safetensors')),
  ];
  const weights = ({ model }: typeof before) => model.trainable().map((parameter) => parameter.read());
  const [old, tuned] = [await Promise.all(weights(before)), await Promise.all(weights(after))];
  // A step as small as this leaves everything nearly where it was.
  for (let i = 0; i < old.length - 2; i++)
    expectClose(
      tuned[i].map((value) => 1 + value),
      old[i].map((value) => 1 + value),
      1e-3,
      `parameter ${i}`,
    );
  expect(tuned.at(-2)).toHaveLength(2 * 32);
  before.model.destroy();
  after.model.destroy();
});
