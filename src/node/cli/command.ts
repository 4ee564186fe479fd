import { parseArgs } from 'node:util';
import type * as v from 'valibot';
import { UsageError } from '../../errors.ts';
import { textTable } from '../../formats/text_table.ts';
import type { Device } from '../../gpu/device.ts';
import { outputPath } from '../files/files.ts';
import type { Progress } from './progress.ts';

interface Described {
  readonly description: string;
  /** One letter: `o` lets `-o` be written. */
  readonly short?: string;
}

interface Flag extends Described {
  readonly type: 'flag';
}

interface StringOption extends Described {
  readonly type: 'string';
  /** What stands for the value in the help: `FILE`. */
  readonly value: string;
  readonly required?: true;
  readonly default?: string;
  /** Given by itself, without a flag. */
  readonly positional?: true;
  /** A file or folder to write: separators at its end are taken off. So is what `-o` names. */
  readonly writes?: true;
  /** The only values allowed. */
  readonly choices?: readonly string[];
}

/** A number of bytes, written with or without a unit. */
interface BytesOption extends Described {
  readonly type: 'bytes';
  readonly value: string;
}

export interface NumberOption extends Described {
  readonly type: 'number' | 'integer';
  readonly value: string;
  readonly required?: true;
  readonly default?: number;
  /** Smallest and largest value allowed. */
  readonly minimum?: number;
  readonly maximum?: number;
}

export type Option = Flag | StringOption | BytesOption | NumberOption;

/** Options by their name in code: `batchSize` is written `--batch-size`. */
export type Options = Readonly<Record<string, Option>>;

type ValueOf<O> = O extends { type: 'flag' }
  ? boolean
  : O extends { choices: readonly (infer Choice)[] }
    ? Choice
    : O extends { type: 'string' }
      ? string
      : number;

/** What a table of options parses to: `undefined` only where an option is neither required nor has a default. */
export type Values<T extends Options> = {
  readonly [K in keyof T]: T[K] extends { type: 'flag' } | { required: true } | { default: string | number }
    ? ValueOf<T[K]>
    : ValueOf<T[K]> | undefined;
};

/** What a command works with. Everything it does to the outside world goes through here. */
export interface Context<V> {
  readonly options: V;
  /** Aborted by the first Ctrl-C: end in a state that can be resumed, then throw (`signal.throwIfAborted()`). */
  readonly signal: AbortSignal;
  /** Starts a progress display; `unit` is a plural: `images`. */
  progress(title: string, total: number, unit: string): Progress;
  /** Writes a line for people, to stderr; nothing under `--quiet`. */
  log(line: string): void;
  /** Opens the device that `--device`, `--memory` and `--precision` ask for; once, however often it is called. It is closed when the command ends. */
  openDevice(): Promise<Device>;
}

/** What a command has to say: `json` is the document printed under `--json`, `text` is for people. */
export interface Result {
  readonly json: unknown;
  readonly text: string;
  /** For a command that ran to its end and whose answer is bad news. Default 0. */
  readonly exitCode?: number;
}

export interface Command<T extends Options = Options> {
  readonly name: string;
  /** One line, without a full stop. */
  readonly summary: string;
  readonly options: T;
  /** Arguments of complete example commands, at least one. */
  readonly examples: readonly string[];
  /** What to do after Ctrl-C, for a command that can go on where it was stopped. */
  readonly afterInterrupt?: string;
  run(context: Context<Values<T>>): Promise<Result>;
}

/** Declares a command; its options' types follow from its table. */
export function defineCommand<const T extends Options>(command: Command<T>): Command {
  return command as unknown as Command;
}

/**
 * An option for a number of which a schema says what it may be: whole or not, and its bounds. `more` describes it, and may be
 * stricter.
 */
export function numberOption<const More extends Described & Partial<NumberOption>>(
  schema: v.GenericSchema<number>,
  more: More,
): { readonly type: NumberOption['type']; readonly value: string } & More {
  const rules = rulesOf(schema);
  const bound = (type: string): number | undefined => rules.findLast((rule) => rule.type === type)?.requirement;
  const [minimum, maximum] = [bound('min_value'), bound('max_value')];
  const whole = rules.some(({ type }) => type === 'safe_integer');
  return {
    ...(whole ? { type: 'integer', value: 'N' } : { type: 'number', value: 'X' }),
    ...(minimum !== undefined && { minimum }),
    ...(maximum !== undefined && { maximum }),
    ...more,
  };
}

