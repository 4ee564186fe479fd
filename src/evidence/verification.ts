import * as v from 'valibot';
import { type DocumentKind, readDocument } from '../formats/document.ts';
import { count, hex32 } from '../formats/fields.ts';
import { version as programVersion } from '../version.ts';
import { CHECK_STATES, type Check, type CheckState } from './check.ts';
import { hashResult } from './result.ts';

const VERSION = 2;

const head = {
  format: v.literal('radioactive-verification'),
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
};

/** What `verify` found, as it prints it and a report shows it. */
export const VerificationSchema = v.object({
  ...head,
  version: v.literal(VERSION),
  checks: v.array(
    v.object({
      check: v.string(),
      state: v.picklist(CHECK_STATES),
      detail: v.string(),
      needs: v.pipe(v.nullable(v.string()), v.description('of what was not checked: what would check it')),
    }),
  ),
  limits: v.pipe(v.array(v.string()), v.description('what no check can tell')),
});

/** What `verify` found. */
export type Verification = v.InferOutput<typeof VerificationSchema>;

/** A table of checks with what they were made of. */
export function concludeVerification(
  checks: readonly Check[],
  of: { readonly keyCommitment: string; readonly result?: object | undefined; readonly limits?: readonly string[] },
): Verification {
  return {
    format: 'radioactive-verification',
    version: VERSION,
    time: new Date().toISOString(),
    program: programVersion,
    keyCommitment: of.keyCommitment,
    resultSha256: of.result === undefined ? null : hashResult(of.result),
    ...counts(checks),
    checks: [...checks],
    limits: [...(of.limits ?? [])],
  };
}

/** How many checks there are of each state. */
function counts(checks: readonly Check[]): Pick<Verification, 'passed' | 'failed' | 'notChecked'> {
  const [passed, failed, notChecked] = CHECK_STATES.map(
    (state: CheckState) => checks.filter((check) => check.state === state).length,
  );
  return { passed, failed, notChecked };
}

/** Version 1: `ok` is null where the material was not given, and the detail says which. */
const FirstSchema = v.object({
  ...head,
  version: v.literal(1),
  checks: v.array(v.object({ check: v.string(), ok: v.nullable(v.boolean()), detail: v.string() })),
});

const VERIFICATION = {
  name: 'verification',
  cure: 'give what verify -o wrote',
  schema: v.variant('version', [FirstSchema, VerificationSchema]),
  header: { format: 'radioactive-verification', versions: [1, VERSION] },
} satisfies DocumentKind;

/**
 * Reads what `verify` wrote, of version 1 as of version 2. How many checks there are of each state is counted again.
 *
 * @throws InputError naming the file and the place in it if it is not that.
 */
export function parseVerification(text: string, fileName: string): Verification {
  const found = readDocument(VERIFICATION, text, fileName);
  const checks: Check[] =
    found.version === VERSION
      ? found.checks
      : found.checks.map(({ check, ok, detail }) => ({
          check,
          state: ok === null ? 'not checked' : ok ? 'ok' : 'failed',
          detail,
          needs: ok === null ? 'run verify again: version 1 of its document does not say' : null,
        }));
  const limits = found.version === VERSION ? found.limits : [];
  return { ...found, version: VERSION, ...counts(checks), checks, limits };
}
