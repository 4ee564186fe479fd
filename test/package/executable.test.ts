import { accessSync, constants, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { build } from 'vite';
import { afterAll, beforeAll, expect, it } from 'vitest';

/** `npx radioactive` runs the file that package.json names; npx gives it the run bit once and never again. */
let folder: string;
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'radioactive-build-'));
});
afterAll(() => rmSync(folder, { recursive: true }));

it('the command line can be run after every build', async () => {
  const { bin } = JSON.parse(readFileSync('package.json', 'utf8'));
  const file = join(folder, bin.radioactive.replace(/^(\.\/)?dist\//, ''));
  for (let time = 0; time < 2; time++) {
    await build({ logLevel: 'silent', build: { outDir: folder, emptyOutDir: true } });
    expect(readFileSync(file, 'utf8')).toMatch(/^#!\/usr\/bin\/env node\n/);
    accessSync(file, constants.X_OK);
  }
});
