/** What files give away, played by whoever gets them: docs/threats.md has the numbers. */

import { mkdirSync, mkdtempSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { hashDataset } from '../../src/datasets/hash.ts';
import { serializeManifest } from '../../src/datasets/manifest.ts';
import { merkleRoot } from '../../src/datasets/merkle.ts';
import { selectStratified } from '../../src/datasets/select.ts';
import { SINGLE_USE, testScores } from '../../src/detection/detect_blackbox.ts';
import { ModelScores, probeResponse } from '../../src/detection/scores.ts';
import { toFloat32 } from '../../src/formats/safetensors.ts';
import { hashBytes } from '../../src/formats/sha256.ts';
import { chooseForMarking } from '../../src/marking/choice.ts';
import { frequencyModel } from '../../src/marking/frequency_model.ts';
import {
  commitment,
  createKey,
  type Key,
  keyCarriers,
  keyProbeOrders,
  parseKey,
  serializeKey,
} from '../../src/marking/key.ts';
import { type ProbeManifest, probeLayout } from '../../src/marking/probe_manifest.ts';
import { defaultMarkingRecipe } from '../../src/marking/recipe.ts';
import { multiplyTransposed, transpose } from '../../src/maths/linalg.ts';
import { openDataset } from '../../src/node/datasets/open.ts';
import { saveArrays } from '../../src/node/evidence/arrays.ts';
import { openMarked } from '../../src/node/evidence/marked.ts';
import { beginRegister } from '../../src/node/evidence/register.ts';
import { assembleReport } from '../../src/node/report/assemble.ts';
import { derive } from '../../src/random.ts';
import { pngOf, readBack } from '../png.ts';
import { sampleResult, stored } from '../sample_result.ts';

const normals = (label: string, length: number): Float64Array => {
  const random = derive(5, label);
  return Float64Array.from({ length }, () => random.gaussian());
};
const K = 10;
const classes = Array.from({ length: K }, (_, c) => `class ${c}`);
const fixed = (key: Key): Key => ({ ...key, secret: '5e'.repeat(32), nonce: '0c'.repeat(32) });

let folder: string;
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'radioactive-leaks-'));
});
afterAll(() => rmSync(folder, { recursive: true }));

