/** What an experiment varies and what it keeps: the configuration file of `radioactive experiment`. */

import * as v from 'valibot';
import { TEST_NAMES, TESTS } from '../../detection/tests.ts';
import { InputError } from '../../errors.ts';
import { type DocumentKind, readDocument } from '../../formats/document.ts';
import { count, optionalFields, positive, positiveCount, text } from '../../formats/fields.ts';
import { MarkingRecipeSchema } from '../../marking/recipe.ts';
import { networkOf, optionsOf } from '../../nn/networks.ts';
import { type Recipe, recipeProblem, TrainingRecipeSchema } from '../../training/recipe.ts';

/** Names become folders. */
const name = v.pipe(
  v.string(),
  v.regex(/^[a-z0-9][a-z0-9-]*$/, 'expected a name of small letters, digits and hyphens'),
);
const distinct = <T>(values: readonly T[]): boolean => new Set(values).size === values.length;
const list = <T extends v.GenericSchema>(entry: T) =>
  v.pipe(
    v.array(entry),
    v.minLength(1, 'expected at least one entry'),
    v.check((values) => distinct(values), 'expected every entry once'),
  );
/** The seed is each cell's own. */
const { seed: _, ...trainingFields } = TrainingRecipeSchema.entries;

/** Of the black-box test. What is absent is as the key's marking has it, or the default. */
const { crop: _crop, vanillaCrop: _vanillaCrop, roundEvery: _roundEvery, ...probeFields } = MarkingRecipeSchema.entries;
const probes = v.strictObject({
  /** Carrier sets beside the true one. */
  decoys: v.exactOptional(positiveCount),
  /** Images of each class. */
  perClass: v.exactOptional(positiveCount),
  /** How much louder than the marks: times radius and step, and the weight of the image's change divided by it. */
  amplitude: v.exactOptional(positive),
  ...optionalFields(probeFields),
});

/** The marking network: a file beside the configuration, or so many cosine patterns for images like the owner's. */
const marker = v.lazy((input): typeof text | typeof patterns =>
  typeof input === 'object' && input !== null ? patterns : text,
);
const patterns = v.strictObject({ patterns: positiveCount });

/** A data set below the data folder: a sub-folder, IDX files of a split, a range of their items. */
const images = v.strictObject({
  path: v.exactOptional(text),
  split: v.exactOptional(v.picklist(['train', 'test'], 'expected "train" or "test"')),
  range: v.exactOptional(
    v.pipe(
      v.tuple([count, positiveCount], 'expected [first, end]'),
      v.check(([from, to]) => from < to, 'expected the first item before the end'),
    ),
  ),
});

const setting = v.pipe(
  v.strictObject({
    name,
    /** Weights to start from: `marker`, or a model file beside the configuration. Default: fresh weights. */
    init: v.exactOptional(text),
    network: v.exactOptional(
      v.record(v.string(), v.union([v.string(), v.number()], 'expected a text or a number'), 'expected fields'),
    ),
    recipe: v.exactOptional(v.strictObject(optionalFields(trainingFields)), {}),
    /** Shares of each class that are marked; 0, the control, is always there. */
    fractions: list(
      v.pipe(positive, v.maxValue(1, 'expected at most 1; 0, nothing marked, is always measured besides')),
    ),
    /**
     * Learn the outputs of another setting's model of the same share, key and seed in place of the labels: on the images that one
     * learned (`marked`), on the owner's unmarked ones, or on vanilla ones.
     */
    distil: v.exactOptional(
      v.strictObject({
        from: name,
        images: v.picklist(['marked', 'owner', 'vanilla'], 'expected "marked", "owner" or "vanilla"'),
      }),
    ),
    /** The models are those of another setting: only what they are tested with differs. Then nothing says how they are trained. */
    models: v.exactOptional(name),
    /** What the models are asked for by tests of their answers. Default: scores. */
    answers: v.exactOptional(v.picklist(['scores', 'labels'], 'expected "scores" or "labels"')),
    /** What differs from the probes of all settings. */
    probes: v.exactOptional(probes),
    /** Models that never saw a mark, for statistics that compare with some. */
    references: v.exactOptional(
      v.strictObject({
        /** The setting whose models they are trained like; default: this one. */
        setting: v.exactOptional(name),
        data: v.picklist(['owner', 'vanilla'], 'expected "owner" or "vanilla"'),
        seeds: list(count),
      }),
    ),
  }),
  v.check(({ init, recipe }) => !recipe.freezeFeatures || init !== undefined, 'freezeFeatures needs init'),
  v.rawCheck(({ dataset, addIssue }) => {
    const problem = dataset.typed ? recipeProblem(dataset.value.recipe as Partial<Recipe>) : undefined;
    if (problem) addIssue({ message: `recipe: ${problem}` });
  }),
);

