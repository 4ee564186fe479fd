/** Every setting of docs/settings.md on data so small that it takes seconds: the marked suspect is found, its controls are not. */

import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { serializeIdx } from '../src/formats/idx.ts';
import { frequencyModel } from '../src/marking/frequency_model.ts';
import { markingRecipeFor } from '../src/marking/recipe.ts';
import { serializeModelFile } from '../src/nn/model_file.ts';
import { openDataset } from '../src/node/datasets/open.ts';
import { parseConfig } from '../src/node/experiment/config.ts';
import { runExperiment } from '../src/node/experiment/experiment.ts';
import { runTraining } from '../src/node/runs/training_run.ts';
import { derive } from '../src/random.ts';
import { useDevice } from './device.ts';

const SIDE = 12;
/** Of the data that is marked. */
const CLASSES = ['ape', 'bee', 'cat', 'dog', 'elk', 'fox'];
/** Of the data that the marking network is trained on. */
const DIRECTIONS = 4;

/** How bright a pixel of an image of a class is above the ground, 0 to 1. */
type Draw = (x: number, y: number, label: number) => number;

/** A blob, at a place for each class. */
const blob: Draw = (x, y, label) =>
  Math.exp(-((y - 3.5 - 5 * Math.floor(label / 3)) ** 2 + (x - 2 - 4 * (label % 3)) ** 2) / 6);
/** A bar through the middle, in a direction for each class. */
const bar: Draw = (x, y, label) => {
  const angle = (Math.PI * label) / DIRECTIONS;
  return Math.exp(-(((x - 5.5) * Math.sin(angle) + (y - 5.5) * Math.cos(angle)) ** 2) / 2);
};

let work: string;
const at = (name: string): string => join(work, name);
const device = useDevice();

/** IDX files of a split: noisy images, shifted a little, the classes in turn. */
function writeImages(name: string, split: 'train' | 't10k', count: number, classes: number, draw: Draw): void {
  mkdirSync(at(name), { recursive: true });
  const random = derive(1, name, split);
  const data = new Uint8Array(count * SIDE * SIDE);
  const labels = Uint8Array.from({ length: count }, (_, i) => i % classes);
  for (let i = 0, to = 0; i < count; i++) {
    const [dx, dy, strength] = [random.gaussian(), random.gaussian(), 20 + 60 * random.uniform()];
    for (let y = 0; y < SIDE; y++)
      for (let x = 0; x < SIDE; x++)
        data[to++] = Math.max(0, 60 + strength * draw(x - dx, y - dy, labels[i]) + 20 * random.gaussian());
  }
  const serialized = {
    images: serializeIdx({ shape: [count, SIDE, SIDE], data }),
    labels: serializeIdx({ shape: [count], data: labels }),
  };
  writeFileSync(at(`${name}/${split}-images-idx3-ubyte`), serialized.images);
  writeFileSync(at(`${name}/${split}-labels-idx1-ubyte`), serialized.labels);
}

const frequencies = frequencyModel({ inputSize: SIDE, channels: 1, numClasses: CLASSES.length, patterns: 24 });
const resnet18 = { architecture: 'resnet18', width: 4, stem: 'small' } as const;

beforeAll(async () => {
  work = mkdtempSync(join(tmpdir(), 'radioactive-settings-'));
  writeImages('blobs', 'train', 720, CLASSES.length, blob);
  writeImages('blobs', 't10k', 360, CLASSES.length, blob);
  writeImages('bars', 'train', 240, DIRECTIONS, bar);
  await runTraining({
    device: device(),
    dataset: await openDataset(at('bars')),
    out: at('bars.safetensors'),
    network: resnet18,
    recipe: { epochs: 10, batchSize: 30, learningRate: 0.05, crop: null, seed: 1 },
  });
  writeFileSync(at('frequencies.safetensors'), serializeModelFile(frequencies));
});
afterAll(() => rmSync(work, { recursive: true }));

