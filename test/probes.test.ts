import { cpSync, existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { hashDataset } from '../src/datasets/hash.ts';
import { Loader } from '../src/datasets/loader.ts';
import { blackBoxTest } from '../src/detection/blackbox.ts';
import { detectBlackBox, probeResponses } from '../src/detection/detect_blackbox.ts';
import { DOUBTS } from '../src/detection/doubts.ts';
import { ModelScores } from '../src/detection/scores.ts';
import type { Check } from '../src/evidence/check.ts';
import { parseCsv, serializeCsv } from '../src/formats/csv.ts';
import { parseNpy, serializeNpy } from '../src/formats/npy.ts';
import { createKey, type Key, keyCarriers, keyProbeOrders, parseKey } from '../src/marking/key.ts';
import { Marker } from '../src/marking/marker.ts';
import type { Model } from '../src/nn/model.ts';
import { parseOptions } from '../src/node/cli/command.ts';
import { verify as verifyCommand } from '../src/node/cli/verify.ts';
import { openDataset } from '../src/node/datasets/open.ts';
import { hashFile } from '../src/node/files/write.ts';
import { openHeldOut } from '../src/node/runs/inputs.ts';
import { makeProbes, openProbeImages, openProbes, probeRecipeFor } from '../src/node/runs/make_probes.ts';
import { openModel } from '../src/node/runs/open_model.ts';
import { derive } from '../src/random.ts';
import { build, ownLines, run } from './cli.ts';
import { useDevice } from './device.ts';
import { CLASSES, writeFolder, writeIdx, writeModel } from './small_data.ts';

let folder: string;
let key: Key;
const at = (name: string): string => join(folder, name);
beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'radioactive-probes-'));
  writeFolder(at('held-out'), 12);
  writeIdx(at('held-out-idx'), 12);
  writeFolder(at('images'), 12, CLASSES, 1000);
  writeModel(at('marker.safetensors'));
  key = await createKey({
    classes: CLASSES,
    model: { sha256: await hashFile(at('marker.safetensors')), architecture: 'resnet18', featureDimension: 32 },
    basis: null,
    centre: true,
  });
});
afterAll(() => rmSync(folder, { recursive: true }));

const recipe = { ...probeRecipeFor({ architecture: 'resnet18', inputSize: 12, channels: 1, std: [1] }), iterations: 4 };
const [decoys, perClass, S] = [2, 3, 3];

