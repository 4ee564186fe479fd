/** The formats that data sets are stored in. What other code needs to know of a format it asks here, and never by its name. */

/** What there is to know of a format. */
export interface FormatTraits {
  /**
   * How an item is found in a data set that was written like another: by its id, which changes at most its extension, or by its
   * position, since ids count anew where only a part was written.
   */
  readonly pairedBy: 'id' | 'position';
  /** What a class is in it: a name, so that some of a key's classes may be missing, or a number, so that none may. */
  readonly classesBy: 'name' | 'number';
  /** What is stored for an item: an image file, which is encoded like another, or its pixels as they are. */
  readonly stores: 'files' | 'pixels';
}

/** All formats, by their names in manifests. */
export const DATASET_FORMATS = {
  folder: { pairedBy: 'id', classesBy: 'name', stores: 'files' },
  webdataset: { pairedBy: 'id', classesBy: 'name', stores: 'files' },
  parquet: { pairedBy: 'id', classesBy: 'name', stores: 'files' },
  list: { pairedBy: 'id', classesBy: 'name', stores: 'files' },
  cifar: { pairedBy: 'position', classesBy: 'number', stores: 'pixels' },
  idx: { pairedBy: 'position', classesBy: 'number', stores: 'pixels' },
} as const satisfies Record<string, FormatTraits>;

/** The name of a format, in manifests. */
export type FormatName = keyof typeof DATASET_FORMATS;
/** Their names, for schemas. */
export const DATASET_FORMAT_NAMES = Object.keys(DATASET_FORMATS) as FormatName[];
