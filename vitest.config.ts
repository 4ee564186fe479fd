import { defineConfig } from 'vitest/config';

export default defineConfig({
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
