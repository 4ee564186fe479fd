import { existsSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

/** Where this package lies: the nearest folder above this file with a package.json, wherever the build has put the code. */
function packageRoot(): string {
  let folder = dirname(fileURLToPath(import.meta.url));
  while (!existsSync(join(folder, 'package.json'))) {
    const above = dirname(folder);
    if (above === folder) throw new Error(`no package.json above ${fileURLToPath(import.meta.url)}`);
    folder = above;
  }
  return folder;
}

/** The path of a file or folder that the package brings along, as `weights/marker.safetensors`. It need not exist. */
export const packageFile = (name: string): string => join(packageRoot(), name);
