/** The white-box test with carriers that no key made, such as those of the code that the paper's authors published. */

import { InputError } from '../errors.ts';
import type { Matrix } from '../formats/npy.ts';
import { placeCarriers } from '../marking/carriers.ts';
import type { WhiteBoxArrays } from './detect.ts';
import { DEFAULT_FRESH_KEYS } from './fresh_keys.ts';
import { type NullSample, nullSample } from './statistic.ts';
import { freshKeyTests, type WhiteBoxResult, whiteBoxTest } from './whitebox.ts';

/** Said of every such result. */
export const NOT_FROM_A_KEY =
  'these carriers were not derived from a key: nothing shows that they were drawn at random, before the model and independently of it, and the number is a p-value only if they were';

/** By so much may a row's length differ from 1: float16 carriers do not reach more. */
const UNIT_TOLERANCE = 2e-3;

/** What {@link testForeignCarriers} finds. */
export interface ForeignCarriersResult extends Omit<WhiteBoxResult, 'rows'> {
  /** What the same suspect gives with fresh random carriers. */
  readonly null: NullSample;
}

/**
 * The test as the authors' `detect_radioactivity.py` makes it: features are not centred, and carriers lie anywhere in feature space.
 *
 * @param carriers [K,d], a row for each class in the order of the marking network's classes; rows are scaled to length 1
 * @throws InputError naming `file` where there are not as many rows as classes, columns as features, or a row is zero
 */
export async function testForeignCarriers(
  carriers: Matrix,
  file: string,
  { marking, suspect, n }: WhiteBoxArrays,
  classes: readonly string[],
  options: { readonly freshKeys?: number | undefined; readonly signal?: AbortSignal | undefined } = {},
): Promise<ForeignCarriersResult> {
  const { rows: K, columns: d } = carriers;
  const features = marking.length / n;
  if (K !== classes.length || d !== features)
    throw new InputError(
      `${file}: is [${K}, ${d}], expected [${classes.length}, ${features}]; give a carrier for each class, of the marking network's features`,
    );
  const coordinates = Float64Array.from(carriers.data);
  let odd = 0;
  for (let c = 0; c < K; c++) {
    const row = coordinates.subarray(c * d, (c + 1) * d);
    const length = Math.sqrt(row.reduce((sum, x) => sum + x * x, 0));
    if (!(length > 0)) throw new InputError(`${file}: row ${c} is zero; give a direction for each class`);
    if (Math.abs(length - 1) > UNIT_TOLERANCE) odd++;
    for (let i = 0; i < d; i++) row[i] /= length;
  }
  const { rows, ...result } = whiteBoxTest({
    featuresMarking: marking,
    featuresSuspect: suspect.features,
    n,
    d,
    dt: suspect.features.length / n,
    weight: suspect.weight,
    carriers: placeCarriers(coordinates, d, null),
    centre: false,
    classes,
  });
  const fresh = await freshKeyTests(rows, K, options.freshKeys ?? DEFAULT_FRESH_KEYS, { signal: options.signal });
  const lengths = `${odd} of ${K} carriers do not have length 1, as carriers of the published code have`;
  return {
    ...result,
    warnings: [...result.warnings, ...(odd > 0 ? [lengths] : [])],
    null: nullSample('fresh keys', fresh.combined, result.log10p),
  };
}
