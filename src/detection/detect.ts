import type { Loader } from '../datasets/loader.ts';
import { InputError } from '../errors.ts';
import { type Key, keyAlignment, keyCarriers } from '../marking/key.ts';
import type { Elements } from '../maths/linalg.ts';
import { infer, type OnProgress } from '../nn/inference.ts';
import type { Model } from '../nn/model.ts';
import { DEFAULT_FRESH_KEYS } from './fresh_keys.ts';
import { nullSample, type Statistic } from './statistic.ts';
import { freshKeyTests, requireEnoughImages, type WhiteBoxResult, whiteBoxTest } from './whitebox.ts';

/** A suspect as the white-box test sees it, whatever framework it is of. */
export interface SuspectFeatures {
  /** `[n, dt]`: before its last layer, of the held-out images in their order */
  readonly features: Elements;
  /** `[K, dt]`: its last layer, classes in the key's order */
  readonly weight: Elements;
}

/** A marking network and a suspect on the same images. */
export interface HeldOut {
  /** The key's marking network, and held-out vanilla images as it takes them. */
  readonly marking: { readonly model: Model; readonly heldOut: Loader };
  /**
   * The model under test and the same images as it takes them, or what it made of them. Of a model with other classes besides,
   * `outputs` are those that are the key's classes, in the key's order; default: all, in their order.
   */
  readonly suspect:
    | { readonly model: Model; readonly heldOut: Loader; readonly outputs?: readonly number[] | undefined }
    | SuspectFeatures;
  readonly onProgress?: OnProgress;
  readonly signal?: AbortSignal;
}

/** What {@link detect} tests: the key, its marking network and the suspect on held-out images. */
export interface DetectOptions extends HeldOut {
  readonly key: Key;
  /** How many fresh keys the result is compared with; default 1 000. */
  readonly freshKeys?: number | undefined;
}

/** What the white-box test finds, beside what it gives of the same suspect under keys that marked nothing. */
export interface DetectionResult extends Omit<WhiteBoxResult, 'rows'> {
  readonly statistics: readonly Statistic[];
}

/**
 * The white-box test of a suspect whose weights are at hand (docs/method.md, 4): features of both networks on held-out vanilla
 * images, alignment, cosines with the carriers, Fisher. Throws InputError where the suspect's classes are not the key's.
 */
export async function detect(options: DetectOptions): Promise<DetectionResult> {
  const { key, suspect } = options;
  if ('model' in suspect) {
    const count = suspect.outputs?.length ?? suspect.model.config.numClasses;
    if (count !== key.classes.length) throw otherClasses(key, count);
  }
  const features = await heldOutFeatures(options);
  return await testFeatures(key, features.marking, features.suspect, options);
}

/** Features of held-out images under both networks, and the suspect's last layer: all that a white-box test looks at. */
export async function heldOutFeatures(options: HeldOut): Promise<{ marking: Float32Array; suspect: SuspectFeatures }> {
  const { marking, suspect, signal } = options;
  const n = marking.heldOut.dataset.length;
  requireEnoughImages(n, marking.model.featureDimension);
  const total = 'model' in suspect ? 2 * n : n;
  const follow =
    (offset: number): OnProgress =>
    (done) =>
      options.onProgress?.(offset + done, total);
  const { features } = await infer(marking.model, marking.heldOut, { signal, onProgress: follow(0) });
  return {
    marking: features,
    suspect: 'model' in suspect ? await suspectFeatures(suspect, { signal, onProgress: follow(n) }) : suspect,
  };
}

/** Features and last layer of a model that runs here. */
export async function suspectFeatures(
  { model, heldOut, outputs }: Extract<HeldOut['suspect'], { readonly model: Model }>,
  options: { readonly onProgress?: OnProgress | undefined; readonly signal?: AbortSignal | undefined } = {},
): Promise<SuspectFeatures> {
  const { features } = await infer(model, heldOut, options);
  const weight = await model.headWeight();
  return { features, weight: outputs ? selectRows(weight, model.featureDimension, outputs) : weight };
}

/** Some rows of a matrix [K, columns], in the order given. */
export function selectRows(matrix: Elements, columns: number, rows: readonly number[]): Float64Array {
  const chosen = new Float64Array(rows.length * columns);
  rows.forEach((row, i) => {
    chosen.set(matrix.subarray(row * columns, (row + 1) * columns), i * columns);
  });
  return chosen;
}

/** The same from features that are at hand: of the marking network [n, d], and of the suspect, on the same held-out vanilla images. */
export async function testFeatures(
  key: Key,
  featuresMarking: Elements,
  suspect: SuspectFeatures,
  options: { readonly freshKeys?: number | undefined; readonly signal?: AbortSignal | undefined } = {},
): Promise<DetectionResult> {
  const d = key.model.featureDimension;
  const n = featuresMarking.length / d;
  const dt = suspect.features.length / n;
  const K = key.classes.length;
  if (suspect.weight.length !== K * dt) throw otherClasses(key, suspect.weight.length / dt);
  const { rows, ...result } = whiteBoxTest({
    featuresMarking,
    featuresSuspect: suspect.features,
    n,
    d,
    dt,
    weight: suspect.weight,
    carriers: await keyCarriers(key),
    ...keyAlignment(key),
    classes: key.classes,
  });
  const fresh = await freshKeyTests(rows, K, options.freshKeys ?? DEFAULT_FRESH_KEYS, options);
  return {
    ...result,
    statistics: [
      {
        name: 'white-box',
        log10p: result.log10p,
        exact: true,
        perClass: result.perClass.map(({ cosine, log10p }, c) => ({ class: key.classes[c], score: cosine, log10p })),
        null: nullSample('fresh keys', fresh.combined, result.log10p),
      },
    ],
  };
}

const otherClasses = (key: Key, count: number): InputError =>
  new InputError(`the suspect has ${count} classes, the key ${key.classes.length}: ${key.classes.join(', ')}`);
