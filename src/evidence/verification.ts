import * as v from 'valibot';
import { type DocumentKind, readDocument } from '../formats/document.ts';
import { count, hex32 } from '../formats/fields.ts';
import { version as programVersion } from '../version.ts';
import { hashResult } from './result.ts';
import type { Check } from './verify.ts';

/** What `verify` found, as it prints it and a report shows it. */
export const VerificationSchema = v.object({
  format: v.literal('radioactive-verification'),
  version: v.literal(1),
  time: v.pipe(v.string(), v.isoTimestamp()),
  program: v.pipe(v.string(), v.description('version of the program that checked')),
  keyCommitment: hex32,
  resultSha256: v.pipe(
    v.nullable(hex32),
    v.description('of the result that was checked, as the register has it; null where there was none'),
  ),
  passed: count,
  failed: count,
  notChecked: count,
  checks: v.array(
    v.object({
      check: v.string(),
      ok: v.pipe(v.nullable(v.boolean()), v.description('null where the material for it was not given')),
      detail: v.string(),
    }),
  ),
});

/** What `verify` found. */
export type Verification = v.InferOutput<typeof VerificationSchema>;

/** A table of checks with what they were made of. */
export function concludeVerification(
  checks: readonly Check[],
  of: { readonly keyCommitment: string; readonly result?: object | undefined },
): Verification {
  const countOf = (ok: boolean | null): number => checks.filter((check) => check.ok === ok).length;
  return {
    format: 'radioactive-verification',
    version: 1,
    time: new Date().toISOString(),
    program: programVersion,
    keyCommitment: of.keyCommitment,
    resultSha256: of.result === undefined ? null : hashResult(of.result),
    passed: countOf(true),
    failed: countOf(false),
    notChecked: countOf(null),
    checks: [...checks],
  };
}

const VERIFICATION = {
  name: 'verification',
  cure: 'give what verify -o wrote',
  schema: VerificationSchema,
  header: { format: 'radioactive-verification', versions: [1] },
} satisfies DocumentKind;

/**
 * Reads what `verify` wrote.
 *
 * @throws InputError naming the file and the place in it if it is not that.
 */
export function parseVerification(text: string, fileName: string): Verification {
  return readDocument(VERIFICATION, text, fileName);
}