describe('a black-box result, in the hands of whoever has the probes and the model that was tested', () => {
  const S = 50;
  const perClass = 4;
  let key: Key;
  let probes: ProbeManifest;
  let suspect: ModelScores;
  beforeAll(async () => {
    const recipe = defaultMarkingRecipe(28);
    key = fixed(
      await createKey({
        classes,
        model: { sha256: 'ab'.repeat(32), architecture: 'frequencies', featureDimension: 48 },
        basis: null,
        centre: true,
        blackBox: { combine: 'sum', decoys: S - 1, perClass, recipe, references: null },
      }),
    );
    const ones = classes.map(() => new Array<number>(S).fill(1));
    probes = {
      ...{ classes, sets: S, keyCommitment: await commitment(key) },
      images: classes.flatMap((name) => Array.from({ length: perClass }, (_, i) => ({ class: name, id: `${i}` }))),
      marks: { changeLevels: ones, gain: ones },
    } as unknown as ProbeManifest;
    suspect = ModelScores.ofScores(normals('scores', K * perClass * (S + 1) * K), K);
  });

  it('names the true set of every class, so it says that the probes are used up', async () => {
    // Its answers are noise, which says more than those of a classifier would.
    const result = await testScores(key, probes, suspect, [], { despite: ['classes'] });
    // The attacker's tool. No key: responses of each set from the own scores, standardised as docs/method.md says.
    const { response } = probeResponse(suspect, probeLayout(probes));
    const found = classes.map((_, c) => {
      const row = response.slice(c * S, (c + 1) * S);
      const mean = row.reduce((sum, x) => sum + x, 0) / S;
      const deviation = Math.sqrt(row.reduce((sum, x) => sum + (x - mean) ** 2, 0) / S);
      const published = Number(result.statistics[0].perClass[c].score);
      const distance = Array.from(row, (x) => Math.abs((x - mean) / deviation - published));
      return distance.indexOf(Math.min(...distance));
    });
    const orders = await keyProbeOrders(key, S);
    expect(found).toEqual(orders.map((order) => order.indexOf(0)));
    expect(result.warnings).toContain(SINGLE_USE);
  });

  it('names none of them in the report that is shown around', async () => {
    const finding = await testScores(key, probes, suspect, [], { despite: ['classes'] });
    const deciding = finding.statistics[0];
    const whole = sampleResult({
      classes,
      change: ({ alignment, dimension, meanCosine, perClass, ...result }) =>
        ({
          ...result,
          test: 'black-box',
          log10p: finding.log10p,
          warnings: finding.warnings,
          statistics: finding.statistics,
          register: { ...result.register, log10pBonferroni: finding.log10p },
          blackBox: {
            ...{ ...finding.blackBox, probes: { path: 'probes', sha256: '1'.repeat(64) } },
            references: [],
          },
        }) as unknown as typeof result,
    });
    const { report, page } = await assembleReport({ result: stored(whole) });
    const { report: full } = await assembleReport({ result: stored(whole), full: true });
    /** All numbers that follow from which sets are true. */
    const exact = [
      finding.log10p,
      finding.blackBox.marksLog10P,
      ...finding.statistics.flatMap(({ log10p, perClass, null: sample }) => [
        log10p,
        ...perClass.flatMap((entry) => [entry.score, entry.log10p ?? 0]),
        ...(sample?.log10p ?? []),
      ]),
    ].filter((x) => !Number.isInteger(x));
    expect(exact.length).toBeGreaterThan(2 * K + S);
    const shown = [JSON.stringify(report), page].join('\n');
    for (const x of exact) {
      expect(shown).not.toContain(String(x));
      for (const digits of [x.toFixed(3), x.toFixed(4)]) if (Math.abs(x) > 1) expect(shown).not.toContain(digits);
    }
    expect(JSON.stringify(full)).toContain(String(deciding.perClass[0].score));
    // What is left: an innocent model answers the sets alike, and the bound fits any of them. The attacker takes the strongest.
    const { response } = probeResponse(suspect, probeLayout(probes));
    const strongest = classes.map((_, c) => {
      const row = response.slice(c * S, (c + 1) * S);
      return row.indexOf(Math.max(...row));
    });
    const orders = await keyProbeOrders(key, S);
    const hits = strongest.filter((s, c) => orders[c][s] === 0).length;
    // By chance 10/50 of a class: three or more once in a thousand.
    expect(hits).toBeLessThan(3);
  });

  it('which the probes alone do not name', async () => {
    const first = await keyProbeOrders(key, S);
    const second = await keyProbeOrders({ ...key, secret: '5f'.repeat(32) }, S);
    expect(first).not.toEqual(second);
    expect(JSON.stringify(probes)).not.toContain(key.secret);
  });
});

describe('probes, in the hands of whoever has the published images too', () => {
  it('name true sets by the means of the classes, the more the more images are marked', async () => {
    const [S, pixels, perClass] = [50, 144, 600];
    const model = { sha256: 'ab'.repeat(32), architecture: 'frequencies', featureDimension: 48 };
    const key = fixed(await createKey({ classes, model, basis: null, centre: true }));
    const { tensors } = frequencyModel({ inputSize: 12, channels: 1, numClasses: K, patterns: 48 });
    const patterns = Float64Array.from(toFloat32(tensors.get('patterns.weight')!));
    const marksOf = (directions: Float64Array): Float64Array =>
      multiplyTransposed(directions, transpose(patterns, 48, pixels), K, pixels, 48);
    const draws = [marksOf((await keyCarriers(key)).directions)];
    for (let m = 0; m < S - 1; m++) draws.push(marksOf((await keyCarriers(key, 'decoy', m)).directions));
    const random = derive(5, 'published');
    /** For how many classes the true pattern goes best with the difference of the class means, published and public. */
    const named = (share: number): number =>
      classes.filter((_, c) => {
        const own = draws[0].subarray(c * pixels, (c + 1) * pixels);
        const length = Math.hypot(...own);
        // Means of images whose pixels vary by 60 levels, of which some have a mark of 10 levels RMS.
        const difference = Float64Array.from(
          own,
          (x) => share * 10 * Math.sqrt(pixels) * (x / length) + 60 * Math.sqrt(2 / perClass) * random.gaussian(),
        );
        const fit = draws.map((marks) => {
          const candidate = marks.subarray(c * pixels, (c + 1) * pixels);
          return candidate.reduce((sum, x, p) => sum + x * difference[p], 0) / Math.hypot(...candidate);
        });
        return fit.indexOf(Math.max(...fit)) === 0;
      }).length;
    const found = { half: named(0.5), fifth: named(0.2), none: named(0) };
    expect(found.half).toBeGreaterThan(7);
    expect(found.fifth).toBeGreaterThan(2);
    expect(found.none).toBeLessThan(3);
  });
});

