/** The programs beside the packed package, as an embedder has his code: in a folder for Node and Deno, and bundled for pages. */
import { cpSync, mkdtempSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { build } from 'vite';
import { packedInto } from '../package/packed.ts';

const here = fileURLToPath(new URL('.', import.meta.url));

/** A new folder with the package installed and the programs as modules that import it by name. */
export async function installPrograms(): Promise<string> {
  const folder = mkdtempSync(join(tmpdir(), 'radioactive-runtimes-'));
  packedInto(folder);
  await build({
    root: here,
    configFile: false,
    logLevel: 'warn',
    build: {
      outDir: join(folder, 'hosts'),
      emptyOutDir: true,
      target: 'es2023',
      minify: false,
      ssr: true,
      rollupOptions: {
        input: {
          process: join(here, 'hosts/process.ts'),
          page: join(here, 'hosts/page.ts'),
          worker: join(here, 'hosts/worker.ts'),
        },
        external: [/^radioactive/, /^node:/],
        output: { entryFileNames: '[name].js' },
      },
    },
  });
  cpSync(join(here, 'hosts/page.html'), join(folder, 'hosts/page.html'));
  return folder;
}

/** Bundles the page and its worker, as an application that uses Vite does. Returns the folder to serve. */
export async function bundlePage(folder: string): Promise<string> {
  const site = join(folder, 'site');
  await build({
    root: join(folder, 'hosts'),
    base: './',
    configFile: false,
    logLevel: 'warn',
    worker: { format: 'es' },
    build: {
      outDir: site,
      emptyOutDir: true,
      target: 'es2023',
      rollupOptions: { input: join(folder, 'hosts/page.html') },
    },
  });
  return site;
}
