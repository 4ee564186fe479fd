import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { parseNpy, serializeNpy } from '../src/formats/npy.ts';
import { parseSafetensors, serializeSafetensors, toFloat32 } from '../src/formats/safetensors.ts';
import { build, ownLines, run } from './cli.ts';
import { writeFolder, writeModel } from './small_data.ts';

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

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'radioactive-detect-'));
  build();
  writeFolder(at('images'), 60);
  writeModel(at('marker.safetensors'));
  writeModel(at('suspect.safetensors'), { seed: 1 });
  await runJson('keygen --classes @images --dimension 4 --model @marker.safetensors -o @owner.key');
});
afterAll(() => rmSync(folder, { recursive: true }));

const DETECT = 'detect --key @owner.key --model @marker.safetensors --data @images --split train';

describe('a suspect of another framework', () => {
  beforeAll(async () => {
    await runJson('extract --model @suspect.safetensors --data @images -o @features.npy');
    const { tensors } = parseSafetensors(readFileSync(at('suspect.safetensors')), 'suspect');
    const fc = tensors.get('fc.weight')!;
    const weight = toFloat32(fc);
    const [K, dt] = fc.shape as [number, number];
    writeFileSync(at('weight.npy'), serializeNpy([K, dt], weight));
    const transposed = Float32Array.from(weight, (_, i) => weight[(i % K) * dt + Math.floor(i / K)]);
    writeFileSync(at('transposed.npy'), serializeNpy([dt, K], transposed));
    writeFileSync(at('one.npy'), serializeNpy([1, dt], weight.slice(0, dt)));
    const { data } = parseNpy(readFileSync(at('features.npy')), 'features');
    const features = data as Float32Array;
    writeFileSync(at('few.npy'), serializeNpy([59, dt], features.slice(dt)));
    const spoilt = features.slice();
    spoilt[3 * dt + 2] = Number.NaN;
    writeFileSync(at('nan.npy'), serializeNpy([60, dt], spoilt));
    writeFileSync(
      at('both.safetensors'),
      serializeSafetensors([
        ['features', { dtype: 'F32', shape: [60, dt], data: features }],
        ['bias', { dtype: 'F32', shape: [K], data: new Float32Array(K) }],
        ['head', { dtype: 'F32', shape: [K, dt], data: weight }],
      ]),
    );
  });

  it('gives what the model itself gives, beside its fresh keys', async () => {
    const own = await runJson(`${DETECT} --suspect @suspect.safetensors`);
    const { suspect, command, time, register, ...result } = own;
    const npy = await runJson(`${DETECT} --suspect-features @features.npy --suspect-classifier @weight.npy`);
    const { suspect: files, ...foreign } = npy;
    expect(foreign).toEqual({ ...result, command: foreign.command, time: foreign.time, register: foreign.register });
    expect(foreign.command).toContain('--suspect-features');
    // Both are tests made with the key, and counted.
    expect([register.looks, foreign.register.looks]).toEqual([1, 2]);
    expect(Date.parse(foreign.time)).toBeGreaterThan(Date.parse(time));
    expect(suspect).toEqual({ path: at('suspect.safetensors'), sha256: expect.stringMatching(/^[0-9a-f]{64}$/) });
    expect(files).toMatchObject({ features: at('features.npy'), classifier: at('weight.npy') });
    const named = '--suspect-features @both.safetensors#features --suspect-classifier @both.safetensors#head';
    expect((await runJson(`${DETECT} ${named}`)).log10p).toBe(result.log10p);

    const [statistic] = result.statistics;
    expect(statistic).toMatchObject({ name: 'white-box', exact: true, log10p: result.log10p });
    expect(statistic.perClass).toEqual(
      result.perClass.map((entry: { class: string; cosine: number; log10p: number }) => ({
        class: entry.class,
        score: entry.cosine,
        log10p: entry.log10p,
      })),
    );
    expect(statistic.null).toMatchObject({ kind: 'fresh keys' });
    expect(statistic.null.log10p).toHaveLength(1000);
    const below = statistic.null.log10p.filter((value: number) => value <= result.log10p).length;
    expect(statistic.null.atMost).toBe(below);
  });

  it.each([
    ['--suspect-features @features.npy', 2, '--suspect-features and --suspect-classifier go together'],
    ['', 2, 'give --suspect MODEL, or --suspect-features FILE with --suspect-classifier FILE'],
    [
      '--suspect @suspect.safetensors --suspect-features @features.npy --suspect-classifier @weight.npy',
      2,
      'give --suspect MODEL, or --suspect-features FILE with --suspect-classifier FILE',
    ],
    [
      '--suspect-features @few.npy --suspect-classifier @weight.npy',
      3,
      '@few.npy: has 59 rows, @images 60 images; give one row per image, in its order',
    ],
    [
      '--suspect-features @features.npy --suspect-classifier @transposed.npy',
      3,
      '@transposed.npy: is [32, 2], the features are [60, 32]; give its transpose, [classes, features]',
    ],
    [
      '--suspect-features @features.npy --suspect-classifier @one.npy',
      6,
      "the suspect is right about 0.0 % of 60 images, chance gives 50.0 %; with its outputs in another order it would be right about 100.0 %: ape is output 1, bee is output 0; its outputs may be others than the key's classes, or in another order (--suspect-classes), or it is fed wrongly (--mean and --std, --stem, --input-size). No test was made. --despite classes makes it all the same, as a deviation",
    ],
    [
      '--suspect-features @nan.npy --suspect-classifier @weight.npy',
      3,
      '@nan.npy: row 3, column 2 is NaN; give finite numbers',
    ],
    [
      '--suspect-features @features.npy --suspect-classifier @both.safetensors',
      3,
      '@both.safetensors: has 2 matrices; give @both.safetensors#NAME with one of: features, head',
    ],
    [
      '--suspect-features @features.npy --suspect-classifier @both.safetensors#fc',
      3,
      '@both.safetensors: has no tensor fc; give @both.safetensors#NAME with one of: features, head',
    ],
  ])('%s: exit code %i', async (suspect, exitCode, message) => {
    const finished = await runLine(`${DETECT} ${suspect}`.trim().concat(' --quiet'));
    const lines = ownLines(finished).map((text) => text.replaceAll(`${folder}/`, '@'));
    expect(lines).toEqual([`error: ${message}`]);
    expect(finished.exitCode).toBe(exitCode);
  });
});

