import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { testArrays } from '../src/detection/detect.ts';
import { testScores } from '../src/detection/detect_blackbox.ts';
import { classWeightsInCarriers, recogniseFrequencies } from '../src/detection/recognise.ts';
import { ModelScores } from '../src/detection/scores.ts';
import { toFloat32 } from '../src/formats/safetensors.ts';
import { hashBytes } from '../src/formats/sha256.ts';
import { placeCarriers } from '../src/marking/carriers.ts';
import { frequencyModel } from '../src/marking/frequency_model.ts';
import { commitment, createKey, type Key, type KeyOptions, keyCarriers, keyProbeOrders } from '../src/marking/key.ts';
import { keygen, recomputeSubspace } from '../src/marking/keygen.ts';
import type { ProbeManifest } from '../src/marking/probe_manifest.ts';
import { defaultMarkingRecipe } from '../src/marking/recipe.ts';
import { classIrrelevantSubspace, subspaceDistance } from '../src/marking/subspace.ts';
import { VanillaImages } from '../src/marking/vanilla.ts';
import { centreRows, multiplyTransposed, orthonormaliseRows, symmetricEigen, transpose } from '../src/maths/linalg.ts';
import { openDataset } from '../src/node/datasets/open.ts';
import { openModel } from '../src/node/runs/open_model.ts';
import { derive } from '../src/random.ts';
import { useDevice } from './device.ts';
import { CLASSES, writeFolder, writeModel } from './small_data.ts';

const normals = (label: string, length: number): Float64Array => {
  const random = derive(5, label);
  return Float64Array.from({ length }, () => random.gaussian());
};

/** A key with a secret that is the same in every run. */
const keyOf = async (options: KeyOptions): Promise<Key> => ({
  ...(await createKey(options)),
  secret: '5e'.repeat(32),
  nonce: '0c'.repeat(32),
  created: '2024-01-02T03:04:05.678Z',
});

/** The same as a key of version 2 or 3, whose carriers follow from the secret alone. */
function older(key: Key): Key {
  const old: Key = structuredClone({ ...key, version: key.statistic.kind === 'black-box' ? 3 : 2 });
  delete old.beacon;
  if (old.carriers.kind === 'subspace') delete old.carriers.vanilla;
  if (old.statistic.kind === 'black-box') delete old.statistic.scores;
  return old;
}

/**
 * The attacker's tool, orthogonal Procrustes: B [k,d] with orthonormal rows that brings the rows of G [K,k] as near to those of W
 * [K,d] as can be: the polar factor of GᵀW, filled up at random where that has not the full rank.
 */
function procrustes(G: Float64Array, W: Float64Array, K: number, k: number, d: number): Float64Array {
  const M = multiplyTransposed(transpose(G, K, k), transpose(W, K, d), k, d, K);
  const { values, vectors } = symmetricEigen(multiplyTransposed(M, M, k, k, d), k);
  const rank = values.filter((value) => value > 1e-9 * values[0]).length;
  const right = new Float64Array(k * d);
  const along = multiplyTransposed(vectors, transpose(M, k, d), k, d, k);
  for (let i = 0; i < rank * d; i++) right[i] = along[i] / Math.sqrt(values[Math.floor(i / d)]);
  right.set(normals('fill', (k - rank) * d), rank * d);
  const { rows } = orthonormaliseRows(right, k, d);
  return multiplyTransposed(transpose(vectors, k, k), transpose(rows, k, d), k, d, k);
}

