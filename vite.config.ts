import { chmodSync } from 'node:fs';
import { builtinModules } from 'node:module';
import { join } from 'node:path';
import { defineConfig, type Plugin } from 'vite';

/** The entries of the package, by the name behind `radioactive/`: the portable ones, Node's, and the command line. */
const entries = {
  index: 'src/index.ts',
  engine: 'src/engine.ts',
  statistics: 'src/statistics.ts',
  formats: 'src/formats.ts',
  images: 'src/images.ts',
  node: 'src/node/index.ts',
  cli: 'src/node/cli/main.ts',
};

/** Programs that measure; no part of the package. */
const benches = { main: 'bench/main.ts', photographs: 'bench/photographs.ts', scale: 'bench/scale.ts' };

/** What is built beside the package, by mode: its entries, and where to. */
const besides: Readonly<Record<string, { readonly input: Record<string, string>; readonly outDir: string }>> = {
  bench: { input: benches, outDir: 'bench/dist' },
  fuzz: { input: { main: 'test/fuzzing/main.ts' }, outDir: 'test/fuzzing/dist' },
};

/** A file with a `#!` line can be run: `npx` starts it, and gives the run bit only once, not after each build. */
const executable: Plugin = {
  name: 'executable',
  writeBundle({ dir }, bundle) {
    for (const file of Object.values(bundle))
      if (file.type === 'chunk' && file.code.startsWith('#!')) chmodSync(join(dir!, file.fileName), 0o755);
  },
};

/**
 * Builds the package into dist/, a module for each module of src/: a class is the same object by whichever entry it comes, and
 * who bundles one function leaves the others out. With `--mode bench` or `--mode fuzz` the benches or the fuzz harness go into a
 * dist/ beside their sources. Kernels are text.
 */
export default defineConfig(({ mode }) => ({
  plugins: [executable],
  build: {
    target: 'node20',
    outDir: besides[mode]?.outDir ?? 'dist',
    minify: false,
    sourcemap: true,
    ssr: true,
    rollupOptions: {
      input: besides[mode]?.input ?? entries,
      // How long plugins took is for whoever tunes them.
      checks: { bundlerTimings: false },
      output: {
        preserveModules: besides[mode] === undefined,
        preserveModulesRoot: 'src',
        // `clamp.wgsl` and `clamp.ts` stand beside each other.
        entryFileNames: ({ facadeModuleId }) =>
          facadeModuleId?.endsWith('.wgsl?raw') ? '[name].wgsl.js' : '[name].js',
      },
      external: [
        ...builtinModules,
        ...builtinModules.map((name) => `node:${name}`),
        'webgpu',
        'sharp',
        'tar-stream',
        'minimatch',
        /^hyparquet/,
        'valibot',
        'pako',
        '#pngjs',
        /^@jsquash\//,
        /^@noble\//,
        'tinybench',
      ],
    },
  },
}));
