import { type ChildProcess, execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { cpSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { build } from 'vite';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { parseSafetensors, serializeNpy, toFloat32 } from '../src/formats.ts';
import { decodeImage, type Image8, portableCodec } from '../src/images.ts';
import { createKey, parseKey, serializeKey } from '../src/index.ts';
import { nodePortableCodec } from '../src/node/images/codec.ts';
import { packedInto } from './package/packed.ts';
import { pngOf } from './png.ts';
import { CHROMIUM, DENO, missing, openPage, serve } from './runtimes/runtimes.ts';
import { smallNetwork, writeFolder, writeModel } from './small_data.ts';

/** Each example as it stands, beside the packed package and what else its package.json asks for. */
const examples = fileURLToPath(new URL('../examples/', import.meta.url));
const { version } = JSON.parse(readFileSync('package.json', 'utf8'));
const run = promisify(execFile);

let root: string;
beforeAll(() => {
  root = mkdtempSync(join(tmpdir(), 'radioactive-examples-'));
});
afterAll(() => rmSync(root, { recursive: true }));

function install(name: string): string {
  const folder = join(root, name);
  mkdirSync(folder);
  packedInto(folder, { also: ['@types/node', '@webgpu/types', 'vite'] });
  cpSync(join(examples, name), folder, { recursive: true });
  return folder;
}

/** Fails where TypeScript finds a mistake; comments hold the types of JavaScript files. */
async function typeCheck(folder: string, options: object): Promise<void> {
  const compilerOptions = { strict: true, noEmit: true, target: 'esnext', allowJs: true, checkJs: true, ...options };
  const include = ['*.js', '*.ts'];
  writeFileSync(join(folder, 'tsconfig.json'), JSON.stringify({ compilerOptions, include }));
  const { stdout } = await run(process.execPath, [resolve('node_modules/typescript/bin/tsc'), '-p', folder]).catch(
    (error) => error,
  );
  expect(stdout).toBe('');
}
const forNode = { module: 'nodenext', lib: ['esnext'], types: ['node', '@webgpu/types'], skipLibCheck: true };

const names = readdirSync(examples);
it.each(names)('%s: a README of ten lines or so, and a package of its own', (name) => {
  const lines = readFileSync(join(examples, name, 'README.md'), 'utf8')
    .trimEnd()
    .split('\n');
  expect(lines.length).toBeLessThanOrEqual(16);
  const {
    dependencies,
    devDependencies,
    private: hidden,
  } = JSON.parse(readFileSync(join(examples, name, 'package.json'), 'utf8'));
  const ours = JSON.parse(readFileSync('package.json', 'utf8'));
  // The registry has another project's package of this name.
  expect(lines.join('\n')).toMatch(/cd \.\.\/\.\. && npm pack.*npm install/s);
  expect(hidden).toBe(true);
  expect({ ...dependencies, ...devDependencies }).toEqual(
    Object.fromEntries(
      Object.keys({ ...dependencies, ...devDependencies }).map((module) => [
        module,
        module === 'radioactive'
          ? `file:../../radioactive-${version}.tgz`
          : { ...ours.dependencies, ...ours.optionalDependencies, ...ours.devDependencies }[module],
      ]),
    ),
  );
});

/** A colour image with soft edges. */
const picture = (width: number, height: number): Image8 => ({
  width,
  height,
  channels: 3,
  data: Uint8Array.from({ length: width * height * 3 }, (_, i) => (i * 7) % 200),
});

const colours = { channels: 3, inputSize: 16, mean: [0.5, 0.5, 0.5], std: [0.25, 0.25, 0.25] } as const;

/** Fails unless `marked` is `image` with a mark of at most ten levels. */
async function expectMarked(marked: Uint8Array, image: Image8): Promise<void> {
  const { data, ...shape } = await decodeImage(portableCodec(), marked, 'marked.png');
  expect(shape).toEqual({ width: image.width, height: image.height, channels: image.channels });
  const change = data.reduce((most, level, i) => Math.max(most, Math.abs(level - image.data[i])), 0);
  expect(change).toBeGreaterThan(0);
  expect(change).toBeLessThanOrEqual(10);
}

it('own-operator: value and gradient agree with float64', async () => {
  const folder = install('own-operator');
  await typeCheck(folder, forNode);
  const { stdout } = await run(process.execPath, ['main.js'], { cwd: folder });
  const errors = [...stdout.matchAll(/largest error (\S+)/g)].map(([, error]) => Number(error));
  expect(errors).toHaveLength(2);
  // Values up to 10, gradients about 1, in float32.
  expect(errors[0]).toBeLessThanOrEqual(2e-6);
  expect(errors[1]).toBeLessThanOrEqual(1e-6);
});

const noDeno = missing(DENO);
it.skipIf(noDeno !== '')(`deno-marking${noDeno}`, async () => {
  const folder = install('deno-marking');
  writeModel(join(folder, 'marker.safetensors'), { network: colours });
  const image = picture(20, 18);
  writeFileSync(join(folder, '1.png'), pngOf(image));
  await run(DENO, ['check', '--no-remote', 'main.ts'], { cwd: folder });
  const permissions = ['--allow-read', '--allow-write', '--allow-env', '--no-remote'];
  cpSync('test/golden/images/sampling-2x2.jpg', join(folder, '2.jpg'));
  const args = ['run', '--no-prompt', ...permissions, 'main.ts', 'marker.safetensors', 'cat=1.png', 'dog=2.jpg'];
  const { stdout } = await run(DENO, args, { cwd: folder });
  expect(stdout).toMatch(
    /^owner.key: keep it secret; publish its commitment [0-9a-f]{64}\n1.png.marked.png: cat, PSNR /,
  );
  await expectMarked(readFileSync(join(folder, '1.png.marked.png')), image);
  const photograph = await decodeImage(nodePortableCodec(), readFileSync(join(folder, '2.jpg')), '2.jpg');
  await expectMarked(readFileSync(join(folder, '2.jpg.marked.png')), photograph);
  await parseKey(readFileSync(join(folder, 'owner.key'), 'utf8'), 'owner.key');
  await expect(run(DENO, args, { cwd: folder })).rejects.toThrow('AlreadyExists');
});

it('foreign-suspect: the p-value that the command line finds, counted in the register', async () => {
  const folder = install('foreign-suspect');
  await typeCheck(folder, forNode);
  const cli = async (line: string) => {
    const words = ['node_modules/radioactive/dist/cli.js', ...line.split(' '), '--json', '--quiet'];
    return JSON.parse((await run(process.execPath, words, { cwd: folder })).stdout);
  };
  writeFolder(join(folder, 'held-out'), 60);
  for (const [name, seed] of [
    ['marker', 0],
    ['suspect', 1],
  ] as const) {
    writeModel(join(folder, `${name}.safetensors`), { seed });
    await cli(`extract --model ${name}.safetensors --data held-out -o ${name}.npy`);
  }
  const fc = parseSafetensors(readFileSync(join(folder, 'suspect.safetensors')), 'suspect').tensors.get('fc.weight')!;
  writeFileSync(join(folder, 'weight.npy'), serializeNpy(fc.shape, toFloat32(fc)));
  await cli('keygen --classes held-out --dimension 4 --model marker.safetensors -o owner.key');
  const key = '--key owner.key --model marker.safetensors --data held-out';
  const own = await cli(`detect ${key} --suspect suspect.safetensors`);
  const args = ['detect.js', 'owner.key', 'held-out', 'marker.npy', 'suspect.npy', 'weight.npy'];
  const { stdout } = await run(process.execPath, args, { cwd: folder });
  const result = JSON.parse(readFileSync(join(folder, 'result.json'), 'utf8'));
  expect(result.log10p).toBe(own.log10p);
  expect(result.register).toMatchObject({ entry: 2, looks: 2, withKey: true });
  expect(result.data).toEqual(own.data);
  expect(stdout).toBe(`log10 p ${own.log10p}, corrected for 2 tests ${result.register.log10pBonferroni}\n`);
});

const noChromium = missing(CHROMIUM);
it.skipIf(noChromium !== '')(`vite-page${noChromium}`, async () => {
  const folder = install('vite-page');
  mkdirSync(join(folder, 'public'));
  writeModel(join(folder, 'public/marker.safetensors'), { network: colours });
  const page = { module: 'esnext', moduleResolution: 'bundler', lib: ['esnext', 'dom', 'dom.iterable'], types: [] };
  await typeCheck(folder, page);
  await build({ root: folder, logLevel: 'warn' });
  const server = await serve({ '/': join(folder, 'dist') });
  const { page: tab, close } = await openPage(`${server.origin}/index.html`);
  try {
    const status = tab.locator('#status');
    await expect.poll(() => status.textContent(), { timeout: 60_000 }).toMatch(/^Ready/);
    const image = picture(20, 18);
    await tab
      .locator('input')
      .setInputFiles({ name: '1.png', mimeType: 'image/png', buffer: Buffer.from(pngOf(image)) });
    await expect.poll(() => status.textContent(), { timeout: 120_000 }).toMatch(/^Marked: PSNR /);
    const saved = async (selector: string): Promise<Buffer> => {
      const [download] = await Promise.all([tab.waitForEvent('download'), tab.locator(selector).click()]);
      return readFileSync(await download.path());
    };
    await expectMarked(await saved('#save'), image);
    await parseKey((await saved('#key')).toString(), 'owner.key');
    await tab.locator('input').setInputFiles({ name: '2.png', mimeType: 'image/png', buffer: Buffer.from('no image') });
    await expect.poll(() => status.textContent()).toMatch(/^2\.png: /);
  } finally {
    await close();
    await server.close();
  }
});

describe('node-service', () => {
  let folder: string;
  let child: ChildProcess;
  let origin: string;
  const lines: string[] = [];
  const image = picture(20, 18);
  const post = (query: string, body: Uint8Array = pngOf(image), signal?: AbortSignal): Promise<Response> =>
    fetch(`${origin}/mark?${query}`, { method: 'POST', body: Uint8Array.from(body), ...(signal && { signal }) });

  beforeAll(async () => {
    folder = install('node-service');
    writeModel(join(folder, 'marker.safetensors'), { network: colours });
    const { createHash } = await import('node:crypto');
    const sha256 = createHash('sha256')
      .update(readFileSync(join(folder, 'marker.safetensors')))
      .digest('hex');
    const key = await createKey({
      classes: ['cat', 'dog'],
      model: { sha256, architecture: smallNetwork.architecture, featureDimension: 32 },
      basis: null,
      centre: true,
    });
    writeFileSync(join(folder, 'owner.key'), serializeKey(key));
    child = spawn(process.execPath, ['server.js', 'marker.safetensors', 'owner.key', '0'], {
      cwd: folder,
      env: { ...process.env, QUEUE_LENGTH: '2' },
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    const out = createInterface({ input: child.stdout! });
    out.on('line', (line) => lines.push(line));
    await once(out, 'line');
    [origin] = /http:\/\/127\.0\.0\.1:\d+/.exec(lines[0])!;
  });
  afterAll(() => {
    child.kill('SIGKILL');
  });

  it('type-checks', async () => {
    await typeCheck(folder, forNode);
  });

  it('marks an image, of a class that the key has', async () => {
    const response = await post('class=cat');
    expect(response.status).toBe(200);
    expect(response.headers.get('content-type')).toBe('image/png');
    await expectMarked(new Uint8Array(await response.arrayBuffer()), image);
  });

  it.each([
    ['class=cow', pngOf(image), 400, 'class must be one of: cat, dog\n'],
    ['class=cat', Buffer.from('no image'), 422, /^the image: /],
    ['class=cat', new Uint8Array(21e6), 413, 'an image may have 20000000 bytes\n'],
  ])('refuses %s', async (query, body, status, message) => {
    const response = await post(query, body);
    expect(response.status).toBe(status);
    expect(await response.text()).toEqual(typeof message === 'string' ? message : expect.stringMatching(message));
  });

  it('takes two at a time, and lets them finish when it is stopped', async () => {
    const answers = [post('class=cat'), post('class=dog')];
    await expect.poll(async () => (await (await fetch(`${origin}/health`)).json()).jobs).toBe(2);
    const third = await post('class=cat');
    expect([third.status, third.headers.get('retry-after')]).toEqual([503, '10']);
    child.kill('SIGTERM');
    for (const answer of answers) {
      const response = await answer;
      expect(response.status).toBe(200);
      await expectMarked(new Uint8Array(await response.arrayBuffer()), image);
    }
    const [code] = await once(child, 'exit');
    expect([code, lines.at(-1)]).toEqual([0, 'stopped']);
  });
});
