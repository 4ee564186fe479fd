import { type FileHandle, mkdir, open, readdir, realpath, rm } from 'node:fs/promises';
import { dirname, extname, join, resolve } from 'node:path';
import type { Dataset, IdxFiles } from '../../datasets/dataset.ts';
import { foldCase } from '../../datasets/names.ts';
import { InputError, IntegrityError, RadioactiveError } from '../../errors.ts';
import { gzip } from '../../formats/gzip.ts';
import { parseIdx, serializeIdx } from '../../formats/idx.ts';
import { hashBytes } from '../../formats/sha256.ts';
import type { ImageCodec } from '../../images/codec.ts';
import { decodeImage, encodeImage } from '../../images/decode.ts';
import { checkImage, type Image8 } from '../../images/image.ts';
import { exists, fileError, isInside, readBytes } from '../files/files.ts';
import { TEMPORARY_NAME, writeAtomic } from '../files/write.ts';
import { nodeCodec } from '../images/codec.ts';
import { CLASSES_NAME } from './idx.ts';

/** One item as written. */
export interface WrittenItem {
  /** Its id in the new data set. */
  readonly id: string;
  /** SHA-256 of what is stored for it (see `Dataset.bytes`), 64 hex digits. */
  readonly sha256: string;
}

/**
 * Writes a data set of the same layout, classes and order as another, item by item in any order. Everything written
 * survives the process: a writer opened again on the same folder goes on from there.
 */
export interface DatasetWriter {
  readonly root: string;
  /** Writes new pixels for an item. Throws InputError if they have not the shape that the layout needs. */
  writeImage(index: number, image: Image8): Promise<WrittenItem>;
  /** Copies an item as it is stored. */
  copy(index: number): Promise<WrittenItem>;
  /** The pixels now stored for an item, read back and decoded. */
  read(index: number): Promise<Image8>;
  /**
   * Completes the files. Throws IntegrityError if an item of a folder was never written and is not to be left out; IDX items
   * never written are copies.
   */
  finish(leftOut?: ReadonlySet<number>): Promise<void>;
  /** Closes open files; call it also after an error. Writing can go on later with a writer opened with `resume`. */
  close(): Promise<void>;
}

/** Options of {@link openDatasetWriter}. */
export interface OpenWriterOptions {
  /** Go on in a folder where the same data set was partly written before; otherwise it must be new or empty. */
  resume?: boolean;
  /** What encodes the new image files of a folder; default `nodeCodec()`. */
  codec?: ImageCodec;
}

/**
 * Opens a writer for a data set like `source` in the folder `out`, which is created if need be.
 *
 * - **Folder**: `out/<class>/…/<name>.png` for new pixels, or `<name>.jpg.png` where another image has that name; copies keep
 *   name and bytes. Resuming leaves a copy that is there as it is.
 * - **IDX**: files of the source's names, compressed where those are, holding the items of `source` alone; labels and class
 *   names are copied. The pixels are collected in a hidden file until `finish`.
 *
 * @throws InputError if `out` is not empty (unless resuming), is the source's folder or inside it, cannot be written, or two
 * items would get one name.
 */
export async function openDatasetWriter(
  source: Dataset,
  out: string,
  options: OpenWriterOptions = {},
): Promise<DatasetWriter> {
  const names = await createOutputFolder(source, out);
  if (!options.resume && names.length > 0) {
    throw new InputError(`${out}: not empty; choose a new folder, or resume what was begun there`);
  }
  return source.idx === undefined
    ? openFolderWriter(source, out, options.codec ?? (await nodeCodec()))
    : openIdxWriter(source, source.idx, out);
}

/**
 * Creates the folder that a data set is to be written to, if need be. Returns the names in it, without temporary files that
 * a killed process has left.
 *
 * @throws InputError if it is the source's folder or inside it, or cannot be created.
 */
export async function createOutputFolder(source: Dataset, out: string): Promise<string[]> {
  if (isInside(await realpath(source.root), await nearestExisting(resolve(out)))) {
    throw new InputError(`${out}: is the data set's own folder or inside it; choose another place for the output`);
  }
  try {
    await mkdir(out, { recursive: true });
    return (await readdir(out)).filter((name) => !TEMPORARY_NAME.test(name));
  } catch (error) {
    throw fileError(out, error);
  }
}

function openFolderWriter(source: Dataset, out: string, codec: ImageCodec): DatasetWriter {
  const newNames = pngNames(source);
  /** The names an item can have: with new pixels and as a copy. They differ where the extension is not .png. */
  const names = (index: number) => [newNames[index], source.id(index)];
  const written = async (index: number): Promise<string | undefined> => {
    for (const id of names(index)) if (await exists(join(out, id))) return id;
    return undefined;
  };
  const write = async (index: number, id: string, bytes: Uint8Array): Promise<WrittenItem> => {
    const path = join(out, id);
    try {
      await mkdir(dirname(path), { recursive: true });
      await writeAtomic(path, bytes);
      for (const other of names(index)) if (other !== id) await rm(join(out, other), { force: true });
    } catch (error) {
      throw error instanceof RadioactiveError ? error : fileError(path, error);
    }
    return { id, sha256: hashBytes(bytes) };
  };
  return {
    root: out,
    async writeImage(index, image) {
      return write(index, newNames[index], await encodeImage(codec, image, 'PNG'));
    },
    async copy(index) {
      const id = source.id(index);
      const bytes = await source.bytes(index);
      const there = await readBytes(join(out, id)).catch(() => undefined);
      return there && Buffer.compare(there, bytes) === 0 ? { id, sha256: hashBytes(bytes) } : write(index, id, bytes);
    },
    async read(index) {
      const path = join(out, (await written(index)) ?? newNames[index]);
      // What was written may be read, whatever its size.
      return decodeImage(codec, await readBytes(path), path, { maxPixels: Infinity });
    },
    async finish(leftOut) {
      const missing: string[] = [];
      for (let i = 0; i < source.length; i++) {
        if (!leftOut?.has(i) && (await written(i)) === undefined) missing.push(source.id(i));
      }
      if (missing.length > 0) {
        throw new IntegrityError(
          `${out}: ${missing.length} of ${source.length} images were not written, the first is ${missing[0]}; resume the run`,
        );
      }
    },
    async close() {},
  };
}

/**
 * The ids that new pixels get: with the extension .png in place of the image's own, or after it where two would have one name.
 * A function of the listing alone, whichever images are written anew.
 */
function pngNames(source: Dataset): string[] {
  const ids = Array.from({ length: source.length }, (_, i) => source.id(i));
  const replaced = ids.map((id) => {
    const extension = extname(id);
    return extension.toLowerCase() === '.png' ? id : `${id.slice(0, id.length - extension.length)}.png`;
  });
  const uses = new Map<string, number>();
  ids.forEach((id, i) => {
    for (const name of new Set([id, replaced[i]].map(foldCase))) uses.set(name, (uses.get(name) ?? 0) + 1);
  });
  return ids.map((id, i) => {
    if (uses.get(foldCase(replaced[i])) === 1 || replaced[i] === id) return replaced[i];
    const name = `${id}.png`;
    if (!uses.has(foldCase(name))) return name;
    throw new InputError(`${source.path}: new pixels of ${id} would be written as ${name}, which is there; rename one`);
  });
}

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
    return { id: `${prefix}/${index}`, sha256: hashBytes(bytes) };
  };
  return {
    root: out,
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

/** The real path of the deepest folder of an absolute path that is there already. */
async function nearestExisting(path: string): Promise<string> {
  return realpath(path).catch(() => nearestExisting(dirname(path)));
}
