/** One row of what `verify` says. */

/** What may become of a check. `not checked`: what it takes was not at hand, or cannot be had. */
export const CHECK_STATES = ['ok', 'failed', 'not checked'] as const;
/** What became of a check, see {@link CHECK_STATES}. */
export type CheckState = (typeof CHECK_STATES)[number];

/** One row of the table. */
export interface Check {
  /** Its name, the same in every table. */
  readonly check: string;
  /** What became of it. */
  readonly state: CheckState;
  /** What was found, or what is not known. */
  readonly detail: string;
  /** Of what was not checked: what would check it. Null where it was. */
  readonly needs: string | null;
}

export const passed = (check: string, detail: string): Check => ({ check, state: 'ok', detail, needs: null });
export const failed = (check: string, detail: string): Check => ({ check, state: 'failed', detail, needs: null });
export const notChecked = (check: string, detail: string, needs: string): Check => ({
  check,
  state: 'not checked',
  detail,
  needs,
});
export const compared = (check: string, holds: boolean, good: string, bad: string): Check =>
  holds ? passed(check, good) : failed(check, bad);
