import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import ts from 'typescript';
import { build, type Rolldown } from 'vite';
import { beforeAll, describe, expect, it } from 'vitest';
import * as engine from '../src/engine.ts';
import { Model, type NetworkConfig, parseModelFile, serializeModel } from '../src/engine.ts';
import * as formats from '../src/formats.ts';
import type { Image8 } from '../src/images.ts';
import * as images from '../src/images.ts';
import * as method from '../src/index.ts';
import {
  createKey,
  type Dataset,
  defaultMarkingRecipe,
  extractFeatures,
  keyCarriers,
  Loader,
  Marker,
} from '../src/index.ts';
import * as node from '../src/node/index.ts';
import * as statistics from '../src/statistics.ts';
import { derive } from '../src/statistics.ts';
import { useDevice } from './device.ts';

/** What an entry of the package uses: modules that are not bundled with it, and names, its own and its surroundings'. */
interface Needs {
  readonly modules: ReadonlySet<string>;
  readonly names: ReadonlySet<string>;
}

describe('what the built entries need', () => {
  let chunks: ReadonlyMap<string, Rolldown.OutputChunk>;
  beforeAll(async () => {
    const root = fileURLToPath(new URL('..', import.meta.url));
    const { output } = (await build({ root, logLevel: 'silent', build: { write: false } })) as Rolldown.RolldownOutput;
    chunks = new Map(output.flatMap((file) => (file.type === 'chunk' ? [[file.fileName, file]] : [])));
  });

  function needsOf(entry: string): Needs {
    const modules = new Set<string>();
    const names = new Set<string>();
    const seen = new Set<string>();
    const visit = (name: string): void => {
      if (seen.has(name)) return;
      seen.add(name);
      const chunk = chunks.get(name);
      if (!chunk) {
        modules.add(name);
        return;
      }
      for (const identifier of identifiers(chunk.code)) names.add(identifier);
      for (const imported of [...chunk.imports, ...chunk.dynamicImports]) visit(imported);
    };
    visit(entry);
    return { modules, names };
  }

  it.each(['index', 'engine', 'statistics', 'formats', 'images'])('%s: nothing of Node, no native module', (entry) => {
    const { modules, names } = needsOf(`${entry}.js`);
    // Native modules are optional dependencies.
    const { dependencies, imports } = JSON.parse(readFileSync('package.json', 'utf8'));
    for (const module of modules) {
      const [name] = (imports[module]?.default ?? module).match(/^(@[^/]+\/)?[^/]+/);
      expect(dependencies).toHaveProperty([name]);
    }
    for (const name of ['Buffer', 'process', 'require', 'global', 'setImmediate', '__dirname'])
      expect(names).not.toContain(name);
  });

  it('engine: WebGPU', () => {
    expect(needsOf('engine.js').names).toContain('GPUBufferUsage');
  });

  it('node: what the others must not', () => {
    const { modules, names } = needsOf('node.js');
    for (const name of ['webgpu', 'sharp', 'node:fs/promises']) expect(modules).toContain(name);
    expect(names).toContain('Buffer');
  });
});

/** Every identifier that is not merely the name of a property. */
function identifiers(code: string): Set<string> {
  const names = new Set<string>();
  const visit = (parent: ts.Node): void =>
    ts.forEachChild(parent, (child) => {
      const property = 'name' in parent && parent.name === child && !ts.isVariableDeclaration(parent);
      if (ts.isIdentifier(child) && !property) names.add(child.text);
      visit(child);
    });
  visit(ts.createSourceFile('chunk.js', code, ts.ScriptTarget.Latest));
  return names;
}

it('a name is exported by one entry', () => {
  const names = [method, engine, statistics, formats, images, node].flatMap(Object.keys);
  expect(names.filter((name, index) => names.indexOf(name) !== index)).toEqual([]);
});

it('the entries have the verbs of the command line', () => {
  expect({ ...method, ...node }).toMatchObject({
    openDevice: expect.any(Function),
    openDataset: expect.any(Function),
    openModel: expect.any(Function),
    keygen: expect.any(Function),
    extractFeatures: expect.any(Function),
    markDataset: expect.any(Function),
    train: expect.any(Function),
    runTraining: expect.any(Function),
    detect: expect.any(Function),
    makeProbes: expect.any(Function),
    detectBlackBox: expect.any(Function),
  });
});

describe('the library on images in memory', () => {
  const device = useDevice();
  const config: NetworkConfig = {
    architecture: 'resnet18',
    width: 4,
    stem: 'small',
    numClasses: 2,
    inputSize: 12,
    channels: 1,
    mean: [0.5],
    std: [0.25],
  };
  const random = derive(1, 'pixels');
  const picture = (): Image8 => ({
    width: 12,
    height: 12,
    channels: 1,
    data: Uint8Array.from({ length: 144 }, () => random.below(256)),
  });

  const dataset = (images: readonly Image8[]): Dataset => ({
    path: 'memory',
    root: '',
    classes: ['cat', 'dog'],
    length: images.length,
    labels: Uint32Array.from(images, (_, index) => index % 2),
    id: (index) => `image ${index}`,
    shape: async (index) => images[index],
    image: async (index) => images[index],
    bytes: async (index) => images[index].data,
  });

  it('marks an image: within the radius, towards its carrier', async () => {
    const baseline = device().liveBytes;
    const model = await Model.create(device(), config, 1);
    try {
      const d = model.featureDimension;
      expect(d).toBe(32);
      const key = await createKey({
        classes: ['cat', 'dog'],
        model: { sha256: 'ab'.repeat(32), architecture: config.architecture, featureDimension: d },
        basis: null,
        centre: true,
      });
      // A fixed secret, so that a failure can be had again.
      const { directions } = await keyCarriers({ ...key, secret: '01'.repeat(32) });
      const carrier = directions.subarray(0, d);

      const image = picture();
      const recipe = { ...defaultMarkingRecipe(config.inputSize), iterations: 20 };
      const marker = await Marker.create(model, 12 * 12, 1, recipe);
      let marked: Image8;
      try {
        [marked] = await marker.mark([{ id: 'image 0', image, direction: Float32Array.from(carrier) }]);
      } finally {
        marker.destroy();
      }
      const change = Math.max(...marked.data.map((level, i) => Math.abs(level - image.data[i])));
      expect(change).toBeGreaterThan(0);
      expect(change).toBeLessThanOrEqual(recipe.radiusLevels);

      const { features } = await extractFeatures(model, await Loader.open(dataset([image, marked]), 1));
      const gain = carrier.reduce((sum, u, i) => sum + (features[d + i] - features[i]) * u, 0);
      expect(gain).toBeGreaterThan(0);
    } finally {
      model.destroy();
    }
    expect(device().liveBytes).toBe(baseline);
  });

  it('saves a model and loads it again with the same features', async () => {
    const images = await Loader.open(dataset([picture(), picture(), picture()]), 1);
    const model = await Model.create(device(), config, 2);
    try {
      const file = await parseModelFile(await serializeModel(model), 'model');
      expect(file).toMatchObject({ config, inferred: [] });
      const loaded = await Model.load(device(), file.config, file.tensors, 'model');
      try {
        const before = await extractFeatures(model, images);
        expect(before.features.every(Number.isFinite)).toBe(true);
        expect(await extractFeatures(loaded, images)).toEqual(before);
      } finally {
        loaded.destroy();
      }
    } finally {
      model.destroy();
    }
  });
});
