import { mkdir, rm } from 'node:fs/promises';
import { dirname, extname, join } from 'node:path';
import type { Dataset, DatasetFormat, DatasetWriter, WrittenItem } from '../../datasets/dataset.ts';
import { DATASET_FORMATS } from '../../datasets/format.ts';
import { foldCase } from '../../datasets/names.ts';
import { InputError, IntegrityError, RadioactiveError } from '../../errors.ts';
import { hashBytes } from '../../formats/sha256.ts';
import type { ImageCodec } from '../../images/codec.ts';
import { decodeImage, encodeImage } from '../../images/decode.ts';
import { exists, fileError, readBytes } from '../files/files.ts';
import { hashFile, writeAtomic } from '../files/write.ts';
import { nodeCodec } from '../images/codec.ts';

/** A folder with a sub-folder of image files per class. */
export const folderFormat: DatasetFormat = { name: 'folder', ...DATASET_FORMATS.folder, openWriter: openFolderWriter };

/**
 * `out/<class>/…/<name>.png` for new pixels, or `<name>.jpg.png` where another image has that name; copies keep name and bytes, and
 * one that is there already is left as it is.
 */
async function openFolderWriter(source: Dataset, out: string, given?: ImageCodec): Promise<DatasetWriter> {
  const codec = given ?? (await nodeCodec());
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
    beginsAsCopy: false,
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
      // Written here: as large as the original, which was accepted.
      return decodeImage(codec, await readBytes(path), path, { maxPixels: Number.POSITIVE_INFINITY });
    },
    async stored(index) {
      const id = await written(index);
      return id === undefined ? undefined : { id, sha256: await hashFile(join(out, id)) };
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
