import { createHash } from 'node:crypto';
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { hashDataset } from '../src/datasets/hash.ts';
import { Loader } from '../src/datasets/loader.ts';
import { parseManifest } from '../src/datasets/manifest.ts';
import { selectStratified } from '../src/datasets/select.ts';
import { ClassMapping } from '../src/detection/class_mapping.ts';
import { detect } from '../src/detection/detect.ts';
import { detectBlackBox, testScores } from '../src/detection/detect_blackbox.ts';
import { DOUBTS } from '../src/detection/doubts.ts';
import { ModelScores } from '../src/detection/scores.ts';
import type { TestName } from '../src/detection/tests.ts';
import { serializeCifarBinary } from '../src/formats/cifar.ts';
import { parseNpyMatrix } from '../src/formats/npy.ts';
import { hashBytes } from '../src/formats/sha256.ts';
import { parseKey } from '../src/marking/key.ts';
import { defaultMarkingRecipe } from '../src/marking/recipe.ts';
import { VanillaImages } from '../src/marking/vanilla.ts';
import { openDataset } from '../src/node/datasets/open.ts';
import { parseConfig } from '../src/node/experiment/config.ts';
import { Estimate } from '../src/node/experiment/estimate.ts';
import { type ExperimentReport, runExperiment } from '../src/node/experiment/experiment.ts';
import { nestedDataset } from '../src/node/experiment/nested.ts';
import { experimentKey } from '../src/node/experiment/public_key.ts';
import { parseResults, spread, summariseRows, toCsv } from '../src/node/experiment/results.ts';
import { type CellToTest, statistics } from '../src/node/experiment/statistics.ts';
import { openProbeImages, openProbes } from '../src/node/runs/make_probes.ts';
import { markDataset } from '../src/node/runs/mark_dataset.ts';
import { openModel } from '../src/node/runs/open_model.ts';
import { runTraining } from '../src/node/runs/training_run.ts';
import { derive } from '../src/random.ts';
import { build, ownLines, run as runCli } from './cli.ts';
import { useDevice } from './device.ts';
import { CLASSES, writeFolder, writeIdx, writeModel } from './small_data.ts';

let work: string;
const at = (name: string): string => join(work, name);

/** Two classes of 12×12 images; seconds. */
const tiny = {
  title: 'tiny',
  data: { owner: { path: 'owner' }, heldOut: { path: 'held-out' } },
  marker: 'marker.safetensors',
  keys: 2,
  seeds: [3],
  marking: { dimension: 8, iterations: 2 },
  settings: [
    {
      name: 'linear',
      init: 'marker',
      recipe: { freezeFeatures: true, epochs: 2, batchSize: 8 },
      fractions: [0.25, 0.5],
    },
    { name: 'scratch', network: { width: 4 }, recipe: { epochs: 1, batchSize: 8 }, fractions: [0.5] },
  ],
  statistics: ['white-box'],
};

beforeAll(() => {
  work = mkdtempSync(join(tmpdir(), 'radioactive-experiment-'));
  writeModel(at('marker.safetensors'));
  writeFolder(at('owner'), 24);
  writeFolder(at('held-out'), 48);
  writeFileSync(at('config.json'), JSON.stringify(tiny));
});
afterAll(() => rmSync(work, { recursive: true }));

const read = (path: string): Buffer => readFileSync(path);
const json = (path: string) => JSON.parse(readFileSync(path, 'utf8'));

/** Every file of a folder with a digest of what it holds, but for what depends on the clock. */
function listing(root: string): Record<string, string> {
  const timeless = (path: string): string | Buffer =>
    path.endsWith('.npy') || path.endsWith('.safetensors') || path.endsWith('.png')
      ? read(path)
      : read(path)
          .toString()
          .replaceAll(/"(\w*[sS]econds)": [^,\n]*/g, '"$1": 0')
          .replaceAll(/^((?:[^,\n]*,){16}).*$/gm, path.endsWith('.csv') ? '$1' : '$&')
          .replaceAll(/"results.csv": "[0-9a-f]{64}"/g, '');
  return Object.fromEntries(
    (readdirSync(root, { recursive: true }) as string[])
      .filter((path) => statSync(join(root, path)).isFile())
      .sort()
      .map((path) => [
        path,
        createHash('sha256')
          .update(timeless(join(root, path)))
          .digest('hex'),
      ]),
  );
}

