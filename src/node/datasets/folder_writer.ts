import { mkdir, rename, rm } from 'node:fs/promises';
import { dirname, extname, join } from 'node:path';
import type { Dataset, DatasetFormat, DatasetWriter, WriterOptions, WrittenItem } from '../../datasets/dataset.ts';
import { DATASET_FORMATS } from '../../datasets/format.ts';
import { compareCodePoints, foldCase } from '../../datasets/names.ts';
import { InputError, IntegrityError, RadioactiveError } from '../../errors.ts';
import { hashBytes } from '../../formats/sha256.ts';
import type { ImageCodec } from '../../images/codec.ts';
import { decodeImage, encodeImage } from '../../images/decode.ts';
import { type EncodedImage, encodeLike } from '../../images/encoding.ts';
import type { Image8 } from '../../images/image.ts';
import { exists, fileError, readBytes } from '../files/files.ts';
import { hashFile, setPublishedTime, writeAtomic } from '../files/write.ts';
import { nodeCodec } from '../images/codec.ts';

/** A folder with a sub-folder of image files per class. */
export const folderFormat: DatasetFormat = { name: 'folder', ...DATASET_FORMATS.folder, openWriter: openFolderWriter };

/** The folder that files are in until all are written. */
const WRITING = '.writing';
/** What torchvision's ImageFolder takes for images (0.25, `IMG_EXTENSIONS`), in lower case. */
const IMAGE_FOLDER_EXTENSION = /\.(jpe?g|png|ppm|bmp|pgm|tiff?|webp)$/i;

/**
 * `out/<class>/…/<name>`, named as in the source, or all as PNG files (`WriterOptions.format`); copies keep name and bytes, and one
 * that is there already is left as it is. Files are collected in a hidden folder until `finish`, which puts them into their places
 * in the order of their names.
 */
async function openFolderWriter(source: Dataset, out: string, options: WriterOptions = {}): Promise<DatasetWriter> {
  const codec = options.codec ?? (await nodeCodec());
  const newNames = options.format === 'PNG' ? pngNames(source) : Array.from(source.labels, (_, i) => source.id(i));
  /** The names an item can have: with pixels written anew and as a copy. */
  const names = (index: number) => [newNames[index], source.id(index)];
  const places = (id: string) => [join(out, WRITING, id), join(out, id)];
  const written = async (index: number): Promise<{ id: string; path: string } | undefined> => {
    for (const id of names(index)) for (const path of places(id)) if (await exists(path)) return { id, path };
    return undefined;
  };
  const write = async (index: number, id: string, bytes: Uint8Array): Promise<WrittenItem> => {
    const [path] = places(id);
    try {
      await mkdir(dirname(path), { recursive: true });
      await writeAtomic(path, bytes);
      for (const other of names(index).flatMap(places)) if (other !== path) await rm(other, { force: true });
    } catch (error) {
      throw error instanceof RadioactiveError ? error : fileError(path, error);
    }
    return { id, sha256: hashBytes(bytes) };
  };
  const encode = itemEncoder(source, codec, options);
  return {
    root: out,
    beginsAsCopy: false,
    async writeImage(index, image) {
      const { bytes, lossy } = await encode(index, image);
      return { ...(await write(index, newNames[index], bytes)), ...(lossy && { lossy }) };
    },
    async copy(index) {
      const id = source.id(index);
      const bytes = await source.bytes(index);
      const found = await written(index);
      const there = found?.id === id && (await readBytes(found.path));
      return there && Buffer.compare(there, bytes) === 0 ? { id, sha256: hashBytes(bytes) } : write(index, id, bytes);
    },
    async read(index) {
      const path = (await written(index))?.path ?? join(out, newNames[index]);
      // Written here: as large as the original, which was accepted.
      return decodeImage(codec, await readBytes(path), path, { maxPixels: Number.POSITIVE_INFINITY });
    },
    async stored(index) {
      const found = await written(index);
      return found && { id: found.id, sha256: await hashFile(found.path) };
    },
    async finish(leftOut) {
      const ids: string[] = [];
      const missing: string[] = [];
      for (let i = 0; i < source.length; i++) {
        const found = await written(i);
        if (found) ids.push(found.id);
        else if (!leftOut?.has(i)) missing.push(source.id(i));
      }
      if (missing.length > 0) {
        throw new IntegrityError(
          `${out}: ${missing.length} of ${source.length} images were not written, the first is ${missing[0]}; resume the run`,
        );
      }
      await arrange(out, ids.sort(compareCodePoints));
    },
    async close() {},
  };
}

/** What encodes an item's image as a file, like the file that the source has of it. */
export function itemEncoder(source: Dataset, codec: ImageCodec, options: WriterOptions) {
  return async (index: number, image: Image8): Promise<EncodedImage> => {
    // Nothing is taken from the source, which may be no files at all.
    if (options.format === 'PNG' && options.strip) return { bytes: await encodeImage(codec, image), lossy: false };
    const format = options.format === 'PNG' ? 'PNG' : undefined;
    return encodeLike(codec, image, await source.bytes(index), source.id(index), { format, strip: options.strip });
  };
}

/** Puts files into their places, in the order given: a folder's own order is that in which its entries were made. */
async function arrange(out: string, ids: readonly string[]): Promise<void> {
  const folders = new Set([out]);
  for (const id of ids) {
    const path = join(out, id);
    try {
      const folder = dirname(path);
      if (!folders.has(folder)) await mkdir(folder, { recursive: true });
      for (let each = folder; !folders.has(each); each = dirname(each)) folders.add(each);
      const before = join(out, WRITING, id);
      if (await exists(before)) await rename(before, path);
    } catch (error) {
      throw fileError(path, error);
    }
  }
  await rm(join(out, WRITING), { recursive: true, force: true });
  await setPublishedTime(ids.map((id) => join(out, id)));
  await setPublishedTime(folders);
}

/**
 * The ids of PNG files: with the extension .png in place of the item's own, or after it where otherwise two would have one name or
 * ImageFolder's order would change. A name that ImageFolder takes for no image stays, since its number of images would change. A
 * function of the listing alone.
 */
function pngNames(source: Dataset): string[] {
  const ids = Array.from({ length: source.length }, (_, i) => source.id(i));
  const isPng = (id: string): boolean => extname(id).toLowerCase() === '.png';
  const stays = (id: string): boolean => isPng(id) || !IMAGE_FOLDER_EXTENSION.test(id);
  const replaced = ids.map((id) => (stays(id) ? id : `${id.slice(0, id.length - extname(id).length)}.png`));
  if (isAsBefore(ids, replaced)) return replaced;
  const appended = ids.map((id) => (stays(id) ? id : `${id}.png`));
  const taken = new Map<string, string>();
  for (const [i, name] of appended.entries()) {
    const other = taken.get(foldCase(name));
    if (other !== undefined)
      throw new InputError(`${source.path}: ${ids[i]} would be written as ${name}, which is there; rename one`);
    taken.set(foldCase(name), ids[i]);
  }
  return appended;
}

/** Whether new names differ from each other and have the order of the old ones, folder by folder. */
function isAsBefore(ids: readonly string[], names: readonly string[]): boolean {
  if (new Set(names.map(foldCase)).size < names.length) return false;
  return ids.every((id, i) => {
    if (i === 0 || dirname(ids[i - 1]) !== dirname(id)) return true;
    return compareCodePoints(ids[i - 1], id) < 0 === compareCodePoints(names[i - 1], names[i]) < 0;
  });
}
