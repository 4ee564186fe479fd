import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { dirname, join, normalize } from 'node:path';
import { expect, it } from 'vitest';
import { type Command, commonOptions, parseOptions } from '../src/node/cli/command.ts';

/** All pages that people read, by their paths in the repository. */
const pages = [
  'README.md',
  'CONTRIBUTING.md',
  ...['bench', 'docs', 'examples', 'experiments', 'test', 'weights']
    .flatMap((folder) => readdirSync(folder, { recursive: true, encoding: 'utf8' }).map((name) => `${folder}/${name}`))
    .filter((path) => path.endsWith('.md') && !path.includes('node_modules')),
];
const manuals = pages.filter((page) => /^(README|CONTRIBUTING|docs\/[^/]+|(examples|weights)\/.+)\.md$/.test(page));

/** Columns of prose. */
const WIDTH = 100;

/** The lines of a page outside code, with their numbers from 1 on. */
function proseOf(page: string): { line: string; number: number }[] {
  let fenced = false;
  return readFileSync(page, 'utf8')
    .split('\n')
    .flatMap((line, i) => {
      const fence = /^\s*```/.test(line);
      if (fence) fenced = !fenced;
      return fence || fenced ? [] : [{ line, number: i + 1 }];
    });
}

it('there are pages', () => {
  expect(manuals).toEqual(expect.arrayContaining(['README.md', 'CONTRIBUTING.md', 'docs/architecture.md']));
});

it('the README is a first page of at most 120 lines', () => {
  expect(readFileSync('README.md', 'utf8').trimEnd().split('\n').length).toBeLessThanOrEqual(120);
});

it.each(manuals)(`%s: prose has at most ${WIDTH} columns`, (page) => {
  const long = proseOf(page)
    // Tables and code by indentation may be wider, and what cannot be broken.
    .filter(({ line }) => !/^(\||!\[| {4,}\S)/.test(line) && /\S\s+\S/.test(line.replace(/^\s*([-*]|\d+\.)\s+/, '')))
    .filter(({ line }) => [...line].length > WIDTH)
    .map(({ line, number }) => `line ${number}: ${[...line].length} columns`);
  expect(long).toEqual([]);
});

/** What a heading is called in links, as GitHub makes it. */
const anchorOf = (heading: string): string =>
  heading
    .toLowerCase()
    .replace(/\[([^\]]*)\]\([^)]*\)/g, '$1')
    .replace(/[^\p{L}\p{N}\p{M}\s_-]/gu, '')
    .replaceAll(' ', '-');

function anchorsOf(page: string): ReadonlySet<string> {
  const seen = new Map<string, number>();
  const headings = proseOf(page).flatMap(({ line }) => /^#{1,6} +(.+?)\s*$/.exec(line)?.[1] ?? []);
  return new Set(
    headings.map((heading) => {
      const anchor = anchorOf(heading);
      const before = seen.get(anchor) ?? 0;
      seen.set(anchor, before + 1);
      return before === 0 ? anchor : `${anchor}-${before}`;
    }),
  );
}

it.each(pages)('%s: links inside the repository lead somewhere', (page) => {
  const text = proseOf(page)
    .map(({ line }) => line)
    .join('\n')
    .replace(/`[^`]*`/g, '');
  const dead = Array.from(text.matchAll(/\]\(([^)\s]+)\)/g), ([, target]) => target)
    .filter((target) => !/^[a-z]+:/.test(target))
    .filter((target) => {
      const [file, anchor] = target.split('#');
      const path = file === '' ? page : normalize(join(dirname(page), file));
      return !existsSync(path) || (anchor !== undefined && !anchorsOf(path).has(anchor));
    });
  expect(dead).toEqual([]);
});

it('every file that the documentation names is there', () => {
  const missing = manuals.flatMap((page) =>
    Array.from(
      readFileSync(page, 'utf8').matchAll(
        /`((?:src|test|bench|scripts|examples|weights|docs|experiments)\/[\w./-]*[\w/])`/g,
      ),
      ([, path]) => path,
    )
      .filter((path) => !existsSync(path) && !/NAME/.test(path))
      .map((path) => `${page}: ${path}`),
  );
  expect(missing).toEqual([]);
});

it('every name that the documentation says is in a file is there', () => {
  const missing = manuals.flatMap((page) =>
    Array.from(
      readFileSync(page, 'utf8').matchAll(/`([\w.]+)`(?:\s\([^)]*\))?\s+(?:in|from)\s+`(src\/[\w./-]+\.\w+)`/g),
      ([, name, path]) => ({ name: name.split('.').at(-1)!, path }),
    )
      .filter(({ name, path }) => !readFileSync(path, 'utf8').includes(name))
      .map(({ name, path }) => `${page}: ${name} in ${path}`),
  );
  expect(missing).toEqual([]);
});

/** The command lines of `radioactive` in a page's blocks of shell, each as its words. */
function commandLines(page: string): string[][] {
  const blocks = readFileSync(page, 'utf8').matchAll(/```sh\n([\s\S]*?)```/g);
  return Array.from(blocks, ([, block]) => block.replaceAll(/\\\n\s*/g, ''))
    .flatMap((block) => block.split(/\n|&&/))
    .map((line) => line.replace(/(^|\s)#.*/, '').trim())
    .filter((line) => /^(npx )?radioactive /.test(line))
    .map((line) => line.replace(/^npx /, '').split(/\s+/).slice(1));
}

it('there are commands to check', () => {
  expect(pages.flatMap(commandLines).length).toBeGreaterThan(50);
});

it('the command line takes every command that the documentation shows', async () => {
  const refused: string[] = [];
  for (const page of pages) {
    for (const [name, ...args] of commandLines(page)) {
      try {
        const module: Record<string, Command> = await import(`../src/node/cli/${name.replaceAll('-', '_')}.ts`);
        const command = Object.values(module).find((exported) => exported.name === name)!;
        parseOptions({ ...command.options, ...commonOptions }, args);
      } catch (error) {
        refused.push(`${page}: ${name} ${args.join(' ')}: ${(error as Error).message}`);
      }
    }
  }
  expect(refused).toEqual([]);
});