describe('the configuration', () => {
  const change = (path: (string | number)[], value: unknown): unknown => {
    const changed = structuredClone(tiny) as Record<string | number, unknown>;
    let place = changed;
    for (const step of path.slice(0, -1)) place = place[step] as typeof place;
    if (value === undefined) delete place[path.at(-1)!];
    else place[path.at(-1)!] = value;
    return changed;
  };
  it.each([
    [['title'], undefined, 'title: missing'],
    [['colour'], 'red', 'colour: unknown field'],
    [['keys'], 0, 'keys: expected 1 or more'],
    [['keys'], 2.5, 'keys: expected a whole number'],
    [['seeds'], [1, 1], 'seeds: expected every entry once'],
    [['data', 'owner'], 'train', 'data.owner: expected an object'],
    [['data', 'owner'], { range: [5, 5] }, 'data.owner.range: expected the first item before the end'],
    [['data', 'source'], 'cifar', 'data.source: expected "fashion-mnist"'],
    [['marking', 'dimension'], 1, 'marking.dimension: expected at least 2'],
    [['marking', 'radius'], 10, 'marking.radius: unknown field'],
    [['settings'], [], 'settings: expected at least one setting'],
    [['settings', 0, 'name'], 'A/B', 'settings[0].name: expected a name of small letters, digits and hyphens'],
    [['settings', 1, 'name'], 'linear', 'settings: expected every name once'],
    [['settings', 0, 'fractions'], [], 'settings[0].fractions: expected at least one entry'],
    [['settings', 0, 'fractions'], [0], 'settings[0].fractions[0]: expected more than 0'],
    [['settings', 1, 'fractions', 0], 1.5, 'settings[1].fractions[0]: expected at most 1; 0, nothing marked, is'],
    [['settings', 0, 'init'], undefined, 'settings[0]: freezeFeatures needs init'],
    [['settings', 1, 'recipe', 'rate'], 1, 'settings[1].recipe.rate: unknown field'],
    [['settings', 1, 'recipe', 'crop'], { scale: [1, 0.5] }, 'settings[1].recipe.crop.scale: expected the smaller'],
    [['settings', 1, 'network', 'architecture'], 'lenet', 'settings[1].network: architecture lenet is not known'],
    [['settings', 1, 'network', 'hidden'], 5, 'settings[1].network: resnet18 has no option hidden; it has: width'],
    [['settings', 1, 'network', 'width'], 0, 'settings[1].network: resnet18: width'],
    [
      ['settings', 0, 'references'],
      { data: 'vanilla', seeds: [1] },
      'settings[0].references.data: vanilla images need data.vanilla',
    ],
    [
      ['settings', 0, 'references'],
      { data: 'owner', seeds: [3] },
      'settings[0].references.seeds: expected others than seeds, whose models are the controls',
    ],
    [
      ['settings', 1],
      {
        ...{ name: 'b', fractions: [0.5], network: { width: 4 } },
        references: { setting: 'scratch', data: 'owner', seeds: [8] },
      },
      'settings[1].references.setting: expected the name of a setting',
    ],
    [['statistics'], ['guess'], 'statistics[0]: expected some of white-box'],
    [['statistics'], ['black-box'], 'data.vanilla: missing, and probes are made of such images'],
    [
      ['settings', 0, 'distil'],
      { from: 'scratch', images: 'owner' },
      'settings[0].distil.from: expected the name of a setting before this one',
    ],
    [
      ['settings', 1],
      { name: 'b', fractions: [0.3], distil: { from: 'linear', images: 'owner' } },
      'settings[1].distil.from: linear has no fraction 0.3 to learn from',
    ],
    [['settings', 1, 'recipe', 'crop'], { padding: 4 }, 'settings[1].recipe.crop.flip: missing'],
    [['settings', 1, 'recipe', 'ema'], 1, 'settings[1].recipe.ema: expected less than 1'],
    [['settings', 0, 'recipe', 'mixup'], 0.2, 'settings[0]: recipe: mixup changes images'],
    [['settings', 1], { name: 'b', fractions: [0.5], models: 'scratch' }, 'settings[1].models: expected the name of'],
    [
      ['settings', 1],
      { name: 'b', fractions: [0.3], models: 'linear' },
      'settings[1].models: linear has no fraction 0.3',
    ],
    [
      ['settings', 1],
      { name: 'b', fractions: [0.5], models: 'linear', recipe: { epochs: 1 } },
      'settings[1].recipe: the models are those of linear',
    ],
    [['settings', 1, 'answers'], 'text', 'settings[1].answers: expected "scores" or "labels"'],
    [['probes'], { amplitude: 0 }, 'probes.amplitude: expected more than 0'],
    [['marker'], { patterns: 0 }, 'marker.patterns: expected 1 or more'],
    [['marker'], undefined, 'marker: missing'],
    [
      ['settings', 1],
      { name: 'b', fractions: [0.5], distil: { from: 'linear', images: 'vanilla' } },
      'settings[1].distil.images: vanilla images need data.vanilla',
    ],
  ])('%j %j', (path, value, message) => {
    expect(() => parseConfig(JSON.stringify(change(path as string[], value)), 'file.json')).toThrow(
      `file.json: ${message}`,
    );
  });

  it('no JSON is told', () => {
    expect(() => parseConfig('{', 'file.json')).toThrow('file.json: not valid JSON');
  });

  it('what is committed is sound: configurations, and tables that belong together', () => {
    const names = readdirSync('experiments').filter((each) => each.endsWith('.json'));
    expect(names.length).toBeGreaterThan(0);
    for (const name of names) {
      const config = parseConfig(read(join('experiments', name)).toString(), name);
      const folder = join('experiments', name.replace('.json', ''));
      if (!existsSync(folder)) continue;
      const results = parseResults(read(join(folder, 'results.json')).toString(), folder);
      expect(results.config).toEqual(JSON.parse(JSON.stringify(config)));
      expect(results.summary).toEqual(summariseRows(results.rows));
      expect(read(join(folder, 'results.csv')).toString()).toBe(toCsv(results.rows));
      for (const [file, sha256] of Object.entries(results.files as Record<string, string>))
        expect(hashBytes(read(join(folder, file))), file).toBe(sha256);
    }
  });
});

