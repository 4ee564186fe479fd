import { InputError } from '../errors.ts';
import type { Crop } from '../images/crop.ts';
import type { Image8 } from '../images/image.ts';
import { cutImage, cutRegion, type Region } from '../images/region.ts';
import type { Dataset } from './dataset.ts';
import { reasonOf, severalFaults } from './faults.ts';

/** Some images of a data set, decoded and cut. */
export interface Batch {
  /** Which items of the data set. */
  readonly indices: readonly number[];
  /** `[B]`: what the network sees of each image. */
  readonly regions: readonly Region[];
  /** `[B]`: the class index of each image. */
  readonly labels: Uint32Array;
}

/** What a network is to see of an image. */
export type CropOf = (image: Image8, index: number) => Crop;

/** What becomes of a crop, at the network's size, before the network sees it. */
export type Augment = (crop: Image8, index: number) => Image8;

/** Decoded images kept in memory, up to this many bytes; beyond it they are decoded anew each time. */
const CACHE_BYTES = 2 ** 30;
/** Images decoded at a time. */
const CONCURRENCY = 8;

/** Decodes a data set's images ahead of the device and keeps what fits in memory. */
export class Loader {
  /** What it loads. */
  readonly dataset: Dataset;
  /** Channels of the network: grey images are repeated to colour. */
  readonly channels: number;
  /** Height and width of the highest and the widest image. */
  readonly extent: { readonly height: number; readonly width: number };
  /** Pixels of the largest image. */
  readonly pixels: number;
  readonly #cache = new Map<number, Image8>();
  #cachedBytes = 0;
  #damage: Promise<void> | undefined;

  private constructor(dataset: Dataset, channels: number, extent: { height: number; width: number }, pixels: number) {
    this.dataset = dataset;
    this.channels = channels;
    this.extent = extent;
    this.pixels = pixels;
  }

  /**
   * Reads the header of every image, to know the largest and to find damaged files before any long work begins.
   * `channels` is what the network takes: grey images are repeated to colour, colour images are refused by a grey network. Without it
   * they are colour if any image is.
   */
  static async open(dataset: Dataset, channels?: number, onProgress?: (done: number) => void): Promise<Loader> {
    const extent = { height: 0, width: 0 };
    let pixels = 0;
    let most = 1;
    let done = 0;
    await allOrEveryFault(dataset, async (index) => {
      const { height, width, channels: found } = await dataset.shape(index);
      most = Math.max(most, found);
      checkChannels(found, channels ?? found, dataset.id(index));
      extent.height = Math.max(extent.height, height);
      extent.width = Math.max(extent.width, width);
      pixels = Math.max(pixels, height * width);
      onProgress?.(++done);
    });
    return new Loader(dataset, channels ?? most, extent, pixels);
  }

  /** A decoded image with the network's channels. */
  async image(index: number): Promise<Image8> {
    const cached = this.#cache.get(index);
    if (cached) return cached;
    const image = toChannels(await this.#decode(index), this.channels, this.dataset.id(index));
    if (this.#cachedBytes + image.data.length <= CACHE_BYTES) {
      this.#cachedBytes += image.data.length;
      this.#cache.set(index, image);
    }
    return image;
  }

  /** Decodes an item. Where it is damaged all others are tried too, so that one error names them all. */
  async #decode(index: number): Promise<Image8> {
    try {
      return await this.dataset.image(index);
    } catch (error) {
      if (this.dataset.faults || !(error instanceof InputError)) throw error;
      this.#damage ??= allOrEveryFault(this.dataset, async (each) => void (await this.dataset.image(each)));
      await this.#damage;
      throw error;
    }
  }

  /** Items decoded, of which only the crops are kept; with `augment` what that makes of them. */
  async batch(indices: readonly number[], cropOf: CropOf, inputSize: number, augment?: Augment): Promise<Batch> {
    const regions: Region[] = new Array(indices.length);
    await inParallel(indices.length, async (row) => {
      const image = await this.image(indices[row]);
      const crop = cropOf(image, indices[row]);
      if (augment) {
        const { height, width, data } = augment(cutImage(image, crop, inputSize), indices[row]);
        regions[row] = { height, width, flip: false, levels: data };
      } else regions[row] = cutRegion(image, crop, inputSize);
    });
    return { indices, regions, labels: Uint32Array.from(indices, (index) => this.dataset.labels[index]) };
  }

