/** The project's own documents (keys, results, manifests, …): from text to a checked value, or one line that says what is wrong where. */

import * as v from 'valibot';
import { InputError } from '../errors.ts';

/** One kind of document. */
export interface DocumentKind<Schema extends v.GenericSchema = v.GenericSchema> {
  /** As in "is no …": `key`, `result of a test`. */
  readonly name: string;
  /** What to do where a file is none, or damaged: `give the file that keygen wrote, unchanged`. */
  readonly cure: string;
  readonly schema: Schema;
  /** What its fields `format` and `version` must say. They are checked first: of another version nothing else need be right. */
  readonly header?: { readonly format: string; readonly versions: readonly number[] };
}

/** Objects and lists in one another; deeper ones overflow the stack of what reads them. */
const MAX_DEPTH = 64;

/**
 * Reads a document. No message quotes what is in it, which may be secret or hostile, but for names of fields that are ordinary words.
 *
 * @throws InputError naming the file and the place in it if it is none.
 */
export function readDocument<Schema extends v.GenericSchema>(
  kind: DocumentKind<Schema>,
  text: string,
  fileName: string,
): v.InferOutput<Schema> {
  return checkDocument(kind, parseJson(text, fileName, kind.cure), fileName);
}

/** The same of a value, for one that is to be written. */
export function checkDocument<Schema extends v.GenericSchema>(
  { name, cure, schema, header }: DocumentKind<Schema>,
  value: unknown,
  fileName: string,
): v.InferOutput<Schema> {
  if (header) {
    const found = v.safeParse(Header, value);
    if (!found.success || found.output.format !== header.format)
      throw new InputError(`${fileName}: is no ${name}; ${cure}`);
    const { version } = found.output;
    if (!header.versions.includes(version))
      throw new InputError(
        `${fileName}: is a ${name} of version ${version}, this program reads version ${header.versions.join(', ')}; use the version of radioactive that wrote it`,
      );
  }
  const parsed = v.safeParse(schema, value, { abortEarly: true });
  if (parsed.success) return parsed.output;
  const [issue] = parsed.issues;
  const place = placeOf(issue);
  throw new InputError(`${fileName}: ${place && `${place}: `}${describe(issue)}; ${cure}`);
}

const Header = v.object({ format: v.string(), version: v.number() });

/**
 * A JSON text's value. Refuses what `JSON.parse` lets pass: a field that comes twice, of which it keeps the last, and nesting
 * that later overflows a stack.
 *
 * @throws InputError naming the file, and line and column where the runtime tells them.
 */
export function parseJson(text: string, fileName: string, cure: string): unknown {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (error) {
    throw new InputError(`${fileName}: not valid JSON${lineOf(text, error)}; ${cure}`);
  }
  const problem = oddity(text);
  if (problem) throw new InputError(`${fileName}: ${problem}; ${cure}`);
  return value;
}

/** What is odd about a valid JSON text: a field twice in one object, or nesting too deep. */
export function oddity(json: string): string | undefined {
  const open: (Set<string> | undefined)[] = [];
  for (let i = 0; i < json.length; i++) {
    const character = json[i];
    if (character === '{' || character === '[') {
      open.push(character === '{' ? new Set() : undefined);
      if (open.length > MAX_DEPTH) return `nested more than ${MAX_DEPTH} deep`;
    } else if (character === '}' || character === ']') open.pop();
    else if (character === '"') {
      const start = i++;
      while (json[i] !== '"') i += json[i] === '\\' ? 2 : 1;
      if (!isField(json, i + 1)) continue;
      const field: string = JSON.parse(json.slice(start, i + 1));
      const fields = open.at(-1)!;
      if (fields.has(field)) return `has the field ${shown(field)} twice`;
      fields.add(field);
    }
  }
  return undefined;
}

/** Whether the string that ends before `position` names a field: a colon is next. */
function isField(json: string, position: number): boolean {
  while (/\s/.test(json.charAt(position))) position++;
  return json[position] === ':';
}

/** Where JSON.parse failed, from the offset that V8 tells. */
function lineOf(text: string, error: unknown): string {
  const offset = /at position (\d+)/.exec((error as Error).message)?.[1];
  if (offset === undefined) return '';
  const before = text.slice(0, Number(offset)).split('\n');
  return ` (line ${before.length}, column ${before.at(-1)!.length + 1})`;
}

/** `images[6].id` */
function placeOf(issue: v.BaseIssue<unknown>): string {
  return (issue.path ?? []).reduce(
    (place, { key }) => place + (typeof key === 'number' ? `[${key}]` : `${place && '.'}${shown(String(key))}`),
    '',
  );
}

/** A field's name, if it is one that a person would give. A secret that stands where a name should is not shown. */
const shown = (field: string): string => (/^[\p{L}\p{N}_ .:/-]{1,40}$/u.test(field) ? field : '(an odd name)');

const EXPECTED: Readonly<Record<string, string>> = {
  string: 'a string',
  number: 'a number',
  boolean: 'true or false',
  array: 'a list',
  tuple: 'a list',
  strict_tuple: 'a list',
  record: 'an object',
  safe_integer: 'a whole number',
  finite: 'a finite number',
  iso_timestamp: 'an ISO 8601 time',
  base64: 'base64',
  non_empty: 'one that is not empty',
};

/** What an issue says, without what was received. */
function describe({ type, expected, message }: v.BaseIssue<unknown>): string {
  if (/object/.test(type)) {
    if (expected === 'never') return 'unknown field';
    return expected === 'Object' ? 'expected an object' : 'missing';
  }
  if (!message.startsWith('Invalid ')) return message;
  if (type === 'min_value') return `expected ${String(expected).slice(2)} or more`;
  if (type === 'max_value') return `expected ${String(expected).slice(2)} or less`;
  return `expected ${
    EXPECTED[type] ??
    String(expected)
      .replace(/^\((.*)\)$/, '$1')
      .replaceAll(' | ', ' or ')
  }`;
}
