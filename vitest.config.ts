import { fileURLToPath } from 'node:url';
import { defineConfig } from 'vitest/config';

const source = (file: string): string => fileURLToPath(new URL(`src/${file}`, import.meta.url));

export default defineConfig({
  resolve: {
    // Programs of test/runtimes import the package by name. Run in a test's own process, they get what that test imports.
    alias: [
      { find: /^radioactive$/, replacement: source('index.ts') },
      { find: /^radioactive\/node$/, replacement: source('node/index.ts') },
      { find: /^radioactive\/(\w+)$/, replacement: source('$1.ts') },
    ],
  },
  test: {
    include: ['test/**/*.test.ts'],
    globalSetup: ['test/package/setup.ts'],
    // One adapter, two cores: files one after another, each in a process of its own.
    pool: 'forks',
    fileParallelism: false,
    // Style sheets are texts that pages and plots hold; otherwise they would be empty here.
    css: true,
    // Against tests that hang, not against slow machines: on two busy cores a test may take ten times as long as on two idle ones.
    testTimeout: 900_000,
    hookTimeout: 900_000,
  },
});
