import { builtinModules } from 'node:module';
import { defineConfig } from 'vite';

/** Builds the library (one file per runtime entry) and the command line into dist/. Kernels travel inside, as text. */
export default defineConfig({
  build: {
    target: 'node20',
    outDir: 'dist',
    minify: false,
    sourcemap: true,
    ssr: true,
    rollupOptions: {
      input: {
        index: 'src/index.ts',
        node: 'src/node/index.ts',
        cli: 'src/node/cli/main.ts',
        bench: 'bench/main.ts',
        photographs: 'bench/photographs.ts',
      },
      output: { entryFileNames: '[name].js', chunkFileNames: 'chunks/[name].js' },
      external: [
        ...builtinModules,
        ...builtinModules.map((name) => `node:${name}`),
        'webgpu',
        'sharp',
        'valibot',
        /^@noble\//,
        'tinybench',
      ],
    },
  },
});
