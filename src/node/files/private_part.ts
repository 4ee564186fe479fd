import { parse, resolve } from 'node:path';
import { outputPath } from './files.ts';

/** For the owner alone, whatever the umask: a folder, and a file: keys, registers, evidence. */
export const PRIVATE_FOLDER_MODE = 0o700;
export const PRIVATE_FILE_MODE = 0o600;

/**
 * The folder beside a published one for what must not be published with it: `images.private` of `images`. It holds which images are
 * marked, and what a run that was stopped needs to go on.
 */
export function privatePart(folder: string): string {
  const path = outputPath(folder);
  const { base } = parse(path);
  // A folder that is not called by its name has its private part beside it all the same.
  return `${base === '' || base === '.' || base === '..' ? resolve(path) : path}.private`;
}