describe('a subspace that is chosen after the secret (white box)', () => {
  const [n, d, dt, K, k] = [600, 48, 40, 10, 24];
  const labels = Uint32Array.from({ length: n }, (_, i) => i % K);
  const means = normals('means', K * d).map((x) => 2 * x);
  const features = normals('features', n * d).map((x, i) => x + means[labels[Math.floor(i / d)] * d + (i % d)]);
  /** The marking network's last layer: where its classes lie. */
  const head = centreRows(means, K, d).map((x, i) => x + 0.3 * normals('head', K * d)[i]);
  // An innocent suspect: features of its own of the same images, and a last layer that has learned these classes.
  const turn = normals('turn', dt * d);
  const suspect = {
    features: multiplyTransposed(features, turn, n, dt, d).map((x, i) => x + 0.1 * normals('noise', n * dt)[i]),
    weight: multiplyTransposed(means, turn, K, dt, d).map((x, i) => x + 0.3 * normals('weight', K * dt)[i]),
  };
  const options = {
    classes: [...'abcdefghij'],
    model: { sha256: 'ab'.repeat(32), architecture: 'resnet18', featureDimension: d },
    centre: true,
  };
  const log10P = async (key: Key): Promise<number> =>
    (await testArrays(key, { marking: features, suspect, n }, { freshKeys: 0 })).log10p;
  const honest = classIrrelevantSubspace({ features, labels, classCount: K, weight: head, k });
  /** The basis that the attacker makes for the carriers that a key has now. */
  const tailored = async (key: Key): Promise<Float64Array> =>
    procrustes((await keyCarriers(key)).coordinates, head, K, k, d);

  it('gives any p-value with a key of version 2, of a suspect that saw no mark', async () => {
    const key = older(await keyOf({ ...options, basis: honest }));
    expect(await log10P(key)).toBeGreaterThan(-3);
    const evil = older(await keyOf({ ...options, basis: await tailored(key) }));
    expect((await keyCarriers(evil)).coordinates).toEqual((await keyCarriers(key)).coordinates);
    expect(await log10P(evil)).toBeLessThan(-15);
  });

  it('gives nothing with version 4: the carriers move with the basis, however often it is tried', async () => {
    let key = await keyOf({ ...options, basis: honest });
    let smallest = await log10P(key);
    for (let attempt = 0; attempt < 40; attempt++) {
      const before = (await keyCarriers(key)).coordinates;
      const evil = await keyOf({ ...options, basis: await tailored(key) });
      expect((await keyCarriers(evil)).coordinates).not.toEqual(before);
      smallest = Math.min(smallest, await log10P(evil));
      key = evil;
    }
    // 41 draws: below −5 once in 2 400 such series.
    expect(smallest).toBeGreaterThan(-5);
  });

  it('shows: the class weights of the marking network lie in it, along the carriers', async () => {
    const key = older(await keyOf({ ...options, basis: honest }));
    const evil = older(await keyOf({ ...options, basis: await tailored(key) }));
    const seen = classWeightsInCarriers(await keyCarriers(evil), head, true);
    expect(seen.share).toBeGreaterThan(0.999);
    expect(seen.log10p).toBeLessThan(-15);
    expect(Math.min(...seen.cosines!)).toBeGreaterThan(0.5);
    expect(seen.spanned).toBeGreaterThan(2 * seen.spannedExpected - 0.2);
    // The honest subspace leaves them out.
    expect(classWeightsInCarriers(await keyCarriers(key), head, true)).toEqual({
      share: 0,
      log10p: 0,
      cosines: new Array<number>(K).fill(0),
      spanned: 0,
      spannedExpected: 0,
    });
    // Uniform carriers: all of the weights lie in the whole space, along no carrier.
    const uniform = classWeightsInCarriers(await keyCarriers(await keyOf({ ...options, basis: null })), head, true);
    expect(uniform.share).toBe(1);
    expect(uniform.log10p).toBeGreaterThan(-3);
    expect(uniform.spannedExpected).toBe((K - 1) / d);
    expect(uniform.spanned).toBeLessThan(0.5);
    // Of other classes only the span is told: here the carriers lie in it altogether.
    const inside = placeCarriers(orthonormaliseRows(head.slice(0, 2 * d), 2, d).rows, d, null);
    expect(classWeightsInCarriers(inside, centreRows(head, K, d), false)).toMatchObject({ log10p: 0, cosines: null });
    expect(classWeightsInCarriers(inside, head.slice(0, 3 * d), false).spanned).toBeLessThanOrEqual(1 + 1e-12);
  });

  it('is another one than vanilla images give', async () => {
    const key = older(await keyOf({ ...options, basis: honest }));
    expect(subspaceDistance(honest, await tailored(key), k)).toBeGreaterThan(0.9);
    // The same subspace by another basis, and one that is turned by 0.02 in one direction.
    const mixed = multiplyTransposed(
      orthonormaliseRows(normals('mix', k * k), k, k).rows,
      transpose(honest, k, d),
      k,
      d,
      k,
    );
    expect(subspaceDistance(honest, mixed, k)).toBeLessThan(1e-12);
    const [outside] = [orthonormaliseRows(normals('outside', d), 1, d, honest).rows];
    const turned = honest.slice();
    for (let i = 0; i < d; i++) turned[i] = Math.cos(0.02) * honest[i] + Math.sin(0.02) * outside[i];
    expect(Math.abs(subspaceDistance(honest, turned, k) - Math.sin(0.02))).toBeLessThan(1e-12);
    expect(Math.abs(subspaceDistance(turned, honest, k) - Math.sin(0.02))).toBeLessThan(1e-12);
  });
});

