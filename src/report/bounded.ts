/** A black-box result as it can be shown around: whoever has the probes and the model's answers must not learn which sets are true. */

import * as v from 'valibot';
import { numberOf, type Result, ResultSchema } from '../evidence/result.ts';
import { boundOf } from '../evidence/told.ts';
import { hex32 } from '../formats/fields.ts';

/** A result as a report holds it. */
export const ShownResultSchema = v.looseObject({
  ...ResultSchema.entries,
  register: v.object({
    ...ResultSchema.entries.register.pipe[0].entries,
    sha256: v.pipe(
      v.nullable(hex32),
      // With what is known of an entry, its exact number could be found by trying.
      v.description("of the entry's line; null where the report is not full"),
    ),
  }),
});
/** See {@link ShownResultSchema}. */
export type ShownResult = v.InferOutput<typeof ShownResultSchema>;

const bound = (value: Result['log10p']): Result['log10p'] => (typeof value === 'number' ? boundOf(value) : value);

/**
 * The result with bounds in place of its probabilities, and without figures of classes and of sets. What it says in all fits many sets:
 * each exact number is a sum over the true ones, and has enough digits to name them.
 */
export function boundedResult(result: Result): ShownResult {
  const { blackBox } = result;
  const known = Object.fromEntries(
    Object.entries(result).filter(([name]) => Object.hasOwn(ResultSchema.entries, name)),
  ) as Result;
  return {
    ...known,
    log10p: bound(result.log10p),
    statistics: result.statistics.map(({ name, exact, log10p, null: sample }) => ({
      ...{ name, exact, log10p: bound(log10p), perClass: [] },
      null: sample && { kind: sample.kind, log10p: [], atMost: sample.atMost },
    })),
    ...(blackBox && { blackBox: { ...blackBox, marksLog10P: bound(blackBox.marksLog10P) } }),
    register: {
      ...result.register,
      sha256: null,
      log10pBonferroni: boundOf(numberOf(result.register.log10pBonferroni)),
    },
  };
}
