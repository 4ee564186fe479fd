import { DEFAULT_FRESH_KEYS } from '../../detection/fresh_keys.ts';
import type { Calibration } from '../../detection/statistic.ts';
import { UsageError } from '../../errors.ts';
import { jsonDocument } from '../../formats/json.ts';
import { DEFAULT_SUBSPACE_DIMENSION } from '../../marking/keygen.ts';
import { requireNewFile } from '../files/files.ts';
import { writeAtomic } from '../files/write.ts';
import { type CalibrationFiles, runCalibration } from '../runs/calibrate.ts';
import { columns, defineCommand, type Values } from './command.ts';
import { testFiles, testOptions } from './test_files.ts';

const calibrateOptions = {
  ...testOptions,
  model: { ...testOptions.model, description: 'the marking network; needed but with --black-box' },
  data: { ...testOptions.data, description: 'unmarked images, as for detect; needed but with --black-box' },
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
} as const;

export const calibrate = defineCommand({
  name: 'calibrate',
  summary: 'Tests a model with keys that marked nothing: are the p-values what they claim to be?',
  options: calibrateOptions,
  examples: [
    '--model weights/marker.safetensors --suspect suspect.safetensors --data data',
    '--black-box --key owner.key --probes probes --suspect suspect.safetensors --reference innocent.safetensors --keys 1000',
  ],
  async run(context) {
    const { options, log } = context;
    const { output } = options;
    const files = calibrationFiles(options);
    if (output) await requireNewFile(output);
    const report = await runCalibration(files, context);
    const { calibrations, passed } = report;
    if (output) await writeAtomic(output, new TextEncoder().encode(jsonDocument(report)));
    for (const { name } of calibrations.filter((calibration) => !calibration.passed))
      log(`${name}: these p-values are not what they claim to be; do not rely on them`);
    // Only p-values that hold are of use: an exit code of its own, as for anything that does not fit together.
    return { json: report, text: calibrations.flatMap(describe).join('\n'), exitCode: passed ? 0 : 6 };
  },
});

function calibrationFiles(options: Values<typeof calibrateOptions>): CalibrationFiles {
  const { key, dimension, keys } = options;
  const files = testFiles(options);
  if (key !== undefined && dimension !== undefined)
    throw new UsageError('--dimension goes without --key, which has its own');
  if (files.test === 'white-box') return { ...files, key, dimension, keys };
  if (key === undefined) throw new UsageError('--key KEY is missing, the key of the probes');
  return { ...files, key, keys };
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
