import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import * as v from 'valibot';
import { TESTS } from '../../detection/tests.ts';
import { InputError } from '../../errors.ts';
import { canonicalJson } from '../../formats/canonical.ts';
import { readDocument } from '../../formats/document.ts';
import { jsonDocument } from '../../formats/json.ts';
import { hashBytes } from '../../formats/sha256.ts';
import type { Device } from '../../gpu/device.ts';
import type { OnProgress } from '../../nn/inference.ts';
import { version as programVersion } from '../../version.ts';
import { exists, outputPath, readBytes } from '../files/files.ts';
import { writeWithFolders } from '../files/write.ts';
import { lockOutput } from '../runs/lock.ts';
import {
  type Cell,
  type CellContext,
  type CellTest,
  cellFile,
  cellsOf,
  extractCell,
  featuresFile,
  prepareKey,
  readCell,
  readTest,
  referencesOf,
  testCell,
  testsOf,
  train,
  trainCell,
} from './cells.ts';
import type { ExperimentConfig } from './config.ts';
import { Estimate } from './estimate.ts';
import { figures } from './figures.ts';
import { Materials } from './materials.ts';
import { type Row, type SummaryRow, summariseRows, toCsv } from './results.ts';
import { DESCENT_PASSES, statistics } from './statistics.ts';

export interface ExperimentOptions {
  readonly device: Device;
  readonly config: ExperimentConfig;
  /** The configuration's file: paths in it begin at its folder. */
  readonly configPath: string;
  /** Folder that the configuration's data sets are in. */
  readonly data: string;
  /** Everything is written here. What is there already is not done again. */
  readonly out: string;
  /** For the results: what was typed. */
  readonly command: readonly string[];
  readonly progress: (
    title: string,
    total: number,
    unit: string,
  ) => { update(done: number, secondsLeft?: number): void; done(): void };
  readonly log: (line: string) => void;
  readonly signal?: AbortSignal | undefined;
}

export interface ExperimentReport {
  readonly out: string;
  /** Of `out`. */
  readonly files: readonly string[];
  readonly cells: number;
  readonly rows: readonly Row[];
  readonly summary: readonly SummaryRow[];
}

/** Something that takes long and leaves a file. It is done where the file is there. */
interface ExperimentStep {
  readonly title: string;
  readonly file: string;
  /** Steps of a kind go at one rate. */
  readonly kind: string;
  /** About how many images it puts forward through a network, for the time left. */
  readonly passes: number;
  make(onProgress: OnProgress): Promise<void>;
}

/** Forward passes that a step of training the last layer alone takes the time of. */
const LAST_LAYER_PASSES = 0.03;

/**
 * Trains and tests all cells of a configuration and writes their tables and plots. Killed at any moment and started again, it goes
 * on: a step whose file is there is done, the others go on by themselves. The tables are made from the cells' files alone, after
 * every cell.
 *
 * Keys, seeds, fractions, statistics and settings may be added to a configuration later; what they share may not change.
 * @throws InputError where `out` was begun with another configuration, or the configuration's files are missing or do not fit
 */
export async function runExperiment(given: ExperimentOptions): Promise<ExperimentReport> {
  const options = { ...given, out: outputPath(given.out) };
  const release = await lockOutput(options.out);
  try {
    return await runInto(options);
  } finally {
    await release();
  }
}