interface Rule {
  readonly type: string;
  readonly requirement?: number;
}

/** What a number must be, in the order in which it is checked; a schema may be made of others. */
const rulesOf = (schema: object): Rule[] =>
  'pipe' in schema ? (schema.pipe as object[]).flatMap(rulesOf) : [schema as Rule];

/** Options that every command has. */
export const commonOptions = {
  device: {
    type: 'string',
    value: 'NAME',
    description: "part of the adapter's name, as doctor lists them; also RADIOACTIVE_DEVICE",
  },
  memory: {
    type: 'bytes',
    value: 'BYTES',
    description: 'most memory to use on the device, like 512MiB; batches are halved until they fit',
  },
  json: {
    type: 'flag',
    description: 'print one JSON document, numbers without end as "-Infinity", and progress as JSON lines on stderr',
  },
  quiet: { type: 'flag', description: 'no progress and no remarks on stderr' },
  help: { type: 'flag', short: 'h', description: 'show this help' },
} as const satisfies Options;

/** For commands that compute much and whose results are no evidence. */
export const precisionOption = {
  precision: {
    type: 'string',
    value: 'NAME',
    choices: ['f32', 'f16'],
    default: 'f32',
    description:
      "f16: factors of convolutions rounded to float16 for the GPU's matrix units, sums float32; tested before use, refused where there are none",
  },
} as const satisfies Options;

/** A summary, which has no full stop, as a sentence. */
export const sentence = (summary: string): string => (/[.?!]$/.test(summary) ? summary : `${summary}.`);

