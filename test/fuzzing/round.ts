/** One round of damaged inputs through one parser. */

import { RadioactiveError } from '../../src/errors.ts';
import { derive } from '../../src/random.ts';
import { mutant, type Seeds } from './mutate.ts';
import { type FuzzedParser, PARSERS, type ParserName } from './parsers.ts';

/** What an input may take: so many milliseconds for each megabyte, small ones as for one. */
export const MOST_MS_A_MB = 1000;
/** What the process may take, Node and the parser's code included. */
export const MOST_RSS_MIB = 512;

/** What one input did. */
export interface Outcome {
  readonly accepted: boolean;
  /** What went wrong; absent where it ended in a value or in an error of the family. */
  readonly fault?: string;
}

/** What a round found. */
export interface Round {
  readonly inputs: number;
  readonly accepted: number;
  readonly worstMs: number;
  /** The first input that did what none may. */
  readonly failed?: { readonly index: number; readonly fault: string };
}

/** The input of a number: it depends on these and on the parser's seeds alone. */
export const inputOf = (seeds: Seeds, parser: ParserName, seed: number, index: number): Uint8Array =>
  mutant(seeds, derive(seed, 'fuzz', parser, index));

/** Gives a parser one input. */
export async function tryInput(parser: FuzzedParser, bytes: Uint8Array): Promise<Outcome> {
  try {
    await parser.parse(bytes);
    return { accepted: true };
  } catch (error) {
    if (!(error instanceof RadioactiveError)) {
      const { stack } = error as Error;
      return { accepted: false, fault: `not of the RadioactiveError family: ${stack ?? String(error)}` };
    }
    return { accepted: false, ...(/[\n\r]/.test(error.message) && { fault: `more than one line: ${error.message}` }) };
  }
}

/**
 * Feeds a parser damaged inputs until `enough` says so, or one does what none may: throws something foreign, takes too long or too
 * much memory.
 *
 * @param options.timed compares time and memory with what an input may take. An input that is slow is tried twice more, since
 * others may use the machine.
 * @param options.begin is told of each input before it is parsed.
 */
export async function fuzzRound(
  name: ParserName,
  options: {
    readonly seed: number;
    readonly enough: (inputs: number) => boolean;
    readonly timed: boolean;
    readonly begin?: (index: number) => void;
  },
): Promise<Round> {
  const parser: FuzzedParser = PARSERS[name];
  const seeds = parser.seeds();
  const valid = await Promise.all(seeds.files.map((file) => tryInput(parser, file.slice())));
  if (!valid.some(({ accepted }) => accepted)) throw new Error(`${name}: none of its files is valid`);
  let accepted = 0;
  let worstMs = 0;
  let index = 0;
  for (; !options.enough(index); index++) {
    options.begin?.(index);
    const bytes = inputOf(seeds, name, options.seed, index);
    const limit = MOST_MS_A_MB * Math.max(1, bytes.length / 1e6);
    const timeOnce = async (): Promise<Outcome & { ms: number }> => {
      const start = performance.now();
      const outcome = await tryInput(parser, bytes.slice());
      return { ...outcome, ms: performance.now() - start };
    };
    let outcome = await timeOnce();
    for (let again = 0; options.timed && outcome.ms > limit && again < 2; again++) {
      const next = await timeOnce();
      if (next.ms < outcome.ms) outcome = next;
    }
    if (outcome.accepted) accepted++;
    worstMs = Math.max(worstMs, outcome.ms);
    const fault =
      outcome.fault ??
      (options.timed ? costFault(outcome.ms, limit, process.resourceUsage().maxRSS / 1024) : undefined);
    if (fault !== undefined) return { inputs: index + 1, accepted, worstMs, failed: { index, fault } };
  }
  return { inputs: index, accepted, worstMs };
}

function costFault(ms: number, limit: number, rssMiB: number): string | undefined {
  if (ms > limit) return `takes ${Math.round(ms)} ms, allowed are ${Math.round(limit)}`;
  return rssMiB > MOST_RSS_MIB
    ? `takes the process to ${Math.round(rssMiB)} MiB, allowed are ${MOST_RSS_MIB}`
    : undefined;
}
