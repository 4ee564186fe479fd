import { copyFileSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { crc32 } from 'node:zlib';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { DeviceError } from '../src/errors.ts';
import { jsonDocument } from '../src/formats/json.ts';
import { Marker } from '../src/marking/marker.ts';
import { defaultMarkingRecipe } from '../src/marking/recipe.ts';
import { FeatureExtractor } from '../src/nn/inference.ts';
import type { Model } from '../src/nn/model.ts';
import { describeFailure } from '../src/node/cli/output.ts';
import { openDevice } from '../src/node/device.ts';
import { fileError } from '../src/node/files/files.ts';
import { openModel } from '../src/node/runs/open_model.ts';
import { build, ownLines, run } from './cli.ts';
import { CLASSES, writeFolder, writeIdx, writeModel } from './small_data.ts';

let folder: string;
/** Options as they are typed; `@name` stands for a file of this test. */
const typed = (line: string): string[] => line.split(' ').map((word) => word.replace(/^@/, `${folder}/`));
const runLine = (line: string, env: NodeJS.ProcessEnv = {}) => run('cli', [...typed(line), '--quiet'], { env });
const at = (name: string): string => join(folder, name);

const KEYGEN = 'keygen --classes @images --carriers uniform -o @new.key';
const EXTRACT = 'extract --data @images -o @new.npy';
const MARK = 'mark --key @owner.key --model @marker.safetensors --fraction 0.5 --iterations 2 -o @new';
const TRAIN = 'train --width 4 --epochs 1 --batch-size 20 -o @new.safetensors';
const DETECT = 'detect --key @owner.key --model @marker.safetensors --split train -o @new.json';
/** Each command with what it needs. */
const COMPLETE = {
  keygen: `${KEYGEN.replace('--carriers uniform', '--dimension 4')} --model @marker.safetensors`,
  extract: `${EXTRACT} --model @marker.safetensors`,
  mark: `${MARK} --data @images`,
  train: `${TRAIN} --data @images`,
  detect: `${DETECT} --suspect @marker.safetensors --data @images`,
};

beforeAll(async () => {
  build();
  folder = mkdtempSync(join(tmpdir(), 'radioactive-bad-'));
  writeFolder(at('images'), 40);
  writeIdx(at('idx'), 40);
  const model = readFileSync(writeModel(at('marker.safetensors')));
  expect(
    (await runLine('keygen --classes @images --carriers uniform --model @marker.safetensors -o @owner.key')).exitCode,
  ).toBe(0);

  // Models.
  writeFileSync(at('cut.safetensors'), model.subarray(0, model.length - 100));
  const header = Buffer.from(model);
  header.writeBigUInt64LE(2n ** 60n);
  writeFileSync(at('header.safetensors'), header);
  writeModel(at('nan.safetensors'), {
    change: (tensors) => tensors.get('layer1.0.conv1.weight')!.fill(Number.NaN, 3, 4),
  });
  writeModel(at('other.safetensors'), { seed: 1 });
  writeModel(at('three.safetensors'), { network: { numClasses: 3 } });
  writeModel(at('constructor.safetensors'), { metadata: { architecture: 'constructor' } });
  writeModel(at('wide.safetensors'), { metadata: { width: '1000000' } });

  // Data sets.
  writeFolder(at('cut-png'), 40);
  const png = readFileSync(at('cut-png/bee/003.png'));
  writeFileSync(at('cut-png/bee/003.png'), png.subarray(0, png.length - 20));
  writeFolder(at('huge-png'), 40);
  const huge = Buffer.from(png);
  huge.writeUInt32BE(2 ** 31 - 1, 16);
  huge.writeUInt32BE(crc32(huge.subarray(12, 29)), 29);
  writeFileSync(at('huge-png/bee/003.png'), huge);
  writeIdx(at('cut-idx'), 40);
  const idx = readFileSync(at('cut-idx/train-images-idx3-ubyte'));
  writeFileSync(at('cut-idx/train-images-idx3-ubyte'), idx.subarray(0, idx.length - 1));
  writeIdx(at('hostile-idx'), 40);
  writeFileSync(at('hostile-idx/train-images-idx3-ubyte'), Buffer.from(idx).fill(0xff, 4, 16));
  writeIdx(at('labels-idx'), 40, ['a', 'b', 'c']);
  writeFileSync(at('labels-idx/classes.txt'), 'a\nb\n');
  writeFolder(at('other-classes'), 40, ['ape', 'cow']);
  writeFolder(at('reordered'), 40, ['Bee', 'ape']);
  writeFolder(at('few'), 20);

  // Keys.
  writeFileSync(at('text.key'), 'secret');
  const key = JSON.parse(readFileSync(at('owner.key'), 'utf8'));
  writeFileSync(at('short.key'), JSON.stringify({ ...key, secret: key.secret.slice(1) }));
  writeFileSync(at('classes.txt'), 'ape\n\nbee\n');

  // Output that is there.
  for (const name of ['there.key', 'there.npy', 'there.safetensors', 'there.json']) writeFileSync(at(name), 'mine');
  mkdirSync(at('there'));
  mkdirSync(at('foreign.partial'));
  writeFileSync(at('foreign.partial/notes'), 'mine');
  copyFileSync(at('marker.safetensors'), at('model.safetensors.checkpoint'));
});
afterAll(() => rmSync(folder, { recursive: true }));

describe('bad input', () => {
  it.each<[command: string, exitCode: number, message: string | RegExp]>([
    // Models.
    [`${KEYGEN} --model @nowhere`, 3, '@nowhere: no such file or folder; check the path'],
    [`${EXTRACT} --model @images`, 3, '@images: is a folder, expected a file; give a file'],
    [
      `${EXTRACT} --model @cut.safetensors`,
      3,
      /^@cut.safetensors: truncated: tensor .* ends at byte .*; save or download it again$/,
    ],
    [
      `${KEYGEN} --model @header.safetensors`,
      3,
      /^@header.safetensors: not a safetensors file: .*; save or download it again$/,
    ],
    [
      `${EXTRACT} --model @images/ape/000.png`,
      3,
      /^@images\/ape\/000.png: not a safetensors file: .*; save or download it again$/,
    ],
    [
      `${EXTRACT} --model @constructor.safetensors`,
      3,
      /^@constructor.safetensors: architecture constructor is not known; there are: resnet18/,
    ],
    [`${EXTRACT} --model @wide.safetensors`, 3, /^@wide.safetensors: the weights do not fit resnet18: conv1.weight is/],
    [`${EXTRACT} --model @marker.safetensors --input-size 4096 --memory 16MiB`, 5, /needs \d+ bytes/],
    ...[
      `${KEYGEN} --model`,
      `${EXTRACT} --model`,
      `${TRAIN} --data @images --init`,
      `${DETECT} --data @images --suspect`,
    ].map((command): [string, number, RegExp] => [
      `${command} @nan.safetensors`,
      3,
      /^@nan.safetensors: layer1.0.conv1.weight has NaN at element 3: the weights are damaged or training diverged; use another file$/,
    ]),

    // Data sets.
    ...[`${EXTRACT.replace('@images', '@cut-png')} --model @marker.safetensors`, `${TRAIN} --data @cut-png`].map(
      (command): [string, number, RegExp] => [command, 3, /^@cut-png\/bee\/003.png: .*truncated.*; \S/],
    ),
    [`${TRAIN} --data @huge-png`, 3, /^@huge-png\/bee\/003.png: .*2147483647.*; \S/],
    [`${MARK} --data @cut-idx`, 3, /^@cut-idx\/train-images-idx3-ubyte: truncated: .*; download it again$/],
    [`${TRAIN} --data @hostile-idx`, 3, /^@hostile-idx\/train-images-idx3-ubyte: .*; \S/],
    [
      `${TRAIN} --data @labels-idx`,
      3,
      /^@labels-idx\/train-labels-idx1-ubyte: item 2 has label 2, there are 2 classes; \S/,
    ],
    [`${TRAIN} --data @classes.txt`, 3, /^@classes.txt: not named like IDX images; give a folder/],
    [
      `keygen --classes @classes.txt --carriers uniform --model @marker.safetensors -o @new.key`,
      3,
      '@classes.txt: line 2 is empty; give one class name per line, each once',
    ],

    // Keys, and what belongs to them.
    [
      `mark --key @nowhere --model @marker.safetensors --data @images --fraction 1 -o @new`,
      3,
      '@nowhere: no such file or folder; check the path',
    ],
    [
      `mark --key @text.key --model @marker.safetensors --data @images --fraction 1 -o @new`,
      3,
      '@text.key: not valid JSON; give the file that keygen wrote, unchanged',
    ],
    [
      `detect --key @marker.safetensors --model @marker.safetensors --suspect @marker.safetensors --data @images`,
      3,
      '@marker.safetensors: not valid JSON; give the file that keygen wrote, unchanged',
    ],
    [
      `mark --key @short.key --model @marker.safetensors --data @images --fraction 1 -o @new`,
      3,
      '@short.key: secret: expected 64 lower-case hex digits; give the file that keygen wrote, unchanged',
    ],
    [
      `mark --key @owner.key --model @other.safetensors --data @images --fraction 1 -o @new`,
      6,
      /^@other.safetensors: this is not the key's marking network: .*; give the network that the key was made with$/,
    ],
    [
      `detect --key @owner.key --model @other.safetensors --suspect @marker.safetensors --data @images --split train`,
      6,
      /^@other.safetensors: this is not the key's marking network: .*; give/,
    ],
    [
      `${MARK} --data @other-classes`,
      3,
      /^@other-classes: the classes differ at position 1: the key has "bee", the data "cow" .*; give a data set of those classes/,
    ],
    [`${MARK} --data @reordered`, 3, /^@reordered: the classes differ at position 0: .*order matters/],
    [
      `${DETECT} --suspect @marker.safetensors --data @other-classes`,
      3,
      /^@other-classes: sub-folder cow is none of the 2 classes; \S/,
    ],
    [
      `${DETECT} --suspect @three.safetensors --data @images`,
      3,
      '@three.safetensors: has 3 classes, expected 2 (ape, bee); name its classes with --suspect-classes, or give a model of those',
    ],
    [
      `${DETECT} --suspect @marker.safetensors --data @few`,
      3,
      '20 images cannot align 32 feature dimensions, take at least 320',
    ],

    // Output.
    [
      'keygen --classes @images --carriers uniform --model @marker.safetensors -o @there.key',
      3,
      '@there.key: exists already; choose another name, or remove it',
    ],
    [
      'extract --data @images --model @marker.safetensors -o @there.npy',
      3,
      '@there.npy: exists already; choose another name, or remove it',
    ],
    [
      'extract --data @images --model @marker.safetensors -o @new.npy --labels @there.npy',
      3,
      '@there.npy: exists already; choose another name, or remove it',
    ],
    [
      'mark --key @owner.key --model @marker.safetensors --data @images --fraction 1 -o @there',
      3,
      '@there: exists already; choose another folder, or remove it',
    ],
    [
      'mark --key @owner.key --model @marker.safetensors --data @images --fraction 1 -o @foreign',
      3,
      '@foreign.partial: not empty and not from this command; remove it',
    ],
    [
      'mark --key @owner.key --model @marker.safetensors --data @images --fraction 1 -o @images/new',
      3,
      /^@images\/new: is the data set's own folder or inside it; \S/,
    ],
    [
      'train --data @images -o @there.safetensors',
      3,
      '@there.safetensors: exists already; choose another name, or remove it',
    ],
    [
      'train --data @images -o @model.safetensors',
      3,
      '@model.safetensors.checkpoint: a run was interrupted here; go on with --resume, or remove it',
    ],
    [
      'train --data @images -o @model.safetensors --resume',
      3,
      '@model.safetensors.checkpoint: is no checkpoint of a training run; remove it and start again',
    ],
    ['train --data @images -o @no/model.safetensors', 3, '@no: no such file or folder; check the path'],
    [
      'train --data @images -o @owner.key/model.safetensors',
      3,
      '@owner.key: part of the path is a file, expected a folder; check the path',
    ],
    [
      `${DETECT.replace('new', 'there')} --suspect @marker.safetensors --data @images`,
      3,
      '@there.json: exists already; choose another name, or remove it',
    ],

    // What cannot be done.
    ['train --data @images --freeze-features -o @new.safetensors', 3, /give --init$/],
    [`${TRAIN} --data @images --lr 1e30`, 3, /^training diverged: .*; use a smaller learning rate than 1e\+30$/],
    [
      `${KEYGEN} --model @marker.safetensors --memory much`,
      2,
      /^--memory much: must be a number of bytes, like 536870912 or 512MiB; see/,
    ],
    [`${MARK}`, 2, '--data DATASET is missing; see radioactive mark --help'],
  ])('%s: exit code %i', async (line, exitCode, message) => {
    const before = readdirSync(folder);
    const finished = await runLine(line);
    const lines = ownLines(finished).map((text) => text.replaceAll(`${folder}/`, '@').replace(/^error: /, ''));
    expect(lines).toEqual([message instanceof RegExp ? expect.stringMatching(message) : message]);
    expect(finished).toMatchObject({ exitCode, stdout: '' });
    // Nothing new but what is plainly unfinished.
    expect(
      readdirSync(folder).filter((name) => !before.includes(name) && !/\.(partial|checkpoint)$/.test(name)),
    ).toEqual([]);
    rmSync(at('new.partial'), { recursive: true, force: true });
  });

  it('left what was there as it was', () => {
    for (const name of ['there.key', 'there.npy', 'there.safetensors', 'there.json', 'foreign.partial/notes'])
      expect(readFileSync(at(name), 'utf8')).toBe('mine');
    expect(readdirSync(at('images'))).toEqual(CLASSES);
  });

  it.runIf(process.platform === 'linux').each(Object.entries(COMPLETE))(
    '%s without an adapter: exit code 4',
    async (_, line) => {
      const finished = await runLine(line, { VK_ICD_FILENAMES: '/nonexistent', VK_DRIVER_FILES: '/nonexistent' });
      expect(ownLines(finished)).toEqual([expect.stringMatching(/^error: no WebGPU adapter: install .*/)]);
      expect(finished).toMatchObject({ exitCode: 4, stdout: '' });
      expect(readdirSync(folder).filter((name) => name.startsWith('new'))).toEqual([]);
    },
  );

  it.each(Object.entries(COMPLETE))('%s with too little memory: exit code 5 and the bytes needed', async (_, line) => {
    for (const memory of ['100kB', '200kB']) {
      const finished = await runLine(`${line} --memory ${memory}`);
      expect(ownLines(finished)).toEqual([
        expect.stringMatching(
          new RegExp(`^error: .* needs \\d+ bytes .*in use; the limit is ${parseInt(memory, 10)}000: \\S`),
        ),
      ]);
      expect(finished).toMatchObject({ exitCode: 5, stdout: '' });
      expect(readdirSync(folder).filter((name) => /^new(?!\.partial)/.test(name))).toEqual([]);
      rmSync(at('new.partial'), { recursive: true, force: true });
    }
  });

  it.each([
    ['extract', 400_000, FeatureExtractor.create],
    [
      'mark',
      900_000,
      (model: Model, pixels: number, size: number) =>
        Marker.create(model, size * pixels, size, defaultMarkingRecipe(12)),
    ],
  ] as const)('%s halves its batch until it fits, with the same result', async (command, limit, create) => {
    const device = await openDevice({ memoryLimitBytes: limit });
    const { model } = await openModel(device, at('marker.safetensors'));
    await expect(create(model, 12 * 12, 40)).rejects.toThrow(DeviceError);
    device.destroy();
    const line = COMPLETE[command].replace('--fraction 0.5', '--fraction 1');
    const [whole, halved] = [at(`${command}-whole`), at(`${command}-halved`)];
    expect((await runLine(line.replace(/@new\S*/, whole))).exitCode).toBe(0);
    expect((await runLine(`${line.replace(/@new\S*/, halved)} --memory ${limit}`)).exitCode).toBe(0);
    const result = command === 'mark' ? '.private/manifest.json' : '';
    expect(readFileSync(halved + result).equals(readFileSync(whole + result))).toBe(true);
  });

  it('on a full disk can be tried again: exit code 5', () => {
    const full = Object.assign(new Error('ENOSPC'), { code: 'ENOSPC', errno: -28, syscall: 'write' });
    const message = 'out/1.png: no space left on the device; free some and run again';
    expect(describeFailure(fileError('out/1.png', full))).toEqual({ message, exitCode: 5 });
  });

  it('numbers that JSON does not have become strings', () => {
    const text = jsonDocument({ log10p: -Infinity, perClass: [{ log10p: Number.NaN }, { log10p: -1.5 }], none: null });
    expect(JSON.parse(text)).toEqual({
      log10p: '-Infinity',
      perClass: [{ log10p: 'NaN' }, { log10p: -1.5 }],
      none: null,
    });
  });
});
