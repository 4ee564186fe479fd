import { UsageError } from '../../errors.ts';
import type { BlackBoxFiles, WhiteBoxFiles } from '../runs/detect.ts';
import type { AskedModel } from '../runs/probe_scores.ts';
import type { SuspectFiles } from '../runs/suspect.ts';
import { flagOf, type Values } from './command.ts';
import { decodeOptions, imageOptions, networkOptions, networkOverrides, splitOption } from './inputs.ts';

/** What a test is made from: the options of `detect` and `calibrate`. */
export const testOptions = {
  model: { type: 'string', value: 'MARKER', description: "the key's marking network; needed but with --black-box" },
  data: {
    type: 'string',
    value: 'HELDOUT',
    description:
      'unmarked images, ten times as many as features or more, none of them marked for this key; needed but with --black-box',
  },
  blackBox: { type: 'flag', description: 'the black-box test: from scores alone' },
  probes: { type: 'string', value: 'PROBES', description: "with --black-box: the key's probes" },
  scores: {
    type: 'string',
    value: 'FILE',
    description:
      "with --black-box, instead of --suspect: what the model says of every probe, in the list's order; .csv with a column a class, or .npy",
  },
  labelOnly: { type: 'flag', description: 'with --black-box: look at nothing but the predicted classes' },
  reference: {
    type: 'string',
    value: 'MODEL,…',
    description: 'with --black-box: models that never saw the mark, as a control; they raise the power much',
  },
  referenceScores: { type: 'string', value: 'FILE,…', description: 'likewise, as --scores' },
  split: { ...splitOption, default: 'test' },
  ...imageOptions,
  suspect: { type: 'string', value: 'MODEL', description: 'the model under test' },
  suspectFeatures: {
    type: 'string',
    value: 'FILE',
    description:
      'instead of --suspect: what its last layer is given, [N, dt] in the order of --data; .npy, or #NAME after a .safetensors or .pth file',
  },
  suspectClassifier: {
    type: 'string',
    value: 'FILE',
    description: "with --suspect-features: its last layer's weight, [K, dt] with the key's classes; likewise",
  },
  suspectClasses: {
    type: 'string',
    value: 'FILE|DATASET',
    description:
      "the suspect's classes in the order of its outputs, where they are not the key's: a .txt file with one a line, or a data set; the key's must be among them",
  },
  ...networkOptions,
} as const;

type TestValues = Values<typeof testOptions>;

/** What the options name. Throws UsageError where some go with the other test, or are missing for this one. */
export function testFiles(options: TestValues): WhiteBoxFiles | BlackBoxFiles {
  return options.blackBox ? blackBoxFiles(options) : whiteBoxFiles(options);
}

/** The flag of the first of some options that was given. */
function firstGiven(options: TestValues, names: readonly (keyof TestValues)[]): string | undefined {
  const name = names.find((each) => options[each] !== undefined && options[each] !== false);
  return name && flagOf(name);
}

function blackBoxFiles(options: TestValues): BlackBoxFiles {
  const { probes, suspect, scores, labelOnly } = options;
  const stray = firstGiven(options, ['model', 'data', 'suspectFeatures', 'suspectClassifier']);
  if (stray) throw new UsageError(`${stray} goes without --black-box, which takes its images from --probes`);
  if (options.suspectClasses !== undefined)
    throw new UsageError(
      "--suspect-classes goes without --black-box; of a model that knows other classes give --scores FILE.csv with a column for each of the key's",
    );
  if (probes === undefined) throw new UsageError('--probes PROBES is missing');
  if ((suspect === undefined) === (scores === undefined))
    throw new UsageError('give --suspect MODEL, or --scores FILE');
  return {
    test: 'black-box',
    probes,
    suspect: scores === undefined ? { model: suspect!, network: networkOverrides(options) } : { scores },
    references: referencesOf(options),
    labelOnly,
  };
}

/** The reference models that the options name. */
export function referencesOf({
  reference,
  referenceScores,
}: {
  readonly reference: string | undefined;
  readonly referenceScores: string | undefined;
}): AskedModel[] {
  const listOf = (paths: string | undefined): string[] => paths?.split(',') ?? [];
  return [...listOf(reference).map((model) => ({ model })), ...listOf(referenceScores).map((scores) => ({ scores }))];
}

function whiteBoxFiles(options: TestValues): WhiteBoxFiles {
  const { model, data, split } = options;
  const stray = firstGiven(options, ['probes', 'scores', 'labelOnly', 'reference', 'referenceScores']);
  if (stray) throw new UsageError(`${stray} goes with --black-box`);
  if (model === undefined) throw new UsageError('--model MARKER is missing');
  if (data === undefined) throw new UsageError('--data HELDOUT is missing');
  return { test: 'white-box', model, data, split, decode: decodeOptions(options), suspect: suspectFiles(options) };
}

function suspectFiles(options: TestValues): SuspectFiles {
  const { suspect: model, suspectFeatures: features, suspectClassifier: classifier, suspectClasses: classes } = options;
  if ((features === undefined) !== (classifier === undefined))
    throw new UsageError('--suspect-features and --suspect-classifier go together');
  if ((model === undefined) === (features === undefined))
    throw new UsageError('give --suspect MODEL, or --suspect-features FILE with --suspect-classifier FILE');
  return model === undefined
    ? { features: features!, classifier: classifier!, classes }
    : { model, network: networkOverrides(options), classes };
}