  /** Batches of lists of items, each decoded while the device works on the one before. */
  batches(lists: Iterable<readonly number[]>, cropOf: CropOf, inputSize: number): AsyncGenerator<Batch> {
    return ahead(lists, (indices) => this.batch(indices, cropOf, inputSize));
  }
}

/** Results of `work` in order, each begun while the one before is in use. */
export async function* ahead<T, R>(items: Iterable<T>, work: (item: T) => Promise<R>): AsyncGenerator<R> {
  let next: Promise<R> | undefined;
  for (const item of items) {
    const current = next;
    next = work(item);
    // A failure is thrown when its turn comes; until then it must not count as unhandled.
    next.catch(() => undefined);
    if (current) yield await current;
  }
  if (next) yield await next;
}

/**
 * Does `work` for 0 … count − 1, a few at a time, begun in order. After a failure it begins no more, waits for what is under way,
 * and rejects with the first failure.
 */
export async function inParallel(count: number, work: (index: number) => Promise<void>): Promise<void> {
  let next = 0;
  const failures: unknown[] = [];
  const worker = async (): Promise<void> => {
    while (next < count && failures.length === 0) {
      await work(next++).catch((error: unknown) => failures.push(error));
    }
  };
  await Promise.all(Array.from({ length: Math.min(CONCURRENCY, count) }, worker));
  if (failures.length > 0) throw failures[0];
}

/** Results of `work` for 0 … count − 1 in this order, a few begun at a time. */
export async function* inOrder<T>(count: number, work: (index: number) => Promise<T>): AsyncGenerator<T> {
  const pending: Promise<T>[] = [];
  for (let next = 0; next < count || pending.length > 0; ) {
    while (next < count && pending.length < CONCURRENCY) {
      const result = work(next++);
      // A failure is thrown when its turn comes; until then it must not count as unhandled.
      result.catch(() => undefined);
      pending.push(result);
    }
    yield await pending.shift()!;
  }
}

/** Does `work` for every item; throws one InputError for all items that it throws one for. */
async function allOrEveryFault(dataset: Dataset, work: (index: number) => Promise<void>): Promise<void> {
  const errors = new Map<number, InputError>();
  await inParallel(dataset.length, async (index) => {
    try {
      await work(index);
    } catch (error) {
      if (!(error instanceof InputError)) throw error;
      errors.set(index, error);
    }
  });
  const [first, ...others] = [...errors].sort(([a], [b]) => a - b);
  if (!first) return;
  if (others.length === 0) throw first[1];
  throw severalFaults(
    dataset.path,
    [first, ...others].map(([index, error]) => ({ id: dataset.id(index), reason: reasonOf(error, dataset.id(index)) })),
  );
}

/** Consecutive lists of at most `size` of the numbers 0 … count − 1, or of the given items. */
export function chunks(items: number | readonly number[], size: number): number[][] {
  const all = typeof items === 'number' ? Array.from({ length: items }, (_, index) => index) : items;
  return Array.from({ length: Math.ceil(all.length / size) }, (_, chunk) =>
    all.slice(chunk * size, (chunk + 1) * size),
  );
}

export function checkChannels(found: number, wanted: number, id: string): void {
  if (found !== wanted && found !== 1)
    throw new InputError(
      `${id}: a colour image for a network that takes grey ones; convert the images or use another network`,
    );
}

/** An image as a network of so many channels takes it. Throws InputError for a colour image and a grey network. */
export function toChannels(image: Image8, channels: number, id: string): Image8 {
  if (image.channels === channels) return image;
  checkChannels(image.channels, channels, id);
  const data = new Uint8Array(image.data.length * channels);
  for (let i = 0; i < data.length; i++) data[i] = image.data[Math.floor(i / channels)];
  return { ...image, channels: channels as 1 | 3, data };
}
