import { defineConfig } from 'vitest/config';

export default defineConfig({
  test: {
    include: ['test/**/*.test.ts'],
    // One adapter, two cores: files one after another, each in a process of its own.
    pool: 'forks',
    fileParallelism: false,
    // Style sheets are texts that pages and plots hold; otherwise they would be empty here.
    css: true,
    testTimeout: 120_000,
    hookTimeout: 120_000,
  },
});