/** How an option is written. */
export const flagOf = (name: string): string =>
  `--${name.replaceAll(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`)}`;
const isPositional = (option: Option): boolean => option.type === 'string' && option.positional === true;
const writtenOf = (name: string, option: Option): string =>
  option.type === 'flag' ? flagOf(name) : isPositional(option) ? option.value : `${flagOf(name)} ${option.value}`;

/** Reads arguments by a table. Throws UsageError, naming the nearest option where one is unknown. */
export function parseOptions<T extends Options>(table: T, args: readonly string[]): Values<T> {
  const positional = Object.entries(table).filter(([, option]) => isPositional(option));
  const byFlag = new Map(
    Object.entries(table).flatMap(([name, option]) =>
      isPositional(option) ? [] : [[flagOf(name), { name, option }] as const],
    ),
  );
  const { tokens } = parseArgs({
    args: [...args],
    options: Object.fromEntries(
      [...byFlag].map(([flag, { option }]) => [
        flag.slice(2),
        { type: option.type === 'flag' ? 'boolean' : 'string', ...(option.short && { short: option.short }) },
      ]),
    ),
    // Not strict: its messages suggest nothing.
    strict: false,
    tokens: true,
  });
  const values: Record<string, string | number | boolean | undefined> = {};
  for (const [name, option] of Object.entries(table))
    values[name] = option.type === 'flag' ? false : 'default' in option ? option.default : undefined;
  for (const token of tokens) {
    if (token.kind === 'positional') {
      const name = positional.shift()?.[0];
      if (name === undefined) throw new UsageError(`unexpected argument ${token.value}`);
      values[name] = token.value;
    }
    if (token.kind !== 'option') continue;
    const found = byFlag.get(`--${token.name}`);
    if (!found)
      throw new UsageError(`unknown option ${token.rawName}${suggest(`--${token.name}`, [...byFlag.keys()])}`);
    values[found.name] = readValue(found.option, writtenOf(found.name, found.option), token);
  }
  for (const [name, option] of Object.entries(table))
    if ('required' in option && values[name] === undefined)
      throw new UsageError(`${writtenOf(name, option)} is missing`);
  return values as Values<T>;
}

function readValue(
  option: Option,
  written: string,
  { rawName, value, inlineValue }: { rawName: string; value?: string | undefined; inlineValue?: boolean | undefined },
): string | number | boolean {
  if (option.type === 'flag') {
    if (value !== undefined) throw new UsageError(`${rawName} takes no value`);
    return true;
  }
  // The next option is no value; a negative number is, and anything after `=`.
  if (!value || (!inlineValue && /^-[^\d.]/.test(value))) throw new UsageError(`${rawName} needs a value: ${written}`);
  if (option.type === 'string') {
    if (option.choices && !option.choices.includes(value))
      throw new UsageError(`${rawName} ${value}: must be one of ${option.choices.join(', ')}`);
    return option.writes || option.short === 'o' ? outputPath(value) : value;
  }
  if (option.type === 'bytes') return readByteCount(rawName, value);
  const number = Number(value);
  const { minimum = -Infinity, maximum = Infinity } = option;
  if (!Number.isFinite(number) || (option.type === 'integer' && !Number.isSafeInteger(number)))
    throw new UsageError(`${rawName} ${value}: must be ${option.type === 'integer' ? 'an integer' : 'a number'}`);
  if (number < minimum || number > maximum)
    throw new UsageError(
      `${rawName} ${value}: must be ${maximum === Infinity ? `at least ${minimum}` : minimum === -Infinity ? `at most ${maximum}` : `between ${minimum} and ${maximum}`}`,
    );
  return number;
}

/** `536870912`, `512MiB`, `0.5 GB`: units of 1024 with an i, of 1000 without. */
function readByteCount(rawName: string, value: string): number {
  const [, count, unit] = /^(\d+(?:\.\d+)?) ?((?:[kmgt]i?)?b)?$/i.exec(value) ?? [];
  const power = 'bkmgt'.indexOf((unit ?? 'b')[0].toLowerCase());
  const bytes = Math.floor(Number(count) * (/i/i.test(unit ?? '') ? 1024 : 1000) ** power);
  if (Number.isSafeInteger(bytes) && bytes > 0) return bytes;
  throw new UsageError(`${rawName} ${value}: must be a number of bytes, like 536870912 or 512MiB`);
}

/** `; did you mean …?` with the candidate nearest to `word`, or nothing where none is near. */
export function suggest(word: string, candidates: readonly string[]): string {
  const ranked = candidates
    .map((candidate) => ({ candidate, distance: candidate.startsWith(word) ? 0 : editDistance(word, candidate) }))
    .sort((a, b) => a.distance - b.distance);
  const best = ranked[0];
  const letters = word.replace(/^-+/, '').length;
  const near = best && best.distance < letters && best.distance <= Math.max(2, letters / 3);
  return near ? `; did you mean ${best.candidate}?` : '';
}

/** Levenshtein's distance. */
function editDistance(a: string, b: string): number {
  let row = Array.from({ length: b.length + 1 }, (_, j) => j);
  for (let i = 1; i <= a.length; i++) {
    const next = [i];
    for (let j = 1; j <= b.length; j++)
      next.push(Math.min(row[j] + 1, next[j - 1] + 1, row[j - 1] + Number(a[i - 1] !== b[j - 1])));
    row = next;
  }
  return row[b.length];
}

/** The help of one command; `invocation` is what is typed to run it: `radioactive mark`. */
export function commandHelp(invocation: string, { summary, options, examples }: Command): string {
  const required = Object.entries(options).flatMap(([name, option]) =>
    'required' in option ? [writtenOf(name, option)] : [],
  );
  return [
    `Usage: ${[invocation, ...required, '[options]'].join(' ')}`,
    '',
    sentence(summary),
    ...optionTable('Options', options),
    ...optionTable('Options of every command', commonOptions),
    '',
    examples.length === 1 ? 'Example:' : 'Examples:',
    ...examples.map((example) => `  ${`${invocation} ${example}`.trimEnd()}`),
  ].join('\n');
}

function optionTable(title: string, options: Options): string[] {
  const rows = Object.entries(options).map(([name, option]) => {
    const written = `${option.short ? `-${option.short}, ` : ''}${writtenOf(name, option)}`;
    const remarks: string[] = [];
    if (option.type === 'string' && option.choices) remarks.push(option.choices.join(' | '));
    if ('required' in option) remarks.push('required');
    if ('default' in option) remarks.push(`default ${option.default}`);
    return [written, option.description + (remarks.length > 0 ? ` (${remarks.join('; ')})` : '')] as const;
  });
  return rows.length === 0 ? [] : ['', `${title}:`, ...columns(rows)];
}

/** Indented columns. */
export const columns = (rows: readonly (readonly string[])[]): string[] => textTable(rows, { left: 'all', indent: 2 });
