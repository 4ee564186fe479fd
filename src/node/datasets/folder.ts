import type { Dirent } from 'node:fs';
import { readdir, realpath, stat } from 'node:fs/promises';
import { basename, join } from 'node:path';
import type { Dataset } from '../../datasets/dataset.ts';
import { SHOWN_FAULTS, severalFaults } from '../../datasets/faults.ts';
import { compareCodePoints, compositionHint, foldCase } from '../../datasets/names.ts';
import { InputError } from '../../errors.ts';
import { FOREIGN_BYTES, foreignFile } from '../../formats/foreign.ts';
import { DECODABLE_FORMATS, decodeImage, imageFormat, readImageHeader, uprightShape } from '../../images/decode.ts';
import { fileError, isInside, readBytes, readHead } from '../files/files.ts';
import { nodeCodec } from '../images/codec.ts';
import { folderFormat } from './folder_writer.ts';
import type { DatasetOpener, OpenDatasetOptions } from './opener.ts';

/** Of photographs and pictures; those of programs, as .ico and .svg, are other files. */
const IMAGE_EXTENSION = /\.(png|jpe?g|webp|gif|tiff?|bmp|ppm|pgm|tga|avif|hei[cf]|hif|jxl|jp2|j2k)$/i;
/** What file managers leave: Windows' caches, macOS' icons of folders. */
const LEFTOVER = /(?:^|\/)(?:Thumbs\.db|desktop\.ini|Icon\r)$/i;
/** Control characters, and what stands for bytes that are not UTF-8. */
const ODD_NAME = /[\p{Cc}\u{FFFD}]/u;
/** Files that are looked into at one time: enough to keep a disk busy, far below the limit on open files. */
const CONCURRENCY = 32;

/** A file that looks like an image, or an entry that might hide one. */
interface Candidate {
  readonly id: string;
  readonly fault?: Fault;
}

/** Why a candidate is no image that can be used. */
interface Fault {
  /** What is wrong, and what to do; the file is named before it. */
  readonly reason: string;
  /** Of a file of a wrong format, its format: these are reported together. */
  readonly format?: string;
}

/** What becomes of symbolic links that lead out of a folder or to folders. */
interface Links {
  readonly realRoot: string;
  /** They are followed, as torchvision does it; else each is a fault, and nothing behind it can be published. */
  readonly follow: boolean;
}

/** Symbolic links to folders in each other that are followed. */
const MOST_LINKS = 8;

/** A folder with a sub-folder of image files per class. */
export const folderOpener: DatasetOpener = {
  isAt: ({ names }) => names !== undefined,
  open: (location, path, options) => openFolder(location.path, path, options),
  begin: () => ({ format: folderFormat, id: (_, path) => `${path}.png`, file: (id) => id }),
};

async function openFolder(root: string, path: string, options: OpenDatasetOptions): Promise<Dataset> {
  const realRoot = await realpath(root);
  const links: Links = { realRoot, follow: !options.keepFaults };
  const { names, files: otherFiles } = await classNames(root, path, links);
  const classes = options.classes ?? names;
  const classIndex = new Map(classes.map((name, index) => [name, index]));
  const candidates: Candidate[] = [];
  const labels: number[] = [];
  for (const name of names) {
    const label = classIndex.get(name);
    if (label === undefined) {
      throw new InputError(
        `${path}: sub-folder ${name} is none of the ${classes.length} classes${compositionHint(name, classes)}; remove it or name it as a class`,
      );
    }
    const { images: found, others } = await findImages(root, name, links);
    otherFiles.push(...others);
    if (found.length === 0) {
      throw new InputError(`${path}: class ${name} has no images; add some or remove the sub-folder`);
    }
    for (const candidate of found) {
      candidates.push(candidate);
      labels.push(label);
    }
  }
  const items = markCaseTwins(candidates);
  if (!options.keepFaults) refuseFaults(root, path, items);
  else if (items.every(({ fault }) => fault)) refuseFaults(root, path, items);

  const codec = options.codec ?? (await nodeCodec());
  const file = (index: number) => join(root, items[index].id);
  const bytes = async (index: number) => {
    const { fault } = items[index];
    // A file of another format can be read, and copied.
    if (fault && !fault.format) throw new InputError(`${shown(file(index))}: ${fault.reason}`);
    return readBytes(file(index));
  };
  return {
    path,
    root,
    format: folderFormat,
    classes,
    length: items.length,
    labels: Uint32Array.from(labels),
    otherFiles: otherFiles.filter((id) => !LEFTOVER.test(id)).sort(compareCodePoints),
    ...(options.keepFaults && {
      faults: new Map(items.flatMap(({ fault }, index) => (fault ? [[index, fault.reason] as const] : []))),
    }),
    id: (index) => items[index].id,
    shape: async (index) => uprightShape(readImageHeader(await bytes(index), file(index), options.decode)),
    image: async (index) => decodeImage(codec, await bytes(index), file(index), options.decode),
    bytes,
  };
}

