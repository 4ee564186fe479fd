import { getSystemErrorMap, inspect } from 'node:util';
import type { Manifest } from '../../datasets/manifest.ts';
import { RadioactiveError } from '../../errors.ts';
import type { Stopwatch } from '../../stopwatch.ts';

/** What a failure becomes on the command line. */
export interface Failure {
  /** One line: what is wrong, where, what to do. */
  readonly message: string;
  readonly exitCode: number;
}

/** The exit code of a process that ended by Ctrl-C. */
export const INTERRUPTED = 130;

/**
 * Turns anything thrown into one line and an exit code. Errors of this project carry theirs; a file that cannot be read or written
 * is bad input, a full disk can be retried; anything else is a fault of the program: 1.
 */
export function describeFailure(error: unknown): Failure {
  if (error instanceof RadioactiveError) return { message: oneLine(error.message), exitCode: error.exitCode };
  if (isAbort(error)) return { message: 'interrupted', exitCode: INTERRUPTED };
  if (isSystemError(error)) {
    const [, meaning] = getSystemErrorMap().get(error.errno) ?? ['', error.message];
    const outOfSpace = error.code === 'ENOSPC' || error.code === 'EDQUOT';
    return { message: error.path ? `${error.path}: ${meaning}` : meaning, exitCode: outOfSpace ? 5 : 3 };
  }
  const message = oneLine(error instanceof Error ? error.message : String(error));
  return { message: debugging() ? message : `${message} (RADIOACTIVE_DEBUG=1 shows where)`, exitCode: 1 };
}

/** The stack and the causes, where RADIOACTIVE_DEBUG=1 asks for them. */
export const stackOf = (error: unknown): string | undefined => (debugging() ? inspect(error) : undefined);

/** Whether work ended because its signal was aborted. */
export const isAbort = (error: unknown): boolean => error instanceof Error && error.name === 'AbortError';

const debugging = (): boolean => process.env.RADIOACTIVE_DEBUG === '1';

const oneLine = (message: string): string => message.replaceAll(/\s+/g, ' ').trim();

function isSystemError(error: unknown): error is NodeJS.ErrnoException & { errno: number } {
  return error instanceof Error && 'syscall' in error && typeof (error as NodeJS.ErrnoException).errno === 'number';
}

/** Where the time of work on `images` went: the stages that followed each other, in shares of the whole. */
export function describeTiming({ total, stages }: ReturnType<Stopwatch['report']>, images: number): string {
  const share = (seconds: number): string => `${Math.round((100 * seconds) / total)} %`;
  const shares = Object.entries(stages)
    .filter(([stage]) => !stage.endsWith('*'))
    .map(([stage, seconds]) => `${stage} ${share(seconds)}`);
  return `${(images / total).toPrecision(3)} images/s; ${shares.join(', ')}`;
}

/** What became of a data set that was marked, in a line. */
export function describeMarks({ source, summary, skipped = [] }: Manifest): string {
  const { marked, psnrMedian, ssimMean, gainMean, maxChangeLevels, changeBeforeEncoding } = summary;
  return [
    `${marked} of ${source.count} images marked${skipped.length > 0 ? `, ${skipped.length} skipped` : ''}; ${psnrMedian === undefined ? 'none changed' : `median PSNR ${Number(psnrMedian).toFixed(1)} dB`}`,
    `mean SSIM ${Number(ssimMean).toFixed(4)}`,
    `largest change ${changeBeforeEncoding === undefined ? '' : `${changeBeforeEncoding} levels and in lossy files `}${maxChangeLevels} levels`,
    `mean gain ${Number(gainMean).toFixed(3)}`,
  ].join(', ');
}
