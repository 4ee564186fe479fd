/** What a test's number rests on and the data at hand can refute: refused before the test is registered, or a deviation for ever. */

import { type Overlap, overlapFault } from '../datasets/overlap.ts';
import { IntegrityError } from '../errors.ts';
import { type Agreement, agreementFault } from './agreement.ts';
import { MARKED_BELOW } from './held_out_marks.ts';

/** What can be doubted: `--despite` takes these names. */
export const DOUBTS = ['classes', 'alignment', 'held-out', 'overlap', 'references'] as const;

/** One of {@link DOUBTS}. */
export type DoubtName = (typeof DOUBTS)[number];

/** Why a test's number may mean nothing. */
export interface Doubt {
  readonly name: DoubtName;
  /** What was found, as a deviation says it. */
  readonly found: string;
  /** What to do about it. */
  readonly cure: string;
}

/** What of a finding, or of a result, can be doubted. Numbers that are not finite are strings in results. */
export interface Doubtful {
  readonly agreement?:
    | (Omit<Agreement, 'byChance' | 'log10p'> & {
        readonly byChance: number | string;
        readonly log10p: number | string;
      })
    | undefined;
  readonly alignment?: { readonly n: number; readonly rank: number; readonly r2: number | string } | undefined;
  /** See `heldOutMarks`. */
  readonly heldOutMarks?: number | string | undefined;
  readonly overlap?: Overlap | undefined;
  readonly blackBox?:
    | {
        readonly control: { readonly explained: number | string };
        /** `marksAlike` of what the references answer. */
        readonly referencesLog10P?: number | string | undefined;
      }
    | undefined;
}

/** Below this adjusted R² two networks' features have nothing in common, as where rows are of other images. */
const UNRELATED_BELOW = 0.02;
/** References that explain a larger share of a suspect's answers are nearly the suspect. */
export const REFERENCES_EXPLAIN_TOO_MUCH = 0.9;
/** Below this log10 p a reference answers to the true set as to no decoy: it saw the mark, or was made. */
export const REFERENCES_DIFFER_BELOW = -3;

/** What of a test is doubtful, and why. */
export function doubtsOf(found: Doubtful, classes: readonly string[]): Doubt[] {
  const doubts: Doubt[] = [];
  const add = (name: DoubtName, fault: string | undefined, cure: string): void => {
    if (fault !== undefined) doubts.push({ name, found: fault, cure });
  };
  const { agreement, alignment, heldOutMarks, overlap, blackBox } = found;
  if (agreement)
    add(
      'classes',
      agreementFault({ ...agreement, byChance: Number(agreement.byChance), log10p: Number(agreement.log10p) }, classes),
      "its outputs may be others than the key's classes, or in another order (--suspect-classes), or it is fed wrongly (--mean and --std, --stem, --input-size)",
    );
  if (alignment) {
    const { n, rank } = alignment;
    const adjusted = 1 - ((1 - Number(alignment.r2)) * (n - 1)) / Math.max(1, n - rank - 1);
    if (n > rank + 1)
      add(
        'alignment',
        adjusted < UNRELATED_BELOW
          ? `the marking network's features explain nothing of the suspect's (r2 ${Number(alignment.r2).toFixed(3)}, chance gives ${(rank / (n - 1)).toFixed(3)})`
          : undefined,
        'their rows may be of other images, or in another order',
      );
  }
  if (heldOutMarks !== undefined)
    add(
      'held-out',
      Number(heldOutMarks) < MARKED_BELOW
        ? `a classifier trained on the images to test on shows the mark of this key (log10 p ${Number(heldOutMarks).toFixed(1)})`
        : undefined,
      'marked images are among them: give images that never were',
    );
  if (overlap) add('overlap', overlapFault(overlap), 'leave these images out, and give others');
  if (blackBox) {
    const explained = Number(blackBox.control.explained);
    const differ = Number(blackBox.referencesLog10P ?? 0);
    add(
      'references',
      explained > REFERENCES_EXPLAIN_TOO_MUCH
        ? `the reference models explain ${(100 * explained).toFixed(0)} % of the suspect's answers, as the suspect itself does or what was made for it`
        : differ < REFERENCES_DIFFER_BELOW
          ? `a reference model answers to the true set otherwise than to its decoys (log10 p ${differ.toFixed(1)}): it saw the mark, or was made`
          : undefined,
      'give models that have nothing to do with suspect or mark',
    );
  }
  return doubts;
}

/**
 * Refuses a doubtful test: nothing has been counted yet, and nobody has seen its number.
 *
 * @throws IntegrityError with all that is not taken `despite`.
 */
export function refuseDoubts(found: Doubtful, classes: readonly string[], despite: readonly DoubtName[] = []): void {
  const open = doubtsOf(found, classes).filter(({ name }) => !despite.includes(name));
  if (open.length === 0) return;
  const names = open.map(({ name }) => name).join(',');
  throw new IntegrityError(
    `${open.map(({ found: what, cure }) => `${what}; ${cure}`).join('; ')}. No test was made. --despite ${names} makes it all the same, as a deviation`,
  );
}