describe('an experiment', () => {
  const device = useDevice();
  const run = (config: unknown, out: string, log: (line: string) => void = () => undefined, signal?: AbortSignal) =>
    runExperiment({
      device: device(),
      config: parseConfig(JSON.stringify(config), at('config.json')),
      configPath: at('config.json'),
      data: work,
      out,
      command: ['radioactive', 'experiment'],
      progress: () => ({ update: () => undefined, done: () => undefined }),
      log,
      signal,
    });
  let report: ExperimentReport;
  beforeAll(async () => {
    report = await run(tiny, at('out'));
  });

  it('has a row for each test, the controls among them', () => {
    const named = report.rows.map(({ setting, fraction, key, control, testedWith }) =>
      [setting, fraction, key, control, testedWith].join(' '),
    );
    const marked = (setting: string, key: number, fractions: number[]): string[] =>
      fractions.flatMap((q) => [`${setting} ${q} ${key}  ${key}`, `${setting} ${q} ${key} other key ${3 - key}`]);
    expect(named).toEqual([
      ...['linear 0 1 unmarked 1', 'linear 0 2 unmarked 2'],
      ...marked('linear', 1, [0.25, 0.5]),
      ...marked('linear', 2, [0.25, 0.5]),
      ...['scratch 0 1 unmarked 1', 'scratch 0 2 unmarked 2'],
      ...marked('scratch', 1, [0.5]),
      ...marked('scratch', 2, [0.5]),
    ]);
    expect(report.cells).toBe(8);
    for (const { log10p, score, accuracy, vanillaAccuracy, marked: count, fraction, psnrMin } of report.rows) {
      expect(log10p).toBeLessThanOrEqual(0);
      expect(Math.abs(score!)).toBeLessThanOrEqual(1);
      expect(accuracy).toBeGreaterThanOrEqual(0);
      expect(vanillaAccuracy).toBeGreaterThanOrEqual(0);
      expect(count).toBe(24 * fraction);
      if (fraction > 0) expect(psnrMin).toBeGreaterThan(20);
      else expect(psnrMin).toBeNull();
    }
  });

  it('gives what the commands give that share nothing: same data, same model, same p-values', async () => {
    const [cell, folder] = [at('out/cells/linear/fraction-0.25/key-2/seed-3'), at('alone')];
    const key = await parseKey(read(at('out/keys/key-2/key.json')).toString(), 'key.json');
    const { model: marker } = await openModel(device(), at('marker.safetensors'));
    const owner = await openDataset(at('owner'));
    const recipe = { ...defaultMarkingRecipe(12), iterations: 2 };
    const manifest = await markDataset({
      copyUnmarked: true,
      key,
      model: marker,
      dataset: owner,
      fraction: 0.25,
      recipe,
      out: folder,
    });
    const trained = await runTraining({
      device: device(),
      dataset: await openDataset(folder),
      validation: await openDataset(at('held-out')),
      out: at('alone.safetensors'),
      init: at('marker.safetensors'),
      recipe: { freezeFeatures: true, epochs: 2, batchSize: 8, seed: 3 },
    });
    const record = json(join(cell, 'cell.json'));
    expect(record.data.sha256).toBe(trained.data.sha256);
    expect(record.model.sha256).toBe(trained.sha256);
    expect(record.accuracy).toBe(trained.accuracy.validation);
    expect(record.marked).toBe(manifest.images.length);
    expect(record.psnrMin).toBe(Math.min(...manifest.images.map(({ psnr }) => psnr!)));
    const { model: suspect } = await openModel(device(), join(cell, 'model.safetensors'));
    const heldOut = VanillaImages.check(await openDataset(at('held-out')), []);
    const found = await detect({
      key,
      heldOut,
      marking: marker,
      suspect: { model: suspect, classes: ClassMapping.ownOrder(key.classes, 2, 'suspect') },
      freshKeys: 1,
    });
    const own = report.rows.find((row) => row.setting === 'linear' && row.fraction === 0.25 && row.key === 2)!;
    expect(own.testedWith).toBe(2);
    expect(own.log10p).toBe(found.log10p);
    expect(own.score).toBeCloseTo(found.meanCosine, 14);
    marker.destroy();
    suspect.destroy();
  });

  it.each(['folder', 'idx'] as const)('smaller shares are contained in larger ones, to the bit: %s', async (layout) => {
    const source = layout === 'folder' ? writeFolder(at('some'), 20) : writeIdx(at('some-idx'), 20);
    const owner = await openDataset(`${source}#4:20`);
    const { model, sha256 } = await openModel(device(), at('marker.safetensors'));
    const key = await experimentKey(1, {
      classes: CLASSES,
      model: { sha256, architecture: 'resnet18', featureDimension: 32 },
      basis: null,
      centre: true,
    });
    const recipe = { ...defaultMarkingRecipe(12), iterations: 2 };
    const mark = async (fraction: number) => {
      const out = at(`some-${layout}-${fraction}`);
      await markDataset({ copyUnmarked: true, key, model, dataset: owner, fraction, recipe, out });
      const manifest = parseManifest(read(join(`${out}.private`, 'manifest.json')).toString(), 'manifest.json');
      return { marked: await openDataset(out), manifest };
    };
    const [large, small] = [await mark(0.75), await mark(0.25)];
    const { selected } = selectStratified(owner.labels, 2, { fraction: 0.25 }, recipe.seed);
    const nested = nestedDataset(owner, large, selected, 'nested');
    expect(nested.images).toEqual(small.manifest.images);
    expect(await hashDataset(nested.dataset)).toBe(await hashDataset(small.marked));
    expect(await hashDataset(nested.dataset)).not.toBe(await hashDataset(large.marked));
    expect(() =>
      nestedDataset(owner, small, selectStratified(owner.labels, 2, { fraction: 0.75 }, 0).selected, ''),
    ).toThrow('is not marked, but a smaller share has it marked');
    model.destroy();
  });

  it('every number of the tables is in the files of the cells, these name the arrays they are made of', () => {
    const results = parseResults(read(at('out/results.json')).toString(), 'results.json');
    expect(results.rows).toEqual(report.rows);
    expect(json(at('out/results.json')).summary).toEqual(JSON.parse(JSON.stringify(summariseRows(results.rows))));
    for (const row of results.rows) {
      const key = row.fraction === 0 ? '' : `key-${row.key}/`;
      const cell = at(`out/cells/${row.setting}/fraction-${row.fraction}/${key}seed-3`);
      const test = json(`${cell}/white-box.key-${row.testedWith}.json`);
      expect(test.statistics[0].log10p).toBe(row.log10p);
      expect(json(`${cell}/cell.json`).accuracy).toBe(row.accuracy);
      expect(Object.keys(test.arrays)).toHaveLength(row.setting === 'linear' ? 2 : 3);
      for (const [file, sha256] of Object.entries(test.arrays)) expect(hashBytes(read(at(`out/${file}`)))).toBe(sha256);
    }
    for (const [file, sha256] of Object.entries(json(at('out/results.json')).files))
      expect(hashBytes(read(at(`out/${file}`)))).toBe(sha256);
    const lines = read(at('out/results.csv')).toString().trimEnd().split('\n');
    expect(lines).toHaveLength(1 + report.rows.length);
    expect(lines[0].split(',')).toHaveLength(lines[1].split(',').length);
  });

  it('goes on wherever it was stopped, and ends with the same files', async () => {
    const out = at('stopped');
    let runs = 0;
    for (let lines = 2; ; lines += 3) {
      runs++;
      const stop = new AbortController();
      let seen = 0;
      const log = (): void => {
        if (++seen === lines) stop.abort();
      };
      const error = await run(tiny, out, log, stop.signal).then(
        () => undefined,
        (reason: unknown) => reason,
      );
      if (!error) break;
      expect(error).toMatchObject({ name: 'AbortError' });
    }
    expect(runs).toBeGreaterThan(3);
    expect(listing(out)).toEqual(listing(at('out')));
  });

  it('may be extended, not changed', async () => {
    const before = listing(at('out'));
    const logged: string[] = [];
    const more = await run({ ...tiny, keys: 3, settings: [tiny.settings[0]] }, at('out'), (line) => logged.push(line));
    expect(logged[0]).toMatch(/^7 cells, 3 to do/);
    expect(more.rows.filter(({ key }) => key === 3)).toHaveLength(5);
    for (const [path, digest] of Object.entries(listing(at('out'))))
      if (path in before && path.startsWith('cells/')) expect(digest, path).toBe(before[path]);
    await expect(run({ ...tiny, marking: { dimension: 9, iterations: 2 } }, at('out'))).rejects.toThrow(
      `${at('out')}: was begun with another value of marking; choose another folder, or remove it`,
    );
    const [linear, scratch] = tiny.settings;
    const other = { ...scratch, recipe: { ...scratch.recipe, epochs: 2 } };
    await expect(run({ ...tiny, settings: [linear, other] }, at('out'))).rejects.toThrow(
      'another value of settings.scratch',
    );
  });

  it('marks the hardest, tests with probes, distils, and fine-tunes', async () => {
    const recipe = { epochs: 1, batchSize: 8 };
    const config = {
      ...tiny,
      data: { ...tiny.data, vanilla: { path: 'held-out' } },
      marking: { ...tiny.marking, hardest: 'marker' },
      probes: { decoys: 4, perClass: 3 },
      settings: [
        {
          ...{ name: 'tuned', init: 'marker', recipe: { ...recipe, newLastLayer: true }, fractions: [0.25, 0.5] },
          references: { data: 'owner', seeds: [8] },
        },
        {
          ...{ name: 'taught', network: { width: 4 }, recipe, fractions: [0.25] },
          ...{
            distil: { from: 'tuned', images: 'owner' },
            references: { setting: 'tuned', data: 'owner', seeds: [8] },
          },
        },
      ],
      statistics: ['black-box'],
    };
    const { rows } = await run(config, at('more'));
    const found = rows.filter(({ setting, deciding }) => deciding && setting === 'tuned');
    expect(found.map(({ fraction, control, key }) => [fraction, control, key])).toEqual([
      [0, 'unmarked', 1],
      [0, 'unmarked', 2],
      ...[1, 2].flatMap((key) => [
        [0.25, null, key],
        [0.25, 'other key', key],
        [0.5, null, key],
        [0.5, 'other key', key],
      ]),
    ]);
    // The same with what is shared by nobody: the data set of the smaller share, and the test from the models.
    const { model: marker, sha256 } = await openModel(device(), at('marker.safetensors'));
    const key = await parseKey(read(at('more/keys/key-1/key.json')).toString(), 'key.json');
    await markDataset({
      copyUnmarked: true,
      ...{ key, model: marker, dataset: await openDataset(at('owner')), fraction: 0.25, out: at('hardest') },
      ...{ recipe: { ...defaultMarkingRecipe(12), iterations: 2 }, hardest: { classifier: marker, sha256 } },
    });
    const cell = at('more/cells/tuned/fraction-0.25/key-1/seed-3');
    expect(json(join(cell, 'cell.json')).data.sha256).toBe(await hashDataset(await openDataset(at('hardest'))));
    const probes = await openProbes(at('more/keys/key-1/probes'));
    const images = await Loader.open(await openProbeImages(probes), 1);
    const models = [];
    for (const path of [cell, at('more/references/tuned/owner-seed-8')])
      models.push((await openModel(device(), join(path, 'model.safetensors'))).model);
    const [suspect, reference] = models.map((model) => ({ model, images }));
    // An experiment tests suspects that have learned nothing, too.
    const asked = { key, probes: probes.manifest, suspect, references: [reference], despite: DOUBTS };
    const { log10p } = await detectBlackBox(asked);
    expect(found[2].log10p).toBe(log10p);
    for (const model of [...models, marker]) model.destroy();
    // And from the scores that are kept: the suspect's beside the test, those of the one reference of both settings beside the probes.
    const scores = (path: string) =>
      ModelScores.ofScores(parseNpyMatrix(read(at(`more/${path}`)), path).data, key.classes.length, path);
    const kept = readdirSync(at('more/keys/key-1/probes/scores'));
    expect(kept).toHaveLength(1);
    const again = await testScores(
      key,
      probes.manifest,
      scores('cells/tuned/fraction-0.25/key-1/seed-3/black-box.key-1.scores.npy'),
      [scores(`keys/key-1/probes/scores/${kept[0]}`)],
      { despite: DOUBTS },
    );
    expect(again.log10p).toBe(log10p);
    expect(again.blackBox).toMatchObject({ sets: 5, imagesPerClass: 3 });
    expect(readdirSync(at('more/references'))).toEqual(['tuned']);
    // The choice is that of `mark --hardest`, at random another.
    const chosen = parseManifest(
      read(at('more/keys/key-1/marked-0.5.private/manifest.json')).toString(),
      'manifest.json',
    );
    expect(chosen.options).toHaveProperty('classifierSha256');
    await expect(run({ ...config, marking: tiny.marking }, at('more'))).rejects.toThrow(
      'was begun with another value of marking',
    );
    // Learned from the tuned model of the same share and key, on the owner's images as they were.
    const taught = json(at('more/cells/taught/fraction-0.25/key-1/seed-3/model.safetensors.json'));
    expect(taught.teacher.sha256).toBe(json(join(cell, 'cell.json')).model.sha256);
    expect(taught.data.sha256).toBe(await hashDataset(await openDataset(at('owner'))));
  });

  it('a test is an entry in a table: it gets references, folders, arrays, and gives several values', async () => {
    const seen: CellToTest[] = [];
    const table = statistics as Record<TestName, (typeof statistics)[TestName]>;
    const real = table['black-box'];
    table['black-box'] = {
      async run(tested) {
        seen.push(tested);
        await tested.save('thing', [2], Float64Array.of(1, 2));
        const accuracy = (await tested.references[0].model()).config.numClasses;
        const one = {
          log10p: -accuracy,
          exact: true,
          perClass: [{ class: 'ape', score: 4, log10p: null }],
          null: null,
        };
        return {
          statistics: [
            { name: 'fake a', ...one },
            { name: 'fake b', ...one, exact: false, log10p: Number.NEGATIVE_INFINITY, perClass: [] },
          ],
          warnings: ['careful'],
        };
      },
    };
    try {
      const config = {
        ...tiny,
        keys: 1,
        data: { ...tiny.data, vanilla: { path: 'held-out' } },
        settings: [{ ...tiny.settings[1], references: { data: 'vanilla', seeds: [8, 9] } }],
        statistics: ['black-box'],
      };
      const { rows } = await run(config, at('fake'));
      expect(
        rows.map(({ statistic, log10p, score, deciding, exact }) => [statistic, log10p, score, deciding, exact]),
      ).toEqual(
        Array.from({ length: 3 }, () => [
          ['fake a', -2, 4, true, true],
          ['fake b', Number.NEGATIVE_INFINITY, null, false, false],
        ]).flat(),
      );
      expect(seen[0].references.map(({ path }) => path)).toEqual(
        [8, 9].map((seed) => at(`fake/references/scratch/vanilla-seed-${seed}/model.safetensors`)),
      );
      const test = json(at('fake/cells/scratch/fraction-0.5/key-1/seed-3/black-box.key-2.json'));
      expect(test).toMatchObject({ control: 'other key', warnings: ['careful'] });
      expect(Object.keys(test.arrays)).toContain('cells/scratch/fraction-0.5/key-1/seed-3/black-box.key-2.thing.npy');
      // Without end, and read again from the file.
      expect((await run(config, at('fake'))).rows).toEqual(rows);
    } finally {
      table['black-box'] = real;
    }
  });

  it('of probes needs images to make them of', () => {
    const config = { ...tiny, statistics: ['black-box'] };
    expect(() => parseConfig(JSON.stringify(config), 'config.json')).toThrow(
      'config.json: data.vanilla: missing, and probes are made of such images',
    );
  });
});

