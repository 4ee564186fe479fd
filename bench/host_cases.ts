import { readFile } from 'node:fs/promises';
import sharp from 'sharp';
import { type Manifest, parseManifest, serializeManifest } from '../src/datasets/manifest.ts';
import { merkleRoot } from '../src/datasets/merkle.ts';
import { parseCsv, serializeCsv } from '../src/formats/csv.ts';
import { parseNpy, serializeNpy } from '../src/formats/npy.ts';
import { parsePth } from '../src/formats/pth.ts';
import { parseSafetensors, serializeSafetensors } from '../src/formats/safetensors.ts';
import { hashAside, hashBytes } from '../src/formats/sha256.ts';
import { Device } from '../src/gpu/device.ts';
import { decodeImage, encodeImage } from '../src/images/decode.ts';
import type { Image8 } from '../src/images/image.ts';
import { psnr, ssim } from '../src/images/metrics.ts';
import { deriveCarriers } from '../src/marking/carriers.ts';
import { createKey, parseKey, serializeKey } from '../src/marking/key.ts';
import { SECRET_BYTES, secretSource } from '../src/marking/key_stream.ts';
import { leastSquares, orthonormaliseRows } from '../src/maths/linalg.ts';
import { stratifiedSumLog10P } from '../src/maths/permutation.ts';
import { initialStateDict, Model } from '../src/nn/model.ts';
import { nodePortableCodec } from '../src/node/images/codec.ts';
import { sharpCodec } from '../src/node/images/sharp.ts';
import { openGpu } from '../src/node/index.ts';
import { derive } from '../src/random.ts';
import { planMemory } from '../src/tensor/plan.ts';
import { Tape } from '../src/tensor/tape.ts';
import { createMomenta, recordDescent } from '../src/training/train.ts';
import type { HostCase, PreparedHostCase } from './host.ts';
import { settings } from './steps.ts';

const MEBIBYTE = 2 ** 20;
const HEX = 'c0ffee'.repeat(11).slice(0, 64);
/** Side of the images, in pixels. */
const SIDE = 256;

const random = (label: string, length: number): Float64Array => {
  const stream = derive(0, 'host bench', label);
  return Float64Array.from({ length }, () => 2 * stream.uniform() - 1);
};

/** Something between noise and a smooth picture, so that the decoders have to do what they do for photographs. */
function picture(label: string): Image8 {
  const noise = random(label, SIDE * SIDE * 3);
  const data = Uint8Array.from(noise, (value, i) => {
    const [x, y] = [Math.floor(i / 3) % SIDE, Math.floor(i / 3 / SIDE)];
    return 128 + 80 * Math.sin((x + 40 * (i % 3)) / 37) * Math.cos(y / 23) + 12 * value;
  });
  return { width: SIDE, height: SIDE, channels: 3, data };
}

const raw = { raw: { width: SIDE, height: SIDE, channels: 3 } } as const;

const hostCase = (name: string, prepare: () => PreparedHostCase | Promise<PreparedHostCase>): HostCase => ({
  name,
  prepare: async () => prepare(),
});

/** A parser of text or bytes. */
const parser = <T extends Uint8Array | string>(
  name: string,
  make: () => T | Promise<T>,
  parse: (content: T) => unknown,
): HostCase =>
  hostCase(name, async () => {
    const content = await make();
    return { run: () => parse(content), bytes: content.length };
  });

/** A training step as it is recorded, planned on Dawn's null backend. */
const planCase = ({ name, config, batch }: (typeof settings)[number]): HostCase =>
  hostCase(`planMemory train ${name}`, async () => {
    const gpu = await openGpu(['backend=null']);
    const adapter = await gpu.requestAdapter();
    if (!adapter) throw new Error('Dawn has no null backend');
    const device = await Device.open(adapter, { capabilities: { software: true, subgroupSize: 8 } });
    const model = await Model.create(device, config, 0);
    const momenta = await createMomenta(model, false);
    const tape = new Tape(device, { precision: device.precision });
    const { inputSize, channels } = config;
    const images = tape.input('images', [batch, inputSize, inputSize, channels]);
    const seed = tape.input('dropout seed', [2], 'u32');
    const logits = model.logits(model.features(images, { training: true, seed }));
    const inputs = {
      logits,
      labels: tape.input('labels', [batch], 'u32'),
      learningRate: tape.input('learning rate', [1]),
    };
    const recipe = { momentum: 0.9, weightDecay: 1e-4, nesterov: false };
    const loss = recordDescent(model, inputs, momenta, recipe);
    const target = { capabilities: device.capabilities, alignmentBytes: 256, maxBufferBytes: 2 ** 30 };
    return {
      run: () => planMemory(tape, [loss], target),
      release: () => {
        for (const momentum of momenta.values()) momentum.destroy();
        model.destroy();
        device.destroy();
      },
    };
  });

const leastSquaresCase = (n: number, d: number, dt: number): HostCase =>
  hostCase(`leastSquares ${n}x${d} to ${dt}`, () => {
    const [F0, Ft] = [random('F0', n * d), random('Ft', n * dt)];
    return { run: () => leastSquares(F0, Ft, { n, d, dt, centre: true }) };
  });

