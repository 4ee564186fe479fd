import type { Dirent } from 'node:fs';
import { readdir, realpath, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { InputError } from '../errors.ts';
import { DECODABLE_FORMATS, imageFormat, SNIFF_BYTES } from '../images/decode.ts';
import { decodeImage } from '../images/sharp.ts';
import type { Dataset, OpenDatasetOptions } from './dataset.ts';
import { compareCodePoints, fileError, isInside, readBytes, readHead } from './files.ts';

const IMAGE_EXTENSION = /\.(png|jpe?g|webp|gif|tiff?|bmp|ppm|pgm|avif|heic)$/i;
/** Files that are looked into at one time: enough to keep a disk busy, far below the limit on open files. */
const CONCURRENCY = 32;

/** Opens a folder of class sub-folders; see `openDataset`. */
export async function openFolder(root: string, path: string, options: OpenDatasetOptions): Promise<Dataset> {
  const realRoot = await realpath(root);
  const names: string[] = [];
  for (const entry of await list(root, path)) {
    if ((await kindOf(join(root, entry.name), entry, realRoot)) === 'folder') names.push(entry.name);
  }
  names.sort(compareCodePoints);
  if (names.length === 0) {
    throw new InputError(
      `${path}: no data set: no sub-folders and no IDX files; give a folder with one sub-folder of images per class, or IDX files`,
    );
  }
  checkCase(path, names);

  const classes = options.classes ?? names;
  const classIndex = new Map(classes.map((name, index) => [name, index]));
  const ids: string[] = [];
  const labels: number[] = [];
  const unreadable: string[] = [];
  for (const name of names) {
    const label = classIndex.get(name);
    if (label === undefined) {
      throw new InputError(
        `${path}: sub-folder ${name} is none of the ${classes.length} classes; remove it or name it as a class`,
      );
    }
    const images = await findImages(root, name, path, realRoot, unreadable);
    if (images.length === 0 && unreadable.length === 0) {
      throw new InputError(`${path}: class ${name} has no images; add some or remove the sub-folder`);
    }
    for (const id of images) {
      ids.push(id);
      labels.push(label);
    }
  }
  if (unreadable.length > 0) {
    const first = unreadable.slice(0, 3).join(', ');
    const more = unreadable.length > 3 ? ', …' : '';
    throw new InputError(
      `${path}: ${unreadable.length} images cannot be read: ${first}${more}; convert them to ${DECODABLE_FORMATS.join(' or ')} or remove them`,
    );
  }
  checkCase(path, ids);

  const bytes = (index: number) => readBytes(join(root, ids[index]));
  return {
    path,
    root,
    layout: 'folder',
    classes,
    length: ids.length,
    labels: Uint32Array.from(labels),
    id: (index) => ids[index],
    image: async (index) => decodeImage(await bytes(index), join(root, ids[index]), options.decode),
    bytes,
  };
}

/** A folder's entries without hidden ones. */
async function list(folder: string, path: string): Promise<Dirent[]> {
  let entries: Dirent[];
  try {
    entries = await readdir(folder, { withFileTypes: true });
  } catch (error) {
    throw fileError(folder, error);
  }
  const odd = entries.find(({ name }) => /[\p{Cc}\u{FFFD}]/u.test(name));
  if (odd !== undefined) {
    throw new InputError(
      `${path}: ${folder} has a name that is not UTF-8 or has control characters: ${JSON.stringify(odd.name)}; rename it`,
    );
  }
  return entries.filter(({ name }) => !name.startsWith('.'));
}

/** Ids of the images of a class in order; what cannot be decoded is added to `unreadable`. */
async function findImages(root: string, name: string, path: string, realRoot: string, unreadable: string[]) {
  const folders = new Map<string, string[]>();
  const pending = [name];
  for (let folder = pending.pop(); folder !== undefined; folder = pending.pop()) {
    const files: string[] = [];
    for (const entry of await list(join(root, folder), path)) {
      const id = `${folder}/${entry.name}`;
      const kind = await kindOf(join(root, id), entry, realRoot);
      if (kind === 'folder') pending.push(id);
      else if (kind === 'file') files.push(entry.name);
    }
    folders.set(folder, files.sort(compareCodePoints));
  }
  const sorted = [...folders].sort(([a], [b]) => compareCodePoints(a, b));
  const candidates = sorted.flatMap(([folder, files]) => files.map((file) => `${folder}/${file}`));

  const images: string[] = [];
  for (let start = 0; start < candidates.length; start += CONCURRENCY) {
    const ids = candidates.slice(start, start + CONCURRENCY);
    const heads = await Promise.all(ids.map((id) => readHead(join(root, id), SNIFF_BYTES)));
    ids.forEach((id, i) => {
      const format = imageFormat(heads[i]);
      if (format?.decodable) images.push(id);
      else if (format !== undefined) unreadable.push(`${id} (${format.name})`);
      else if (IMAGE_EXTENSION.test(id)) unreadable.push(`${id} (${heads[i].length === 0 ? 'empty' : 'no image'})`);
    });
  }
  return images;
}

/** What an entry is. A symbolic link may only lead to a file inside the root: out of it or to a folder is refused. */
async function kindOf(path: string, entry: Dirent, realRoot: string): Promise<'folder' | 'file' | 'other'> {
  if (!entry.isSymbolicLink()) return entry.isDirectory() ? 'folder' : entry.isFile() ? 'file' : 'other';
  try {
    if (!isInside(realRoot, await realpath(path))) {
      throw new InputError(`${path}: symbolic link out of the data set; put the file itself there or remove the link`);
    }
    const target = await stat(path);
    if (target.isDirectory()) {
      throw new InputError(`${path}: symbolic link to a folder, which is not followed; put the folder itself there`);
    }
    return target.isFile() ? 'file' : 'other';
  } catch (error) {
    throw error instanceof InputError ? error : fileError(path, error);
  }
}

/** Refuses names that are one on file systems that ignore case: there the marked copies would overwrite each other. */
function checkCase(path: string, names: readonly string[]): void {
  const seen = new Map<string, string>();
  for (const name of names) {
    const folded = foldCase(name);
    const other = seen.get(folded);
    if (other !== undefined) throw new InputError(`${path}: ${other} and ${name} differ only in case; rename one`);
    seen.set(folded, name);
  }
}

/** Equal for names that a file system which ignores case and Unicode composition takes for one. */
export function foldCase(name: string): string {
  return name.normalize('NFC').toLowerCase();
}
