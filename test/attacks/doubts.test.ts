/** Evidence from the wrong images, classes, networks and references, made by an owner with the key: docs/threats.md names each. */

import {
  appendFileSync,
  cpSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import sharp from 'sharp';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { findOverlap, overlapFault } from '../../src/datasets/overlap.ts';
import { testScores } from '../../src/detection/detect_blackbox.ts';
import { heldOutMarks, MARKED_BELOW } from '../../src/detection/held_out_marks.ts';
import { ModelScores } from '../../src/detection/scores.ts';
import type { Check } from '../../src/evidence/check.ts';
import { serializeIdx } from '../../src/formats/idx.ts';
import { serializeNpy } from '../../src/formats/npy.ts';
import { commitment, createKey, type Key, keyCarriers, keyProbeOrders } from '../../src/marking/key.ts';
import type { ProbeManifest } from '../../src/marking/probe_manifest.ts';
import { type Command, parseOptions } from '../../src/node/cli/command.ts';
import { detect } from '../../src/node/cli/detect.ts';
import { keygen } from '../../src/node/cli/keygen.ts';
import { mark } from '../../src/node/cli/mark.ts';
import { verify } from '../../src/node/cli/verify.ts';
import { openDataset } from '../../src/node/datasets/open.ts';
import { derive } from '../../src/random.ts';
import { useDevice } from '../device.ts';
import { readBack } from '../png.ts';
import { CLASSES, writeFolder, writeModel } from '../small_data.ts';

const device = useDevice();
let folder: string;
const at = (name: string): string => join(folder, name);
/** Runs a command in this process; `@name` stands for a file of this test. */
async function run<T>(command: Command, line: string): Promise<T> {
  const words = line.split(' ').map((word) => word.replaceAll(/@(?=[a-z])/g, `${folder}/`));
  const { json } = await command.run({
    options: parseOptions(command.options, words) as never,
    signal: new AbortController().signal,
    progress: () => ({ update: () => undefined, done: () => undefined }),
    log: () => undefined,
    openDevice: async () => device(),
  });
  return json as T;
}
async function rows(line: string): Promise<Record<string, Check>> {
  const { checks } = await run<{ checks: Check[] }>(verify, `--key @owner.key ${line}`);
  return Object.fromEntries(checks.map((check) => [check.check, check]));
}
const DETECT = '--key @owner.key --model @marker.safetensors --fresh-keys 20 --split train';
const looks = (): number => readFileSync(at('owner.key.register.jsonl'), 'utf8').split('"index"').length - 1;

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'radioactive-doubts-'));
  writeFolder(at('images'), 40);
  writeFolder(at('held-out'), 60, CLASSES, 1000);
  writeModel(at('marker.safetensors'));
  writeModel(at('suspect.safetensors'), { seed: 1 });
  await run(
    keygen,
    '--classes @images --vanilla @held-out --dimension 4 --model @marker.safetensors -o @owner.key --held-out-name later',
  );
  await run(mark, '--key @owner.key --model @marker.safetensors --data @images --fraction 1 --iterations 3 -o @marked');
});
afterAll(() => rmSync(folder, { recursive: true }));