describe('probes', () => {
  const device = useDevice();
  let model: Model;
  beforeAll(async () => {
    model = (await openModel(device(), at('marker.safetensors'))).model;
  });
  afterAll(() => model.destroy());

  const make = async (data: string, out: string, change: object = {}) =>
    makeProbes({
      key,
      model,
      heldOut: await openHeldOut(at(data), {}),
      decoys,
      perClass,
      recipe,
      out: at(out),
      ...change,
    });

  it.each([
    ['held-out', undefined],
    ['held-out-idx', undefined],
    ['held-out-idx', 'folder'],
  ] as const)('are held-out images, each with its marks towards every set: %s as %s', async (data, layout) => {
    const out = `probes-${data}-${layout}`;
    const manifest = await make(data, out, { layout });
    const source = await openDataset(at(data));
    const opened = await openProbes(at(out));
    expect(opened.manifest).toEqual(manifest);
    const images = await openProbeImages(opened);
    expect(images.length).toBe(CLASSES.length * perClass * (S + 1));
    expect(images.format?.name).toBe(layout ?? (data === 'held-out' ? 'folder' : 'idx'));
    expect(manifest.sha256).toBe(await hashDataset(images));
    expect(manifest.source).toEqual({ layout: source.format?.name, count: 12, sha256: await hashDataset(source) });
    expect(existsSync(`${at(out)}.partial`)).toBe(false);
    expect(readdirSync(at(out)).sort()).toEqual(['images', 'list.csv', 'probes.json']);

    const [header, ...list] = parseCsv(readFileSync(join(at(out), 'list.csv'), 'utf8'), 'list.csv').rows;
    expect(header).toEqual(['index', 'file', 'class', 'image', 'version']);
    expect(list).toHaveLength(images.length);
    const indexOf = new Map(Array.from({ length: 12 }, (_, i) => [source.id(i), i]));
    const orders = await keyProbeOrders(key, S);
    const draws = [await keyCarriers(key), await keyCarriers(key, 'decoy', 0), await keyCarriers(key, 'decoy', 1)];
    const marker = await Marker.create(model, 12 * 12, 1, recipe);
    try {
      for (const [row, [index, file, className, image, version]] of list.entries()) {
        expect([index, version]).toEqual([String(row), String(row % (S + 1))]);
        expect(existsSync(join(at(out), file))).toBe(true);
        const from = indexOf.get(image)!;
        const c = CLASSES.indexOf(className);
        expect([source.labels[from], images.labels[row]]).toEqual([c, c]);
        const original = await source.image(from);
        const found = (await images.image(row)).data;
        if (version === '0') {
          expect(found).toEqual(original.data);
          continue;
        }
        // The same pixels as when it is marked alone, towards the carrier of the draw that the key puts there.
        const carriers = draws[orders[c][Number(version) - 1]];
        const direction = Float32Array.from(carriers.directions.subarray(c * 32, (c + 1) * 32));
        const [marked] = await marker.mark([{ id: image, image: original, direction }]);
        expect(found).toEqual(marked.data);
      }
    } finally {
      marker.destroy();
    }
  });

  it('tell how strong the marks of every set are', async () => {
    const { manifest } = await openProbes(at('probes-held-out-undefined'));
    const images = await openProbeImages(await openProbes(at('probes-held-out-undefined')));
    const { changeLevels, gain } = manifest.marks;
    for (const [c, s] of [
      [0, 0],
      [1, 2],
    ] as const) {
      let sum = 0;
      for (let b = c * perClass; b < (c + 1) * perClass; b++) {
        const [before, after] = [await images.image(b * (S + 1)), await images.image(b * (S + 1) + 1 + s)];
        const squares = before.data.reduce((total, level, i) => total + (level - after.data[i]) ** 2, 0);
        sum += Math.sqrt(squares / before.data.length);
      }
      if (!(Math.abs(changeLevels[c][s] - sum / perClass) <= 1e-9)) expect.fail(`${changeLevels[c][s]}`);
    }
    for (const x of gain.flat()) expect(x).toBeGreaterThan(0);
  });

  it('tell a third party nothing of which set is the true one', async () => {
    // Another secret: other images, but nothing else differs.
    const other = await createKey({
      classes: CLASSES,
      model: key.model,
      basis: null,
      centre: true,
    });
    await make('held-out', 'other', { key: other });
    const read = (out: string, file: string): string => readFileSync(join(at(out), file), 'utf8');
    expect(read('other', 'list.csv')).toBe(read('probes-held-out-undefined', 'list.csv'));
    for (const text of [read('other', 'probes.json'), read('other', 'list.csv')]) {
      expect(text).not.toContain(other.secret);
      expect(text).not.toMatch(/decoy"|true|mark"/);
    }
  });

  it.each([
    [
      'perClass',
      { perClass: 7 },
      /held-out: class ape has 6 images, 7 are asked for; give more images, or ask for fewer/,
    ],
    ['there', { out: 'probes-held-out-undefined' }, /exists already; choose another folder, or remove it$/],
  ])(
    'are refused in a line: %s',
    async (_, { out = 'refused', ...change }: { out?: string; perClass?: number }, message) => {
      await expect(make('held-out', out, change)).rejects.toThrow(message);
    },
  );

  it('of a damaged image are refused before the long work', async () => {
    cpSync(at('held-out'), at('damaged'), { recursive: true });
    const path = join(at('damaged'), 'bee', '001.png');
    const bytes = readFileSync(path);
    bytes[bytes.length - 20] ^= 0xff;
    writeFileSync(path, bytes);
    let marked = 0;
    const run = make('damaged', 'from-damaged', { perClass: 6, onProgress: () => marked++ });
    await expect(run).rejects.toThrow(/bee\/001\.png: damaged/);
    expect(marked).toBe(0);
  });

  it('give the test what the models and the secret order give', async () => {
    const opened = await openProbes(at('probes-held-out-undefined'));
    const images = await Loader.open(await openProbeImages(opened), 1);
    writeModel(at('suspect.safetensors'), { seed: 1 });
    const suspect = (await openModel(device(), at('suspect.safetensors'))).model;
    try {
      const found = await detectBlackBox({
        key,
        probes: opened.manifest,
        suspect: { model: suspect, images },
        references: [{ model, images }],
        // Six images are too few to show that it knows them.
        despite: DOUBTS,
      });
      expect(found.blackBox).toMatchObject({ sets: S, imagesPerClass: perClass, scores: 'logits' });
      expect(found.statistics[0]).toMatchObject({ name: 'black-box sum of responses', log10p: found.log10p });
      // With scores by hand: the suspect answers the true set of each class more by its number, and nothing else.
      const orders = await keyProbeOrders(key, S);
      const scores = new Float64Array(images.dataset.length * 2);
      for (let row = 0; row < images.dataset.length; row++) {
        const c = images.dataset.labels[row];
        const version = row % (S + 1);
        if (version > 0) scores[row * 2 + c] = 10 * orders[c][version - 1] + c;
      }
      const { response } = await probeResponses(key, opened.manifest, ModelScores.ofScores(scores, 2), []);
      // Half of it is the mean over two classes.
      expect([...response]).toEqual([0, 5, 10, 0.5, 5.5, 10.5]);
      const { log10p } = blackBoxTest({ response, classes: CLASSES, combine: 'sum' });
      expect(log10p).toBe(0);
    } finally {
      suspect.destroy();
    }
  });

  it('of another key are refused', async () => {
    const { manifest } = await openProbes(at('other'));
    const scores = ModelScores.ofScores(new Float64Array(48), 2);
    await expect(probeResponses(key, manifest, scores, [])).rejects.toThrow('the probes are of another key');
  });
});

