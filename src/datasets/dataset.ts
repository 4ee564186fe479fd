import { InputError } from '../errors.ts';
import type { ImageCodec } from '../images/codec.ts';
import type { Image8, ImageShape } from '../images/image.ts';
import type { FormatName, FormatTraits } from './format.ts';
import { compositionHint } from './names.ts';

/** Labelled images in a fixed order. Opening one reads names and labels; pixels are decoded item by item. */
export interface Dataset {
  /** As the user gave it, for messages. */
  readonly path: string;
  /** The folder that holds its files. */
  readonly root: string;
  /** The format it is stored in, in which data sets made from it are written; absent for images in memory. */
  readonly format?: DatasetFormat;
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
  /** Files in its folder that are none of its items, by their paths in it; without hidden ones and those of file managers. */
  readonly otherFiles?: readonly string[];
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

/** The format of one data set, with what is particular to it, such as the names of its files. */
export interface DatasetFormat extends FormatTraits {
  readonly name: FormatName;
  /**
   * Opens a writer for a data set of this format, with the items of `source`, in a folder that is there; what was written in it before
   * is kept. Throws InputError where two items would get one name.
   */
  openWriter(source: Dataset, out: string, options?: WriterOptions): Promise<DatasetWriter>;
}

/** How image files are written; of no effect where pixels are stored as they are. */
export interface WriterOptions {
  /** What encodes them; default what the runtime has. */
  readonly codec?: ImageCodec | undefined;
  /**
   * `source`: in the format, with the settings and under the name of each item's own file. `PNG`: all as PNG files, whose names end
   * so where the item's own says which format it has. Default `source`.
   */
  readonly format?: 'source' | 'PNG' | undefined;
  /** Leave out what the items' own files say beside their pictures. */
  readonly strip?: boolean | undefined;
}

/** One item as written. */
export interface WrittenItem {
  /** Its id in the new data set. */
  readonly id: string;
  /** SHA-256 of what is stored for it (see `Dataset.bytes`), 64 hex digits. */
  readonly sha256: string;
  /** Whether the pixels that are read back may be others than were written: the encoding is lossy. */
  readonly lossy?: boolean;
}

/**
 * Writes a data set of the same format, classes and order as another, item by item in any order. Everything written
 * survives the process: a writer opened again on the same folder goes on from there.
 */
export interface DatasetWriter {
  readonly root: string;
  /** Whether it begins as a copy of the source: then only what changes need be written. */
  readonly beginsAsCopy: boolean;
  /**
   * Writes pixels for an item, new ones or its own: which of the two is not seen in what is written but by its pixels. Throws
   * InputError if they have not the shape that the format needs.
   */
  writeImage(index: number, image: Image8): Promise<WrittenItem>;
  /** Copies an item as it is stored. */
  copy(index: number): Promise<WrittenItem>;
  /** The pixels now stored for an item, read back and decoded. */
  read(index: number): Promise<Image8>;
  /** What is now stored for an item; undefined where there is nothing. */
  stored(index: number): Promise<WrittenItem | undefined>;
  /**
   * Completes the files: neither their times nor their order tell any more when each was written. Throws IntegrityError if an item was
   * never written and is not to be left out, unless the writer began as a copy.
   */
  finish(leftOut?: ReadonlySet<number>): Promise<void>;
  /** Closes open files; call it also after an error. Writing can go on later with a writer opened with `resume`. */
  close(): Promise<void>;
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
      `${dataset.path}: class ${name} is none of the ${classes.length} classes${compositionHint(name, classes)}; remove it or name it as a class`,
    );
  });
  return { ...dataset, classes, labels: dataset.labels.map((label) => places[label]) };
}