/**
 * The class folders' names in order, and the files beside them. What is wrong with a class folder is always refused: it would change
 * the classes.
 */
async function classNames(root: string, path: string, links: Links): Promise<{ names: string[]; files: string[] }> {
  const names: string[] = [];
  const files: string[] = [];
  for (const entry of await list(root)) {
    const kind = await kindOf(join(root, entry.name), entry, links);
    if (kind === 'file') files.push(entry.name);
    if (kind === 'file' || kind === 'other') continue;
    if (ODD_NAME.test(entry.name)) {
      throw new InputError(
        `${path}: ${root} has a name that is not UTF-8 or has control characters: ${JSON.stringify(entry.name)}; rename it`,
      );
    }
    if (typeof kind === 'object') throw new InputError(`${join(root, entry.name)}: ${kind.reason}`);
    names.push(entry.name);
  }
  names.sort(compareCodePoints);
  if (names.length === 0) {
    throw new InputError(
      `${path}: no data set: no sub-folders and no IDX files; give a folder with one sub-folder of images per class, or IDX files`,
    );
  }
  const twin = markCaseTwins(names.map((id) => ({ id }))).find(({ fault }) => fault);
  if (twin) throw new InputError(`${path}: ${twin.id}: ${twin.fault!.reason}`);
  return { names, files };
}

/**
 * A folder's entries without hidden ones; of these, files that torchvision takes for images are noted in `hidden`, under `id`. Throws
 * InputError where it cannot be read.
 */
async function list(folder: string, hidden?: string[], id?: string): Promise<Dirent[]> {
  try {
    const entries = await readdir(folder, { withFileTypes: true });
    for (const entry of entries)
      if (entry.name.startsWith('.') && entry.isFile() && IMAGE_EXTENSION.test(entry.name))
        hidden?.push(`${id}/${entry.name}`);
    return entries.filter(({ name }) => !name.startsWith('.'));
  } catch (error) {
    throw fileError(folder, error);
  }
}

/** The images of a class in order, with all that looks like one, and its other files. */
async function findImages(
  root: string,
  name: string,
  links: Links,
): Promise<{ images: Candidate[]; others: string[] }> {
  const folders = new Map<string, Candidate[]>();
  /** Folders to look into, with where the links led that were followed on the way. */
  const pending = [{ folder: name, followed: [await realpath(join(root, name)).catch(() => name)] }];
  const hidden: string[] = [];
  for (let next = pending.pop(); next !== undefined; next = pending.pop()) {
    const { folder, followed } = next;
    const files: Candidate[] = [];
    let entries: Dirent[] = [];
    try {
      entries = await list(join(root, folder), hidden, folder);
    } catch (error) {
      files.push({ id: folder, fault: faultOf(error, join(root, folder)) });
    }
    for (const entry of entries) {
      const id = `${folder}/${entry.name}`;
      const kind = await kindOf(join(root, id), entry, links);
      const odd = ODD_NAME.test(entry.name);
      if (typeof kind === 'object') files.push({ id, fault: odd ? oddName(entry.name) : kind });
      else if (kind === 'folder' && odd) files.push({ id, fault: oddName(entry.name) });
      else if (kind === 'folder' && entry.isSymbolicLink()) {
        const target = await realpath(join(root, id));
        const circle = followed.includes(target) || isInside(target, await realpath(join(root, folder)));
        if (circle || followed.length > MOST_LINKS)
          files.push({ id, fault: { reason: 'symbolic link to a folder that it lies in; remove the link' } });
        else pending.push({ folder: id, followed: [...followed, target] });
      } else if (kind === 'folder') pending.push({ folder: id, followed });
      else if (kind === 'file') files.push({ id });
    }
    files.sort((a, b) => compareCodePoints(a.id, b.id));
    folders.set(folder, files);
  }
  const sorted = [...folders].sort(([a], [b]) => compareCodePoints(a, b));
  const all = sorted.flatMap(([, files]) => files);

  const images: Candidate[] = [];
  const others: string[] = hidden;
  for (let start = 0; start < all.length; start += CONCURRENCY) {
    const looked = all.slice(start, start + CONCURRENCY).map((candidate) => lookInto(root, candidate));
    (await Promise.all(looked)).forEach((candidate, i) => {
      if (candidate) images.push(candidate);
      else others.push(all[start + i].id);
    });
  }
  return { images, others };
}