it('refuses held-out images that were marked', async () => {
  await runJson(
    'mark --key @owner.key --model @marker.safetensors --data @images --fraction 0.1 --iterations 1 -o @marked',
  );
  const finished = await runLine(`${DETECT.replace('@images', '@marked')} --suspect @suspect.safetensors --quiet`);
  expect(ownLines(finished)[0]).toMatch(
    /^error: .*marked: 6 of its images are marked, says .*manifest.json, the first is ape.*; give images that never were$/,
  );
  expect(finished.exitCode).toBe(3);
});

describe('calibrate', () => {
  it('tests a suspect with fresh keys: both kinds of carriers, or those of a key', async () => {
    const line = 'calibrate --model @marker.safetensors --suspect @suspect.safetensors --data @images --split train';
    const both = await runJson(`${line} --dimension 4 --keys 200 -o @calibration.json`);
    expect(both.passed).toBe(true);
    expect(both.calibrations.map(({ name }: { name: string }) => name)).toEqual([
      'white-box uniform',
      'white-box uniform, each class',
      'white-box subspace',
      'white-box subspace, each class',
    ]);
    expect(JSON.parse(readFileSync(at('calibration.json'), 'utf8'))).toEqual(both);
    const own = await runJson(`${line} --key @owner.key --keys 200`);
    // The key's subspace is the one found on the same images; its fresh keys are its own, since all it says goes into them.
    expect(own.calibrations.map(({ name }: { name: string }) => name)).toEqual([
      'white-box subspace',
      'white-box subspace, each class',
    ]);
    expect(own.calibrations[0].log10p).not.toEqual(both.calibrations[2].log10p);
    const tested = await runJson(`${DETECT} --suspect @suspect.safetensors --fresh-keys 200`);
    expect(tested.statistics[0].null.log10p).toEqual(own.calibrations[0].log10p);
    const text = await runLine(`${line} --key @owner.key --keys 200 --quiet`);
    expect(text.stdout).toMatch(
      /^white-box subspace: passed, 200 p-values\n {2}uniform\? +Kolmogorov distance 0\.\d{4}, p /,
    );
    expect(text.stdout).toMatch(/ {2}p <= 0.05 +\d+: rate 0\.\d{4}, 95 % interval 0\.\d{4} to 0\.\d{4}\n/);
  });
});
