/** The owner's list of tests made with a key: a chain of lines, each with the hash of the one before. */

import * as v from 'valibot';
import { InputError, IntegrityError } from '../errors.ts';
import { readDocument } from '../formats/document.ts';
import { count, hex32, time } from '../formats/fields.ts';
import { hashBytes } from '../formats/sha256.ts';

const FirstLine = v.strictObject({
  format: v.literal('radioactive-register'),
  version: v.literal(1),
  /** The key whose tests are listed. */
  keyCommitment: hex32,
  begun: time,
  /** Whether it was begun together with the key: then no test is missing from it. */
  withKey: v.boolean(),
});

const LookSchema = v.strictObject({
  index: count,
  /** SHA-256 of the line before. */
  previous: hex32,
  time,
  /** Which statistic decided. */
  test: v.string(),
  /** Whether statistic, options and data are those that the key fixes. */
  primary: v.boolean(),
  options: v.record(v.string(), v.union([v.string(), v.number(), v.boolean()])),
  /** SHA-256 of the model under test, or of what stands for it. */
  suspect: hex32,
  /** SHA-256 of the images that it was tested on, see `hashDataset`. */
  data: hex32,
  /** Null for −∞. */
  log10p: v.nullable(v.pipe(v.number(), v.finite())),
  /** Of the result without its section `register`, see `hashResult`. */
  resultSha256: hex32,
});

const LastLine = v.strictObject({ entries: count, head: hex32 });

/** One test made with a key. */
export type Look = v.InferOutput<typeof LookSchema>;

/** What a test says of itself; its place in the chain follows. */
export type NewLook = Omit<Look, 'index' | 'previous' | 'time'>;

/** The list of all tests made with a key. */
export interface Register {
  /** Where it is, for messages. */
  readonly path: string;
  readonly keyCommitment: string;
  readonly begun: string;
  readonly withKey: boolean;
  readonly looks: readonly Look[];
  /** SHA-256 of the first line: of the list before the first test. */
  readonly beginning: string;
  /** SHA-256 of each look's line. */
  readonly hashes: readonly string[];
  /** The lines as they are in its text, without the last. */
  readonly lines: readonly string[];
}

const DAMAGED = 'the list of tests is damaged: restore it from a copy, without it nobody can say how many there were';

/**
 * A register without tests.
 *
 * @param path where it will be, for messages.
 * @param withKey whether the key is new: otherwise the register says for ever that tests may have been made before it.
 */
export function newRegister(path: string, keyCommitment: string, withKey: boolean): Register {
  const first = { format: 'radioactive-register', version: 1, keyCommitment, begun: now(), withKey } as const;
  const lines = [JSON.stringify(first satisfies v.InferInput<typeof FirstLine>)];
  return parseRegister(textOf(lines), path, keyCommitment);
}

/**
 * Reads and checks a register: JSON lines, of which each names the SHA-256 of the one before, and the last the number of entries and
 * the SHA-256 of the last of them, so that a text cut off anywhere is noticed.
 *
 * @throws IntegrityError naming the line where the chain is broken, or if it belongs to another key.
 */
export function parseRegister(text: string, path: string, keyCommitment: string): Register {
  const fail = (line: number, what: string): never => {
    throw new IntegrityError(`${path}: line ${line}: ${what}; ${DAMAGED}`);
  };
  const read = <S extends v.GenericSchema>(schema: S, line: string, number: number): v.InferOutput<S> => {
    try {
      return readDocument({ name: 'register', cure: DAMAGED, schema }, line, `${path}: line ${number}`);
    } catch (error) {
      throw new IntegrityError((error as Error).message, { cause: error });
    }
  };
  const lines = text.split('\n');
  // What follows the last line break is a line that was cut off.
  if (lines.pop() !== '' || lines.length < 2) fail(lines.length + 1, 'the file is cut off');
  const last = read(LastLine, lines.pop()!, lines.length + 1);
  const first = read(FirstLine, lines[0], 1);
  if (first.keyCommitment !== keyCommitment) {
    throw new IntegrityError(
      `${path}: lists the tests of another key, ${first.keyCommitment}; give the register of this key, ${keyCommitment}`,
    );
  }
  const looks: Look[] = [];
  const hashes: string[] = [];
  let previous = hashOf(lines[0]);
  for (const [at, line] of lines.entries()) {
    if (at === 0) continue;
    const look = read(LookSchema, line, at + 1);
    if (look.previous !== previous) fail(at + 1, 'does not follow from the line before');
    if (look.index !== at) fail(at + 1, `entry ${look.index} stands where entry ${at} should`);
    previous = hashOf(line);
    looks.push(look);
    hashes.push(previous);
  }
  if (last.entries !== looks.length || last.head !== previous) fail(lines.length + 1, 'does not fit the entries above');
  return { path, ...first, beginning: hashOf(lines[0]), looks, hashes, lines };
}

/**
 * The register with one test more.
 *
 * @throws InputError unless its log10 p is at most 0, or null for −∞.
 */
export function appendLook(register: Register, look: NewLook): Register {
  // JSON has no NaN: it would be written as null, the strongest evidence there is.
  if (!(look.log10p === null || look.log10p <= 0))
    throw new InputError(`${register.path}: log10 p ${look.log10p} is of no probability; nothing was entered`);
  const { lines, looks, path, keyCommitment } = register;
  const entry: Look = { index: looks.length + 1, previous: hashOf(lines.at(-1)!), time: now(), ...look };
  return parseRegister(textOf([...lines, JSON.stringify(entry)]), path, keyCommitment);
}

/** The text that `parseRegister` reads. */
export const serializeRegister = ({ lines }: Register): string => textOf(lines);

function textOf(lines: readonly string[]): string {
  const last: v.InferInput<typeof LastLine> = { entries: lines.length - 1, head: hashOf(lines.at(-1)!) };
  return `${[...lines, JSON.stringify(last)].join('\n')}\n`;
}

const hashOf = (line: string): string => hashBytes(new TextEncoder().encode(line));

const now = (): string => new Date().toISOString();

/**
 * Bonferroni's correction: log10 of the p-value of the smallest of several tests, at most 0.
 *
 * @param looks tests made, at least 1.
 * @throws InputError if they are fewer.
 */
export function bonferroni(log10p: number, looks: number): number {
  if (!(Number.isSafeInteger(looks) && looks >= 1))
    throw new InputError(`a p-value is corrected for 1, 2, … tests, not for ${looks}`);
  return Math.min(0, log10p + Math.log10(looks));
}