describe('the time left', () => {
  it('follows from the rate of each kind of work, else from that of all', () => {
    const estimate = new Estimate([
      { kind: 'train', amount: 100 },
      { kind: 'test', amount: 30 },
      { kind: 'train', amount: 100 },
      { kind: 'mark', amount: 10 },
    ]);
    expect(estimate.secondsLeft).toBeUndefined();
    estimate.note(0, 0, 1);
    expect(estimate.secondsLeft).toBeUndefined();
    estimate.note(0, 50, 4);
    // 5 s for 50: a tenth of a second each for all 190 that are left.
    expect(estimate.secondsLeft).toBeCloseTo(19, 12);
    estimate.note(0, 100, 5);
    estimate.note(1, 30, 90);
    // Training 0.1 s each; marking, not seen yet, like all together: 100 s for 130.
    expect(estimate.secondsLeft).toBeCloseTo(10 + 10 * (100 / 130), 12);
    estimate.note(2, 100, 10);
    estimate.note(3, 10, 2);
    expect(estimate.secondsLeft).toBe(0);
  });
});

describe('tables', () => {
  it('the middle and the reach of values', () => {
    expect(spread([3, 1, 2])).toEqual({ median: 2, min: 1, max: 3 });
    expect(spread([4, 1, 2, 8])).toEqual({ median: 3, min: 1, max: 8 });
    expect(spread([Number.NEGATIVE_INFINITY, Number.NEGATIVE_INFINITY]).median).toBe(Number.NEGATIVE_INFINITY);
    expect(() => spread([])).toThrow();
    expect(() => spread([1, Number.NaN])).toThrow();
  });

  it('CSV quotes what needs it and leaves empty what is not there', () => {
    const row = {
      ...{ setting: 'a', fraction: 0.1, key: 1, seed: 2, control: null, testedWith: 1, statistic: 'x, "y"' },
      ...{ deciding: true, exact: true, log10p: -1.5, score: null, accuracy: 0.9, vanillaAccuracy: null, marked: 3 },
      ...{ psnrMedian: 31, psnrMin: 30, trainingSeconds: null, testSeconds: 1 },
    };
    expect(toCsv([row])).toBe(
      'setting,fraction,key,seed,control,tested_with,statistic,deciding,exact,log10p,score,accuracy,vanilla_accuracy,marked,psnr_median,psnr_min,training_seconds,test_seconds\n' +
        'a,0.1,1,2,,1,"x, ""y""",true,true,-1.5,,0.9,,3,31,30,,1\n',
    );
  });
});

