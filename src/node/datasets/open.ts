import type { Dirent } from 'node:fs';
import { readdir, stat } from 'node:fs/promises';
import { type Dataset, subset } from '../../datasets/dataset.ts';
import type { FormatName } from '../../datasets/format.ts';
import { InputError } from '../../errors.ts';
import { fileError } from '../files/files.ts';
import { cifarOpener } from './cifar.ts';
import { folderOpener } from './folder.ts';
import { idxOpener } from './idx.ts';
import { listOpener } from './list.ts';
import type { DatasetOpener, OpenDatasetOptions } from './opener.ts';
import { parquetOpener } from './parquet.ts';
import { isShardPattern } from './shards.ts';
import { webdatasetOpener } from './webdataset.ts';

export type { OpenDatasetOptions } from './opener.ts';

/** All formats; of those that could be meant, the first. */
export const DATASET_OPENERS: Readonly<Record<FormatName, DatasetOpener>> = {
  webdataset: webdatasetOpener,
  parquet: parquetOpener,
  list: listOpener,
  cifar: cifarOpener,
  idx: idxOpener,
  folder: folderOpener,
};

/**
 * Opens a data set.
 *
 * - **A folder** with one sub-folder per class, holding images at any depth. Order as in torchvision's ImageFolder: classes
 *   by name, then folders, then file names, all by code point. Images are told by their first bytes, not by name. Hidden
 *   files, files that are no images, and files beside the class folders are no items; the last two are `otherFiles`.
 * - **IDX files**: a folder with `train-images-idx3-ubyte[.gz]` and `train-labels-idx1-ubyte[.gz]` (and `t10k-…` or `test-…`
 *   for the split `test`; where both forms exist the uncompressed is read), or the path of the images file. `idx4` holds
 *   channels last. Class names are those of a `classes.txt` beside them, one per line, else 0 to 9.
 * - **WebDataset shards**: a `.tar` file, plain or gzip, a folder of them without sub-folders, or a pattern as
 *   `shards/{000..099}.tar`. Items are the images of the samples, in the shards' order; labels are the samples' `.cls`, the `label` in
 *   their `.json`, or their `.txt`.
 *
 * - **Parquet files** in Hugging Face's form: a `.parquet` file, a folder of them without sub-folders, or a pattern. Items are the rows, with
 *   an image `{bytes, path}` and a label, `ClassLabel`, number or text.
 * - **A list**: a `.csv`, `.jsonl` or `.ndjson` file that names the path, from its own folder, and the label of each image.
 * - **CIFAR-10 and CIFAR-100** as their authors have them: the folders `cifar-10-batches-py`, `cifar-10-batches-bin`,
 *   `cifar-100-python` (fine classes) and `cifar-100-binary`, in the order of their files. Class names are those of the files beside them.
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

async function openWhole(location: string, path: string, options: OpenDatasetOptions): Promise<Dataset> {
  let entries: Dirent[] | undefined;
  try {
    if ((await stat(location)).isDirectory()) entries = await readdir(location, { withFileTypes: true });
  } catch (error) {
    if (!isShardPattern(location)) throw fileError(path, error);
  }
  if (options.classes !== undefined) checkClasses(path, options.classes);
  const hasFolders = entries?.some((entry) => entry.isDirectory() && !entry.name.startsWith('.')) ?? false;
  const found = { path: location, ...(entries && { names: entries.map(({ name }) => name), hasFolders }) };
  const opener = Object.values(DATASET_OPENERS).find((each) => each.isAt(found))!;
  return opener.open(found, path, options);
}

function checkClasses(path: string, classes: readonly string[]): void {
  const seen = new Set<string>();
  const twice = classes.find((name) => seen.size === seen.add(name).size);
  if (twice === undefined && classes.length > 0) return;
  const what = twice === undefined ? 'the list of classes is empty' : `class ${twice} is listed twice`;
  throw new InputError(`${path}: ${what}; name every class once`);
}
