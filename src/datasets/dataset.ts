import { InputError } from '../errors.ts';
import type { Image8, ImageShape } from '../images/image.ts';

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

/** Labelled images in a fixed order. Opening one reads names and labels; pixels are decoded item by item. */
export interface Dataset {
  /** As the user gave it, for messages. */
  readonly path: string;
  /** The folder that holds its files. */
  readonly root: string;
  readonly layout: 'folder' | 'idx';
  /** Names of the classes, in the order of their indices. */
  readonly classes: readonly string[];
  /** Number of items. */
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
