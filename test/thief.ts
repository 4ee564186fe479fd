/** Somebody who wants to tell marked images from others without the key: features of files, and two classifiers on them. */

import { readdirSync, statSync } from 'node:fs';
import { join } from 'node:path';
import type { Dataset } from '../src/datasets/dataset.ts';
import type { Image8 } from '../src/images/image.ts';
import { derive } from '../src/random.ts';

/** Numbers by name; what a file does not have is 0. */
export type Features = Readonly<Record<string, number>>;

/** What the containers of a data set's files show, pixels unseen. */
export async function containerFeatures(dataset: Dataset): Promise<Features[]> {
  const order = new Map(
    (readdirSync(dataset.root, { recursive: true }) as string[]).map((path, place) => [path, place]),
  );
  return Promise.all(
    Array.from({ length: dataset.length }, async (_, i) => {
      const id = dataset.id(i);
      const place = { place: i / dataset.length, class: dataset.labels[i] };
      if (dataset.format?.stores === 'pixels') return place;
      const { mtimeMs, mode } = statSync(join(dataset.root, id));
      const bytes = Buffer.from(await dataset.bytes(i));
      return {
        ...place,
        listed: order.get(id) ?? -1,
        time: mtimeMs,
        mode,
        name: id.length,
        ...counted('extension', [id.replace(/.*\./, '').toLowerCase()]),
        ...partsOf(bytes),
      };
    }),
  );
}

/** Sizes of files at equal pixels: of lossless ones how well the pixels are compressed, which is a figure of the pixels. */
export async function sizeFeatures(dataset: Dataset): Promise<Features[]> {
  return Promise.all(
    Array.from({ length: dataset.length }, async (_, i) => {
      const { width, height } = await dataset.shape(i);
      return { bytesPerPixel: (await dataset.bytes(i)).length / (width * height) };
    }),
  );
}

/** How often each value occurs. */
function counted(what: string, values: readonly string[]): Features {
  const counts: Record<string, number> = {};
  for (const value of values) counts[`${what} ${value}`] = (counts[`${what} ${value}`] ?? 0) + 1;
  return counts;
}

/** Chunks or segments, their order, and the settings that they show. */
function partsOf(bytes: Buffer): Features {
  if (bytes[0] === 0x89) {
    const parts: [string, Buffer][] = [];
    for (let at = 8; at + 12 <= bytes.length; at += 12 + bytes.readUInt32BE(at))
      parts.push([bytes.toString('latin1', at + 4, at + 8), bytes.subarray(at + 8, at + 8 + bytes.readUInt32BE(at))]);
    const pixels = parts.find(([type]) => type === 'IDAT')![1];
    return {
      ...described(parts.filter(([type]) => type !== 'IDAT')),
      pixelChunks: parts.filter(([type]) => type === 'IDAT').length,
      ...counted('zlib', [pixels.toString('hex', 0, 2)]),
      kind: parts[0][1].readUIntBE(8, 5),
    };
  }
  if (bytes[0] === 0xff) {
    const parts: [string, Buffer][] = [];
    let tables = 0;
    for (let at = 2; bytes[at] === 0xff && bytes[at + 1] !== 0xda; at += 2 + bytes.readUInt16BE(at + 2)) {
      const data = bytes.subarray(at + 4, at + 2 + bytes.readUInt16BE(at + 2));
      parts.push([`ff${bytes[at + 1].toString(16)}`, data]);
      if (bytes[at + 1] === 0xdb) tables += data.reduce((sum, step) => sum + step, 0);
    }
    // The lengths of Huffman tables are those of the picture.
    return {
      ...described(parts.map(([type, data]) => [type, type === 'ffc4' ? data.subarray(0, 0) : data])),
      tables,
      scans: bytes.toString('latin1').split('\xff\xda').length,
      behind: bytes.length - bytes.lastIndexOf(Buffer.from([0xff, 0xd9])),
    };
  }
  const parts: [string, Buffer][] = [];
  for (let at = 12; at + 8 <= bytes.length; at += 8 + bytes.readUInt32LE(at + 4) + (bytes.readUInt32LE(at + 4) % 2)) {
    const type = bytes.toString('latin1', at, at + 4);
    const data = bytes.subarray(at + 8, at + 8 + bytes.readUInt32LE(at + 4));
    parts.push([type, type.startsWith('VP8') && type !== 'VP8X' ? data.subarray(0, 0) : data]);
  }
  return described(parts);
}

const described = (parts: readonly (readonly [string, Buffer])[]): Features => ({
  ...counted(
    'part',
    parts.map(([type]) => type),
  ),
  ...counted('order', [parts.map(([type]) => type).join()]),
  partBytes: parts.reduce((sum, [, data]) => sum + data.length, 0),
});

/** What the pixels of an image show without any model of what is on it. */
export function pixelFeatures({ width, height, channels, data }: Image8): Features {
  const at = (x: number, y: number): number => {
    let sum = 0;
    for (let c = 0; c < channels; c++) sum += data[(y * width + x) * channels + c];
    return sum / channels;
  };
  const second: number[] = [];
  let [edges, inside, edgeCount, insideCount] = [0, 0, 0, 0];
  for (let y = 1; y < height - 1; y++)
    for (let x = 1; x < width - 1; x++) {
      second.push(Math.abs(4 * at(x, y) - at(x - 1, y) - at(x + 1, y) - at(x, y - 1) - at(x, y + 1)));
      const step = Math.abs(at(x, y) - at(x - 1, y));
      if (x % 8 === 0) {
        edges += step;
        edgeCount++;
      } else {
        inside += step;
        insideCount++;
      }
    }
  second.sort((a, b) => a - b);
  const colours = new Set<number>();
  for (let i = 0; i < data.length; i += channels)
    colours.add(data[i] + (channels === 3 ? 256 * data[i + 1] + 65536 * data[i + 2] : 0));
  return {
    noise: second[second.length >> 1],
    noiseHigh: second[Math.floor(0.9 * second.length)],
    blockiness: edgeCount ? edges / edgeCount / (inside / insideCount + 1e-9) : 1,
    colours: colours.size / (width * height),
    ...coefficientFeatures(at, width, height),
  };
}

