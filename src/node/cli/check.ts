import { TEST_NAMES } from '../../detection/tests.ts';
import { UsageError } from '../../errors.ts';
import { registerPath } from '../evidence/register.ts';
import { type CheckFiles, type CheckReport, runCheck } from '../protection/check.ts';
import { defineCommand, type Values } from './command.ts';
import { describeResult, registerOptions } from './detect.ts';
import {
  batchOption,
  decodeOptions,
  despiteValue,
  doubtOptions,
  keyOptions,
  networkOverrides,
  referenceOptions,
  referenceTraining,
  splitOption,
} from './inputs.ts';
import { referencesOf, testOptions } from './test_files.ts';

const { blackBox: _, suspect: __, ...shared } = testOptions;

const options = {
  key: keyOptions.key,
  suspect: {
    type: 'string',
    value: 'SUSPECT|SCORES',
    positional: true,
    description:
      'the model under test, a file of weights; or what it says of the probes, .csv or .npy. Without it the probes are made, and what to ask is said',
  },
  test: {
    type: 'string',
    value: 'NAME',
    choices: TEST_NAMES,
    description:
      'default: the test that the key fixes, and for answers the black-box test; another one counts as another look',
  },
  ...shared,
  marked: {
    ...doubtOptions.marked,
    description: `${doubtOptions.marked.description}; default what was published, beside the key's folder`,
  },
  original: {
    ...doubtOptions.original,
    description:
      'the same before it was marked: compared likewise, and for --references; default the images that were protected',
  },
  markedSplit: {
    type: 'string',
    value: 'NAME',
    choices: splitOption.choices,
    description: `${doubtOptions.markedSplit.description}; default the one that was protected, or train`,
  },
  despite: doubtOptions.despite,
  ...referenceOptions,
  again: { type: 'flag', description: 'test a suspect again that was tested before: it counts as another test' },
  ...registerOptions,
  batch: batchOption,
} as const;

export const check = defineCommand({
  name: 'check',
  summary:
    'Does all that an owner does about a suspect: makes probes and references once, tests, registers the test, and writes a report; goes on where it was stopped',
  options,
  afterInterrupt: 'run the same command again to go on',
  examples: [
    '--key images-to-publish.private/owner.key',
    '--key images-to-publish.private/owner.key suspect.safetensors --references 3',
    '--key images-to-publish.private/owner.key answers.csv',
    '--key owner.key --model marker.safetensors --data held-out suspect.pth',
  ],
  async run(context) {
    const { options, log } = context;
    const report = await runCheck(
      {
        key: options.key,
        suspect: suspectOf(options),
        test: options.test,
        model: options.model,
        data: options.data,
        split: options.split,
        decode: decodeOptions(options),
        probes: options.probes,
        marked: options.marked,
        original: options.original,
        markedSplit: options.markedSplit,
        despite: despiteValue(options.despite),
        references: options.references,
        training: referenceTraining(options),
        given: referencesOf(options),
        labelOnly: options.labelOnly,
        freshKeys: options.freshKeys,
        register: options.register,
        newRegister: options.newRegister,
        again: options.again,
        batchSize: options.batch,
      },
      context,
    );
    const { state, result, probes, references, evidence, verify } = report;
    for (const warning of [...(result?.warnings ?? []), ...(result?.deviations ?? [])]) log(warning);
    if (state === 'known') log(`tested before, and not again, because every test counts: --again makes another`);
    return {
      json: {
        state,
        test: report.test,
        probes: probes ?? null,
        references,
        evidence: evidence ?? null,
        report: report.report ?? null,
        result: result ?? null,
        verify: verify ?? null,
      },
      text: (result ? describeTested(report, options.key) : describeProbes(report, options.key)).join('\n'),
    };
  },
});

function describeTested({ result, evidence, report, verify }: CheckReport, key: string): string[] {
  return [
    ...describeResult(result!),
    `Report:  ${report}`,
    `Keep:    ${evidence}, what it was made from, and ${registerPath(key)}, the list of all tests`,
    `Verify:  radioactive ${verify!.map(quoted).join(' ')}`,
  ];
}

/** An argument as a shell takes it. */
const quoted = (argument: string): string =>
  /^[\w./:=,@%+#-]+$/.test(argument) ? argument : `'${argument.replaceAll("'", `'\\''`)}'`;

/** What to send to whom, and what comes back. */
function describeProbes({ probes, key, references }: CheckReport, path: string): string[] {
  const { classes } = key;
  const some = classes.length > 4 ? [...classes.slice(0, 3), '…', classes.at(-1)!] : classes;
  return [
    `${probes!.path}: ${probes!.images} images to ask a suspect${references.length > 0 ? `; ${references.length} reference models beside them` : ''}`,
    `Send:    ${probes!.path}/images with ${probes!.list}, or show the images to the model one by one. They do not tell which carry your mark; ${path} does: send it to nobody`,
    `Answers: a file answers.csv with the header ${some.join(',')} and a line for each image in the order of ${probes!.list}: the model's scores (logits, log-probabilities or probabilities). Or answers.npy, [${probes!.images}, ${classes.length}]; or a single column with the predicted class`,
    `Test:    radioactive check --key ${path} answers.csv, or with the model's file in its place`,
  ];
}

/** A file of answers is told by its name. */
function suspectOf(given: Values<typeof options>): CheckFiles['suspect'] {
  const {
    suspect: file,
    scores,
    suspectFeatures: features,
    suspectClassifier: classifier,
    suspectClasses: classes,
  } = given;
  if ([file, scores, features].filter((each) => each !== undefined).length > 1)
    throw new UsageError('SUSPECT, --scores and --suspect-features each name what is tested: give one');
  if ((features === undefined) !== (classifier === undefined))
    throw new UsageError('--suspect-features and --suspect-classifier go together');
  if (features !== undefined) return { features, classifier: classifier!, classes };
  const answers = scores ?? (file !== undefined && /\.(csv|npy)$/i.test(file) ? file : undefined);
  if (answers !== undefined && classes !== undefined)
    throw new UsageError('--suspect-classes goes with a model; answers have a column for each of the classes');
  if (answers !== undefined) return { scores: answers };
  return file === undefined ? undefined : { model: file, network: networkOverrides(given), classes };
}
