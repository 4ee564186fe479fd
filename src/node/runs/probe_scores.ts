/** What models say of probes: of files that run here, or of files of scores. */

import { join } from 'node:path';
import { Loader } from '../../datasets/loader.ts';
import { probeScores } from '../../detection/detect_blackbox.ts';
import { parseScores } from '../../detection/score_file.ts';
import { type ModelScores, probeRows } from '../../detection/scores.ts';
import { InputError } from '../../errors.ts';
import { networkRecord } from '../../evidence/result.ts';
import { hashBytes } from '../../formats/sha256.ts';
import type { Key } from '../../marking/key.ts';
import { probeLayout } from '../../marking/probe_manifest.ts';
import type { ConfigOverrides } from '../../nn/model_file.ts';
import { readBytes } from '../files/files.ts';
import type { RunContext } from './context.ts';
import { openNetwork } from './inputs.ts';
import { LIST_NAME, type OpenedProbes, openProbeImages, openProbes } from './make_probes.ts';

/** A model as the black-box test asks it: one that runs here, or a file of what it said of every probe, in the list's order. */
export type AskedModel =
  | { readonly model: string; readonly network?: ConfigOverrides | undefined }
  | { readonly scores: string };

/** Scores on probes, with what they are of. */
export interface GatheredScores {
  readonly probes: OpenedProbes;
  readonly suspect: ModelScores;
  readonly references: readonly ModelScores[];
  /** Files with their SHA-256. */
  readonly suspectRecord: Readonly<Record<string, string>>;
  readonly referenceRecords: readonly Readonly<Record<string, string>>[];
  /** Of the device, where one was needed. */
  readonly adapter: string;
}

/** Scores, and the files they are of with their SHA-256. */
interface Answers {
  readonly scores: ModelScores;
  readonly record: Readonly<Record<string, string>>;
}

/**
 * Runs models on a key's probes, and reads scores.
 *
 * @throws InputError naming the file where something does not fit the probes or the key.
 */
export async function gatherScores(
  context: RunContext,
  key: Key,
  files: { readonly probes: string; readonly suspect: AskedModel; readonly references: readonly AskedModel[] },
): Promise<GatheredScores> {
  const asked = [files.suspect, ...files.references];
  const probes = await openProbes(files.probes);
  // Files first: what is wrong with them is found at once.
  const answers = new Map<AskedModel, Answers>();
  for (const each of asked) if ('scores' in each) answers.set(each, await readScores(each.scores, probes));
  const models = asked.filter((each) => 'model' in each);
  const ask = modelsOn(context, probes, key, models.length);
  for (const each of models) answers.set(each, await ask(each.model, each.network));
  const suspect = answers.get(files.suspect)!;
  const references = files.references.map((each) => answers.get(each)!);
  for (const [i, { scores, record }] of references.entries())
    if (sameFile(record, suspect.record) || sameScores(scores, suspect.scores))
      throw new InputError(
        `reference ${i + 1}, ${record.path ?? record.scores}, is the suspect itself or gives its very scores; give models that have nothing to do with it`,
      );
  return {
    probes,
    suspect: suspect.scores,
    references: references.map(({ scores }) => scores),
    suspectRecord: suspect.record,
    referenceRecords: references.map(({ record }) => record),
    adapter: models.length === 0 ? 'none' : (await context.openDevice()).name,
  };
}

const sameFile = (a: Answers['record'], b: Answers['record']): boolean =>
  (a.sha256 ?? a.scoresSha256) === (b.sha256 ?? b.scoresSha256);

const sameScores = (a: ModelScores, b: ModelScores): boolean =>
  a.kind !== 'labels' &&
  a.kind === b.kind &&
  a.values.length === b.values.length &&
  a.values.every((x, i) => x === b.values[i]);

async function readScores(path: string, { manifest, path: folder }: OpenedProbes): Promise<Answers> {
  const bytes = await readBytes(path);
  const list = {
    name: LIST_NAME,
    text: async () => new TextDecoder().decode(await readBytes(join(folder, LIST_NAME))),
  };
  const scores = await parseScores(bytes, path, { manifest, list });
  return { scores, record: { scores: path, scoresSha256: hashBytes(bytes) } };
}

/** What runs models on probes: `count` of them, under one progress display. */
function modelsOn(
  context: RunContext,
  probes: OpenedProbes,
  key: Key,
  count: number,
): (path: string, overrides?: ConfigOverrides) => Promise<Answers> {
  const { progress, signal } = context;
  const rows = probeRows(probeLayout(probes.manifest));
  /** By channels. */
  const loaders = new Map<number, Loader>();
  let display: ReturnType<typeof progress> | undefined;
  let asked = 0;
  return async (path, overrides = {}) => {
    const { model, sha256, contradicted } = await openNetwork(context, path, overrides);
    try {
      const { channels } = model.config;
      const loader = loaders.get(channels) ?? (await Loader.open(await openProbeImages(probes), channels));
      loaders.set(channels, loader);
      display ??= progress('scores', count * rows, 'images');
      const before = rows * asked++;
      const onProgress = (done: number): void => display!.update(before + done);
      const scores = await probeScores(key, model, loader, { onProgress, signal });
      if (asked === count) display.done();
      return { scores, record: { path, sha256, ...networkRecord(overrides, contradicted) } };
    } catch (error) {
      throw error instanceof InputError ? new InputError(`${path}: ${error.message}`, { cause: error }) : error;
    } finally {
      model.destroy();
    }
  };
}