/** What `radioactive experiment` finds in the last of some settings; what the others need is made once. */
async function experiment(name: string, config: object, settings: readonly { readonly name: string }[]) {
  const whole = {
    title: name,
    data: {
      classes: CLASSES,
      owner: { split: 'train', range: [0, 480] },
      heldOut: { split: 'test' },
      vanilla: { split: 'train', range: [480, 720] },
    },
    keys: 1,
    seeds: [1],
    ...config,
    settings,
  };
  const { rows } = await runExperiment({
    device: device(),
    config: parseConfig(JSON.stringify(whole), name),
    configPath: at('config.json'),
    data: at('blobs'),
    out: at(name),
    command: ['radioactive', 'experiment'],
    progress: () => ({ update: () => undefined, done: () => undefined }),
    log: () => undefined,
  });
  const own = rows.filter(({ setting, deciding }) => deciding && setting === settings.at(-1)!.name);
  return Object.fromEntries(own.map(({ control, log10p, accuracy }) => [control ?? 'marked', { log10p, accuracy }]));
}

/** Every suspect has learned its task somewhat, the marked one is beyond the bound, and no control is near: one in a thousand is by chance. */
function expectFound(found: Awaited<ReturnType<typeof experiment>>, bound: number): void {
  expect(Object.keys(found)).toEqual(['unmarked', 'marked', 'other key']);
  for (const { accuracy } of Object.values(found)) expect(accuracy).toBeGreaterThan(1.5 / CLASSES.length);
  expect(found.marked.log10p).toBeLessThan(bound);
  for (const control of ['unmarked', 'other key']) expect(found[control].log10p).toBeGreaterThan(-3);
}

/** White box, and a marking network that was trained on data of another kind with other classes. */
const features = {
  marker: 'bars.safetensors',
  marking: { dimension: 16, iterations: 20 },
  statistics: ['white-box'],
};
const layer = {
  init: 'marker',
  recipe: { freezeFeatures: true, epochs: 60, batchSize: 120, learningRate: 0.5 },
  fractions: [0.5],
};
const byFeatures = [
  { name: 'linear', ...layer },
  { name: 'distilled', ...layer, distil: { from: 'linear', images: 'vanilla' } },
];

/** Black box, and a marking network that was trained on nothing at all. */
const patterns = {
  marker: 'frequencies.safetensors',
  /** As strong again as usual: 480 images are few. */
  marking: { dimension: null, radiusLevels: 20, lambdaImage: 0.5 * markingRecipeFor(frequencies.config).lambdaImage },
  probes: { decoys: 29, perClass: 8 },
  statistics: ['black-box'],
};
const recipe = { epochs: 9, batchSize: 80, learningRate: 0.1, crop: null };
const references = { data: 'owner', seeds: [11] };
const scratch = { name: 'scratch', network: resnet18, recipe, fractions: [0.8], references };
const like = { fractions: [0.8], references: { ...references, setting: 'scratch' } };
const byPatterns = {
  fineTuned: { name: 'fine-tuned', init: 'bars.safetensors', recipe, fractions: [0.8], references },
  otherArchitecture: {
    name: 'resnet34',
    network: { ...resnet18, architecture: 'resnet34' },
    recipe: { ...recipe, epochs: 12, batchSize: 30, learningRate: 0.02 },
    ...like,
  },
  distilled: { name: 'distilled', network: resnet18, recipe, ...like, distil: { from: 'scratch', images: 'marked' } },
};

it('a new last layer on frozen features; the marking network is of another data set', async () => {
  expectFound(await experiment('features', features, byFeatures.slice(0, 1)), -5);
});

it('distillation of that one: a last layer that has seen neither marked images nor labels, only what the first said', async () => {
  expectFound(await experiment('features', features, byFeatures), -4);
});

it('training from scratch', async () => {
  expectFound(await experiment('patterns', patterns, [scratch]), -4);
});

it('fine-tuning of a public network, with a new last layer', async () => {
  expectFound(await experiment('patterns', patterns, [scratch, byPatterns.fineTuned]), -4);
});

it('another architecture', async () => {
  expectFound(await experiment('patterns', patterns, [scratch, byPatterns.otherArchitecture]), -4);
});

it('distillation into fresh weights, on the marked images', async () => {
  expectFound(await experiment('patterns', patterns, [scratch, byPatterns.distilled]), -4);
});