describe('a marking network that is chosen after the secret (black box)', () => {
  const K = 6;
  const S = 20;
  const network = { inputSize: 12, channels: 1, numClasses: K, patterns: 20 };
  const k = network.patterns;
  const { config, tensors } = frequencyModel(network);
  const published = Float64Array.from(toFloat32(tensors.get('patterns.weight')!));
  const pixels = published.length / k;
  /** What every classifier of these classes answers to, as pixels: the classes' means less that of all. */
  const templates = centreRows(
    multiplyTransposed(normals('classes', K * k), transpose(published, k, pixels), K, pixels, k),
    K,
    pixels,
  );
  /** An innocent classifier: its weights are the templates, more or less. */
  const classifier = templates.map((x, i) => x + 0.02 * normals('learned', K * pixels)[i]);

  const keyFor = async (patterns: Float64Array): Promise<Key> =>
    keyOf({
      classes: Array.from({ length: K }, (_, c) => `class ${c}`),
      model: {
        sha256: hashBytes(new Uint8Array(Float32Array.from(patterns).buffer)),
        architecture: 'frequencies',
        featureDimension: k,
      },
      basis: null,
      centre: true,
      blackBox: { combine: 'sum', decoys: S - 1, perClass: 2, recipe: defaultMarkingRecipe(12), references: null },
    });

  /** The test of the classifier on probes that are the key's patterns, as the network has them, on flat images. */
  async function log10P(key: Key, patterns: Float64Array): Promise<number> {
    const orders = await keyProbeOrders(key, S);
    const draws = [await keyCarriers(key)];
    for (let m = 0; m < S - 1; m++) draws.push(await keyCarriers(key, 'decoy', m));
    const rows: number[] = [];
    const answer = (image: Float64Array): number[] => [...multiplyTransposed(image, classifier, 1, K, pixels)];
    for (let c = 0; c < K; c++)
      for (let image = 0; image < 2; image++) {
        const vanilla = normals(`image ${c} ${image}`, pixels);
        rows.push(...answer(vanilla));
        for (const draw of orders[c]) {
          const carrier = draws[draw].directions.subarray(c * k, (c + 1) * k);
          const mark = multiplyTransposed(carrier, transpose(patterns, k, pixels), 1, pixels, k);
          rows.push(...answer(vanilla.map((x, i) => x + mark[i])));
        }
      }
    const ones = Array.from({ length: K }, () => new Array<number>(S).fill(1));
    const probes = {
      classes: key.classes,
      sets: S,
      keyCommitment: await commitment(key),
      images: Array.from({ length: 2 * K }, (_, i) => ({ class: key.classes[Math.floor(i / 2)], id: `${i}` })),
      marks: { changeLevels: ones, gain: ones },
    } as unknown as ProbeManifest;
    // Its images are noise: nobody is right about them.
    const scores = ModelScores.ofScores(Float64Array.from(rows), K);
    return (await testScores(key, probes, scores, [], { despite: ['classes'] })).log10p;
  }

  /** The attacker's patterns: the published ones mixed so that the carriers that a key has now become the templates. */
  async function tailored(key: Key): Promise<Float64Array> {
    const wanted = multiplyTransposed(templates, published, K, k, pixels);
    const mix = procrustes((await keyCarriers(key)).coordinates, wanted, K, k, k);
    return multiplyTransposed(mix, transpose(published, k, pixels), k, pixels, k);
  }

  it('gives the smallest p-value there is with a key of version 3', async () => {
    const key = older(await keyFor(published));
    expect(await log10P(key, published)).toBeGreaterThan(-3);
    const patterns = await tailored(key);
    expect(await log10P(older(await keyFor(patterns)), patterns)).toBeLessThan(-6);
  });

  it('gives nothing with version 4: the carriers move with the network', async () => {
    let key = await keyFor(published);
    let smallest = await log10P(key, published);
    for (let attempt = 0; attempt < 10; attempt++) {
      const patterns = await tailored(key);
      key = await keyFor(patterns);
      smallest = Math.min(smallest, await log10P(key, patterns));
    }
    expect(smallest).toBeGreaterThan(-4.5);
  });

  it('shows: its patterns are not the published ones', async () => {
    const recognise = (weight: Float64Array | Float32Array, change: object = {}) =>
      recogniseFrequencies(weight, { ...config, ...change });
    const { kind, difference } = recognise(Float32Array.from(published));
    expect(kind).toBe('published');
    expect(difference).toBe(0);
    const patterns = await tailored(older(await keyFor(published)));
    expect(recognise(Float32Array.from(patterns)).kind).toBe('mixed');
    const swapped = Float64Array.from([
      ...published.slice(pixels, 2 * pixels),
      ...published.slice(0, pixels),
      ...published.slice(2 * pixels),
    ]);
    expect(recognise(swapped).kind).toBe('reordered');
    expect(recognise(published.map((x, i) => (i < pixels ? -x : x))).kind).toBe('rescaled');
    expect(recognise(published.map((x) => 1.001 * x)).kind).toBe('rescaled');
    expect(recognise(published, { mean: [0.5] }).kind).toBe('rescaled');
    expect(recognise(normals('foreign', published.length)).kind).toBe('foreign');
    expect(recognise(published.map((x, i) => (i === 7 ? Number.NaN : x))).kind).toBe('foreign');
    expect(recognise(published.slice(0, 5 * pixels)).kind).toBe('published');
    expect(recognise(normals('many', 500 * pixels)).kind).toBe('foreign');
  });
});

