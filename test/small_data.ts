import { execFileSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { serializeIdx } from '../src/formats/idx.ts';
import { serializeSafetensors } from '../src/formats/safetensors.ts';
import { initialStateDict } from '../src/nn/model.ts';
import type { NetworkConfig } from '../src/nn/networks.ts';
import { derive } from '../src/random.ts';
import { pngOf } from './png.ts';

/** Side of the images, in pixels. */
const SIDE = 12;
export const CLASSES = ['ape', 'bee'];

export const smallNetwork = {
  architecture: 'resnet18',
  width: 4,
  stem: 'small',
  numClasses: CLASSES.length,
  inputSize: SIDE,
  channels: 1,
  mean: [0.5],
  std: [0.25],
} as const satisfies NetworkConfig;

/** Noise: strong in images of the first class, weak in those of the others, so that networks can tell these. */
const pixels = (index: number, label: number): Uint8Array => {
  const random = derive(0, 'pixels', index);
  const width = label === 0 ? 256 : 8;
  return Uint8Array.from({ length: SIDE * SIDE }, () => 128 + (random.uniform() - 0.5) * width);
};

/**
 * A folder of class folders with grey PNG files, the classes in turn. Returns its path.
 *
 * @param first others give other pixels, as long as they are further apart than there are images
 */
export function writeFolder(path: string, count: number, classes: readonly string[] = CLASSES, first = 0): string {
  for (let i = 0; i < count; i++) {
    const file = join(path, classes[i % classes.length], `${String(i).padStart(3, '0')}.png`);
    mkdirSync(dirname(file), { recursive: true });
    writeFileSync(file, pngOf({ width: SIDE, height: SIDE, channels: 1, data: pixels(first + i, i % classes.length) }));
  }
  return path;
}

/** The same images as IDX files of the split `train`, with class names. Returns the folder's path. */
export function writeIdx(path: string, count: number, classes: readonly string[] = CLASSES): string {
  mkdirSync(path, { recursive: true });
  const data = Buffer.concat(Array.from({ length: count }, (_, i) => pixels(i, i % classes.length)));
  const labels = Uint8Array.from({ length: count }, (_, i) => i % classes.length);
  writeFileSync(join(path, 'train-images-idx3-ubyte'), serializeIdx({ shape: [count, SIDE, SIDE], data }));
  writeFileSync(join(path, 'train-labels-idx1-ubyte'), serializeIdx({ shape: [count], data: labels }));
  writeFileSync(join(path, 'classes.txt'), `${classes.join('\n')}\n`);
  return path;
}

/** An archive of files in the order given, made by the system's tar. */
export function writeTar(path: string, files: Readonly<Record<string, Uint8Array | string>>, ...flags: string[]): void {
  const from = mkdtempSync(join(tmpdir(), 'radioactive-tar-'));
  for (const [name, content] of Object.entries(files)) {
    mkdirSync(dirname(join(from, name)), { recursive: true });
    writeFileSync(join(from, name), content);
  }
  mkdirSync(dirname(path), { recursive: true });
  execFileSync('tar', ['-cf', path, ...flags, '-C', from, ...Object.keys(files)]);
  rmSync(from, { recursive: true });
}

/** The same images as two WebDataset shards, the second compressed. Returns the folder's path. */
export function writeShards(path: string, count: number, classes: readonly string[] = CLASSES): string {
  const samples = Array.from({ length: count }, (_, i) => {
    const key = String(i).padStart(3, '0');
    const image = pngOf({ width: SIDE, height: SIDE, channels: 1, data: pixels(i, i % classes.length) });
    return { [`${key}.png`]: image, [`${key}.cls`]: classes[i % classes.length] };
  });
  const half = count >> 1;
  writeTar(join(path, 'part-0.tar'), Object.assign({}, ...samples.slice(0, half)));
  writeTar(join(path, 'part-1.tar.gz'), Object.assign({}, ...samples.slice(half)), '-z');
  return path;
}

/** The same images in one folder, with a list. Returns the list's path. */
export function writeList(path: string, count: number, classes: readonly string[] = CLASSES): string {
  mkdirSync(path, { recursive: true });
  const rows = Array.from({ length: count }, (_, i) => {
    writeFileSync(
      join(path, `${i}.png`),
      pngOf({ width: SIDE, height: SIDE, channels: 1, data: pixels(i, i % classes.length) }),
    );
    return `${i}.png,${classes[i % classes.length]}\n`;
  });
  writeFileSync(join(path, 'list.csv'), rows.join(''));
  return join(path, 'list.csv');
}

/**
 * A model file with fresh weights, of which `change` may make what it likes. Without change a network for two classes is right about the
 * images of {@link writeFolder}: its features are as large as the noise is strong. Returns its path.
 */
export function writeModel(
  path: string,
  options: {
    readonly network?: Partial<NetworkConfig>;
    readonly seed?: number;
    readonly change?: (tensors: Map<string, Float32Array>) => void;
    readonly metadata?: Readonly<Record<string, string>>;
  } = {},
): string {
  const config = { ...smallNetwork, ...options.network };
  const fresh = initialStateDict(config, options.seed ?? 0);
  tellNoise(new Map([...fresh].map(([name, { data }]) => [name, new Float32Array(data.buffer)])));
  options.change?.(new Map([...fresh].map(([name, { data }]) => [name, new Float32Array(data.buffer)])));
  const metadata = {
    architecture: config.architecture,
    width: String(config.width),
    stem: config.stem,
    num_classes: String(config.numClasses),
    input_size: String(config.inputSize),
    channels: String(config.channels),
    mean: JSON.stringify(config.mean),
    std: JSON.stringify(config.std),
    ...options.metadata,
  };
  writeFileSync(path, serializeSafetensors(fresh, metadata));
  return path;
}

/** The last layer of a fresh network: the first class by large features, the second by small ones, with a little of what it was. */
function tellNoise(tensors: ReadonlyMap<string, Float32Array>): void {
  const [weight, bias] = [tensors.get('fc.weight'), tensors.get('fc.bias')];
  if (!weight || bias?.length !== 2) return;
  const d = weight.length / 2;
  for (let i = 0; i < d; i++) {
    weight[i] = 1 + 0.1 * weight[i];
    weight[d + i] *= 0.1;
  }
  bias.fill(0);
  bias[1] = BETWEEN;
}

/** Between the sums of features of both kinds of images, for any seed. */
const BETWEEN = 1.2;
