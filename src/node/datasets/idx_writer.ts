import { join } from 'node:path';
import type { Dataset, DatasetFormat, DatasetWriter } from '../../datasets/dataset.ts';
import { DATASET_FORMATS } from '../../datasets/format.ts';
import { InputError } from '../../errors.ts';
import { gzip } from '../../formats/gzip.ts';
import { parseIdx, serializeIdx } from '../../formats/idx.ts';
import { exists, readBytes } from '../files/files.ts';
import { writeAtomic } from '../files/write.ts';
import { openPixelWriter } from './pixel_writer.ts';

export const CLASSES_NAME = 'classes.txt';

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

/** IDX files of such names and shape. */
export const idxFormat = (files: IdxFiles): DatasetFormat => ({
  name: 'idx',
  ...DATASET_FORMATS.idx,
  openWriter: (source, out) => openIdxWriter(source, files, out),
});

/** Files of the source's names, compressed where those are, holding the items of `source` alone; labels and class names are copied. */
async function openIdxWriter(source: Dataset, idx: IdxFiles, out: string): Promise<DatasetWriter> {
  const { imagesName, labelsName, imageShape } = idx;
  const [height, width, channels = 1] = imageShape as [number, number, (1 | 3)?];
  const shape = [source.length, ...imageShape];
  const imagesPath = join(out, imagesName);
  return await openPixelWriter(source, out, {
    name: imagesName,
    shape: { height, width, channels },
    finished: async () => ((await exists(imagesPath)) ? await finishedPixels(imagesPath, shape) : undefined),
    async finish(pixels) {
      const labels = serializeIdx({ shape: [source.length], data: Uint8Array.from(source.labels) });
      const images = serializeIdx({ shape, data: pixels });
      await writeAtomic(join(out, labelsName), idx.labelsGzip ? await gzip(labels) : labels);
      if (idx.namedClasses) {
        await writeAtomic(join(out, CLASSES_NAME), new TextEncoder().encode(`${source.classes.join('\n')}\n`));
      }
      await writeAtomic(imagesPath, idx.imagesGzip ? await gzip(images) : images);
      return [labelsName, ...(idx.namedClasses ? [CLASSES_NAME] : []), imagesName];
    },
  });
}

async function finishedPixels(imagesPath: string, shape: readonly number[]): Promise<Uint8Array> {
  const images = await parseIdx(await readBytes(imagesPath), imagesPath);
  if (images.shape.join() === shape.join()) return images.data;
  throw new InputError(`${imagesPath}: shape [${images.shape}], expected [${shape}]; choose a new folder`);
}
