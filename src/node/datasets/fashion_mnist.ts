import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { gunzipSync } from 'node:zlib';
import { InputError } from '../../errors.ts';
import { hashBytes } from '../../formats/sha256.ts';
import { exists, readBytes } from '../files/files.ts';
import { writeAtomic } from '../files/write.ts';

/** Where Debian's package dataset-fashion-mnist puts the files. */
const PACKAGED = '/usr/share/datasets/fashion-mnist';

/** The official address of the files, and the SHA-256 of what they hold, uncompressed: how they are compressed differs. */
const ORIGIN = 'http://fashion-mnist.s3-website.eu-central-1.amazonaws.com';
const FILES: Readonly<Record<string, string>> = {
  'train-labels-idx1-ubyte.gz': 'bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9',
  'train-images-idx3-ubyte.gz': 'c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888',
  't10k-labels-idx1-ubyte.gz': '0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34',
  't10k-images-idx3-ubyte.gz': '5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b',
};

export const FASHION_MNIST_CLASSES = [
  'T-shirt/top',
  'Trouser',
  'Pullover',
  'Dress',
  'Coat',
  'Sandal',
  'Shirt',
  'Sneaker',
  'Bag',
  'Ankle boot',
] as const;

/**
 * A folder with Fashion-MNIST (Xiao, Rasul and Vollgraf 2017): Debian's package if it is installed, else `cache`, where the
 * official files are downloaded to. Either way every file is checked by SHA-256.
 * Throws InputError where they cannot be had or are not the official ones.
 */
export async function findFashionMnist(cache: string, log: (line: string) => void): Promise<string> {
  const packaged = await exists(join(PACKAGED, Object.keys(FILES)[0]));
  return await fetchFashionMnist(packaged ? PACKAGED : cache, ORIGIN, log);
}

/** Makes sure that a folder holds the four files, checked; what is missing is downloaded from `origin`. Returns the folder. */
export async function fetchFashionMnist(folder: string, origin: string, log: (line: string) => void): Promise<string> {
  for (const [name, sha256] of Object.entries(FILES)) {
    const path = join(folder, name);
    if (!(await exists(path))) await download(origin, name, sha256, path, log);
    else if (contentHash(await readBytes(path)) !== sha256) {
      throw new InputError(`${path}: is not the official file: remove it and run again`);
    }
  }
  return folder;
}

async function download(
  origin: string,
  name: string,
  sha256: string,
  path: string,
  log: (line: string) => void,
): Promise<void> {
  log(`downloading ${name}`);
  const advice = `install Debian's package dataset-fashion-mnist, or put the official ${name} at ${path}`;
  let bytes: Uint8Array;
  try {
    const response = await fetch(`${origin}/${name}`);
    if (!response.ok) throw new Error(`HTTP status ${response.status}`);
    bytes = new Uint8Array(await response.arrayBuffer());
  } catch (error) {
    throw new InputError(
      `${name} cannot be downloaded (${error instanceof Error ? error.message : String(error)}): ${advice}`,
      { cause: error },
    );
  }
  if (contentHash(bytes) !== sha256)
    throw new InputError(`${name}: what was downloaded is not the official file: ${advice}`);
  await mkdir(join(path, '..'), { recursive: true });
  await writeAtomic(path, bytes);
}

/** SHA-256 of the uncompressed content; of the bytes as they are where they are no gzip. */
function contentHash(bytes: Uint8Array): string {
  try {
    return hashBytes(gunzipSync(bytes, { maxOutputLength: MAX_BYTES }));
  } catch {
    return hashBytes(bytes);
  }
}

/** The largest file, uncompressed, is 47 MB. */
const MAX_BYTES = 64e6;