const carriersCase = (classCount: number, dimension: number): HostCase =>
  hostCase(`deriveCarriers ${classCount}x${dimension}`, () => {
    const secret = Uint8Array.from({ length: SECRET_BYTES }, (_, i) => i);
    return { run: () => deriveCarriers(secretSource(secret), { classCount, dimension, purpose: 'mark' }) };
  });

/** The sum of the true set's ranks in K classes of S sets, where every stratum gives its highest. */
const permutationCase = (strata: number, sets: number): HostCase =>
  hostCase(`permutation sum ${strata} strata of ${sets}`, () => {
    const rows = Float64Array.from({ length: strata * sets }, (_, i) => i % sets);
    return { run: () => stratifiedSumLog10P(rows, strata, [strata * (sets - 1)]) };
  });

function manifestOf(count: number): Manifest {
  const images = Array.from({ length: count }, (_, i) => ({
    id: `class/${String(i).padStart(6, '0')}.png`,
    class: 'class',
    psnr: 40 + (i % 10) / 10,
    ssim: 0.99,
    maxChangeLevels: 10,
    gain: 0.25,
    sha256: HEX,
  }));
  return {
    format: 'radioactive-manifest',
    version: 2,
    source: { layout: 'folder', count, sha256: HEX },
    keyCommitment: HEX,
    options: { radiusLevels: 10, seed: 0 },
    classes: ['class'],
    summary: { images: count },
    merkleRoot: HEX,
    images,
  };
}

const modelFile = (): Uint8Array => serializeSafetensors(initialStateDict(settings[0].config, 0), { format: 'pt' });

async function keyFile(): Promise<string> {
  const [k, d] = [32, 512];
  const basis = orthonormaliseRows(random('basis', k * d), k, d).rows;
  const model = { sha256: HEX, architecture: 'resnet18', featureDimension: d };
  const classes = Array.from({ length: 10 }, (_, c) => `class ${c}`);
  return serializeKey(await createKey({ classes, model, basis, centre: true }));
}

/** A tenth of the scores of ten classes with 100 images each, as vanilla and in 50 sets. */
function scoresFile(): string {
  const header = ['index', 'file', ...Array.from({ length: 10 }, (_, c) => `class ${c}`)];
  const values = random('scores', 51_000);
  const rows = Array.from({ length: 5100 }, (_, i) => [
    String(i),
    `${i}.png`,
    ...Array.from(values.subarray(10 * i, 10 * i + 10), String),
  ]);
  return serializeCsv([header, ...rows]);
}

const codecs = [await sharpCodec(), nodePortableCodec()];

const encoded = {
  png: () => encodeImage(codecs[0], picture('png')),
  jpeg: () => sharp(picture('jpeg').data, raw).jpeg({ quality: 90 }).toBuffer(),
  webp: () => sharp(picture('webp').data, raw).webp({ quality: 90 }).toBuffer(),
};

/** What host code of any weight does; the work on the device has a bench of its own. */
export const hostCases: readonly HostCase[] = [
  planCase(settings[0]),
  planCase(settings[3]),
  leastSquaresCase(2000, 128, 128),
  leastSquaresCase(2000, 256, 256),
  carriersCase(10, 512),
  carriersCase(1000, 512),
  permutationCase(10, 50),
  permutationCase(100, 100),
  parser('safetensors ResNet-18 width 16', modelFile, (bytes) => parseSafetensors(bytes, 'bench')),
  parser(
    'pth ResNet-18 width 8',
    () => readFile('test/golden/resnet18_checkpoint_dataparallel.pth'),
    (bytes) => parsePth(bytes, 'bench'),
  ),
  parser(
    'npy 2000x512',
    () => serializeNpy([2000, 512], Float32Array.from(random('npy', 2000 * 512))),
    (bytes) => parseNpy(bytes, 'bench'),
  ),
  parser('csv 5100 rows of 12', scoresFile, (text) => parseCsv(text, 'bench')),
  parser('key with a subspace 32x512', keyFile, (text) => parseKey(text, 'bench')),
  parser(
    'manifest of 1000 images',
    () => serializeManifest(manifestOf(1000)),
    (text) => parseManifest(text, 'bench'),
  ),
  ...codecs.flatMap((codec) => [
    ...(['png', 'jpeg', 'webp'] as const).map((format) =>
      parser(`decode ${format} ${SIDE}x${SIDE}, ${codec.name}`, encoded[format], (bytes) =>
        decodeImage(codec, bytes, 'bench'),
      ),
    ),
    hostCase(`encode png ${SIDE}x${SIDE}, ${codec.name}`, () => {
      const image = picture('png');
      return { run: () => encodeImage(codec, image), bytes: image.data.length };
    }),
  ]),
  ...Object.entries({ ssim, psnr }).map(([name, compare]) =>
    hostCase(`${name} ${SIDE}x${SIDE}`, () => {
      const [a, b] = [picture('a'), picture('b')];
      return { run: () => compare(a, b), bytes: a.data.length };
    }),
  ),
  parser('sha256 at once 4 MiB', () => new Uint8Array(4 * MEBIBYTE), hashBytes),
  parser('sha256 aside 4 MiB', () => new Uint8Array(4 * MEBIBYTE), hashAside),
  hostCase('merkleRoot 10 000 images', () => {
    const { images } = manifestOf(10_000);
    return { run: () => merkleRoot(images) };
  }),
];