describe('marked images as the images to test on', () => {
  /** The attacker's tools: each writes a marked image's file anew so that no byte of it stays. */
  const tools: Record<string, (png: Buffer) => Promise<Buffer>> = {
    're-encoded': (png) => sharp(png).png({ compressionLevel: 1, adaptiveFiltering: true }).toBuffer(),
    'a byte appended': async (png) => Buffer.concat([png, Buffer.of(0)]),
    'JPEG 98': (png) => sharp(png).jpeg({ quality: 98 }).toBuffer(),
    'one pixel larger': (png) => sharp(png).resize(13, 13, { fit: 'fill' }).png().toBuffer(),
    mirrored: (png) => sharp(png).flop().png().toBuffer(),
    'turned by 90 degrees': (png) => sharp(png).rotate(90).png().toBuffer(),
    'noise of one level': async (png) => {
      const { width, height, data } = readBack(png);
      const random = derive(1, 'noise');
      const levels = Buffer.from(data.map((x) => Math.max(0, Math.min(255, x + random.below(3) - 1))));
      return await sharp(levels, { raw: { width, height, channels: 1 } })
        .png()
        .toBuffer();
    },
    'a column cut off': (png) => sharp(png).extract({ left: 1, top: 0, width: 11, height: 12 }).png().toBuffer(),
  };

  it.each(Object.keys(tools))('are refused before the test is counted: %s', async (name) => {
    const out = `again-${name.replaceAll(' ', '-')}`;
    for (const label of CLASSES) {
      mkdirSync(join(at(out), label), { recursive: true });
      for (const file of readdirSync(join(at('marked'), label)))
        writeFileSync(
          join(at(out), label, `x${file}`),
          await tools[name](readFileSync(join(at('marked'), label, file))),
        );
    }
    const before = looks();
    await expect(
      run(detect, `${DETECT} --suspect @suspect.safetensors --data @${out} --marked @marked --original @images`),
    ).rejects.toThrow(/of 40 images (are copies of|show the same as) marked images/);
    expect(looks()).toBe(before);
  });

  it('are refused as IDX files too', async () => {
    const pixels: Buffer[] = [];
    const labels: number[] = [];
    for (const [label, name] of CLASSES.entries())
      for (const file of readdirSync(join(at('marked'), name)).sort()) {
        pixels.push(Buffer.from(readBack(readFileSync(join(at('marked'), name, file))).data));
        labels.push(label);
      }
    mkdirSync(at('as-idx'));
    const write = (name: string, shape: number[], data: Uint8Array) =>
      writeFileSync(join(at('as-idx'), name), serializeIdx({ shape, data }));
    write('train-images-idx3-ubyte', [pixels.length, 12, 12], Buffer.concat(pixels));
    write('train-labels-idx1-ubyte', [labels.length], Uint8Array.from(labels));
    await expect(
      run(detect, `${DETECT} --suspect @suspect.safetensors --data @as-idx --marked @marked`),
    ).rejects.toThrow('40 of 40 images are copies of marked images');
  });

  it('fail verify where they were tested on all the same', async () => {
    cpSync(at('marked'), at('renamed'), { recursive: true });
    for (const label of CLASSES)
      for (const file of readdirSync(join(at('renamed'), label))) appendFileSync(join(at('renamed'), label, file), '!');
    // The attacker gives no --marked: nothing beside the folder tells of it.
    await run(
      detect,
      `${DETECT} --suspect @suspect.safetensors --data @renamed --despite held-out,alignment --save @on-marked`,
    );
    const line = '--result @on-marked/result.json --data @renamed --data-split train';
    expect((await rows(line)).overlap.state).toBe('not checked');
    const table = await rows(`${line} --marked @marked --original @images`);
    expect(table.overlap).toMatchObject({
      state: 'failed',
      detail: expect.stringContaining('40 of 40 images are copies'),
    });
  });

  it('other images of the same kind pass', async () => {
    const [a, b] = [await openDataset(at('held-out')), await openDataset(at('marked'))];
    expect(overlapFault(await findOverlap(a, [{ kind: 'marked', dataset: b }]))).toBeUndefined();
  });

  it('are refused without any list: a classifier trained on them shows the mark', async () => {
    const [n, d, K] = [400, 16, 4];
    const names = Array.from({ length: K }, (_, c) => `class ${c}`);
    const model = { sha256: 'ab'.repeat(32), architecture: 'resnet18', featureDimension: d };
    const made = await createKey({ classes: names, model, basis: null, centre: true });
    const key: Key = { ...made, secret: '5e'.repeat(32), nonce: '0c'.repeat(32), created: '2026-01-01T00:00:00.000Z' };
    const { directions } = await keyCarriers(key);
    const random = derive(3, 'features');
    const labels = Uint32Array.from({ length: n }, (_, i) => i % K);
    const vanilla = Float64Array.from({ length: n * d }, () => random.gaussian());
    // Half of them moved along the carriers by as much as they vary.
    const moved = vanilla.map((x, i) => {
      const [row, column] = [Math.floor(i / d), i % d];
      return row < n / 2 ? x + 1.5 * directions[labels[row] * d + column] : x;
    });
    expect(await heldOutMarks(key, vanilla, labels)).toBeGreaterThan(-2);
    expect(await heldOutMarks(key, moved, labels)).toBeLessThan(MARKED_BELOW);
  });
});