/** A candidate with what its first bytes tell; undefined for a file that is no image and is not called one. */
async function lookInto(root: string, candidate: Candidate): Promise<Candidate | undefined> {
  const { id } = candidate;
  if (candidate.fault) return candidate;
  const odd = ODD_NAME.test(id);
  let head: Uint8Array;
  try {
    head = await readHead(join(root, id), FOREIGN_BYTES);
  } catch (error) {
    return { id, fault: odd ? oddName(basename(id)) : faultOf(error, join(root, id)) };
  }
  const format = imageFormat(head);
  // An odd name counts for what looks like an image alone.
  if (odd) return format || IMAGE_EXTENSION.test(id) ? { id, fault: oddName(basename(id)) } : undefined;
  if (format?.decodable) return { id };
  if (format === undefined && !IMAGE_EXTENSION.test(id)) return undefined;
  const foreign = format ? undefined : foreignFile(head);
  const what = format?.name ?? (head.length === 0 ? 'empty' : (foreign?.what ?? 'no image'));
  const problem = format
    ? `${format.name} images are not read`
    : head.length === 0
      ? 'an empty file'
      : foreign
        ? `${foreign.what}, not an image`
        : 'not an image';
  return {
    id,
    fault: {
      reason: `${problem}; ${foreign?.elsewhere ? foreign.cure : `convert it to ${DECODABLE_FORMATS.join(' or ')}, or remove it`}`,
      format: what,
    },
  };
}

/** Refuses a folder with faults, all in one error: files of wrong formats, or anything. */
function refuseFaults(root: string, path: string, items: readonly Candidate[]): void {
  const faulty = items.filter(({ fault }) => fault);
  if (faulty.length === 0) return;
  if (faulty.some(({ fault }) => !fault!.format))
    throw severalFaults(
      path,
      faulty.map(({ id, fault }) => ({ id, file: shown(join(root, id)), reason: fault!.reason })),
    );
  const first = faulty.slice(0, SHOWN_FAULTS).map(({ id, fault }) => `${id} (${fault!.format})`);
  const more = faulty.length > SHOWN_FAULTS ? ', …' : '';
  throw new InputError(
    `${path}: ${faulty.length} images cannot be read: ${first.join(', ')}${more}; convert them to ${DECODABLE_FORMATS.join(' or ')} or remove them`,
  );
}

const oddName = (name: string): Fault => ({
  reason: `a name that is not UTF-8 or has control characters: ${JSON.stringify(name)}; rename it`,
});

/** A path for messages of one line. */
const shown = (path: string): string => (ODD_NAME.test(path) ? JSON.stringify(path) : path);

/** What an error of `fileError` says about a path. */
function faultOf(error: unknown, path: string): Fault {
  const { message } = error instanceof InputError ? error : fileError(path, error);
  return { reason: message.startsWith(`${path}: `) ? message.slice(path.length + 2) : message };
}

/** What an entry is. A symbolic link that is not followed may only lead to a file inside the root: anything else is a fault. */
async function kindOf(
  path: string,
  entry: Dirent,
  { realRoot, follow }: Links,
): Promise<'folder' | 'file' | 'other' | Fault> {
  if (!entry.isSymbolicLink()) return entry.isDirectory() ? 'folder' : entry.isFile() ? 'file' : 'other';
  try {
    const target = await stat(path);
    if (!follow && !isInside(realRoot, await realpath(path)))
      return { reason: 'symbolic link out of the data set; put the file itself there or remove the link' };
    if (!follow && target.isDirectory())
      return { reason: 'symbolic link to a folder, which is not followed; put the folder itself there' };
    return target.isDirectory() ? 'folder' : target.isFile() ? 'file' : 'other';
  } catch (error) {
    return faultOf(error, path);
  }
}

/** Marks names that are one on file systems that ignore case, where copies would overwrite each other, after the first. */
function markCaseTwins(candidates: readonly Candidate[]): Candidate[] {
  const seen = new Map<string, string>();
  return candidates.map((candidate) => {
    const folded = foldCase(candidate.id);
    const other = seen.get(folded);
    if (other === undefined) seen.set(folded, candidate.id);
    if (other === undefined || candidate.fault) return candidate;
    const how = other.normalize('NFC') === candidate.id.normalize('NFC') ? 'in Unicode composition' : 'in case';
    return { id: candidate.id, fault: { reason: `differs only ${how} from ${other}; rename one` } };
  });
}