async function runInto(options: ExperimentOptions): Promise<ExperimentReport> {
  const { config, out, signal, log } = options;
  const materials = await Materials.open(options);
  try {
    await checkIdentity(options, materials);
    const context: CellContext = { ...options, materials };
    const cells = cellsOf(config, out);
    const planned = planOf(context, cells);
    const missing = new Set<string>();
    for (const { file } of planned.flatMap(({ steps }) => steps)) if (!(await exists(file))) missing.add(file);
    const seen = new Set<string>();
    const todo = planned.map(({ cell, steps }) => ({
      cell,
      steps: steps.filter(({ file }) => missing.has(file) && !seen.has(file) && seen.add(file)),
    }));
    const jobs = todo.flatMap(({ steps }) => steps);
    const open = todo.filter(({ cell, steps }) => cell && steps.length > 0).length;
    log(`${cells.length} cells, ${open} to do; results so far in ${out}/results.csv`);
    await mkdir(join(out, 'shared'), { recursive: true });
    const follow = jobs.length > 0 ? followJobs(options, jobs) : undefined;
    try {
      for (const [position, { cell, steps }] of todo.entries()) {
        if (steps.length === 0) continue;
        for (const step of steps) {
          signal?.throwIfAborted();
          log(
            `${cell ? `${titleOf(cell)} (cell ${cellNumber(todo, position)} of ${cells.length}): ` : ''}${step.title}`,
          );
          const update = follow!.begin(jobs.indexOf(step));
          await step.make(update);
          update(1, 1);
        }
        if (cell) await writeResults(options, materials, cells);
      }
    } finally {
      follow?.done();
    }
    return await writeResults(options, materials, cells);
  } finally {
    materials.destroy();
  }
}

/** Shows how far all steps together are, and how long the others will take. */
function followJobs({ progress, config }: ExperimentOptions, steps: readonly ExperimentStep[]) {
  const estimate = new Estimate(steps.map(({ kind, passes }) => ({ kind, amount: passes })));
  const total = steps.reduce((sum, { passes }) => sum + passes, 0);
  const display = progress(config.title, Math.round(total), 'passes');
  let before = 0;
  return {
    begin(index: number): OnProgress {
      const { passes } = steps[index];
      const start = before;
      before += passes;
      let last = performance.now();
      return (done, of) => {
        const now = performance.now();
        const share = Math.min(1, done / of);
        estimate.note(index, passes * share, (now - last) / 1000);
        last = now;
        display.update(Math.floor(start + passes * share), estimate.secondsLeft);
      };
    },
    done: () => display.done(),
  };
}

const cellNumber = (groups: readonly { readonly cell: Cell | null }[], position: number): number =>
  groups.slice(0, position + 1).filter(({ cell }) => cell).length;

const titleOf = ({ setting, fraction, key, seed }: Cell): string =>
  `${setting.name}, ${key === 0 ? 'unmarked' : `fraction ${fraction}, key ${key}`}, seed ${seed}`;

