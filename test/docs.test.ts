import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { expect, it } from 'vitest';

const pages = [
  'README.md',
  'CONTRIBUTING.md',
  ...readdirSync('docs')
    .filter((name) => name.endsWith('.md'))
    .map((name) => `docs/${name}`),
];

it('every source file that the documentation names is there', () => {
  const missing = pages.flatMap((page) =>
    Array.from(
      readFileSync(page, 'utf8').matchAll(/`((?:src|test|bench|scripts|examples)\/[\w./-]*[\w/])`/g),
      ([, path]) => path,
    )
      .filter((path) => !existsSync(path) && !/NAME/.test(path))
      .map((path) => `${page}: ${path}`),
  );
  expect(missing).toEqual([]);
});