describe('from keygen to verify, black-box', () => {
  const device = useDevice();
  const runLine = (line: string) =>
    run(
      'cli',
      line.split(' ').map((word) => word.replaceAll(/@(?=[a-z])/g, `${folder}/`)),
    );
  async function runJson(line: string) {
    const { exitCode, stdout, stderr } = await runLine(`${line} --json --quiet`);
    expect(exitCode, stderr).toBe(0);
    return JSON.parse(stdout);
  }
  /** `verify` in this process, as a table by name. */
  async function verify(line: string): Promise<Record<string, Check>> {
    const words = line.split(' ').map((word) => word.replaceAll(/@(?=[a-z])/g, `${folder}/`));
    const result = await verifyCommand.run({
      options: parseOptions(verifyCommand.options, words),
      signal: new AbortController().signal,
      progress: () => ({ update: () => undefined, done: () => undefined }),
      log: () => undefined,
      openDevice: async () => device(),
    });
    const { checks } = result.json as { checks: Check[] };
    return Object.fromEntries(checks.map((check) => [check.check, check]));
  }
  const failedOf = (table: Record<string, Check>): string[] =>
    Object.values(table).flatMap(({ check, state }) => (state === 'failed' ? [check] : []));

  const DETECT = 'detect --key @owner.key --black-box --probes @probes';
  const DESPITE = '--despite classes,references';
  const ROWS = 2 * 4 * 21;
  let owner: Key;
  let list: readonly (readonly string[])[];
  beforeAll(async () => {
    build();
    for (const seed of [1, 2]) writeModel(at(`model-${seed}.safetensors`), { seed });
    await runJson(
      'keygen --classes @images --dimension 4 --model @marker.safetensors --statistic black-box --decoys 19 --per-class 4 --iterations 3 --held-out @held-out --reference @model-2.safetensors -o @owner.key',
    );
    owner = await parseKey(readFileSync(at('owner.key'), 'utf8'), 'owner.key');
    await runJson('probes --key @owner.key --model @marker.safetensors --data @held-out -o @probes');
    list = parseCsv(readFileSync(at('probes/list.csv'), 'utf8'), 'list.csv').rows.slice(1);
  });

  /** Scores of a model that answers the true set of each class by `more` where others answer 0, with some noise. */
  async function answers(more: number, seed: number): Promise<number[][]> {
    const orders = await keyProbeOrders(owner, 20);
    const random = derive(seed, 'answers');
    return list.map(([, , className, , version]) => {
      const c = CLASSES.indexOf(className);
      const true_ = Number(version) > 0 && orders[c][Number(version) - 1] === 0;
      return CLASSES.map((_, k) => 0.3 * random.gaussian() + (true_ && k === c ? more : 0));
    });
  }
  const csvOf = (rows: readonly (readonly number[])[], header: readonly string[] = CLASSES): string =>
    serializeCsv([['index', 'file', ...header], ...rows.map((row, i) => [list[i][0], list[i][1], ...row.map(String)])]);

  it('fixes the test in the key, makes its probes, and tests a model with the reference that the key fixes', async () => {
    expect(owner.version).toBe(4);
    expect(owner.statistic).toMatchObject({ kind: 'black-box', combine: 'sum', decoys: 19, perClass: 4 });
    expect(list).toHaveLength(ROWS);
    const result = await runJson(
      `${DETECT} --suspect @model-1.safetensors --reference @model-2.safetensors --save @evidence`,
    );
    expect(result).toMatchObject({
      test: 'black-box',
      primary: true,
      deviations: [],
      blackBox: { sets: 20, imagesPerClass: 4, scores: 'logits', references: [{ path: at('model-2.safetensors') }] },
      register: { looks: 1 },
    });
    expect(Object.keys(result.saved).sort()).toEqual(['probes.json', 'scores_reference_1.npy', 'scores_suspect.npy']);
    const line =
      '--key @owner.key --result @evidence/result.json --model @marker.safetensors --data @held-out --data-split train';
    const table = await verify(
      `${line} --probes @probes --suspect @model-1.safetensors --reference @model-2.safetensors`,
    );
    expect(failedOf(table)).toEqual([]);
    for (const name of [
      'suspect',
      'scores of the suspect',
      'scores of reference 1',
      'deviations',
      'changes of the probes',
      'gains of the probes',
    ])
      expect(table[name], name).toMatchObject({ state: 'ok' });
    // Another model under its name, and another reference.
    const others = await verify(
      `${line} --probes @probes --suspect @model-2.safetensors --reference @model-1.safetensors`,
    );
    expect(failedOf(others)).toEqual(['suspect', 'scores of the suspect']);
    expect(others['scores of reference 1'].state).toBe('not checked');
    expect(table.statistics).toMatchObject({ state: 'ok', detail: expect.stringContaining('on 20 carrier sets') });
    expect(table.probes).toMatchObject({
      state: 'ok',
      detail: expect.stringMatching(/^168 images are those of the result/),
    });
    expect(table['test images'].state).toBe('ok');

    // What was changed is found.
    cpSync(at('evidence'), at('changed'), { recursive: true });
    const { shape, data } = parseNpy(readFileSync(at('changed/scores_suspect.npy')), '');
    writeFileSync(
      at('changed/scores_suspect.npy'),
      serializeNpy(
        shape,
        (data as Float32Array).map((x) => -x),
      ),
    );
    expect(failedOf(await verify(`${line} --features @changed`))).toEqual(['statistics', 'classes of the suspect']);
    const text = readFileSync(at('evidence/result.json'), 'utf8');
    writeFileSync(at('better.json'), text.replace(/"score": -?[\d.e-]+/, '"score": 9'));
    expect(
      failedOf(await verify(`${line.replace('@evidence/result.json', '@better.json')} --features @evidence`)),
    ).toEqual(['statistics', 'entry']);
    // Its figures shuffled among the sets, or simply made up, the images being what they are.
    for (const [what, row] of [
      ['changeLevels', 'changes of the probes'],
      ['gain', 'gains of the probes'],
    ] as const) {
      cpSync(at('probes'), at(`probes-${what}`), { recursive: true });
      const manifest = JSON.parse(readFileSync(at('probes/probes.json'), 'utf8'));
      manifest.marks[what][0].reverse();
      writeFileSync(at(`probes-${what}/probes.json`), JSON.stringify(manifest));
      const found = await verify(`${line} --probes @probes-${what}`);
      expect(failedOf(found)).toEqual(['probes', row]);
    }
    cpSync(at('probes'), at('probes-changed'), { recursive: true });
    cpSync(at('probes/images/0000/0000-0000.png'), at('probes-changed/images/0000/0000-0001.png'));
    expect(failedOf(await verify(`${line} --probes @probes-changed`))).toEqual(['probes']);
  });

  it('finds a model that answers the true carriers, in whatever way its scores come', async () => {
    const marked = await answers(4, 1);
    writeFileSync(at('marked.csv'), csvOf(marked));
    // These answers know nothing but the mark: not even which class an image is of.
    const result = await runJson(`${DETECT} --scores @marked.csv ${DESPITE}`);
    // Both classes at the top of 20 sets.
    expect(result.log10p).toBeCloseTo(2 * Math.log10(1 / 20), 9);
    expect(result).toMatchObject({
      primary: false,
      deviations: expect.arrayContaining([
        `the key fixes references ${await hashFile(at('model-2.safetensors'))}, here it was none`,
      ]),
      program: { adapter: 'none' },
      suspect: { scores: at('marked.csv') },
    });
    expect(result.statistics[0].null).toMatchObject({ kind: 'decoys', atMost: 0 });
    expect(result.statistics[0].null.log10p).toHaveLength(19);

    const probabilities = marked.map((row) => {
      const sum = row.reduce((total, z) => total + Math.exp(z), 0);
      return row.map((z) => Math.exp(z) / sum);
    });
    writeFileSync(
      at('reversed.csv'),
      csvOf(
        probabilities.map((row) => row.toReversed()),
        CLASSES.toReversed(),
      ),
    );
    const told = await runJson(`${DETECT} --scores @reversed.csv ${DESPITE}`);
    expect(told.blackBox.scores).toBe('probabilities');
    for (const [s, statistic] of told.statistics.entries())
      expect(statistic.log10p).toBeCloseTo(result.statistics[s].log10p, 9);

    writeFileSync(at('marked.npy'), serializeNpy([ROWS, 2], Float64Array.from(marked.flat())));
    const npy = await runJson(`${DETECT} --scores @marked.npy --reference-scores @reversed.csv ${DESPITE}`);
    // A reference that answers as the suspect leaves nothing.
    expect(npy.blackBox.control.explained).toBeCloseTo(1, 6);

    const predicted = marked.map((row) => CLASSES[row[0] > row[1] ? 0 : 1]);
    writeFileSync(
      at('labels.csv'),
      serializeCsv([['file', 'prediction'], ...predicted.map((c, i) => [list[i][1], c])]),
    );
    const labels = await runJson(`${DETECT} --scores @labels.csv ${DESPITE}`);
    const forced = await runJson(`${DETECT} --scores @marked.csv --label-only --save @label-evidence ${DESPITE}`);
    expect(labels.blackBox.scores).toBe('labels');
    expect(forced.statistics).toEqual(labels.statistics);
    expect(labels.log10p).toBeLessThan(-1);
    const table = await verify('--key @owner.key --result @label-evidence/result.json');
    expect(table.statistics.state).toBe('ok');
  });

  it('calibrates with fresh keys on the same probes', async () => {
    writeFileSync(at('innocent.csv'), csvOf(await answers(0, 2)));
    const line = 'calibrate --black-box --key @owner.key --probes @probes --scores @innocent.csv --keys 200';
    const report = await runJson(`${line} -o @calibration.json`);
    expect(report.passed).toBe(true);
    expect(report.calibrations).toHaveLength(7);
    expect(JSON.parse(readFileSync(at('calibration.json'), 'utf8'))).toEqual(report);
  });

  it.each([
    ['detect --key @owner.key --black-box --scores @marked.csv', 2, '--probes PROBES is missing'],
    [`${DETECT}`, 2, 'give --suspect MODEL, or --scores FILE'],
    [
      `${DETECT} --suspect @suspect.safetensors --suspect-classes @classes.txt`,
      2,
      "--suspect-classes goes without --black-box; of a model that knows other classes give --scores FILE.csv with a column for each of the key's",
    ],
    [
      `${DETECT} --scores @marked.csv --data @held-out`,
      2,
      '--data goes without --black-box, which takes its images from --probes',
    ],
    ['detect --key @owner.key --scores @marked.csv', 2, '--scores goes with --black-box'],
    ['detect --key @owner.key', 2, '--model MARKER is missing'],
    ['calibrate --black-box --probes @probes --scores @marked.csv', 2, '--key KEY is missing, the key of the probes'],
    [
      'keygen --classes @held-out --model @marker.safetensors --decoys 3 -o @new.key',
      2,
      '--decoys goes with --statistic black-box',
    ],
    [
      `${DETECT} --scores @short.csv`,
      3,
      `@short.csv: has ${ROWS - 1} rows, the probes are ${ROWS} images; give one row per image, in the order of list.csv`,
    ],
    [`${DETECT} --scores @order.csv`, 3, '@order.csv: line 3: index 2 stands where list.csv has 1; keep its order'],
    [
      `${DETECT} --scores @blank.csv`,
      3,
      '@blank.csv: line 5, column bee: "" is no number; give one, for probabilities that were not told 0',
    ],
    [
      `${DETECT} --scores @apart.csv`,
      3,
      '@apart.csv: line 10, column bee: "none" is no number; give one, for probabilities that were not told 0',
    ],
    [
      `${DETECT} --scores @names.csv`,
      3,
      '@names.csv: its header has no column bee; name a column for each class, ape, bee, or give one column of predicted classes',
    ],
    [`${DETECT} --scores @class.csv`, 3, '@class.csv: line 2: "cow" is no class; give one of ape, bee, or 0 to 1'],
    [`${DETECT} --scores @wide.npy`, 3, `@wide.npy: is [${ROWS}, 3]; give [images, 2], a column for each of ape, bee`],
    [`${DETECT} --scores @nan.npy`, 3, '@nan.npy: row 2, column 0 is NaN; give finite logits, or probabilities'],
    [`${DETECT} --suspect @three.safetensors`, 3, '@three.safetensors: the model has 3 classes, the key 2: ape, bee'],
    [
      'detect --key @owner.key --black-box --probes @held-out --scores @marked.csv',
      3,
      '@held-out/probes.json: no such file or folder; check the path',
    ],
    [
      'detect --key @owner.key --black-box --probes @other --scores @few.csv',
      6,
      'the probes are of another key; give those that were made with this one',
    ],
  ])('%s: exit code %i', async (line, exitCode, message) => {
    const rows = await answers(0, 3);
    const texts: Record<string, string | Uint8Array> = {
      'short.csv': csvOf(rows.slice(1)),
      'order.csv': csvOf(rows).replace(/^(1,.*)\n(2,.*)$/m, '$2\n$1'),
      'blank.csv': csvOf(rows).replace(/^(3,.*),.*$/m, '$1,'),
      'names.csv': csvOf(rows, ['ape', 'beee']),
      'apart.csv': `\n${csvOf(rows)
        .replaceAll('\n', '\n\n')
        .replace(/^(3,.*),.*$/m, '$1,none')}`,
      'class.csv': serializeCsv([['label'], ...rows.map(() => ['cow'])]),
      'few.csv': serializeCsv([['a', 'b'], ...Array.from({ length: 24 }, () => ['1', '2'])]),
      'wide.npy': serializeNpy([ROWS, 3], new Float32Array(ROWS * 3)),
      'nan.npy': serializeNpy([ROWS, 2], new Float32Array(ROWS * 2).fill(Number.NaN, 4, 5)),
    };
    for (const [name, text] of Object.entries(texts)) writeFileSync(at(name), text);
    if (line.includes('three')) writeModel(at('three.safetensors'), { network: { numClasses: 3 } });
    const finished = await runLine(`${line} --quiet`);
    const lines = ownLines(finished).map((text) => text.replaceAll(`${folder}/`, '@'));
    expect(lines).toEqual([`error: ${message}`]);
    expect(finished.exitCode).toBe(exitCode);
  });
});