describe("a report's page", () => {
  const SIDE = 16;
  const PER_CLASS = 2;
  const { tensors } = frequencyModel({ inputSize: SIDE, channels: 1, numClasses: K, patterns: 20 });
  const patterns = Float64Array.from(toFloat32(tensors.get('patterns.weight')!));
  const k = 20;
  const pixels = SIDE * SIDE;
  let carriers: Float64Array;
  let sources: (count: number | undefined, architecture?: string) => Parameters<typeof assembleReport>[0];

  beforeAll(async () => {
    const model = { sha256: 'ab'.repeat(32), architecture: 'frequencies', featureDimension: k };
    const key = fixed(await createKey({ classes, model, basis: null, centre: true }));
    const keyCommitment = await commitment(key);
    carriers = (await keyCarriers(key)).directions;
    // Marks as marking makes them with this network: the carrier's patterns, to a radius of 10 levels.
    const marks = multiplyTransposed(carriers, transpose(patterns, k, pixels), K, pixels, k);
    const random = derive(5, 'levels');
    const images = classes.flatMap((name, c) =>
      Array.from({ length: PER_CLASS }, (_, i) => {
        const own = marks.subarray(c * pixels, (c + 1) * pixels);
        const scale = 10 / Math.max(...own.map(Math.abs));
        const before = Uint8Array.from({ length: pixels }, () => random.below(256));
        const after = Uint8Array.from(before, (x, p) => Math.min(255, Math.max(0, Math.round(x + scale * own[p]))));
        const [original, marked] = [before, after].map((data) =>
          pngOf({ width: SIDE, height: SIDE, channels: 1, data }),
        );
        const squares = before.reduce((sum, x, p) => sum + (x - after[p]) ** 2, 0) / pixels;
        const changes = before.map((x, p) => Math.abs(x - after[p]));
        const psnr = 10 * Math.log10(255 ** 2 / squares);
        return { id: `${name}/${i}.png`, class: name, original, marked, psnr, change: Math.max(...changes) };
      }),
    );
    for (const { id, class: name, original, marked } of images)
      for (const [kind, bytes] of [
        ['original', original],
        ['marked', marked],
      ] as const) {
        mkdirSync(join(folder, kind, name), { recursive: true });
        writeFileSync(join(folder, kind, id), bytes);
      }
    const original = await openDataset(join(folder, 'original'));
    const listed = images.map(({ id, class: name, marked, psnr, change }) => ({
      ...{ id, class: name, psnr, maxChangeLevels: change, gain: 1, sha256: hashBytes(marked) },
    }));
    const manifest = serializeManifest({
      format: 'radioactive-manifest',
      version: 2,
      source: { layout: 'folder', count: images.length, sha256: await hashDataset(original) },
      keyCommitment,
      options: { radiusLevels: 10, modelSha256: model.sha256 },
      classes,
      summary: {},
      merkleRoot: merkleRoot(listed),
      images: listed,
    });
    mkdirSync(join(folder, 'marked.private'));
    writeFileSync(join(folder, 'marked.private', 'manifest.json'), manifest);
    const [opened, dataset] = [await openMarked(join(folder, 'marked')), await openDataset(join(folder, 'marked'))];
    sources = (count, architecture = 'frequencies') => ({
      result: stored(
        sampleResult({
          classes,
          change: (result) => ({ ...result, keyCommitment, markingModel: { ...model, architecture } }),
        }),
      ),
      marked: { folder: opened, dataset, original, count },
    });
  });

  /** The attacker's tool: pictures of the page, in pairs; what differs, as patterns; mean by class; cosine with the secret. */
  function cosines(page: string): number[] {
    const shown = [
      ...page.matchAll(/src="data:image\/png;base64,([^"]+)"[^>]*alt="(original|marked) of class (\d+)\//g),
    ];
    const sums = new Float64Array(K * pixels);
    for (const [, data, kind, name] of shown)
      for (const [p, level] of readBack(Buffer.from(data, 'base64')).data.entries())
        sums[Number(name) * pixels + p] += kind === 'marked' ? level : -level;
    const found = multiplyTransposed(sums, patterns, K, k, pixels);
    return classes.map((_, c) => {
      const [own, secret] = [found, carriers].map((rows) => rows.subarray(c * k, (c + 1) * k));
      const dot = (a: Float64Array, b: Float64Array): number => a.reduce((sum, x, i) => sum + x * b[i], 0);
      return dot(own, secret) / Math.sqrt(dot(own, own) * dot(secret, secret));
    });
  }

  it('gives the carriers of a key for patterns where it shows pairs, and by default shows none', async () => {
    const { page } = await assembleReport(sources(K * PER_CLASS));
    expect(Math.min(...cosines(page))).toBeGreaterThan(0.99);
    const { page: usual } = await assembleReport(sources(undefined));
    expect(usual).not.toContain('data:image/png');
    expect(cosines(usual).every(Number.isNaN)).toBe(true);
    const { page: network } = await assembleReport(sources(undefined, 'resnet18'));
    expect(network.match(/alt="marked of /g)).toHaveLength(8);
  });
});

describe('which images are marked', () => {
  it('follows from the secret, not from a seed that everybody can guess', async () => {
    const labels = Uint32Array.from({ length: 2000 }, (_, i) => i % K);
    const options = { labels, fraction: 0.1, dataSha256: 'da'.repeat(32) };
    const model = { sha256: 'ab'.repeat(32), architecture: 'resnet18', featureDimension: 16 };
    const key = fixed(await createKey({ classes, model, basis: null, centre: true }));
    const chosen = new Set((await chooseForMarking({ ...options, key })).selected);
    expect(chosen.size).toBe(200);
    const hits = (indices: ArrayLike<number>): number =>
      Array.from(indices).filter((index) => chosen.has(index)).length;
    // What the audit's attacker had: the program, the labels, the share, the default seed. By chance 20 of 200, σ 4.
    expect(hits(selectStratified(labels, K, { fraction: 0.1 }, 0).selected)).toBeLessThan(40);
    const other = { ...key, secret: '5f'.repeat(32) };
    expect(hits((await chooseForMarking({ ...options, key: other })).selected)).toBeLessThan(40);
  });
});

describe('files that nobody else may read', () => {
  it('are written so whatever the umask is', async () => {
    const before = process.umask(0);
    try {
      await beginRegister(join(folder, 'register.jsonl'), 'ab'.repeat(32), true);
      await saveArrays(join(folder, 'evidence'), { 'a.npy': Uint8Array.of(1) });
    } finally {
      process.umask(before);
    }
    for (const name of ['register.jsonl', 'evidence/a.npy'])
      expect(statSync(join(folder, name)).mode & 0o777, name).toBe(0o600);
  });

  it('no message tells of a secret that stands where a field name should', async () => {
    const model = { sha256: 'ab'.repeat(32), architecture: 'resnet18', featureDimension: 16 };
    const key = await createKey({ classes, model, basis: null, centre: true });
    const plain = JSON.parse(serializeKey(key)) as Record<string, unknown>;
    const base64 = Buffer.from(key.secret, 'hex').toString('base64');
    for (const name of [key.secret, key.nonce, base64])
      for (const wrong of [
        JSON.stringify({ ...plain, [name]: 1 }),
        JSON.stringify({ ...plain, model: { ...model, network: { [name]: {} } } }),
        `{"${name}":1,"${name}":2}`,
        JSON.stringify({ ...plain, secret: [name] }),
        JSON.stringify({ ...plain, nonce: `${name}0` }),
      ]) {
        const message = await parseKey(wrong, 'owner.key').then(
          () => expect.fail('it was read'),
          (error: Error) => error.message,
        );
        expect(message).not.toContain(name);
        expect(message).not.toContain(name.slice(0, 16));
      }
  });
});
