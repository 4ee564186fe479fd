import { expect, it } from 'vitest';

const sources = import.meta.glob<string>('../src/**/*.ts', { query: '?raw', eager: true, import: 'default' });

/** What the folders of the engine, and those below everything, may import beside themselves and the files directly in src/. */
const layers: Readonly<Record<string, readonly string[]>> = {
  formats: [],
  maths: [],
  images: ['formats'],
  gpu: [],
  tensor: ['gpu'],
  shaders: ['gpu', 'tensor', 'images'],
  nn: ['gpu', 'tensor', 'shaders', 'images', 'formats', 'datasets'],
};

/** The folder of src/ that a file lies in; '' for one directly in it. */
const folderOf = (file: string): string => /\/src\/(?:([^/]+)\/)?/.exec(file)?.[1] ?? '';

it.each(Object.entries(layers))('src/%s imports nothing from above', (folder, below) => {
  const own = Object.entries(sources).filter(([file]) => folderOf(file) === folder);
  expect(own.length).toBeGreaterThan(0);
  const upward = own.flatMap(([file, code]) =>
    Array.from(code.matchAll(/ from '(\.[^']+)'/g), ([, path]) => new URL(path, `file:///${file.slice(3)}`).pathname)
      .filter((imported) => !['', folder, ...below].includes(folderOf(imported)))
      .map((imported) => `${file}: ${imported}`),
  );
  expect(upward).toEqual([]);
});
