import { type FileHandle, open, rm } from 'node:fs/promises';
import { join } from 'node:path';
import type { Dataset, DatasetFormat, DatasetWriter, WrittenItem } from '../../datasets/dataset.ts';
import { DATASET_FORMATS } from '../../datasets/format.ts';
import { InputError } from '../../errors.ts';
import { gzip } from '../../formats/gzip.ts';
import { parseIdx, serializeIdx } from '../../formats/idx.ts';
import { hashBytes } from '../../formats/sha256.ts';
import { checkImage } from '../../images/image.ts';
import { exists, fileError, readBytes } from '../files/files.ts';
import { setPublishedTime, writeAtomic } from '../files/write.ts';

export const CLASSES_NAME = 'classes.txt';

/** What distinguishes an IDX data set: its two files, to be written again in the same form. */
export interface IdxFiles {
  readonly imagesName: string;
  readonly labelsName: string;
  /** Whether each file is compressed, whatever its name says. */
  readonly imagesGzip: boolean;
  readonly labelsGzip: boolean;
  /** [height, width] or [height, width, channels], as the images file has them. */
  readonly imageShape: readonly number[];
  /** Whether class names come from a `classes.txt` or the caller, rather than being the default digits. */
  readonly namedClasses: boolean;
}

/** IDX files of such names and shape. */
export const idxFormat = (files: IdxFiles): DatasetFormat => ({
  name: 'idx',
  ...DATASET_FORMATS.idx,
  openWriter: (source, out) => openIdxWriter(source, files, out),
});

/**
 * Files of the source's names, compressed where those are, holding the items of `source` alone; labels and class names are copied.
 * The pixels, the source's to begin with, are collected in a hidden file until `finish`.
 */
async function openIdxWriter(source: Dataset, idx: IdxFiles, out: string): Promise<DatasetWriter> {
  const { imagesName, labelsName, imageShape } = idx;
  const [height, width, channels = 1] = imageShape as [number, number, (1 | 3)?];
  const itemBytes = height * width * channels;
  const shape = [source.length, ...imageShape];
  const imagesPath = join(out, imagesName);
  const partialPath = join(out, `.${imagesName}.partial`);
  if (!(await exists(partialPath))) {
    // Begin with the source's pixels, or with those of a finished file, which may be resumed too.
    const pixels = (await exists(imagesPath)) ? await finishedPixels(imagesPath, shape) : await sourcePixels(source);
    await writeAtomic(partialPath, pixels);
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
          `${source.id(index)}: image is ${image.width}x${image.height}x${image.channels}, ${imagesName} holds ${width}x${height}x${channels}; give that size`,
        );
      }
      return write(index, image.data);
    },
    async copy(index) {
      return write(index, await source.bytes(index));
    },
    async read(index) {
      return { width, height, channels, data: await read(index) };
    },
    async stored(index) {
      return { id: idOf(index), sha256: hashBytes(await read(index)) };
    },
    async finish() {
      const labels = serializeIdx({ shape: [source.length], data: Uint8Array.from(source.labels) });
      const images = serializeIdx({ shape, data: await readBytes(partialPath) });
      await writeAtomic(join(out, labelsName), idx.labelsGzip ? await gzip(labels) : labels);
      if (idx.namedClasses) {
        await writeAtomic(join(out, CLASSES_NAME), new TextEncoder().encode(`${source.classes.join('\n')}\n`));
      }
      await writeAtomic(imagesPath, idx.imagesGzip ? await gzip(images) : images);
      await file.close();
      await rm(partialPath);
      const names = [labelsName, imagesName, ...(idx.namedClasses ? [CLASSES_NAME] : [])];
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

async function finishedPixels(imagesPath: string, shape: readonly number[]): Promise<Uint8Array> {
  const images = await parseIdx(await readBytes(imagesPath), imagesPath);
  if (images.shape.join() === shape.join()) return images.data;
  throw new InputError(`${imagesPath}: shape [${images.shape}], expected [${shape}]; choose a new folder`);
}
