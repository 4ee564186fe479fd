import { execFileSync } from 'node:child_process';
import { mkdirSync, readdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { inject } from 'vitest';

const root = fileURLToPath(new URL('../..', import.meta.url));

/** The tarball that `npm publish` would send. Built and packed by the first caller of a test run. */
export function tarball(): string {
  const folder = inject('packFolder');
  const packed = (): string | undefined => readdirSync(folder).find((name) => name.endsWith('.tgz'));
  if (!packed()) {
    // As on publishing: the script prepack builds.
    const args = ['pack', '--silent', '--offline', '--pack-destination', folder];
    execFileSync('npm', args, { cwd: root, stdio: ['ignore', 'ignore', 'inherit'] });
  }
  return join(folder, packed()!);
}

export interface PackedIntoOptions {
  /** Dependencies to leave out, as `npm install --omit=optional` or a failed installation would: `['sharp', 'webgpu']`. */
  readonly without?: readonly string[];
  /** Further packages of this repository to install: `['@types/node']`. */
  readonly also?: readonly string[];
}

/**
 * Installs the packed package into a folder, without network: a package.json, `node_modules/radioactive` from the tarball, its
 * dependencies as links to this repository's. Returns the folder of the package.
 */
export function packedInto(folder: string, { without = [], also = [] }: PackedIntoOptions = {}): string {
  writeFileSync(join(folder, 'package.json'), JSON.stringify({ private: true, type: 'module' }));
  const modules = join(folder, 'node_modules');
  const installed = join(modules, 'radioactive');
  mkdirSync(installed, { recursive: true });
  execFileSync('tar', ['-xzf', tarball(), '-C', installed, '--strip-components=1']);
  const { dependencies, optionalDependencies } = JSON.parse(readFileSync(join(installed, 'package.json'), 'utf8'));
  for (const name of [...Object.keys({ ...dependencies, ...optionalDependencies }), ...also]) {
    if (without.includes(name)) continue;
    mkdirSync(dirname(join(modules, name)), { recursive: true });
    symlinkSync(join(root, 'node_modules', name), join(modules, name), 'junction');
  }
  return installed;
}
