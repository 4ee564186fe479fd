import { mkdir, readdir, realpath } from 'node:fs/promises';
import { dirname, resolve } from 'node:path';
import type { Dataset, DatasetFormat, DatasetWriter, WriterOptions } from '../../datasets/dataset.ts';
import { InputError } from '../../errors.ts';
import { fileError, isInside } from '../files/files.ts';
import { TEMPORARY_NAME } from '../files/write.ts';

/** Options of {@link openDatasetWriter}. */
export interface OpenWriterOptions extends WriterOptions {
  /** Go on in a folder where the same data set was partly written before; otherwise it must be new or empty. */
  readonly resume?: boolean;
}

/**
 * Opens a writer for a data set like `source`, in the same format, in the folder `out`, which is created if need be.
 *
 * @throws InputError if `out` is not empty (unless resuming), is the source's folder or inside it, cannot be written, or two
 * items would get one name.
 */
export async function openDatasetWriter(
  source: Dataset,
  out: string,
  options: OpenWriterOptions = {},
): Promise<DatasetWriter> {
  const format = formatOf(source);
  const names = await createOutputFolder(source, out);
  if (!options.resume && names.length > 0) {
    throw new InputError(`${out}: not empty; choose a new folder, or resume what was begun there`);
  }
  return format.openWriter(source, out, options);
}

/** The format of a data set that others are written like. Throws InputError for one that is in memory alone. */
export function formatOf({ path, format }: Dataset): DatasetFormat {
  if (format) return format;
  throw new InputError(`${path}: is not stored in any format, so that none can be kept; open it with openDataset`);
}

/**
 * Creates the folder that a data set is to be written to, if need be. Returns the names in it, without temporary files that
 * a killed process has left.
 *
 * @throws InputError if it is the source's folder or inside it, or cannot be created.
 */
export async function createOutputFolder(source: Dataset, out: string): Promise<string[]> {
  await requireOutside(source, out);
  try {
    await mkdir(out, { recursive: true });
    return (await readdir(out)).filter((name) => !TEMPORARY_NAME.test(name));
  } catch (error) {
    throw fileError(out, error);
  }
}

/** Throws InputError if a path is a data set's folder or inside it. */
export async function requireOutside(source: Dataset, out: string): Promise<void> {
  if (isInside(await realpath(source.root), await nearestExisting(resolve(out)))) {
    throw new InputError(`${out}: is the data set's own folder or inside it; choose another place for the output`);
  }
}

/** The real path of the deepest folder of an absolute path that is there already. */
async function nearestExisting(path: string): Promise<string> {
  return realpath(path).catch(() => nearestExisting(dirname(path)));
}
