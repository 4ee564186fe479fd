import { describeOverlap } from '../../datasets/overlap.ts';
import { describeAgreement } from '../../detection/agreement.ts';
import { DEFAULT_FRESH_KEYS } from '../../detection/fresh_keys.ts';
import { numberOf, type Result } from '../../evidence/result.ts';
import { runDetection } from '../runs/detect.ts';
import { columns, defineCommand } from './command.ts';
import { doubtOptions, doubtValues } from './inputs.ts';
import { testFiles, testOptions } from './test_files.ts';

/** Where a test is entered, and what it is compared with. */
export const registerOptions = {
  register: {
    type: 'string',
    value: 'FILE',
    description: 'the list of all tests with the key, which this one is added to; default KEY.register.jsonl',
  },
  newRegister: { type: 'flag', description: 'begin that list where it is lost; every report will say so' },
  freshKeys: {
    type: 'integer',
    value: 'N',
    default: DEFAULT_FRESH_KEYS,
    minimum: 0,
    maximum: 1_000_000,
    description: 'keys that marked nothing, to compare with',
  },
} as const;

export const detect = defineCommand({
  name: 'detect',
  summary:
    'Tests whether a model was trained on data marked with a key, with its p-value: the white-box test, or from scores alone the black-box test',
  options: {
    key: { type: 'string', value: 'KEY', required: true, description: 'the key file' },
    ...testOptions,
    ...doubtOptions,
    output: { type: 'string', short: 'o', value: 'FILE', description: 'also write the result, as --json prints it' },
    save: {
      type: 'string',
      writes: true,
      value: 'DIR',
      description: 'new folder for the result and the arrays it was made from, for verify',
    },
    report: {
      type: 'string',
      writes: true,
      value: 'FILE.html',
      description: 'also write a page with the result; report makes one with more in it',
    },
    ...registerOptions,
  },
  examples: [
    '--key owner.key --model weights/marker.safetensors --suspect suspect.safetensors --data data',
    '--key owner.key --model weights/marker.safetensors --suspect suspect.safetensors --data data --save evidence --report report.html',
    '--key owner.key --model weights/marker.safetensors --suspect suspect.safetensors --suspect-classes classes.txt --data data --marked images-to-publish --original images',
    '--key owner.key --model weights/marker.safetensors --suspect-features features.npy --suspect-classifier weight.npy --data data',
    '--key owner.key --black-box --probes probes --suspect suspect.safetensors --reference innocent.safetensors',
    '--key owner.key --black-box --probes probes --scores answers.csv --reference innocent-1.safetensors,innocent-2.safetensors',
  ],
  async run(context) {
    const { options, log } = context;
    const { key, register, newRegister, save, output, report, freshKeys } = options;
    const command = ['radioactive', ...process.argv.slice(2)];
    const outputs = { key, register, newRegister, save, output, report, command };
    const result = await runDetection(
      { ...outputs, ...testFiles(options), ...doubtValues(options), freshKeys },
      context,
    );
    for (const warning of [...result.warnings, ...result.deviations]) log(warning);
    return { json: result, text: describeResult(result).join('\n') };
  },
});

/** A result in words. */
export function describeResult(result: Result): string[] {
  const { primary, register } = result;
  const { looks, log10pBonferroni, withKey } = register;
  const log10p = numberOf(result.log10p);
  const known = withKey ? '' : ', and earlier ones that the register does not know';
  return [
    `log10 p ${log10p.toFixed(3)}: if the carriers were independent of this model, evidence this strong would have probability 10^${log10p.toFixed(2)}`,
    `test ${looks} with this key${known}: corrected for ${looks === 1 ? 'it' : `the ${looks}`} (Bonferroni), log10 p ${numberOf(log10pBonferroni).toFixed(3)}`,
    ...(primary ? [] : ['not the test that the key fixes: it counts as a look, not as the evidence announced']),
    ...(result.agreement
      ? [describeAgreement({ ...result.agreement, byChance: numberOf(result.agreement.byChance) })]
      : []),
    ...(result.overlap ? [describeOverlap(result.overlap)] : []),
    ...describeNull(result),
    ...describeWhiteBox(result),
    ...describeBlackBox(result),
  ];
}

/** What the deciding statistic gives where there is nothing to find. */
function describeNull({ statistics: [{ null: nothing }], blackBox }: Result): string[] {
  if (!nothing) return [];
  return [
    blackBox
      ? `${nothing.atMost} of its ${blackBox.sets - 1} decoys, taken for the true set, give as much`
      : `${nothing.atMost} of ${nothing.log10p.length} fresh keys, which marked nothing, give as much`,
  ];
}

function describeWhiteBox({ alignment, meanCosine, dimension, perClass = [] }: Result): string[] {
  if (!alignment || meanCosine === undefined || dimension === undefined) return [];
  return [
    `mean cosine ${numberOf(meanCosine).toFixed(4)} in ${dimension} dimensions; alignment on ${alignment.n} images, rank ${alignment.rank}, r2 ${numberOf(alignment.r2).toFixed(3)}`,
    ...columns(
      perClass.map((entry) => [
        entry.class,
        `cosine ${numberOf(entry.cosine).toFixed(4)}  log10 p ${numberOf(entry.log10p).toFixed(3)}`,
      ]),
    ),
  ];
}

function describeBlackBox({ blackBox, statistics, key }: Result): string[] {
  if (!blackBox) return [];
  const { sets, imagesPerClass, scores, control, references } = blackBox;
  const images = key.classes.length * imagesPerClass * (sets + 1);
  const models = references.length === 1 ? '1 reference model' : `${references.length} reference models`;
  const explained =
    references.length === 0
      ? 'no reference model'
      : `${models} explain ${(100 * numberOf(control.explained)).toFixed(0)} % of the variation`;
  return [
    `${scores} of ${images} images: ${imagesPerClass} a class, each towards ${sets} carrier sets; ${explained}`,
    ...columns(
      statistics.map(({ name, log10p, exact }) => [
        name,
        `log10 p ${numberOf(log10p).toFixed(3)}${exact ? '' : '  an approximation, no p-value'}`,
      ]),
    ),
    ...columns(
      statistics[0].perClass.map((entry) => [
        entry.class,
        `response ${numberOf(entry.score).toFixed(2)} standard deviations  log10 p ${numberOf(entry.log10p ?? 0).toFixed(3)}`,
      ]),
    ),
  ];
}