describe('the built program', () => {
  beforeAll(() => build());

  it('is killed, interrupted, and goes on', async () => {
    const args = ['experiment', at('config.json'), '--data', work, '-o', at('cli')];
    const stopAfter = (text: string, how: NodeJS.Signals) => ({
      onStderr: (stderr: string, kill: (signal: NodeJS.Signals) => void) => {
        if (stderr.includes(text)) kill(how);
      },
    });
    const killed = await runCli('cli', args, stopAfter('key 1: marking', 'SIGKILL'));
    expect(killed.exitCode).toBeNull();
    let sent = false;
    const stopped = await runCli('cli', args, {
      onStderr: (stderr, kill) => {
        if (!sent && stderr.includes('key 2, seed 3')) {
          sent = true;
          kill('SIGINT');
        }
      },
    });
    expect(stopped).toMatchObject({ exitCode: 130, stdout: '' });
    expect(ownLines(stopped).at(-1)).toBe('error: interrupted; run the same command again to go on');
    const finished = await runCli('cli', args);
    expect(finished.exitCode).toBe(0);
    expect(finished.stdout).toMatch(/^setting +fraction +statistic +tests +log10 p/);
    expect(finished.stdout.split('\n').filter((line) => line.startsWith('scratch'))).toHaveLength(3);
    expect(json(at('cli/results.json')).rows).toHaveLength(16);
    const missing = await runCli(
      'cli',
      args.filter((arg) => arg !== '--data' && arg !== work),
    );
    expect(missing.exitCode).toBe(2);
    expect(ownLines(missing).at(-1)).toContain('--data FOLDER is missing: the configuration names no data.source');
  });
});