/** All steps, in order; those of a cell together. */
function planOf(
  context: CellContext,
  cells: readonly Cell[],
): { readonly cell: Cell | null; readonly steps: readonly ExperimentStep[] }[] {
  const { materials, config, out } = context;
  const { marker, owner, heldOut } = materials;
  const [n, h] = [owner.dataset.length, heldOut.dataset.length];
  const largest = materials.count(materials.largestFraction);
  const needed = config.statistics.filter((each) => TESTS[each].needs.references);

  const shared: ExperimentStep[] = [
    {
      title: "the marking network's features of the owner's images",
      file: materials.featuresFile(marker, 'owner'),
      kind: 'marker',
      passes: n,
      make: async (onProgress) => void (await materials.features(marker, 'owner', onProgress)),
    },
    {
      title: "the marking network's features of the held-out images",
      file: materials.featuresFile(marker, 'heldOut'),
      kind: 'marker',
      passes: h,
      make: async (onProgress) => void (await materials.features(marker, 'heldOut', onProgress)),
    },
  ];
  if (config.marking.hardest !== undefined)
    shared.push({
      title: "how hard the owner's images are",
      file: materials.hardnessFile,
      kind: 'classifier',
      passes: n,
      make: async (onProgress) => void (await materials.hardness(onProgress)),
    });
  const marking = (key: number): ExperimentStep => ({
    title: `key ${key}: marking ${largest} images`,
    file: materials.markedFolder(key),
    kind: 'marking',
    passes: largest * materials.recipe.iterations * DESCENT_PASSES,
    make: (onProgress) => materials.mark(key, onProgress),
  });
  const training = (cell: Cell): ExperimentStep => {
    const { recipe, distil } = cell.setting;
    const images = distil?.images === 'vanilla' ? materials.vanilla!.dataset.length : n;
    return {
      title: 'training',
      file: cellFile(cell),
      kind: `training ${cell.setting.name}`,
      passes: recipe.freezeFeatures
        ? (recipe.epochs ?? 30) * images * LAST_LAYER_PASSES
        : (recipe.epochs ?? 10) * images * DESCENT_PASSES + images + h,
      make: (onProgress) => trainCell(context, cell, onProgress),
    };
  };
  const references = (cell: Cell): ExperimentStep[] =>
    needed.length === 0
      ? []
      : referencesOf(cell.setting, config, out).map(({ setting, data, seed, path }) => {
          const { dataset } = data === 'owner' ? owner : materials.vanilla!;
          const { epochs = 10 } = setting.recipe;
          return {
            title: `training the reference model of seed ${seed}`,
            file: path,
            kind: `training ${setting.name}`,
            passes: epochs * dataset.length * DESCENT_PASSES,
            make: async (onProgress) => void (await train(context, setting, { dataset, out: path, seed, onProgress })),
          };
        });
  const sizesOf = ({ setting }: Cell) => ({
    ...{ classes: materials.classes.length, heldOut: h },
    probes: materials.probesOf(setting),
  });
  const preparation = (cell: Cell, { statistic, key }: CellTest): ExperimentStep[] => {
    const { prepare } = statistics[statistic];
    if (!prepare) return [];
    return [
      {
        title: `key ${key}: ${prepare.title}`,
        file: join(materials.keyFolder(key), prepare.name(sizesOf(cell))),
        kind: prepare.title,
        passes: prepare.passes(sizesOf(cell)),
        make: (onProgress) => prepareKey(context, statistic, cell, key, onProgress),
      },
    ];
  };
  return [
    { cell: null, steps: shared },
    ...cells.map((cell) => ({
      cell,
      steps: [
        ...(cell.key > 0 ? [marking(cell.key)] : []),
        training(cell),
        {
          title: 'features of the held-out images',
          file: featuresFile(cell),
          kind: `features ${cell.setting.name}`,
          passes: cell.setting.recipe.freezeFeatures ? 0 : h,
          make: (onProgress: OnProgress) => extractCell(context, cell, onProgress),
        },
        ...references(cell),
        ...testsOf(cell, config).flatMap((test) => [
          ...preparation(cell, test),
          {
            title: `${test.statistic} test with key ${test.key}${test.control === 'other key' ? ', which marked nothing here' : ''}`,
            file: test.file,
            kind: test.statistic,
            passes: statistics[test.statistic].passes?.(sizesOf(cell)) ?? 0,
            make: (onProgress: OnProgress) => testCell(context, cell, test, onProgress),
          },
        ]),
      ],
    })),
  ];
}

const IDENTITY = 'experiment.json';
const IDENTITY_DOCUMENT = {
  name: "experiment's beginning",
  cure: 'remove the folder and start again',
  schema: v.record(v.string(), v.unknown()),
};

/**
 * What the cells of a folder share and a later run may not change. Written before anything else.
 * @throws InputError naming the first difference
 */
async function checkIdentity({ config, out }: ExperimentOptions, materials: Materials): Promise<void> {
  const settings: Record<string, unknown> = {};
  for (const { name, init, network = {}, recipe, distil, references, models, answers, probes } of config.settings) {
    settings[`settings.${name}`] = {
      init: init === undefined ? null : (await materials.network(init)).sha256,
      network,
      recipe,
      ...(distil && { distil }),
      references: references?.data ?? null,
      ...(references?.setting !== undefined && { referencesOf: references.setting }),
      ...(models !== undefined && { models }),
      ...(answers !== undefined && { answers }),
      ...(probes !== undefined && { probes: materials.probesOf({ probes }) }),
    };
  }
  const now: Record<string, unknown> = {
    'data.owner': materials.sha256.owner,
    'data.heldOut': materials.sha256.heldOut,
    ...(materials.sha256.vanilla !== null && { 'data.vanilla': materials.sha256.vanilla }),
    classes: materials.classes,
    marker: materials.marker.sha256,
    marking: {
      dimension: config.marking.dimension,
      hardest: (await materials.classifier())?.sha256 ?? null,
      ...materials.recipe,
    },
    ...settings,
  };
  const path = join(out, IDENTITY);
  let before: Record<string, unknown> = {};
  if (await exists(path)) {
    before = readDocument(IDENTITY_DOCUMENT, new TextDecoder().decode(await readBytes(path)), path);
    for (const [name, value] of Object.entries(now)) {
      if (name in before && canonicalJson(before[name]) !== canonicalJson(value))
        throw new InputError(`${out}: was begun with another value of ${name}; choose another folder, or remove it`);
    }
  }
  await writeWithFolders(path, new TextEncoder().encode(jsonDocument({ ...before, ...now })));
}

