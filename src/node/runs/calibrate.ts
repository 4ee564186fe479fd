/** The tests on a suspect in files under keys that marked nothing. */

import { calibrateBlackBox, calibrateWhiteBox } from '../../detection/calibrate.ts';
import { arraysOf, heldOutFeatures } from '../../detection/detect.ts';
import { keyCombination, probeResponses } from '../../detection/detect_blackbox.ts';
import { DEFAULT_FRESH_KEYS } from '../../detection/fresh_keys.ts';
import type { Calibration } from '../../detection/statistic.ts';
import { keyAlignment, keyCarriers, keySource } from '../../marking/key.ts';
import { DEFAULT_SUBSPACE_DIMENSION } from '../../marking/keygen.ts';
import { classIrrelevantSubspace } from '../../marking/subspace.ts';
import type { RunContext } from './context.ts';
import type { BlackBoxFiles, WhiteBoxFiles } from './detect.ts';
import { loadHeldOut, openHeldOut, openKey, openMarkingNetwork, openNetwork } from './inputs.ts';
import { gatherScores } from './probe_scores.ts';
import { openSuspect } from './suspect.ts';

/** What is calibrated, as `runDetection` takes it. */
export type CalibrationFiles = {
  /** How many fresh keys; default 1 000. */
  readonly keys?: number | undefined;
} & (
  | (WhiteBoxFiles & {
      /** Calibrate this key's kind of carriers and alignment; default: both kinds. */
      readonly key?: string | undefined;
      /** Without a key: directions of the subspace. */
      readonly dimension?: number | undefined;
    })
  | (BlackBoxFiles & {
      /** The key of the probes. */
      readonly key: string;
    })
);

/** What was calibrated, and whether its p-values hold. */
export interface CalibrationReport {
  readonly suspect: Readonly<Record<string, string>>;
  readonly references?: readonly Readonly<Record<string, string>>[];
  readonly probesSha256?: string;
  readonly markingModelSha256?: string;
  readonly passed: boolean;
  readonly calibrations: readonly Calibration[];
}

/** @throws InputError or IntegrityError as `runDetection` does. */
export async function runCalibration(files: CalibrationFiles, context: RunContext): Promise<CalibrationReport> {
  const { calibrations, ...about } =
    files.test === 'white-box' ? await whiteBox(files, context) : await blackBox(files, context);
  return { ...about, passed: calibrations.every(({ passed }) => passed), calibrations };
}

async function blackBox(files: Extract<CalibrationFiles, { test: 'black-box' }>, context: RunContext) {
  const { keys = DEFAULT_FRESH_KEYS, references: asked = [], labelOnly = false } = files;
  const key = await openKey(files.key);
  const gathered = await gatherScores(context, key, { ...files, references: asked });
  const { probes, suspect, references } = gathered;
  const responses = await probeResponses(key, probes.manifest, suspect, references, { labelOnly });
  const display = context.progress('fresh keys', keys, 'tests');
  const calibrations = await calibrateBlackBox({
    ...responses,
    combine: keyCombination(key),
    keys,
    onProgress: (done) => display.update(done),
    signal: context.signal,
  });
  display.done();
  return {
    suspect: gathered.suspectRecord,
    references: gathered.referenceRecords,
    probesSha256: probes.sha256,
    calibrations,
  };
}

async function whiteBox(files: Extract<CalibrationFiles, { test: 'white-box' }>, context: RunContext) {
  const { keys = DEFAULT_FRESH_KEYS } = files;
  const { progress, signal } = context;
  const key = files.key === undefined ? undefined : await openKey(files.key);
  const heldOut = await openHeldOut(files.data, {
    split: files.split ?? 'test',
    ...(key && { classes: key.classes }),
    ...(files.decode && { decode: files.decode }),
  });
  const { dataset } = heldOut;
  const marking = key
    ? await openMarkingNetwork(context, files.model, key, dataset)
    : await openNetwork(context, files.model);
  try {
    await loadHeldOut(heldOut, marking.model.config.channels, progress);
    const opened = await openSuspect(context, files.suspect, dataset.classes, heldOut);
    try {
      const passes = 'model' in opened.suspect ? 2 : 1;
      const running = progress('features', passes * dataset.length, 'images');
      const features = await heldOutFeatures({
        heldOut,
        marking: marking.model,
        suspect: opened.suspect,
        onProgress: (done) => running.update(done),
        signal,
      });
      running.done();
      const subspace = async (): Promise<Float64Array> =>
        classIrrelevantSubspace({
          features: features.marking,
          labels: dataset.labels,
          classCount: dataset.classes.length,
          weight: await marking.model.headWeight(),
          k: files.dimension ?? DEFAULT_SUBSPACE_DIMENSION,
        });
      const carriers = key
        ? [{ name: `white-box ${key.carriers.kind}`, basis: (await keyCarriers(key)).basis }]
        : [
            { name: 'white-box uniform', basis: null },
            { name: 'white-box subspace', basis: await subspace() },
          ];
      const testing = progress('fresh keys', carriers.length * keys, 'tests');
      const calibrations = await calibrateWhiteBox({
        arrays: arraysOf(features),
        featureDimension: marking.model.featureDimension,
        carriers,
        ...(key ? keyAlignment(key) : { centre: true }),
        keys,
        ...(key && { like: await keySource(key) }),
        onProgress: (done) => testing.update(done),
        signal,
      });
      testing.done();
      return { suspect: opened.record, markingModelSha256: marking.sha256, calibrations };
    } finally {
      opened.destroy();
    }
  } finally {
    marking.model.destroy();
  }
}