describe('models that other settings train, and what they are asked', () => {
  const device = useDevice();
  it('are trained once; louder probes and labels alone are other rows', async () => {
    const random = derive(3, 'pixels');
    const records = Array.from({ length: 36 }, (_, i) => ({
      label: i % 3,
      pixels: Uint8Array.from({ length: 3072 }, () => random.below(256)),
    }));
    const folder = at('cifar');
    mkdirSync(folder);
    writeFileSync(join(folder, 'data_batch_1.bin'), serializeCifarBinary(records.slice(0, 24), false));
    writeFileSync(join(folder, 'test_batch.bin'), serializeCifarBinary(records.slice(24), false));
    writeFileSync(join(folder, 'batches.meta.txt'), 'ape\nbee\ncat\n\n');
    const config = {
      title: 'loud',
      data: {
        owner: { range: [0, 12] },
        heldOut: { split: 'test' },
        vanilla: { range: [12, 24] },
      },
      marker: { patterns: 6 },
      keys: 1,
      seeds: [1],
      marking: { dimension: null, radiusLevels: 8 },
      probes: { decoys: 2, perClass: 1 },
      settings: [
        {
          name: 'scratch',
          network: { width: 2 },
          recipe: { epochs: 1, batchSize: 6, crop: { padding: 4, flip: true }, cutmix: 1, ema: 0.5 },
          fractions: [0.5],
          references: { data: 'owner', seeds: [8] },
        },
        { name: 'loud', models: 'scratch', probes: { amplitude: 4 }, fractions: [0.5] },
        { name: 'loud-labels', models: 'scratch', answers: 'labels', probes: { amplitude: 4 }, fractions: [0.5] },
      ],
      statistics: ['black-box'],
    };
    const lines: string[] = [];
    const out = at('loud');
    const report = await runExperiment({
      device: device(),
      config: parseConfig(JSON.stringify(config), 'loud.json'),
      configPath: at('loud.json'),
      data: folder,
      out,
      command: ['radioactive', 'experiment'],
      progress: () => ({ update: () => undefined, done: () => undefined }),
      log: (line) => lines.push(line),
    });
    expect(report.cells).toBe(6);
    // A control, a marked model and a reference, of all three settings.
    expect(lines.filter((line) => line.includes(': training')).length).toBe(3);
    const keyFolder = join(out, 'keys', 'key-1');
    const probeFolders = readdirSync(keyFolder).filter((name) => name.startsWith('probes'));
    expect(probeFolders.length).toBe(2);
    const options = (name: string) => json(join(keyFolder, name, 'probes.json')).options;
    const [usual, loud] = probeFolders.sort().map(options);
    expect(loud.radiusLevels).toBe(4 * usual.radiusLevels);
    expect(loud.learningRate).toBe(4 * usual.learningRate);
    expect(loud.lambdaImage).toBe(usual.lambdaImage / 4);
    expect(readdirSync(join(keyFolder, probeFolders[0], 'images')).sort()).toEqual([
      'batches.meta.txt',
      'test_batch.bin',
    ]);
    // Marked images are written in the form of the originals.
    expect(readdirSync(join(keyFolder, 'marked-0.5')).sort()).toEqual(['batches.meta.txt', 'data_batch_1.bin']);
    const record = (setting: string) =>
      json(join(out, 'cells', setting, 'fraction-0.5', 'key-1', 'seed-1', 'black-box.key-1.json'));
    expect(record('loud').answers).toBeUndefined();
    expect(record('loud-labels').answers).toBe('labels');
    // The same answers to the same probes, of which the class alone is looked at.
    const scores = (setting: string) =>
      read(join(out, 'cells', setting, 'fraction-0.5', 'key-1', 'seed-1', 'black-box.key-1.scores.npy'));
    expect(scores('loud-labels')).toEqual(scores('loud'));
    expect(scores('loud')).not.toEqual(scores('scratch'));
    const row = (setting: string) => report.rows.find((each) => each.setting === setting && each.control === null)!;
    expect(row('loud').accuracy).toBe(row('scratch').accuracy);
    expect(row('loud').score).not.toBe(row('loud-labels').score);
  });
});
