import { execFileSync, spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { packedInto } from './packed.ts';

/** Uses something of every entry; prints what it computed. */
const PROGRAM = `
import { createKey, InputError, keyCarriers, Loader, type Dataset, type Key } from 'radioactive';
import { type Device, initialStateDict, type NetworkConfig, serializeModelFile, parseModelFile, Tape, relu } from 'radioactive/engine';
import { parseNpy, serializeNpy } from 'radioactive/formats';
import { decodeImage, encodeImage, type Image8, type ImageCodec, portableCodec, psnr } from 'radioactive/images';
import { type NodeDeviceOptions, nodeCodec, openDevice } from 'radioactive/node';
import { derive, fisherLog10P, log10PCosine } from 'radioactive/statistics';

const image: Image8 = { width: 2, height: 2, channels: 1, data: Uint8Array.of(1, 2, 3, 4) };
const dataset: Dataset = {
  path: 'memory', root: '', classes: ['a'], length: 1, labels: Uint32Array.of(0),
  id: String, shape: async () => image, image: async () => image, bytes: async () => image.data,
};
const loader: Loader = await Loader.open(dataset, 1);
const key: Key = await createKey({
  classes: ['a'], model: { sha256: 'ab'.repeat(32), architecture: 'resnet18', featureDimension: 8 }, basis: null, centre: true,
});
const { directions } = await keyCarriers({ ...key, secret: '01'.repeat(32) });
const tape = new Tape(undefined, { precision: 'f32' });
const config: NetworkConfig = {
  architecture: 'resnet18', width: 1, stem: 'small', numClasses: 2, inputSize: 8, channels: 1, mean: [0], std: [1],
};
const file = serializeModelFile({ config, tensors: initialStateDict(config, 1) });
let refused = false;
try {
  parseNpy(Uint8Array.of(1), 'x.npy');
} catch (error) {
  refused = error instanceof InputError;
}
const roundTrip = async (codec: ImageCodec) =>
  (await decodeImage(codec, await encodeImage(codec, image), 'x.png')).data.join();
const open: (options?: NodeDeviceOptions) => Promise<Device> = openDevice;
console.log(JSON.stringify({
  directions: directions.length,
  shape: relu(tape.input('x', [2, 3])).shape,
  config: (await parseModelFile(file, 'model')).config.width,
  npy: parseNpy(serializeNpy([2], Float32Array.of(1, 2)), 'y.npy').shape,
  psnr: psnr(image, { ...image, data: Uint8Array.of(1, 2, 3, 5) }).toFixed(2),
  png: await Promise.all([await nodeCodec(), portableCodec()].map(roundTrip)),
  p: [log10PCosine(0, 5), fisherLog10P([0])].map((value) => value.toFixed(4)),
  random: derive(1, 'a').below(1),
  refused,
  open: typeof open,
  items: loader.dataset.length,
}));
`;

const temporary = (): string => mkdtempSync(join(tmpdir(), 'radioactive-installed-'));

describe('installed into an empty folder', () => {
  let folder: string;
  beforeAll(() => {
    folder = temporary();
    packedInto(folder, { also: ['@types/node', '@webgpu/types'] });
    writeFileSync(join(folder, 'program.ts'), PROGRAM);
  });
  afterAll(() => rmSync(folder, { recursive: true }));

  // TypeScript's own DOM has WebGPU's types; without it they come from @webgpu/types, which itself names more of the DOM.
  const page = { lib: ['es2023', 'dom', 'dom.iterable'], types: [], skipLibCheck: false };
  const service = { lib: ['es2023'], types: ['node', '@webgpu/types'], skipLibCheck: true };
  it.each([
    ['Node resolution, the DOM', { module: 'node16', moduleResolution: 'node16', ...page }],
    ['a bundler, the DOM', { module: 'esnext', moduleResolution: 'bundler', ...page }],
    ['Node resolution, @webgpu/types', { module: 'nodenext', moduleResolution: 'nodenext', ...service }],
  ])('a program type-checks and runs, declarations included: %s', (_, options) => {
    const outDir = options.moduleResolution;
    const compilerOptions = { strict: true, target: 'es2023', outDir, ...options };
    writeFileSync(join(folder, 'tsconfig.json'), JSON.stringify({ compilerOptions, files: ['program.ts'] }));
    const tsc = spawnSync(process.execPath, [resolve('node_modules/typescript/bin/tsc'), '-p', folder], {
      encoding: 'utf8',
    });
    expect(tsc.stdout).toBe('');
    expect(tsc.status).toBe(0);
    const output = execFileSync(process.execPath, [join(folder, outDir, 'program.js')], { encoding: 'utf8' });
    expect(JSON.parse(output)).toEqual({
      directions: 8,
      shape: [2, 3],
      config: 1,
      npy: [2],
      // 10 log10(255² / 0.25)
      psnr: '54.15',
      png: ['1,2,3,4', '1,2,3,4'],
      // One in two, and certainty.
      p: ['-0.3010', '0.0000'],
      random: 0,
      refused: true,
      open: 'function',
      items: 1,
    });
  });

  it('the command line runs', () => {
    const cli = join(folder, 'node_modules/radioactive/dist/cli.js');
    expect(execFileSync(cli, ['--version'], { encoding: 'utf8' })).toBe('0.1.0\n');
  });
});

describe('installed without the native modules', () => {
  let folder: string;
  let installed: string;
  beforeAll(() => {
    folder = temporary();
    installed = packedInto(folder, { without: ['sharp', 'webgpu'] });
  });
  afterAll(() => rmSync(folder, { recursive: true }));

  const evaluate = (code: string): unknown => {
    const args = ['--input-type=module', '--eval', code];
    return JSON.parse(execFileSync(process.execPath, args, { cwd: folder, encoding: 'utf8' }));
  };

  it('every entry loads', () => {
    const code = `const names = ['', '/engine', '/statistics', '/formats', '/images', '/node'];
      const entries = await Promise.all(names.map((name) => import('radioactive' + name)));
      console.log(JSON.stringify(entries.map((entry) => Object.keys(entry).length > 0)));`;
    expect(evaluate(code)).toEqual(Array(6).fill(true));
  });

  it.each([
    ['webgpu', 'openDevice()'],
    ['sharp', 'sharpCodec()'],
  ])('what needs %s says in one line what to install', (name, call) => {
    const code = `import { MissingModuleError } from 'radioactive';
      import { openDevice, sharpCodec } from 'radioactive/node';
      const error = await ${call}.catch((error) => error);
      console.log(JSON.stringify([error instanceof MissingModuleError, error.message]));`;
    const { optionalDependencies } = JSON.parse(readFileSync(join(installed, 'package.json'), 'utf8'));
    const version = optionalDependencies[name];
    const line = expect.stringMatching(
      new RegExp(`^the module ${name} cannot be loaded \\(.*\\); install it: npm install ${name}@${version}$`),
    );
    expect(evaluate(code)).toEqual([true, line]);
  });

  it('image files are decoded and encoded without sharp', () => {
    const jpeg = JSON.stringify(readFileSync('test/golden/images/sampling-2x2.jpg').toString('base64'));
    const code = `import { decodeImage, encodeImage } from 'radioactive/images';
      import { nodeCodec } from 'radioactive/node';
      const codec = await nodeCodec();
      const image = await decodeImage(codec, new Uint8Array(Buffer.from(${jpeg}, 'base64')), 'x.jpg');
      const again = await decodeImage(codec, await encodeImage(codec, image), 'x.png');
      const { createHash } = await import('node:crypto');
      console.log(JSON.stringify([codec.name, createHash('sha256').update(again.data).digest('hex')]));`;
    const decoded = JSON.parse(readFileSync('test/golden/images/decoded.json', 'utf8'));
    expect(evaluate(code)).toEqual(['portableCodec', decoded['sampling-2x2.jpg'].sha256]);
  });

  it('the command line says so too, and helps', () => {
    const cli = join(installed, 'dist/cli.js');
    expect(spawnSync(cli, ['mark', '--help']).status).toBe(0);
    const { status, stderr } = spawnSync(cli, ['doctor'], { encoding: 'utf8' });
    expect(stderr).toMatch(/the module webgpu cannot be loaded .* npm install webgpu@[\d.]+\n$/);
    expect(status).toBe(4);
  });
});