/** Shares of small DCT coefficients of 8 by 8 blocks, by frequency, and how peaked they are. */
function coefficientFeatures(at: (x: number, y: number) => number, width: number, height: number): Features {
  const cosines = Array.from({ length: 8 }, (_, k) =>
    Array.from(
      { length: 8 },
      (_each, n) => Math.cos(((2 * n + 1) * k * Math.PI) / 16) * (k === 0 ? Math.SQRT1_2 : 1) * 0.5,
    ),
  );
  const sums: Record<string, number> = {};
  const add = (name: string, value: number): void => {
    sums[name] = (sums[name] ?? 0) + value;
  };
  let blocks = 0;
  for (let top = 0; top + 8 <= height; top += 8)
    for (let left = 0; left + 8 <= width; left += 8) {
      blocks++;
      const rows = Array.from({ length: 8 }, (_, y) =>
        cosines.map((wave) => wave.reduce((sum, weight, x) => sum + weight * at(left + x, top + y), 0)),
      );
      for (let v = 0; v < 8; v++)
        for (let u = 0; u < 8; u++) {
          if (u + v === 0) continue;
          const value = Math.abs(cosines[v].reduce((sum, weight, y) => sum + weight * rows[y][u], 0));
          const band = u + v < 4 ? 'low' : u + v < 8 ? 'middle' : 'high';
          add(`dct ${band}`, Math.log(1 + value));
          add(`dct ${band} zero`, value < 0.5 ? 1 : 0);
          add(`dct ${band} small`, value < 2 ? 1 : 0);
        }
    }
  return Object.fromEntries(Object.entries(sums).map(([name, sum]) => [name, sum / Math.max(1, blocks)]));
}

/** How well a thief tells them apart on images that were not learned from. */
export interface Theft {
  /** Mean of the shares of marked and of unmarked images that are told rightly. */
  readonly stump: number;
  readonly logistic: number;
  /** The feature that the stump uses. */
  readonly feature: string;
  /** Images told about. */
  readonly tested: number;
}

/** Learns on a half drawn by a fixed seed, each of the two kinds in the same share, and tells of the other half. */
export function steal(features: readonly Features[], marked: readonly boolean[]): Theft {
  const names = [...new Set(features.flatMap((each) => Object.keys(each)))].sort();
  const random = derive(5, 'thief');
  const [learned, tested]: number[][] = [[], []];
  for (const kind of [true, false]) {
    const members = marked.flatMap((isMarked, i) => (isMarked === kind ? [i] : []));
    random.shuffle(members);
    for (const [place, index] of members.entries()) (place % 2 ? tested : learned).push(index);
  }
  const columns = names.map((name) => {
    const values = features.map((each) => each[name] ?? 0);
    const mean = learned.reduce((sum, i) => sum + values[i], 0) / learned.length;
    const deviation = Math.sqrt(learned.reduce((sum, i) => sum + (values[i] - mean) ** 2, 0) / learned.length);
    return values.map((value) => (deviation > 1e-12 * Math.abs(mean) ? (value - mean) / deviation : 0));
  });
  const accuracy = (of: readonly number[], told: (index: number) => boolean): number => {
    const shares = [true, false].map((kind) => {
      const members = of.filter((i) => marked[i] === kind);
      return members.filter((i) => told(i) === kind).length / members.length;
    });
    return (shares[0] + shares[1]) / 2;
  };
  let best = { score: 0, column: 0, threshold: 0, above: true };
  columns.forEach((values, column) => {
    const sorted = [...new Set(learned.map((i) => values[i]))].sort((a, b) => a - b);
    for (let k = 1; k < sorted.length; k++)
      for (const above of [true, false]) {
        const threshold = (sorted[k - 1] + sorted[k]) / 2;
        const score = accuracy(learned, (i) => values[i] > threshold === above);
        if (score > best.score) best = { score, column, threshold, above };
      }
  });
  const weights = new Float64Array(columns.length + 1);
  const logit = (i: number): number =>
    columns.reduce((sum, values, c) => sum + weights[c] * values[i], weights[columns.length]);
  for (let step = 0; step < 400; step++) {
    const gradient = new Float64Array(weights.length);
    for (const i of learned) {
      const error = 1 / (1 + Math.exp(-logit(i))) - (marked[i] ? 1 : 0);
      columns.forEach((values, c) => {
        gradient[c] += error * values[i];
      });
      gradient[columns.length] += error;
    }
    weights.forEach((weight, c) => {
      weights[c] = weight - 0.3 * (gradient[c] / learned.length + (c < columns.length ? 0.02 * weight : 0));
    });
  }
  return {
    stump: accuracy(tested, (i) => columns[best.column][i] > best.threshold === best.above),
    logistic: accuracy(tested, (i) => logit(i) > 0),
    feature: names[best.column],
    tested: tested.length,
  };
}

/** The lowest share right of so many that coins reach in at most one of a thousand cases: exact, binomial. */
export function aboveChance(count: number): number {
  let tail = 0;
  let probability = 0.5 ** count;
  for (let right = count; right >= 0; right--) {
    if (tail + probability > 0.001) return (right + 1) / count;
    tail += probability;
    probability *= right / (count - right + 1);
  }
  return 0;
}
