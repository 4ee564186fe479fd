/** What runs share: keys, networks, data sets and class names from files, checked against each other. */

import { amongClasses, type Dataset } from '../../datasets/dataset.ts';
import { Loader } from '../../datasets/loader.ts';
import { InputError, IntegrityError, RadioactiveError } from '../../errors.ts';
import type { DecodeOptions } from '../../images/decode.ts';
import { checkKeyMatches, commitment, type Key, keySource, parseKey, serializeKey } from '../../marking/key.ts';
import { type NamedManifest, VanillaImages } from '../../marking/vanilla.ts';
import { type ConfigOverrides, describeInferred } from '../../nn/model_file.ts';
import type { NetworkConfig } from '../../nn/networks.ts';
import { readClassNames } from '../datasets/idx.ts';
import { type OpenDatasetOptions, openDataset } from '../datasets/open.ts';
import { openIfMarked } from '../evidence/marked.ts';
import { beginRegister, registerPath } from '../evidence/register.ts';
import { readBytes, requireNewFile } from '../files/files.ts';
import { PRIVATE_FILE_MODE } from '../files/private_part.ts';
import { writeAtomic } from '../files/write.ts';
import type { RunContext } from './context.ts';
import { type OpenedModel, openModel } from './open_model.ts';

/**
 * Reads a key's file. Throws InputError or IntegrityError where it is none, or damaged.
 *
 * @param waiting take a key that waits for its beacon too; others are refused before any long work
 */
export async function openKey(path: string, { waiting = false } = {}): Promise<Key> {
  const key = await parseKey(new TextDecoder().decode(await readBytes(path)), path);
  try {
    if (!waiting) await keySource(key);
  } catch (error) {
    throw error instanceof InputError ? new InputError(`${path}: ${error.message}`, { cause: error }) : error;
  }
  return key;
}

/**
 * Writes a new key's file, which its owner alone may read, and begins the register beside it.
 *
 * @returns the key's commitment, to be published before the data.
 * @throws InputError where one of the two files exists.
 */
export async function saveKey(path: string, key: Key): Promise<string> {
  await requireNewFile(path);
  const published = await commitment(key);
  await beginRegister(registerPath(path), published, true);
  await writeAtomic(path, new TextEncoder().encode(serializeKey(key)), PRIVATE_FILE_MODE);
  return published;
}

/** Opens a model file, and tells what it does not say itself. */
export async function openNetwork(
  { openDevice, log }: Pick<RunContext, 'openDevice' | 'log'>,
  path: string,
  overrides?: ConfigOverrides,
  check?: (sha256: string) => void,
): Promise<OpenedModel> {
  const opened = await openModel(await openDevice(), path, overrides, check);
  if (opened.inferred.length > 0) log(describeInferred(path, opened.inferred));
  return opened;
}

/**
 * Opens a key's marking network as the key describes it. Refuses another file, a data set that is not the key's, and flags that
 * contradict the key.
 */
export async function openMarkingNetwork(
  context: Pick<RunContext, 'openDevice' | 'log'>,
  path: string,
  key: Key,
  dataset: Dataset,
  flags: ConfigOverrides = {},
): Promise<OpenedModel> {
  const belong = (modelSha256: string): void => {
    try {
      checkKeyMatches(key, { modelSha256, classes: dataset.classes });
    } catch (error) {
      if (error instanceof IntegrityError)
        throw withContext(error, `${path}: `, 'give the network that the key was made with');
      throw withContext(error, `${dataset.path}: `, 'give a data set of those classes, or make a key for these');
    }
  };
  const opened = await openNetwork(context, path, { ...flags, ...key.model.network }, belong);
  for (const [name, value] of Object.entries(flags)) {
    const used = opened.model.config[name as keyof NetworkConfig];
    if (JSON.stringify(used) === JSON.stringify(value)) continue;
    opened.model.destroy();
    throw new IntegrityError(
      `${path}: ${name} is ${String(value)} by a flag and ${String(used)} by the key; leave the flag out`,
    );
  }
  return opened;
}

/**
 * Opens images to test on, and compares them with their manifest, if they have one.
 *
 * @throws InputError naming the first that it lists as marked.
 */
export async function openHeldOut(path: string, options: OpenDatasetOptions): Promise<VanillaImages> {
  return await checkVanilla(await openDataset(path, options));
}

/** The same of a data set that is open. */
export async function checkVanilla(dataset: Dataset): Promise<VanillaImages> {
  return VanillaImages.check(dataset, await manifestsOf(dataset));
}

async function manifestsOf(dataset: Dataset): Promise<NamedManifest[]> {
  const found = await openIfMarked(dataset.root);
  return found ? [found] : [];
}

/** Opens a data set to be marked with a key. Class folders may be some of the key's classes; damaged files are kept as such. */
export async function openForMarking(
  key: Pick<Key, 'classes'>,
  path: string,
  options: { readonly split?: 'train' | 'test' | undefined; readonly decode?: DecodeOptions | undefined },
): Promise<Dataset> {
  const { split, decode } = options;
  const dataset = await openDataset(path, { ...(split && { split }), ...(decode && { decode }), keepFaults: true });
  const some = dataset.format?.classesBy === 'name' && dataset.classes.length < key.classes.length;
  return some ? amongClasses(dataset, key.classes) : dataset;
}

/** An error of this project with the file it is about and what to do. */
function withContext(error: unknown, file: string, advice: string): unknown {
  return error instanceof RadioactiveError
    ? new RadioactiveError(`${file}${error.message}; ${advice}`, error.exitCode, { cause: error })
    : error;
}

/** Decodes a data set under a progress display. */
export async function load(dataset: Dataset, channels: number, progress: RunContext['progress']): Promise<Loader> {
  const display = progress(`reading ${dataset.path}`, dataset.length, 'images');
  const loader = await Loader.open(dataset, channels, (done) => display.update(done));
  display.done();
  return loader;
}

/** Decodes held-out images under a progress display, unless they are. */
export async function loadHeldOut(
  images: VanillaImages,
  channels: number,
  progress: RunContext['progress'],
): Promise<Loader> {
  let display: ReturnType<RunContext['progress']> | undefined;
  const { path, length } = images.dataset;
  const loader = await images.load(channels, (done) => {
    display ??= progress(`reading ${path}`, length, 'images');
    display.update(done);
  });
  display?.done();
  return loader;
}

/** Class names from a data set, or from a text file with one a line. */
export async function readClasses(
  path: string,
  split: 'train' | 'test',
  decode: DecodeOptions,
): Promise<{ classes: readonly string[]; dataset?: Dataset }> {
  if (/\.txt$/i.test(path)) return { classes: await readClassNames(path) };
  const dataset = await openDataset(path, { split, decode });
  return { classes: dataset.classes, dataset };
}
