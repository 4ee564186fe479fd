import type { Loader } from '../datasets/loader.ts';
import { InputError, IntegrityError } from '../errors.ts';
import { commitment, type Key, keyProbeOrders } from '../marking/key.ts';
import { type ProbeManifest, probeLayout } from '../marking/probe_manifest.ts';
import { type InferenceOptions, infer } from '../nn/inference.ts';
import type { Model } from '../nn/model.ts';
import { type Agreement, agreement } from './agreement.ts';
import { type BlackBoxInput, type BlackBoxResult, blackBoxTest, type Combination, marksAlike } from './blackbox.ts';
import { ClassMapping, isSingleLogit } from './class_mapping.ts';
import { type DoubtName, refuseDoubts } from './doubts.ts';
import { ModelScores, probeResponse, reorderSets, type ScoreKind } from './scores.ts';
import type { Finding } from './statistic.ts';

/** The combination where a key fixes none: over ten classes it has the most power. */
export const DEFAULT_COMBINATION: Combination = 'sum';

/** Below this, in log10, the probes' true set counts as made differently from its decoys. */
export const MARKS_DIFFER_BELOW = -3;

/** Said of every black-box result: its classes' responses, and what is computed from its scores, name the true set. */
export const SINGLE_USE =
  'whoever has these probes learns from this result which of their sets is the true one: make new probes for the next test';

/** A model that runs here, with the probes' images as it takes them, or its scores on them. */
export type OnProbes = { readonly model: Model; readonly images: Loader } | { readonly scores: ModelScores };

/** What {@link detectBlackBox} tests: the key, its probes, and what models answer on them. */
export interface DetectBlackBoxOptions {
  /** The key that the probes were made with. */
  readonly key: Key;
  /** The manifest of the probes. */
  readonly probes: ProbeManifest;
  /** The model under test on the probes, or its scores for them. */
  readonly suspect: OnProbes;
  /** Models that never saw the mark. */
  readonly references?: readonly OnProbes[];
  /** Look at nothing but the suspect's predicted classes. */
  readonly labelOnly?: boolean;
  /** What to overlook, see {@link testScores}. */
  readonly despite?: readonly DoubtName[] | undefined;
  readonly onProgress?: InferenceOptions['onProgress'];
  readonly signal?: AbortSignal | undefined;
}

/** What the black-box test finds, and what it was made from. */
export interface BlackBoxFinding extends Finding, Omit<BlackBoxResult, 'control'> {
  readonly blackBox: {
    /** S: the true set and its decoys */
    readonly sets: number;
    readonly imagesPerClass: number;
    readonly scores: ScoreKind;
    readonly control: BlackBoxResult['control'];
    /** See `marksAlike`. */
    readonly marksLog10P: number;
    /** The same of the reference models' responses: one that never saw the mark answers to the true set as to a decoy. Absent without. */
    readonly referencesLog10P?: number;
  };
  /** How often the suspect is right about the probes' vanilla images; absent of a single class. */
  readonly agreement?: Agreement;
}

/** The responses that a black-box test compares, set 0 being the true one. */
export interface ProbeResponses extends Pick<BlackBoxInput, 'response' | 'classes'> {
  /** Those of each reference, as `response`. */
  readonly references: readonly Float64Array[];
  /** What kind of scores they come from. */
  readonly scores: ScoreKind;
  /** log10 p of `marksAlike` */
  readonly marksLog10P: number;
}

/**
 * The black-box test (docs/method.md, 6): asks for nothing of the suspect but its scores on the key's probes.
 * Throws IntegrityError for probes of another key; InputError where a model's classes or scores do not fit.
 */
export async function detectBlackBox(options: DetectBlackBoxOptions): Promise<BlackBoxFinding> {
  const { key, probes, suspect, references = [], labelOnly = false, despite, signal } = options;
  const onModels = [suspect, ...references];
  const rows = probeLayout(probes).labels.length * (probes.sets + 1);
  const total = rows * onModels.filter((each) => 'model' in each).length;
  let before = 0;
  const scores: ModelScores[] = [];
  for (const each of onModels) {
    if (!('model' in each)) {
      scores.push(each.scores);
      continue;
    }
    const onProgress = (done: number): void => options.onProgress?.(before + done, total);
    scores.push(await probeScores(key, each.model, each.images, { onProgress, signal }));
    before += rows;
  }
  return await testScores(key, probes, scores[0], scores.slice(1), { labelOnly, despite });
}

