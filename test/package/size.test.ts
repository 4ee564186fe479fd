import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';
import { build, type Rolldown } from 'vite';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { packedInto } from './packed.ts';

let folder: string;
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'radioactive-size-'));
  packedInto(folder);
});
afterAll(() => rmSync(folder, { recursive: true }));

interface Size {
  /** Bytes minified and gzipped that a page loads at once. */
  readonly atOnce: number;
  /** And those of what it loads when it is needed. */
  readonly later: number;
}

/** What a page bundles that imports names of an entry, all of them by default, dependencies included. */
async function sizeOf(entry: string, names = '*'): Promise<Size> {
  const page = join(folder, 'page.js');
  writeFileSync(page, `export ${names} from '${entry}';`);
  const { output } = (await build({
    root: folder,
    configFile: false,
    logLevel: 'silent',
    build: {
      write: false,
      minify: true,
      target: 'es2023',
      rollupOptions: { input: page, preserveEntrySignatures: 'strict' },
    },
  })) as Rolldown.RolldownOutput;
  const chunks = output.filter((file) => file.type === 'chunk');
  const needed = new Set<string>();
  const visit = (name: string): void => {
    const chunk = chunks.find(({ fileName }) => fileName === name);
    if (!chunk || needed.has(name)) return;
    needed.add(name);
    for (const imported of chunk.imports) visit(imported);
  };
  visit(chunks.find(({ isEntry }) => isEntry)!.fileName);
  let [atOnce, later] = [0, 0];
  for (const { fileName, code } of chunks) {
    const bytes = gzipSync(code, { level: 9 }).length;
    if (needed.has(fileName)) atOnce += bytes;
    else later += bytes;
  }
  return { atOnce, later };
}

it('the entries are small, minified and gzipped: the method under 150 kB', async () => {
  const kilobytes = (bytes: number): string => `${(bytes / 1000).toFixed(1)} kB`;
  const sizes = new Map<string, Size>();
  for (const entry of ['radioactive', 'engine', 'statistics', 'formats', 'images'])
    sizes.set(entry, await sizeOf(entry === 'radioactive' ? entry : `radioactive/${entry}`));
  process.stdout.write(
    `size of the entries, minified and gzipped: ${[...sizes]
      .map(
        ([entry, { atOnce, later }]) =>
          `${entry} ${kilobytes(atOnce)}${later > 0 ? ` and later ${kilobytes(later)}` : ''}`,
      )
      .join(', ')}\n`,
  );
  const { atOnce } = sizes.get('radioactive')!;
  // Something of it is there.
  expect(atOnce).toBeGreaterThan(10_000);
  expect(atOnce).toBeLessThan(150_000);
  for (const entry of ['statistics', 'formats', 'images']) expect(sizes.get(entry)!.atOnce).toBeLessThan(atOnce);
});

it('who imports one function bundles little else', async () => {
  // It is a few lines beside `checkImage` and the errors.
  expect((await sizeOf('radioactive/images', '{ psnr }')).atOnce).toBeLessThan(1_000);
  const everything = await sizeOf('radioactive');
  expect((await sizeOf('radioactive', '{ createKey }')).atOnce).toBeLessThan(everything.atOnce / 5);
});
