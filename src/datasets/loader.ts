import { InputError } from '../errors.ts';
import type { Image8 } from '../images/image.ts';
import type { Dataset } from './dataset.ts';

/** Some images of a data set, decoded. */
export interface Batch {
  /** Which items of the data set. */
  readonly indices: readonly number[];
  readonly images: readonly Image8[];
  readonly labels: Uint32Array;
}

/** A common size for images of different sizes: each lies in the top left corner of its own canvas, the rest is 0. */
export interface Canvas {
  readonly height: number;
  readonly width: number;
  readonly channels: number;
}

/** Decoded images kept in memory, up to this many bytes; beyond it they are decoded anew each time. */
const CACHE_BYTES = 2 ** 30;
/** Images decoded at a time. */
const CONCURRENCY = 8;

/** Decodes a data set's images ahead of the device and keeps what fits in memory. */
export class Loader {
  readonly dataset: Dataset;
  readonly canvas: Canvas;
  readonly #cache = new Map<number, Image8>();
  #cachedBytes = 0;

  private constructor(dataset: Dataset, canvas: Canvas) {
    this.dataset = dataset;
    this.canvas = canvas;
  }

  /**
   * Decodes every image once, to know the largest and to find damaged ones before any long work begins.
   * `channels` is what the network takes: grey images are repeated to colour, colour images are refused by a grey network.
   */
  static async open(dataset: Dataset, channels: number, onProgress?: (done: number) => void): Promise<Loader> {
    let height = 0;
    let width = 0;
    const loader = new Loader(dataset, { height: 0, width: 0, channels });
    const all = Array.from({ length: dataset.length }, (_, index) => index);
    for (let first = 0; first < all.length; first += 256) {
      for (const image of await loader.#images(all.slice(first, first + 256))) {
        height = Math.max(height, image.height);
        width = Math.max(width, image.width);
      }
      onProgress?.(Math.min(first + 256, all.length));
    }
    return loader.withCanvas({ height, width, channels });
  }

  /** The same images on another canvas. */
  withCanvas(canvas: Canvas): Loader {
    const loader = new Loader(this.dataset, canvas);
    for (const [index, image] of this.#cache) loader.#remember(index, image);
    return loader;
  }

  /** A decoded image with the canvas's channels. */
  async image(index: number): Promise<Image8> {
    const cached = this.#cache.get(index);
    if (cached) return cached;
    const image = toChannels(await this.dataset.image(index), this.canvas.channels, this.dataset.id(index));
    this.#remember(index, image);
    return image;
  }

  async batch(indices: readonly number[]): Promise<Batch> {
    return {
      indices,
      images: await this.#images(indices),
      labels: Uint32Array.from(indices, (index) => this.dataset.labels[index]),
    };
  }

  /** Batches of lists of items, each decoded while the device works on the one before. */
  async *batches(lists: Iterable<readonly number[]>): AsyncGenerator<Batch> {
    let next: Promise<Batch> | undefined;
    for (const indices of lists) {
      const current = next;
      next = this.batch(indices);
      // A failure is thrown when its turn comes; until then it must not count as unhandled.
      next.catch(() => undefined);
      if (current) yield await current;
    }
    if (next) yield await next;
  }

  async #images(indices: readonly number[]): Promise<Image8[]> {
    const images: Image8[] = [];
    for (let first = 0; first < indices.length; first += CONCURRENCY) {
      images.push(...(await Promise.all(indices.slice(first, first + CONCURRENCY).map((index) => this.image(index)))));
    }
    return images;
  }

  #remember(index: number, image: Image8): void {
    if (this.#cachedBytes + image.data.length > CACHE_BYTES) return;
    this.#cachedBytes += image.data.length;
    this.#cache.set(index, image);
  }
}

/** Images on their canvases, as the device takes them: [N, H, W, C] in 8-bit levels. */
export function layOut(images: readonly Image8[], { height, width, channels }: Canvas): Float32Array {
  const levels = new Float32Array(images.length * height * width * channels);
  images.forEach((image, row) => {
    const stride = image.width * channels;
    for (let y = 0; y < image.height; y++) {
      levels.set(image.data.subarray(y * stride, (y + 1) * stride), (row * height + y) * width * channels);
    }
  });
  return levels;
}

/** Consecutive lists of at most `size` of the numbers 0 … count − 1, or of the given items. */
export function chunks(items: number | readonly number[], size: number): number[][] {
  const all = typeof items === 'number' ? Array.from({ length: items }, (_, index) => index) : items;
  return Array.from({ length: Math.ceil(all.length / size) }, (_, chunk) =>
    all.slice(chunk * size, (chunk + 1) * size),
  );
}

function toChannels(image: Image8, channels: number, id: string): Image8 {
  if (image.channels === channels) return image;
  if (image.channels !== 1)
    throw new InputError(
      `${id}: a colour image for a network that takes grey ones; convert the images or use another network`,
    );
  const data = new Uint8Array(image.data.length * channels);
  for (let i = 0; i < data.length; i++) data[i] = image.data[Math.floor(i / channels)];
  return { ...image, channels: channels as 1 | 3, data };
}
