import type { Dataset, DatasetFormat } from '../../datasets/dataset.ts';
import type { ImageCodec } from '../../images/codec.ts';
import type { DecodeOptions } from '../../images/decode.ts';
import type { ImageShape } from '../../images/image.ts';

/** How {@link openDataset} reads a folder. */
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
  /** What decodes the image files of a folder; default `nodeCodec()`. */
  codec?: ImageCodec;
  /**
   * Keep files of a folder that cannot be used as items with `faults`, instead of refusing the folder. Every item then has its
   * place whether or not another is damaged.
   */
  keepFaults?: boolean;
}

/** Where a data set may be. */
export interface Location {
  /** Of a folder or a file; or a pattern of shards, where there is nothing of that name. */
  readonly path: string;
  /** Names in it, where it is a folder. */
  readonly names?: readonly string[];
  /** Whether there are folders in it, hidden ones apart. */
  readonly hasFolders?: boolean;
}

/** How data sets of a format are found, opened and begun: with `DATASET_FORMATS`, all that there is to a format. */
export interface DatasetOpener {
  /** Whether what is there is of this format, by its names alone. */
  isAt(location: Location): boolean;
  /** Opens it; `path` is what the user gave, for messages. */
  open(location: Location, path: string, options: OpenDatasetOptions): Promise<Dataset>;
  /**
   * How to store new images of these shapes, as the split `test`.
   *
   * @throws InputError, without a file's name, if the format cannot hold them
   */
  begin(shapes: readonly ImageShape[]): NewDataset;
}

export interface NewDataset {
  readonly format: DatasetFormat;
  /** The id of an item, for which a path without extension is proposed. */
  id(index: number, path: string): string;
  /** The file of the data set's folder that holds it. */
  file(id: string): string;
}