/** Scores of a model that runs here, on the probes' images in the order of their list. */
export async function probeScores(
  key: Key,
  model: Model,
  images: Loader,
  options: InferenceOptions = {},
): Promise<ModelScores> {
  const { numClasses } = model.config;
  const single = isSingleLogit(numClasses, key.classes.length);
  if (numClasses !== key.classes.length && !single)
    throw new InputError(
      `the model has ${numClasses} classes, the key ${key.classes.length}: ${key.classes.join(', ')}`,
    );
  const { logits } = await infer(model, images, options);
  const mapping = ClassMapping.ownOrder(key.classes, numClasses, 'the model');
  return ModelScores.ofScores(mapping.logitsOf(logits, numClasses), key.classes.length);
}

/** How the black-box test is made of scores. */
export interface TestScoresOptions {
  /** Look at nothing but the suspect's predicted classes. */
  readonly labelOnly?: boolean;
  /** Make the test although these are doubtful: a deviation of its result. */
  readonly despite?: readonly DoubtName[] | undefined;
}

/**
 * The same from scores that are at hand.
 *
 * @throws InputError where scores do not fit the probes; IntegrityError where the suspect knows nothing of the images, or a reference
 * is nearly the suspect or knows the mark (`doubtsOf`).
 */
export async function testScores(
  key: Key,
  probes: ProbeManifest,
  suspect: ModelScores,
  references: readonly ModelScores[],
  options: TestScoresOptions = {},
): Promise<BlackBoxFinding> {
  const responses = await probeResponses(key, probes, suspect, references, options);
  const known = agreementOnProbes(suspect, probes, key.classes);
  if (known) refuseDoubts({ agreement: known }, key.classes, options.despite);
  const { control, warnings, ...result } = blackBoxTest({ ...responses, combine: keyCombination(key) });
  const { marksLog10P } = responses;
  const referencesLog10P = references.length === 0 ? undefined : marksAlike(responses.references, key.classes.length);
  refuseDoubts({ blackBox: { control, referencesLog10P } }, key.classes, options.despite);
  return {
    ...result,
    warnings: [
      ...(marksLog10P < MARKS_DIFFER_BELOW
        ? [
            `the true set's marks are not like its decoys' (log10 p ${marksLog10P.toFixed(1)}): the probes were not all made alike, do not rely on this result`,
          ]
        : []),
      ...warnings,
      ...[suspect, ...references].flatMap(({ remark }, i) =>
        remark === undefined ? [] : [`scores of ${i === 0 ? 'the suspect' : `reference ${i}`}: ${remark}`],
      ),
      SINGLE_USE,
    ],
    blackBox: {
      sets: probes.sets,
      imagesPerClass: probes.images.length / probes.classes.length,
      scores: responses.scores,
      control,
      marksLog10P,
      ...(referencesLog10P !== undefined && { referencesLog10P }),
    },
    ...(known && { agreement: known }),
  };
}

/** How often a model is right about the vanilla images among probes, which nobody marked; undefined for a single class. */
export function agreementOnProbes(
  scores: ModelScores,
  probes: ProbeManifest,
  classes: readonly string[],
): Agreement | undefined {
  const { labels, sets, classCount: K } = probeLayout(probes);
  const predicted = scores.labels();
  const values = new Float32Array(labels.length * K);
  for (let b = 0; b < labels.length; b++) values[b * K + predicted[b * (sets + 1)]] = 1;
  return agreement(values, { classes, outputs: classes.map((_, c) => c) }, Uint32Array.from(labels));
}

/** From scores to what the test compares: responses by class and set, the sets in the order of their draws. */
export async function probeResponses(
  key: Key,
  probes: ProbeManifest,
  suspect: ModelScores,
  references: readonly ModelScores[],
  options: { readonly labelOnly?: boolean } = {},
): Promise<ProbeResponses> {
  if (probes.keyCommitment !== (await commitment(key)))
    throw new IntegrityError('the probes are of another key; give those that were made with this one');
  const layout = probeLayout(probes);
  // In the list, position j has draw order[j]; wanted is the position of each draw.
  const positions = (await keyProbeOrders(key, probes.sets)).map(inverse);
  const tested = probeResponse(suspect, layout, options);
  const measures = [probes.marks.changeLevels, probes.marks.gain].map((rows) => Float64Array.from(rows.flat()));
  return {
    response: reorderSets(tested.response, positions),
    // Whatever is known of the suspect: a reference model's scores are at hand, and tell more than its labels.
    references: references.map((scores) => reorderSets(probeResponse(scores, layout).response, positions)),
    classes: key.classes,
    scores: tested.kind,
    marksLog10P: marksAlike(
      measures.map((measure) => reorderSets(measure, positions)),
      key.classes.length,
    ),
  };
}

/** How the key combines classes, or the default where it fixes another test. */
export const keyCombination = ({ statistic }: Key): Combination =>
  statistic.kind === 'black-box' ? statistic.combine : DEFAULT_COMBINATION;

function inverse(order: Uint32Array): Uint32Array {
  const positions = new Uint32Array(order.length);
  for (const [position, draw] of order.entries()) positions[draw] = position;
  return positions;
}
