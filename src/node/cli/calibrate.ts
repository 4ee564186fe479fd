import { calibrateBlackBox, calibrateWhiteBox } from '../../detection/calibrate.ts';
import { heldOutFeatures } from '../../detection/detect.ts';
import { keyCombination, probeResponses } from '../../detection/detect_blackbox.ts';
import { DEFAULT_FRESH_KEYS } from '../../detection/fresh_keys.ts';
import type { Calibration } from '../../detection/statistic.ts';
import { UsageError } from '../../errors.ts';
import { jsonDocument } from '../../formats/json.ts';
import { keyAlignment, keyCarriers, keySource } from '../../marking/key.ts';
import { DEFAULT_SUBSPACE_DIMENSION } from '../../marking/keygen.ts';
import { classIrrelevantSubspace } from '../../marking/subspace.ts';
import { openDataset } from '../datasets/open.ts';
import { requireNewFile } from '../files/files.ts';
import { writeAtomic } from '../files/write.ts';
import { type Context, columns, defineCommand, type Result } from './command.ts';
import { blackBoxOptions, checkTestOptions, gatherScores } from './detect_blackbox.ts';
import {
  decodeOptions,
  imageOptions,
  load,
  openKey,
  openMarkingNetwork,
  openNetwork,
  requireVanilla,
  splitOption,
} from './inputs.ts';
import { openSuspect, suspectOptions } from './suspect.ts';

export const calibrate = defineCommand({
  name: 'calibrate',
  summary: 'Tests a model with keys that marked nothing: are the p-values what they claim to be?',
  options: {
    model: { type: 'string', value: 'MARKER', description: 'the marking network; needed but with --black-box' },
    data: {
      type: 'string',
      value: 'HELDOUT',
      description: 'unmarked images, as for detect; needed but with --black-box',
    },
    ...blackBoxOptions,
    keys: {
      type: 'integer',
      value: 'N',
      default: DEFAULT_FRESH_KEYS,
      minimum: 20,
      maximum: 1_000_000,
      description: 'how many fresh keys',
    },
    key: {
      type: 'string',
      value: 'KEY',
      description:
        "calibrate this key's kind of carriers and alignment; default: both kinds. With --black-box: the key of the probes",
    },
    dimension: {
      type: 'integer',
      value: 'K',
      minimum: 2,
      description: `without --key: directions of the subspace; default ${DEFAULT_SUBSPACE_DIMENSION}`,
    },
    output: { type: 'string', short: 'o', value: 'FILE', description: 'also write the result, as --json prints it' },
    split: { ...splitOption, default: 'test' },
    ...imageOptions,
    ...suspectOptions,
  },
  examples: [
    '--model weights/marker.safetensors --suspect suspect.safetensors --data data',
    '--black-box --key owner.key --probes probes --suspect suspect.safetensors --reference innocent.safetensors --keys 1000',
  ],
  async run(context) {
    const { options, progress, log, signal } = context;
    checkTestOptions(options);
    if (options.output) await requireNewFile(options.output);
    if (options.key !== undefined && options.dimension !== undefined)
      throw new UsageError('--dimension goes without --key, which has its own');
    const key = options.key === undefined ? undefined : await openKey(options.key);
    if (options.blackBox) {
      if (!key) throw new UsageError('--key KEY is missing, the key of the probes');
      const gathered = await gatherScores(context, options, key);
      const { probes, suspect, references, suspectRecord } = gathered;
      const { labelOnly, keys } = options;
      const responses = await probeResponses(key, probes.manifest, suspect, references, { labelOnly });
      const testing = progress('fresh keys', keys, 'tests');
      const calibrations = await calibrateBlackBox({
        ...responses,
        combine: keyCombination(key),
        keys,
        onProgress: (done) => testing.update(done),
        signal,
      });
      testing.done();
      const about = { suspect: suspectRecord, references: gathered.referenceRecords, probesSha256: probes.sha256 };
      return await finish(options.output, calibrations, about, log);
    }
    const [modelPath, dataPath] = [options.model!, options.data!];
    const dataset = await openDataset(dataPath, {
      split: options.split,
      ...(key && { classes: key.classes }),
      decode: decodeOptions(options),
    });
    await requireVanilla(dataset);
    const marking = key
      ? await openMarkingNetwork(context, modelPath, key, dataset)
      : await openNetwork(context, modelPath);
    try {
      const heldOut = await load(dataset, marking.model.config.channels, progress);
      const opened = await openSuspect(context, options, dataset.classes, heldOut);
      try {
        const display = progress('features', ('model' in opened.suspect ? 2 : 1) * dataset.length, 'images');
        const features = await heldOutFeatures({
          marking: { model: marking.model, heldOut },
          suspect: opened.suspect,
          onProgress: (done) => display.update(done),
          signal,
        });
        display.done();
        const subspace = async (): Promise<Float64Array> =>
          classIrrelevantSubspace({
            features: features.marking,
            labels: dataset.labels,
            classCount: dataset.classes.length,
            weight: await marking.model.headWeight(),
            k: options.dimension ?? DEFAULT_SUBSPACE_DIMENSION,
          });
        const carriers = key
          ? [{ name: `white-box ${key.carriers.kind}`, basis: (await keyCarriers(key)).basis }]
          : [
              { name: 'white-box uniform', basis: null },
              { name: 'white-box subspace', basis: await subspace() },
            ];
        const testing = progress('fresh keys', carriers.length * options.keys, 'tests');
        const calibrations = await calibrateWhiteBox({
          featuresMarking: features.marking,
          featureDimension: marking.model.featureDimension,
          suspect: features.suspect,
          carriers,
          ...(key ? keyAlignment(key) : { centre: true }),
          keys: options.keys,
          ...(key && { like: await keySource(key) }),
          onProgress: (done) => testing.update(done),
          signal,
        });
        testing.done();
        return await finish(
          options.output,
          calibrations,
          { suspect: opened.record, markingModelSha256: marking.sha256 },
          log,
        );
      } finally {
        opened.destroy();
      }
    } finally {
      marking.model.destroy();
    }
  },
});

async function finish(
  output: string | undefined,
  calibrations: readonly Calibration[],
  about: object,
  log: Context<unknown>['log'],
): Promise<Result> {
  const passed = calibrations.every((calibration) => calibration.passed);
  const report = { ...about, passed, calibrations };
  if (output) await writeAtomic(output, new TextEncoder().encode(jsonDocument(report)));
  for (const { name } of calibrations.filter((calibration) => !calibration.passed))
    log(`${name}: these p-values are not what they claim to be; do not rely on them`);
  // Only p-values that hold are of use: an exit code of its own, as for anything that does not fit together.
  return { json: report, text: calibrations.flatMap(describe).join('\n'), exitCode: passed ? 0 : 6 };
}

function describe({ name, samples, side, uniformity, falsePositives, passed }: Calibration): string[] {
  const law = side === 'both' ? 'uniform' : 'no more small ones than uniform';
  return [
    `${name}: ${passed ? 'passed' : 'FAILED'}, ${samples} p-values`,
    ...columns([
      [`${law}?`, `Kolmogorov distance ${uniformity.distance.toFixed(4)}, p ${uniformity.p.toPrecision(3)}`],
      ...falsePositives.map(({ alpha, count, rate, low, high }): [string, string] => [
        `p <= ${alpha}`,
        `${count}: rate ${rate.toFixed(4)}, 95 % interval ${low.toFixed(4)} to ${high.toFixed(4)}`,
      ]),
    ]),
  ];
}
