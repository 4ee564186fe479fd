import { type FileHandle, open, rm } from 'node:fs/promises';
import { join } from 'node:path';
import type { Dataset, DatasetWriter, WrittenItem } from '../../datasets/dataset.ts';
import { InputError } from '../../errors.ts';
import { hashBytes } from '../../formats/sha256.ts';
import { checkImage, type Image8 } from '../../images/image.ts';
import { exists, fileError, readBytes } from '../files/files.ts';
import { setPublishedTime, writeAtomic } from '../files/write.ts';

/** How a format stores pixels: all items in files together, each in the same number of bytes. */
export interface PixelStore {
  /** Names the hidden file in which pixels are collected until all are there. */
  readonly name: string;
  /** Height, width and channels of every item. */
  readonly shape: Pick<Image8, 'height' | 'width' | 'channels'>;
  /** From pixels to what is stored of them, as many bytes, and back. Default: as they are. */
  readonly encode?: (pixels: Uint8Array) => Uint8Array;
  readonly decode?: (stored: Uint8Array) => Uint8Array;
  /** The pixels of all items where the files are finished. Throws InputError where they are of another data set. */
  finished(): Promise<Uint8Array | undefined>;
  /** Writes the files; returns their names, the last being one that is there only when all are. */
  finish(pixels: Uint8Array): Promise<readonly string[]>;
}

/**
 * A writer whose pixels, the source's to begin with, are collected in a hidden file until `finish`. Items count from 0 after the first
 * part of the source's ids.
 */
export async function openPixelWriter(source: Dataset, out: string, store: PixelStore): Promise<DatasetWriter> {
  const { height, width, channels } = store.shape;
  const { encode = (bytes) => bytes, decode = (bytes) => bytes } = store;
  const itemBytes = height * width * channels;
  const partialPath = join(out, `.${store.name}.partial`);
  if (!(await exists(partialPath))) {
    // Begin with the source's pixels, or with those of finished files, which may be resumed too.
    await writeAtomic(partialPath, (await store.finished()) ?? (await sourcePixels(source)));
  }
  const prefix = source.id(0).split('/')[0];
  const idOf = (index: number): string => `${prefix}/${index}`;
  let file: FileHandle;
  try {
    file = await open(partialPath, 'r+');
    const { size } = await file.stat();
    if (size !== source.length * itemBytes) {
      await file.close();
      throw new InputError(`${out}: holds a part of another data set; choose a new folder`);
    }
  } catch (error) {
    throw error instanceof InputError ? error : fileError(partialPath, error);
  }

  const read = async (index: number): Promise<Uint8Array> => {
    const bytes = new Uint8Array(itemBytes);
    await file.read(bytes, 0, itemBytes, index * itemBytes);
    return bytes;
  };
  const write = async (index: number, bytes: Uint8Array): Promise<WrittenItem> => {
    if (!(index in source.labels)) throw new RangeError(`${out}: no item ${index} among ${source.length}`);
    try {
      await file.write(bytes, 0, itemBytes, index * itemBytes);
      await file.datasync();
    } catch (error) {
      throw fileError(partialPath, error);
    }
    return { id: idOf(index), sha256: hashBytes(bytes) };
  };
  return {
    root: out,
    beginsAsCopy: true,
    async writeImage(index, image) {
      checkImage(image, source.id(index));
      if (image.height !== height || image.width !== width || image.channels !== channels) {
        throw new InputError(
          `${source.id(index)}: image is ${image.width}x${image.height}x${image.channels}, ${store.name} holds ${width}x${height}x${channels}; give that size`,
        );
      }
      return write(index, encode(image.data));
    },
    async copy(index) {
      return write(index, await source.bytes(index));
    },
    async read(index) {
      return { width, height, channels, data: decode(await read(index)) };
    },
    async stored(index) {
      return { id: idOf(index), sha256: hashBytes(await read(index)) };
    },
    async finish() {
      const names = await store.finish(await readBytes(partialPath));
      await file.close();
      await rm(partialPath);
      await setPublishedTime([...names.map((name) => join(out, name)), out]);
    },
    async close() {
      await file.close();
    },
  };
}

async function sourcePixels(source: Dataset): Promise<Uint8Array> {
  const items: Uint8Array[] = [];
  for (let i = 0; i < source.length; i++) items.push(await source.bytes(i));
  return Buffer.concat(items);
}