describe('outputs that are not the classes of the key', () => {
  it('are refused, with the order that fits, before the test is counted', async () => {
    const before = looks();
    writeFileSync(at('rotated.txt'), `${CLASSES.toReversed().join('\n')}\n`);
    await expect(
      run(detect, `${DETECT} --suspect @suspect.safetensors --suspect-classes @rotated.txt --data @held-out`),
    ).rejects.toThrow(
      /right about 0\.0 % of 60 images, chance gives 50\.0 %; with its outputs in another order it would be right about 100\.0 %: ape is output 0, bee is output 1;.*--suspect-classes.*--mean and --std, --stem/,
    );
    expect(looks()).toBe(before);
  });

  it('chosen among many to suit the carriers are refused, and fail verify', async () => {
    // The audit's tool: a random last layer of 200 outputs, of which those are named that fit best.
    const random = derive(4, 'outputs');
    const features = Float32Array.from({ length: 60 * 32 }, () => random.gaussian());
    const weight = Float32Array.from({ length: 200 * 32 }, () => random.gaussian());
    writeFileSync(at('random-features.npy'), serializeNpy([60, 32], features));
    writeFileSync(at('random-weight.npy'), serializeNpy([200, 32], weight));
    const names = Array.from({ length: 200 }, (_, i) => `other ${i}`);
    names[17] = 'ape';
    names[101] = 'bee';
    writeFileSync(at('names.txt'), `${names.join('\n')}\n`);
    const line = `${DETECT} --suspect-features @random-features.npy --suspect-classifier @random-weight.npy --suspect-classes @names.txt --data @held-out`;
    await expect(run(detect, line)).rejects.toThrow(/the suspect is right about/);
    await run(detect, `${line} --despite classes,alignment --save @chosen`);
    const table = await rows('--result @chosen/result.json --data @held-out --data-split train');
    expect(table['classes of the suspect'].state).toBe('failed');
    const { primary, deviations } = JSON.parse(readFileSync(at('chosen/result.json'), 'utf8'));
    expect(primary).toBe(false);
    expect(deviations.join()).toContain('the suspect is right about');
  });
});

it('a suspect that is taken for something else than its file says is recorded, and fails verify', async () => {
  const line = `${DETECT} --suspect @suspect.safetensors --mean=0.52 --data @held-out --save @overridden`;
  const result = await run<{ suspect: object; primary: boolean; deviations: string[] }>(detect, line);
  expect(result).toMatchObject({
    primary: false,
    suspect: { network: '{"mean":[0.52]}', contradicted: '{"mean":[0.5]}' },
    deviations: [`the suspect's file says {"mean":[0.5]} of itself, here it was taken for {"mean":[0.52]}`],
  });
  const args = '--result @overridden/result.json --data @held-out --data-split train --suspect @suspect.safetensors';
  const table = await rows(args);
  expect(table['network of the suspect'].state).toBe('failed');
  expect(table['features of the suspect'].state).toBe('ok');
  // What the result leaves out is found by the file.
  const text = readFileSync(at('overridden/result.json'), 'utf8');
  writeFileSync(at('overridden/silent.json'), text.replace(/,?\s*"contradicted": "[^\n]*"/, ''));
  expect((await rows(args.replace('result.json', 'silent.json')))['network of the suspect'].state).toBe('failed');
});