/** Makes tables and plots from the files of the cells that are there. */
async function writeResults(
  options: ExperimentOptions,
  materials: Materials,
  cells: readonly Cell[],
): Promise<ExperimentReport> {
  const { config, out, command, device } = options;
  const rows: Row[] = [];
  const adapters = new Set<string>();
  const accuracies = new Map<string, number>();
  const models: Record<string, string> = {};
  let complete = 0;
  for (const cell of cells) {
    if (!(await exists(cellFile(cell)))) continue;
    const { accuracy, marked, psnrMedian, psnrMin, seconds, adapter, model } = await readCell(cell);
    adapters.add(adapter);
    models[cell.folder.slice(out.length + 1)] = model.sha256;
    const baseline = JSON.stringify([cell.setting.name, cell.seed]);
    if (cell.fraction === 0) accuracies.set(baseline, accuracy);
    const tests = testsOf(cell, config);
    const done: boolean[] = [];
    for (const test of tests) {
      done.push(await exists(test.file));
      if (!done.at(-1)) continue;
      const found = await readTest(test);
      for (const [index, { name, exact, log10p, perClass }] of found.statistics.entries()) {
        rows.push({
          setting: cell.setting.name,
          fraction: cell.fraction,
          key: cell.key === 0 ? test.key : cell.key,
          seed: cell.seed,
          control: test.control,
          testedWith: test.key,
          statistic: name,
          deciding: index === 0,
          exact,
          log10p,
          score: perClass.length === 0 ? null : perClass.reduce((sum, { score }) => sum + score, 0) / perClass.length,
          accuracy,
          vanillaAccuracy: accuracies.get(baseline) ?? null,
          marked,
          psnrMedian,
          psnrMin,
          trainingSeconds: seconds,
          testSeconds: found.seconds,
        });
      }
    }
    if (done.every(Boolean)) complete++;
  }
  const summary = summariseRows(rows);
  const { marker, recipe } = materials;
  const csv = new TextEncoder().encode(toCsv(rows));
  const files: Record<string, Uint8Array> = { 'results.csv': csv };
  for (const [name, svg] of Object.entries(figures(summary))) files[name] = new TextEncoder().encode(svg);
  files['results.json'] = new TextEncoder().encode(
    jsonDocument({
      format: 'radioactive-experiment-results',
      version: 1,
      config,
      command: [...command],
      program: { version: programVersion, node: process.versions.node, adapters: [...adapters], adapter: device.name },
      classes: materials.classes,
      data: {
        owner: { count: materials.owner.dataset.length, sha256: materials.sha256.owner },
        heldOut: { count: materials.heldOut.dataset.length, sha256: materials.sha256.heldOut },
        vanilla: materials.vanilla
          ? { count: materials.vanilla.dataset.length, sha256: materials.sha256.vanilla }
          : null,
      },
      marker: { sha256: marker.sha256, featureDimension: marker.model.featureDimension },
      marking: recipe,
      cells: { planned: cells.length, complete },
      models,
      files: Object.fromEntries(Object.entries(files).map(([name, bytes]) => [name, hashBytes(bytes)])),
      summary,
      rows,
    }),
  );
  for (const [name, bytes] of Object.entries(files)) await writeWithFolders(join(out, name), bytes);
  return { out, files: Object.keys(files), cells: complete, rows, summary };
}