const ConfigSchema = v.pipe(
  v.strictObject({
    title: text,
    data: v.strictObject({
      /** Found, or downloaded, where the command line names no folder. */
      source: v.exactOptional(v.picklist(['fashion-mnist'], 'expected "fashion-mnist"')),
      /** In the order of their labels; default: what the data set says. */
      classes: v.exactOptional(list(text)),
      owner: images,
      heldOut: images,
      vanilla: v.exactOptional(images),
    }),
    marker,
    keys: positiveCount,
    seeds: list(count),
    marking: v.strictObject({
      /** Of the subspace that carriers are drawn in; null: all of the feature space. */
      dimension: v.nullable(v.pipe(positiveCount, v.minValue(2, 'expected at least 2'))),
      /** Mark what this classifier finds hardest: `marker`, or a model file beside the configuration. Default: images at random. */
      hardest: v.exactOptional(text),
      ...optionalFields(MarkingRecipeSchema.entries),
    }),
    probes: v.exactOptional(probes, {}),
    settings: v.pipe(
      v.array(setting),
      v.minLength(1, 'expected at least one setting'),
      v.check((settings) => distinct(settings.map((each) => each.name)), 'expected every name once'),
    ),
    statistics: list(v.picklist(TEST_NAMES, `expected some of ${TEST_NAMES.join(', ')}`)),
  }),
  v.rawCheck(({ dataset, addIssue }) => {
    if (!dataset.typed) return;
    const { settings, data, seeds, statistics: wanted } = dataset.value;
    if (wanted.some((each) => TESTS[each].needs.vanilla) && !data.vanilla)
      addIssue({ message: 'data.vanilla: missing, and probes are made of such images' });
    settings.forEach((setting, i) => {
      const { network, distil, fractions, models } = setting;
      const origin = settings.slice(0, i).find((each) => each.name === models && each.models === undefined);
      const references = setting.references ?? origin?.references;
      if (models !== undefined) {
        const place = `settings[${i}]`;
        const own = (['init', 'network', 'distil'] as const).find((field) => setting[field] !== undefined);
        const missing = origin && fractions.find((fraction) => !origin.fractions.includes(fraction));
        if (!origin)
          addIssue({ message: `${place}.models: expected the name of a setting before this one that trains its own` });
        else if (own ?? Object.keys(setting.recipe).length > 0)
          addIssue({ message: `${place}.${own ?? 'recipe'}: the models are those of ${origin.name}` });
        else if (missing !== undefined)
          addIssue({ message: `${place}.models: ${origin.name} has no fraction ${missing}` });
      }
      if (distil) {
        const place = `settings[${i}].distil`;
        const teacher = settings.slice(0, i).find((each) => each.name === distil.from);
        const missing = teacher && fractions.find((fraction) => !teacher.fractions.includes(fraction));
        if (!teacher) addIssue({ message: `${place}.from: expected the name of a setting before this one` });
        else if (missing !== undefined)
          addIssue({ message: `${place}.from: ${teacher.name} has no fraction ${missing} to learn from` });
        else if (distil.images === 'vanilla' && !data.vanilla)
          addIssue({ message: `${place}.images: vanilla images need data.vanilla` });
      }
      if (network) {
        const wrong = networkProblem(network);
        if (wrong) addIssue({ message: `settings[${i}].network: ${wrong}` });
      }
      const where = `settings[${i}].references`;
      const like = references?.setting;
      if (like !== undefined && !settings.some((each) => each.name === like))
        addIssue({ message: `${where}.setting: expected the name of a setting` });
      if (references === undefined) {
        const needing = wanted.find((each) => TESTS[each].needs.references);
        if (needing) addIssue({ message: `${where}: missing, and the statistic ${needing} compares with them` });
      } else if (references.data === 'vanilla' && !data.vanilla) {
        addIssue({ message: `${where}.data: vanilla images need data.vanilla` });
      } else if (references.data === 'owner' && references.seeds.some((each) => seeds.includes(each))) {
        addIssue({ message: `${where}.seeds: expected others than seeds, whose models are the controls` });
      }
    });
  }),
);

export type ExperimentConfig = v.InferOutput<typeof ConfigSchema>;
export type ExperimentSetting = ExperimentConfig['settings'][number];
/** A setting as its models are trained: as that one says whose models it takes. */
export function resolveSetting(setting: ExperimentSetting, { settings }: ExperimentConfig): ExperimentSetting {
  const origin = settings.find(({ name }) => name === setting.models);
  if (!origin) return setting;
  const { name, fractions, models, answers, probes, references = origin.references } = setting;
  return {
    ...origin,
    ...{ name, fractions },
    ...(models !== undefined && { models }),
    ...(answers !== undefined && { answers }),
    ...(probes !== undefined && { probes }),
    ...(references !== undefined && { references }),
  };
}

export type ImagesOf = v.InferOutput<typeof images>;

/** What keeps fields from being a network's: its architecture and options, and `inputSize`. */
function networkProblem({ architecture = 'resnet18', inputSize = 28, ...options }: Record<string, string | number>) {
  try {
    const network = networkOf(String(architecture));
    const unknown = Object.keys(options).find((each) => !Object.hasOwn(network.options, each));
    if (unknown !== undefined)
      return `${network.name} has no option ${unknown}; it has: ${Object.keys(network.options).join(', ')}`;
    optionsOf(network, { ...options, inputSize: Number(inputSize) });
    return undefined;
  } catch (error) {
    if (error instanceof InputError) return error.message;
    throw error;
  }
}

const CONFIG = { name: 'configuration', cure: 'see docs/experiments.md', schema: ConfigSchema } satisfies DocumentKind;

/**
 * Reads a configuration.
 *
 * @throws InputError naming the file and the place in it if it is not one.
 */
export function parseConfig(source: string, fileName: string): ExperimentConfig {
  return readDocument(CONFIG, source, fileName);
}