describe('references', () => {
  const [K, S, perClass] = [4, 20, 3];
  const classes = Array.from({ length: K }, (_, c) => `class ${c}`);
  let key: Key;
  let probes: ProbeManifest;
  let suspect: Float64Array;
  /** [rows, K] scores: each image of its class, with noise, and with `more` for the true set. */
  const scores = async (noise: number, more: number, seed: number, scale = 1): Promise<Float64Array> => {
    const orders = await keyProbeOrders(key, S);
    const random = derive(seed, 'scores');
    return Float64Array.from({ length: K * perClass * (S + 1) * K }, (_, at) => {
      const [row, column] = [Math.floor(at / K), at % K];
      const c = Math.floor(row / (S + 1) / perClass);
      const version = row % (S + 1);
      const own = column === c ? 5 + (version > 0 && orders[c][version - 1] === 0 ? more : 0) : 0;
      return scale * (own + noise * random.gaussian());
    });
  };
  beforeAll(async () => {
    const made = await createKey({
      classes,
      model: { sha256: 'ab'.repeat(32), architecture: 'resnet18', featureDimension: 16 },
      basis: null,
      centre: true,
    });
    key = { ...made, secret: '5e'.repeat(32), nonce: '0c'.repeat(32), created: '2026-01-01T00:00:00.000Z' };
    const ones = classes.map(() => new Array<number>(S).fill(1));
    probes = {
      ...{ classes, sets: S, keyCommitment: await commitment(key) },
      images: classes.flatMap((name) => Array.from({ length: perClass }, (_, i) => ({ class: name, id: `${i}` }))),
      marks: { changeLevels: ones, gain: ones },
    } as unknown as ProbeManifest;
    suspect = await scores(0.3, 0, 1);
  });
  const of = (values: Float64Array): ModelScores => ModelScores.ofScores(values, K);

  it('made of the answers of the suspect, less a little at the true set, are refused', async () => {
    const alone = await testScores(key, probes, of(suspect), []);
    const less = await scores(0, -0.3, 2);
    const nothing = await scores(0, 0, 2);
    const noise = derive(5, 'noise');
    const crafted = suspect.map((x, i) => x + less[i] - nothing[i] + 0.03 * noise.gaussian());
    // Green for the attacker before: the floor of the test from a model that knows nothing.
    const made = await testScores(key, probes, of(suspect), [of(crafted)], { despite: ['references'] });
    expect(made.log10p).toBeLessThan(-4);
    expect(alone.log10p).toBeGreaterThan(-2);
    await expect(testScores(key, probes, of(suspect), [of(crafted)])).rejects.toThrow(
      /the reference models explain \d+ % of the suspect's answers/,
    );
  });

  it('that are the suspect, or know the mark, are refused; others are taken', async () => {
    await expect(testScores(key, probes, of(suspect), [of(suspect)])).rejects.toThrow(/explain 100 %/);
    await expect(testScores(key, probes, of(suspect), [of(await scores(0.3, 2, 6))])).rejects.toThrow(
      /answers to the true set otherwise than to its decoys/,
    );
    const { blackBox } = await testScores(key, probes, of(suspect), [of(await scores(0.3, 0, 7))]);
    expect(blackBox.referencesLog10P).toBeGreaterThan(-3);
  });

  it('scores in percent, and scores that are not normalised, are remarked on', async () => {
    const percent = new Float64Array(suspect.length);
    for (let row = 0; row < suspect.length; row += K) {
      const weights = Array.from(suspect.subarray(row, row + K), Math.exp);
      const sum = weights.reduce((total, x) => total + x, 0);
      for (const [k, x] of weights.entries()) percent[row + k] = (100 * x) / sum;
    }
    const warnings = async (values: Float64Array) => (await testScores(key, probes, of(values), [])).warnings.join();
    expect(await warnings(percent)).toContain('scores of the suspect: rows add up to 100');
    expect(await warnings(percent.map((x) => x / 50))).toContain('rows do not add up to 1');
    expect(await warnings(percent.map((x) => x / 100))).not.toContain('scores of the suspect');
  });
});
