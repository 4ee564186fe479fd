import { readdir } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import type { Dataset } from '../../datasets/dataset.ts';
import { InputError } from '../../errors.ts';
import { isGzip } from '../../formats/gzip.ts';
import { parseIdx } from '../../formats/idx.ts';
import { exists, readBytes } from '../files/files.ts';
import { CLASSES_NAME, idxFormat } from './idx_writer.ts';
import type { DatasetOpener, OpenDatasetOptions } from './opener.ts';

const IMAGES_NAME = /^(.*)-images([-.])idx[34]-ubyte(\.gz)?$/;
const DIGITS = Array.from({ length: 10 }, (_, digit) => String(digit));

/** Names of IDX files that are made anew. */
const NEW = { imagesName: 'test-images-idx3-ubyte', labelsName: 'test-labels-idx1-ubyte' } as const;

/** IDX files in a folder, or the images file among them. */
export const idxOpener: DatasetOpener = {
  isAt: ({ names }) => names === undefined || names.some(isImagesName),
  open: ({ path: location, names }, path, options) =>
    names === undefined
      ? openIdx(dirname(location), basename(location), path, options)
      : openIdx(location, undefined, path, options),
  begin([{ width, height, channels }, ...others]) {
    if (others.some((shape) => shape.width !== width || shape.height !== height))
      throw new InputError('its images differ in size, which IDX files cannot hold; write PNG files');
    const imageShape = channels === 1 ? [height, width] : [height, width, channels];
    return {
      format: idxFormat({ ...NEW, imagesGzip: false, labelsGzip: false, imageShape, namedClasses: true }),
      id: (index) => `test/${index}`,
      file: () => NEW.imagesName,
    };
  },
};

function isImagesName(name: string): boolean {
  return IMAGES_NAME.test(name);
}

async function openIdx(
  root: string,
  given: string | undefined,
  path: string,
  options: OpenDatasetOptions,
): Promise<Dataset> {
  const names = await readdir(root);
  const imagesName = given ?? chooseImagesFile(names, path, options.split ?? 'train');
  const parts = IMAGES_NAME.exec(imagesName);
  if (parts === null) {
    throw new InputError(`${path}: not named like IDX images; give a folder, or a file named *-images-idx3-ubyte[.gz]`);
  }
  const [, prefix, separator] = parts;
  const split = splitOf(prefix);
  if (given !== undefined && options.split !== undefined && options.split !== split) {
    throw new InputError(`${path}: is not the split ${options.split}; give the folder, or leave the split out`);
  }
  const labelsBase = `${prefix}-labels${separator}idx1-ubyte`;
  const labelsName = [labelsBase, `${labelsBase}.gz`].find((name) => names.includes(name));
  if (labelsName === undefined) {
    throw new InputError(`${path}: no labels for ${imagesName}; put ${labelsBase} or ${labelsBase}.gz beside it`);
  }

  const [imagesPath, labelsPath] = [join(root, imagesName), join(root, labelsName)];
  const [imagesBytes, labelsBytes] = [await readBytes(imagesPath), await readBytes(labelsPath)];
  const images = await parseIdx(imagesBytes, imagesPath);
  const { shape, data: labels } = await parseIdx(labelsBytes, labelsPath);
  const [length, height, width, channels = 1] = images.shape;
  if (images.shape.length === 1 || height === 0 || width === 0 || (channels !== 1 && channels !== 3)) {
    throw new InputError(
      `${imagesPath}: shape [${images.shape}] is not that of images; give [n, height, width(, 1 or 3)]`,
    );
  }
  if (shape.length !== 1) throw new InputError(`${labelsPath}: shape [${shape}] is not that of labels; give [n]`);
  if (labels.length !== length) {
    throw new InputError(
      `${path}: ${imagesName} has ${length} images, ${labelsName} ${labels.length} labels; give a pair`,
    );
  }
  if (length === 0) throw new InputError(`${path}: ${imagesName} has no images; give one that has`);
  const named = options.classes ?? (await readClasses(root));
  const classes = named ?? DIGITS;
  const beyond = labels.findIndex((label) => label >= classes.length);
  if (beyond !== -1) {
    throw new InputError(
      `${labelsPath}: item ${beyond} has label ${labels[beyond]}, there are ${classes.length} classes; name all of them in ${CLASSES_NAME} beside it`,
    );
  }

  const pixelBytes = height * width * channels;
  // A copy: callers may change what they get.
  const bytes = (index: number) => {
    if (!(index in labels)) throw new RangeError(`${path}: no item ${index} among ${length}`);
    return images.data.slice(index * pixelBytes, (index + 1) * pixelBytes);
  };
  return {
    path,
    root,
    classes,
    length,
    labels: Uint32Array.from(labels),
    format: idxFormat({
      imagesName,
      labelsName,
      imagesGzip: isGzip(imagesBytes),
      labelsGzip: isGzip(labelsBytes),
      imageShape: images.shape.slice(1),
      namedClasses: named !== undefined,
    }),
    id: (index) => `${split}/${index}`,
    shape: async () => ({ width, height, channels }),
    image: async (index) => ({ width, height, channels, data: bytes(index) }),
    bytes: async (index) => bytes(index),
  };
}

/** `train` and `test` for the prefixes that mean them (`train`, `emnist-letters-test`, `t10k`), any other as it is. */
function splitOf(prefix: string): string {
  const last = /(?:^|[-_.])(train|test|t10k)$/.exec(prefix)?.[1];
  return last === 't10k' ? 'test' : (last ?? prefix);
}

function chooseImagesFile(names: readonly string[], path: string, split: 'train' | 'test'): string {
  const all = names.filter(isImagesName).sort();
  const inSplit = all.filter((name) => splitOf(IMAGES_NAME.exec(name)![1]) === split);
  // Sorted, a compressed file comes right after the same one uncompressed.
  const distinct = inSplit.filter((name, i) => name !== `${inSplit[i - 1]}.gz`);
  if (distinct.length === 1) return distinct[0];
  const what = distinct.length === 0 ? `no images of the split ${split}` : `several images of the split ${split}`;
  throw new InputError(`${path}: ${what} among ${all.join(', ')}; give another split or the path of the images file`);
}

/** The class names of a folder's `classes.txt`, undefined where there is none. */
export async function readClasses(root: string): Promise<string[] | undefined> {
  const path = join(root, CLASSES_NAME);
  return (await exists(path)) ? readClassNames(path) : undefined;
}

/**
 * Class names from a text file, one a line.
 *
 * @throws InputError if it cannot be read, or a line is empty or comes twice.
 */
export async function readClassNames(path: string): Promise<string[]> {
  return parseClassNames(new TextDecoder().decode(await readBytes(path)), path);
}

/** The same of a file's text. */
export function parseClassNames(text: string, path: string): string[] {
  const lines = text.split(/\r?\n/).map((line) => line.trim());
  if (lines.at(-1) === '') lines.pop();
  const seen = new Set<string>();
  const wrong = lines.findIndex((line) => line === '' || seen.size === seen.add(line).size);
  if (lines.length === 0 || wrong !== -1) {
    const what =
      lines.length === 0 ? 'is empty' : `line ${wrong + 1} is ${lines[wrong] === '' ? 'empty' : 'there already'}`;
    throw new InputError(`${path}: ${what}; give one class name per line, each once`);
  }
  return lines;
}