describe('the subspace of a key', () => {
  const device = useDevice();
  let folder: string;
  beforeAll(() => {
    folder = mkdtempSync(join(tmpdir(), 'radioactive-subspace-'));
  });
  afterAll(() => rmSync(folder, { recursive: true }));

  it('is computed again from the images that the key names', async () => {
    writeFolder(join(folder, 'vanilla'), 40);
    const { model, sha256 } = await openModel(device(), writeModel(join(folder, 'marker.safetensors')));
    try {
      const dataset = await openDataset(join(folder, 'vanilla'));
      const vanilla = VanillaImages.check(dataset, []);
      const key = await keygen({ classes: CLASSES, model, modelSha256: sha256, dimension: 4, vanilla });
      expect(key.carriers).toMatchObject({ vanilla: { count: 40, first: 'ape/000.png', last: 'bee/039.png' } });
      const again = await recomputeSubspace(key, model, vanilla);
      expect(again).toMatchObject({ sameImages: true, same: true });
      expect(again.sine).toBeLessThan(1e-9);
      const some = VanillaImages.check(await openDataset(`${join(folder, 'vanilla')}#0:30`), []);
      expect(await recomputeSubspace(key, model, some)).toMatchObject({ sameImages: false, same: false });
      if (key.carriers.kind !== 'subspace') expect.fail('no subspace');
      // A basis that vanilla images do not give, of which the key says that they do.
      const d = model.featureDimension;
      const { carriers } = await createKey({
        ...{ classes: CLASSES, model: key.model, centre: true, vanilla: key.carriers.vanilla },
        basis: orthonormaliseRows(normals('other', 4 * d), 4, d).rows,
      });
      const found = await recomputeSubspace({ ...key, carriers }, model, vanilla);
      expect(found).toMatchObject({ sameImages: true, same: false });
      expect(found.sine).toBeGreaterThan(0.5);
      const uniform = await createKey({ classes: CLASSES, model: key.model, centre: true, basis: null });
      await expect(recomputeSubspace(uniform, model, vanilla)).rejects.toThrow('names no images');
    } finally {
      model.destroy();
    }
  });
});
