import { readdir, stat } from 'node:fs/promises';
import { basename, dirname } from 'node:path';
import { InputError } from '../errors.ts';
import type { DecodeOptions } from '../images/decode.ts';
import type { Image8, ImageShape } from '../images/image.ts';
import { fileError } from './files.ts';
import { openFolder } from './folder.ts';
import { type IdxFiles, isIdxImagesName, openIdx } from './idx.ts';

/** Labelled images in a fixed order. Opening one reads names and labels; pixels are decoded item by item. */
export interface Dataset {
  /** As the user gave it, for messages. */
  readonly path: string;
  /** The folder that holds its files. */
  readonly root: string;
  readonly layout: 'folder' | 'idx';
  readonly classes: readonly string[];
  readonly length: number;
  /** Class index per item. */
  readonly labels: Uint32Array;
  /**
   * Items that were seen to be no image that can be used, by index, each with the reason and what to do. Only there where
   * `OpenDatasetOptions.keepFaults` asks for it; `bytes` of those that cannot be read or may not be followed rejects.
   */
  readonly faults?: ReadonlyMap<number, string>;
  /** The files of an IDX data set; absent for folders. */
  readonly idx?: IdxFiles;
  /**
   * Stable identity of an item: `cat/001.png` in a folder, `train/123` in IDX files, where 123 counts the whole file's
   * images, whatever range is opened.
   */
  id(index: number): string;
  /** Size and channels, without decoding. Rejects with InputError if the file shows that it cannot be decoded. */
  shape(index: number): Promise<ImageShape>;
  /** Decoded 8-bit pixels. Rejects with InputError if the image is damaged. */
  image(index: number): Promise<Image8>;
  /** What is stored for an item: the bytes of its file in a folder, its pixels in IDX files. */
  bytes(index: number): Promise<Uint8Array>;
}

export interface OpenDatasetOptions {
  /** Which IDX files of a folder that has both; default `train`. */
  split?: 'train' | 'test';
  /**
   * Class names in the order of their indices. In a folder they number the sub-folders, of which none may be missing from
   * the list, while a class without a sub-folder is allowed; the items' order stays that of the sub-folders' names. For IDX
   * files they name the labels.
   */
  classes?: readonly string[];
  decode?: DecodeOptions;
  /**
   * Keep files of a folder that cannot be used as items with `faults`, instead of refusing the folder. Every item then has its
   * place whether or not another is damaged.
   */
  keepFaults?: boolean;
}

/**
 * Opens a data set.
 *
 * - **A folder** with one sub-folder per class, holding images at any depth. Order as in torchvision's ImageFolder: classes
 *   by name, then folders, then file names, all by code point. Images are told by their first bytes, not by name. Hidden
 *   files, files that are no images, and files beside the class folders are left out.
 * - **IDX files**: a folder with `train-images-idx3-ubyte[.gz]` and `train-labels-idx1-ubyte[.gz]` (and `t10k-…` or `test-…`
 *   for the split `test`; where both forms exist the uncompressed is read), or the path of the images file. `idx4` holds
 *   channels last. Class names are those of a `classes.txt` beside them, one per line, else 0 to 9.
 *
 * `path#START:END` opens the items START to END − 1 of that order; either may be left out.
 *
 * @throws InputError if there is no such data set, a class is empty, labels and images do not fit, a file is an image that
 * cannot be decoded, names differ only in case, a symbolic link leads out of the folder or to a folder (the last three unless
 * `keepFaults`), or the range is empty or beyond the end.
 */
export async function openDataset(path: string, options: OpenDatasetOptions = {}): Promise<Dataset> {
  const range = /^(.*)#(\d*):(\d*)$/s.exec(path);
  if (range === null) return openWhole(path, path, options);
  const [, wholePath, start, end] = range;
  const dataset = await openWhole(wholePath, path, options);
  const first = start === '' ? 0 : Number(start);
  const last = end === '' ? dataset.length : Number(end);
  if (first >= last || last > dataset.length) {
    throw new InputError(
      `${path}: no range of its ${dataset.length} items; give 0 <= START < END <= ${dataset.length}`,
    );
  }
  return subset(
    dataset,
    Array.from({ length: last - first }, (_, i) => first + i),
  );
}

/**
 * Some items of a data set as a data set of their own, in the order given. Ids, classes and labels stay.
 *
 * @throws InputError if an index is none of the data set's, or comes twice.
 */
export function subset(dataset: Dataset, indices: ArrayLike<number>): Dataset {
  const chosen = new Set<number>();
  for (const index of Array.from(indices)) {
    if (!Number.isInteger(index) || index < 0 || index >= dataset.length || chosen.has(index)) {
      const what = chosen.has(index) ? 'comes twice' : `is none of its ${dataset.length} items`;
      throw new InputError(`${dataset.path}: index ${index} ${what}; give each index once, from 0`);
    }
    chosen.add(index);
  }
  const from = Uint32Array.from(chosen);
  const faults = new Map<number, string>();
  from.forEach((index, i) => {
    const fault = dataset.faults?.get(index);
    if (fault) faults.set(i, fault);
  });
  return {
    ...dataset,
    ...(dataset.faults && { faults }),
    length: from.length,
    labels: from.map((index) => dataset.labels[index]),
    id: (index) => dataset.id(from[index]),
    shape: (index) => dataset.shape(from[index]),
    image: (index) => dataset.image(from[index]),
    bytes: (index) => dataset.bytes(from[index]),
  };
}

/**
 * The same items under a longer list of classes, among which are the data set's own; labels count in the new list.
 *
 * @throws InputError naming a class that is not in the list
 */
export function amongClasses(dataset: Dataset, classes: readonly string[]): Dataset {
  const indexOf = new Map(classes.map((name, index) => [name, index]));
  const places = dataset.classes.map((name) => {
    const index = indexOf.get(name);
    if (index !== undefined) return index;
    throw new InputError(
      `${dataset.path}: class ${name} is none of the ${classes.length} classes; remove it or name it as a class`,
    );
  });
  return { ...dataset, classes, labels: dataset.labels.map((label) => places[label]) };
}

async function openWhole(location: string, path: string, options: OpenDatasetOptions): Promise<Dataset> {
  let names: string[] | undefined;
  try {
    if ((await stat(location)).isDirectory()) names = await readdir(location);
  } catch (error) {
    throw fileError(path, error);
  }
  if (options.classes !== undefined) checkClasses(path, options.classes);
  if (names === undefined) return openIdx(dirname(location), basename(location), path, options);
  if (!names.some(isIdxImagesName)) return openFolder(location, path, options);
  return openIdx(location, undefined, path, options);
}

function checkClasses(path: string, classes: readonly string[]): void {
  const seen = new Set<string>();
  const twice = classes.find((name) => seen.size === seen.add(name).size);
  if (twice === undefined && classes.length > 0) return;
  const what = twice === undefined ? 'the list of classes is empty' : `class ${twice} is listed twice`;
  throw new InputError(`${path}: ${what}; name every class once`);
}
