import { copyFileSync, existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { serializeNpy } from '../src/formats/npy.ts';
import { parseSafetensors, serializeSafetensors, toFloat32 } from '../src/formats/safetensors.ts';
import { initialStateDict } from '../src/nn/model.ts';
import { parseModelFile } from '../src/nn/model_file.ts';
import { build, ownLines, run } from './cli.ts';
import { writePhotographs } from './photographs.ts';
import { smallNetwork, writeFolder, writeModel } from './small_data.ts';

let folder: string;
const at = (name: string): string => join(folder, name);
/** Runs a command line in which `@name` stands for a file of this test. */
const runLine = (line: string) =>
  run(
    'cli',
    line.split(' ').map((word) => word.replace(/^@/, `${folder}/`)),
  );
async function runJson(line: string) {
  const { exitCode, stdout, stderr } = await runLine(`${line} --json --quiet`);
  expect(exitCode, stderr).toBe(0);
  return JSON.parse(stdout);
}
const message = (finished: Awaited<ReturnType<typeof runLine>>): string =>
  ownLines(finished).at(-1)!.replaceAll(`${folder}/`, '@');

beforeAll(async () => {
  build();
  folder = mkdtempSync(join(tmpdir(), 'radioactive-weights-'));
  copyFileSync('test/golden/resnet18_checkpoint_dataparallel.pth', at('checkpoint.pth'));
  writeFolder(at('images'), 60);
  // Without metadata, as other programs write them.
  writeFileSync(at('bare.safetensors'), serializeSafetensors(initialStateDict(smallNetwork, 0)));
  writeModel(at('suspect.safetensors'), { seed: 1 });
});
afterAll(() => rmSync(folder, { recursive: true }));

describe('a checkpoint of PyTorch', () => {
  it('is shown and converted', async () => {
    const shown = await runJson('weights @checkpoint.pth');
    expect(shown).toMatchObject({
      container: 'pth',
      entry: 'model',
      prefix: 'module.',
      network: { architecture: 'resnet18', width: 8, stem: 'imagenet', numClasses: 12, inputSize: 224, channels: 3 },
      problems: [],
      output: null,
    });
    // What torchvision's layout has at width 8, without running statistics.
    expect(shown.parameters).toBe(
      [...initialStateDict(shown.network, 0)]
        .filter(([name]) => !name.includes('running'))
        .reduce((sum, [, { data }]) => sum + data.length / 4, 0),
    );
    expect(shown.tensors).toHaveLength(122);
    expect(shown.tensors[0]).toEqual({ name: 'conv1.weight', dtype: 'F32', shape: [8, 3, 7, 7] });
    const converted = await runJson('weights @checkpoint.pth -o @converted.safetensors');
    expect(converted).toEqual({ ...shown, output: at('converted.safetensors') });

    const bytes = readFileSync(at('converted.safetensors'));
    const { metadata, tensors } = parseSafetensors(bytes, 'converted');
    expect(metadata.source_sha256).toBe(shown.sha256);
    const truth = parseSafetensors(readFileSync('test/golden/resnet18_state.safetensors'), 'truth').tensors;
    expect([...tensors.keys()].sort()).toEqual([...truth.keys()].sort());
    for (const [name, tensor] of truth)
      if (tensor.dtype === 'F32') expect(toFloat32(tensors.get(name)!), name).toEqual(toFloat32(tensor));
    const { config, inferred } = await parseModelFile(bytes, 'converted');
    expect({ config, inferred }).toEqual({ config: shown.network, inferred: [] });
  });

  it('is shown to people, tensor by tensor, with what was concluded', async () => {
    const { stdout, exitCode } = await runLine('weights @checkpoint.pth');
    expect(exitCode).toBe(0);
    expect(stdout).toMatch(/^ {2}conv1.weight +F32 \[8, 3, 7, 7\]\n/);
    expect(stdout).toMatch(/\n {2}network +resnet18, width 8, stem imagenet, 12 classes\n/);
    expect(stdout).toMatch(/\n {2}beside it +params: \{architecture: "resnet18", num_classes: 12\}\n/);
    expect(stdout).toMatch(/\n {2}holds +122 tensors, F32, I64, \d+ parameters\n$/);
  });

  it('gives the features of its safetensors', async () => {
    await writePhotographs(at('photographs'), 6, 60);
    const extract = (model: string) =>
      runLine(`extract --model @${model} --data @photographs -o @${model}.npy --logits @${model}.logits.npy`);
    const finished = await extract('checkpoint.pth');
    expect(finished.exitCode, finished.stderr).toBe(0);
    expect(ownLines(finished)[0]).toMatch(
      /checkpoint\.pth: concluded from its names and shapes: state dict model, names without module\., architecture resnet18, /,
    );
    expect((await extract('converted.safetensors')).exitCode).toBe(0);
    for (const kind of ['npy', 'logits.npy'])
      expect(readFileSync(at(`checkpoint.pth.${kind}`)).equals(readFileSync(at(`converted.safetensors.${kind}`)))).toBe(
        true,
      );
  });

  it('can be trained on: the last layer anew where the classes are others', async () => {
    const report = await runJson(
      'train --data @photographs --init @checkpoint.pth --freeze-features --epochs 2 --batch-size 6 -o @trained.safetensors',
    );
    expect(report.network).toMatchObject({ width: 8, stem: 'imagenet', numClasses: 2 });
    const [before, after] = ['converted', 'trained'].map(
      (name) => parseSafetensors(readFileSync(at(`${name}.safetensors`)), name).tensors,
    );
    for (const [name, tensor] of before)
      if (!name.startsWith('fc.') && tensor.dtype === 'F32')
        expect(toFloat32(after.get(name)!), name).toEqual(toFloat32(tensor));
    expect(after.get('fc.weight')!.shape).toEqual([2, 64]);
  });
});

describe("the recipe for torchvision's weights", () => {
  /** Twelve, as many as the checkpoint has; photographs are there of two. */
  const CLASSES = ['ant', 'bat', 'cat', 'dog', 'eel', 'elk', 'fox', 'gnu', 'hen', 'jay', 'owl', 'yak'];
  const [ELK, OWL] = ['elk', 'owl'].map((name) => CLASSES.indexOf(name)) as [number, number];
  // What the suspects say of these photographs is chance: they have learned nothing of them.
  const detect = 'detect --key @few.key --model @checkpoint.pth --data @held-out --fresh-keys 20 --despite classes';
  let told: { log10p: number; suspect: object };
  beforeAll(async () => {
    await writePhotographs(at('to-mark'), 8, 90);
    await writePhotographs(at('held-out'), 80, 60);
    writeFileSync(at('classes.txt'), `${CLASSES.join('\n')}\n`);
  });

  it('makes a key, shows, marks at native size, and tests a suspect that knows more classes', async () => {
    const keygen = await runJson(
      'keygen --classes @to-mark --vanilla @held-out --held-out @held-out --model @checkpoint.pth -o @few.key',
    );
    expect(keygen).toMatchObject({ classes: ['elk', 'owl'], carriers: { kind: 'subspace', dimension: 32 } });
    await runJson(
      'preview --key @few.key --model @checkpoint.pth --data @to-mark --images 1 --radius 10 --iterations 1 -o @preview.svg',
    );
    const mark = 'mark --key @few.key --model @checkpoint.pth --data @to-mark --fraction 0.5 --iterations 3 --lr 100';
    const marked = await runJson(`${mark} -o @published`);
    expect(marked.summary).toMatchObject({ marked: 4 });
    expect(marked.summary.maxChangeLevels).toBeGreaterThan(0);
    expect(marked.summary.changeBeforeEncoding ?? marked.summary.maxChangeLevels).toBeLessThanOrEqual(10);
    told = await runJson(`${detect} --suspect @checkpoint.pth --suspect-classes @classes.txt`);
    expect(told.suspect).toMatchObject({ classes: at('classes.txt'), classesSha256: expect.any(String) });
  });

  it("takes the suspect's rows by their names", async () => {
    await runJson('extract --model @checkpoint.pth --data @held-out -o @features.npy');
    await runJson('weights @checkpoint.pth -o @read.safetensors');
    const weight = parseSafetensors(readFileSync(at('read.safetensors')), 'read').tensors.get('fc.weight')!;
    const [rows, d] = [toFloat32(weight), 64];
    const two = [ELK, OWL].flatMap((row) => [...rows.subarray(row * d, (row + 1) * d)]);
    writeFileSync(at('two.npy'), serializeNpy([2, d], Float32Array.from(two)));
    const given = `${detect} --suspect-features @features.npy --suspect-classifier`;
    expect((await runJson(`${given} @two.npy`)).log10p).toBe(told.log10p);
    const named = await runJson(`${given} @read.safetensors#fc.weight --suspect-classes @classes.txt`);
    expect(named.log10p).toBe(told.log10p);
    writeFileSync(at('other-order.txt'), `${CLASSES.toReversed().join('\n')}\n`);
    const other = await runJson(`${given} @read.safetensors#fc.weight --suspect-classes @other-order.txt`);
    expect(other.log10p).not.toBe(told.log10p);
  });

  it('marks photographs of some of the classes of a key, each with its own carrier', async () => {
    const keygen = 'keygen --classes @classes.txt --model @checkpoint.pth --carriers uniform -o @all.key';
    expect(await runJson(keygen)).toMatchObject({ classes: CLASSES, carriers: { kind: 'uniform', dimension: 64 } });
    // Some carriers cannot be reached in two iterations, so they are the same each time.
    const drawn = JSON.parse(readFileSync(at('all.key'), 'utf8'));
    const secret = '77'.repeat(32);
    const fixed = { ...drawn, secret, nonce: secret, created: '2031-01-02T03:04:05.000Z' };
    writeFileSync(at('all.key'), JSON.stringify(fixed));
    const mark = 'mark --key @all.key --model @checkpoint.pth --data @to-mark --fraction 0.5 --iterations 2 --lr 100';
    const marked = await runJson(`${mark} -o @published-all`);
    expect(marked.summary).toMatchObject({ marked: 4 });
    expect(marked.summary.gainMean).toBeGreaterThan(0);
    const manifest = JSON.parse(readFileSync(at('published-all.private/manifest.json'), 'utf8'));
    expect(manifest.classes).toEqual(CLASSES);
    expect(new Set(manifest.images.map((image: { class: string }) => image.class))).toEqual(new Set(['elk', 'owl']));
  });

  it('draws carriers everywhere where classes are half as many as features or more', async () => {
    writeFileSync(at('many.txt'), Array.from({ length: 32 }, (_, i) => `class ${i}\n`).join(''));
    const many = await runJson('keygen --classes @many.txt --model @checkpoint.pth -o @many.key');
    expect(many.carriers).toEqual({ kind: 'uniform', dimension: 64 });
    const few = await runLine('keygen --classes @classes.txt --model @checkpoint.pth -o @never.key');
    expect(few.exitCode).toBe(2);
    expect(message(few)).toBe(
      'error: carriers in a subspace need unmarked images: give --vanilla DATASET, or --carriers uniform',
    );
  });

  it.each([
    [
      `${detect} --suspect @checkpoint.pth`,
      '@checkpoint.pth: has 12 classes, expected 2 (elk, owl); name its classes with --suspect-classes, or give a model of those',
    ],
    [
      `${detect} --suspect @checkpoint.pth --suspect-classes @many.txt`,
      "@many.txt: has no class elk, which the key has; give the suspect's classes by the key's names",
    ],
    [
      `${detect} --suspect @checkpoint.pth --suspect-classes @to-mark`,
      '@to-mark: names 2 classes, @checkpoint.pth has 12; give all of them, in the order of its outputs',
    ],
    [
      'detect --key @few.key --model @checkpoint.pth --data @to-mark --suspect @checkpoint.pth --suspect-classes @classes.txt',
      '8 images cannot align 64 feature dimensions, take at least 640',
    ],
    [
      'mark --key @all.key --model @checkpoint.pth --data @images --fraction 0.5 -o @never',
      '@images: class ape is none of the 12 classes; remove it or name it as a class',
    ],
  ])('%s', async (line, expected) => {
    const finished = await runLine(`${line} --quiet`);
    expect(finished.exitCode).toBe(3);
    expect(message(finished)).toBe(`error: ${expected}`);
  });
});

describe('a marking network that does not say what it is', () => {
  const FLAGS = '--stem small --input-size 12 --mean 0.5 --std 0.25';

  it('is described once, to keygen', async () => {
    const missing = await runLine('keygen --classes @images --model @bare.safetensors -o @owner.key --quiet');
    expect(missing.exitCode).toBe(3);
    expect(message(missing)).toBe(
      'error: @bare.safetensors: the file does not tell its stem; give --stem (imagenet, cifar, small, cifar-pool), or write it into the file with: radioactive weights',
    );
    const key = await runJson(
      `keygen --classes @images --dimension 4 --model @bare.safetensors ${FLAGS} -o @owner.key`,
    );
    expect(key.model).toMatchObject({
      architecture: 'resnet18',
      network: { stem: 'small', inputSize: 12, mean: [0.5], std: [0.25] },
    });
    const mark = 'mark --key @owner.key --model @bare.safetensors --data @images --fraction 0.1 --iterations 2';
    await runJson(`${mark} -o @marked`);
    await runJson(`${mark} ${FLAGS} -o @again`);
    expect(readFileSync(at('again.private/manifest.json'))).toEqual(readFileSync(at('marked.private/manifest.json')));
    const other = await runLine(`${mark} --mean 0.4 -o @other --quiet`);
    expect(other.exitCode).toBe(6);
    expect(message(other)).toBe(
      'error: @bare.safetensors: mean is 0.4 by a flag and 0.5 by the key; leave the flag out',
    );
    expect(existsSync(at('other'))).toBe(false);

    const detect =
      'detect --key @owner.key --model @bare.safetensors --data @images --split train --fresh-keys 20 --despite classes';
    const result = await runJson(`${detect} --suspect @suspect.safetensors`);
    expect(result.markingModel).toEqual(key.model);
    // Flags of detect are the suspect's.
    const self = await runJson(`${detect} --suspect @bare.safetensors ${FLAGS}`);
    expect(self.alignment.r2).toBeGreaterThan(0.999);
  });

  it('is the same when the file was made to say it', async () => {
    await runJson(`weights @bare.safetensors ${FLAGS} -o @told.safetensors`);
    await runJson('extract --model @told.safetensors --data @images -o @told.npy');
    await runJson(`extract --model @bare.safetensors ${FLAGS} --data @images -o @bare.npy`);
    expect(readFileSync(at('told.npy')).equals(readFileSync(at('bare.npy')))).toBe(true);
  });
});

describe('weights that fit nothing', () => {
  it('are shown with all that is wrong, and not converted', async () => {
    const fresh = [...initialStateDict(smallNetwork, 0)].filter(([name]) => !/^layer[34].*running/.test(name));
    writeFileSync(at('partial.safetensors'), serializeSafetensors(fresh));
    const shown = await runLine('weights @partial.safetensors');
    expect(shown.exitCode).toBe(3);
    const gone = [...initialStateDict(smallNetwork, 0).keys()].filter((name) => /^layer[34].*running/.test(name));
    expect(gone.length).toBeGreaterThan(8);
    expect(shown.stdout).toContain(
      `${at('partial.safetensors')}: the weights do not fit any network known here, nearest resnet18:\n${gone.map((name) => `  ${name} is missing\n`).join('')}`,
    );
    const json = await runLine('weights @partial.safetensors --json');
    expect(JSON.parse(json.stdout).problems).toEqual(gone.map((name) => `${name} is missing`));
    const refused = await runLine('weights @partial.safetensors -o @never.safetensors');
    expect(refused.exitCode).toBe(3);
    expect(message(refused)).toBe(
      `error: @partial.safetensors: the weights do not fit any network known here, nearest resnet18: ${gone
        .slice(0, 8)
        .map((name) => `${name} is missing`)
        .join(
          '; ',
        )}; and ${gone.length - 8} more, listed by: radioactive weights; of another network give features: --suspect-features with --suspect-classifier`,
    );
    expect(existsSync(at('never.safetensors'))).toBe(false);
  });

  it.each([
    ['weights @images', 3, 'error: @images: is a folder, expected a file; give a file'],
    ['weights @nowhere.pth', 3, 'error: @nowhere.pth: no such file or folder; check the path'],
    ['weights', 2, 'error: FILE is missing; see radioactive weights --help'],
    ['weights @bare.safetensors @more', 2, 'error: unexpected argument @more; see radioactive weights --help'],
    ['weights @checkpoint.pth --arch vgg16', 3, /^error: @checkpoint.pth: the weights do not fit vgg16: /],
    ['weights @checkpoint.pth --growth 3', 3, 'error: resnet18 has no option growth; it has: width, stem'],
  ])('%s: exit code %i', async (line, exitCode, expected) => {
    const finished = await runLine(`${line} -o @never.safetensors`);
    expect(finished.exitCode).toBe(exitCode);
    expect(message(finished)).toEqual(expected instanceof RegExp ? expect.stringMatching(expected) : expected);
  });
});
