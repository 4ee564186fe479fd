import { InputError } from '../errors.ts';

/** Rows as comma-separated values (RFC 4180), lines ending in a line feed. */
export function serializeCsv(rows: readonly (readonly string[])[]): string {
  const field = (text: string): string => (/[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text);
  return rows.map((row) => `${row.map(field).join(',')}\n`).join('');
}

/** What a file of comma-separated values holds. */
export interface Csv {
  /** Fields by row, without the empty lines; every row has the same number. */
  readonly rows: readonly (readonly string[])[];
  /** The line of the file, from 1, on which each row begins. */
  readonly lines: readonly number[];
}

const [TAB, LINE_FEED, CARRIAGE_RETURN, SPACE, QUOTE, COMMA] = [9, 10, 13, 32, 34, 44];

/**
 * Reads comma-separated values (RFC 4180; lines may end in a line feed alone, and spaces around a field are dropped). Empty lines are passed over.
 *
 * @throws InputError naming the line of the file where quotes do not close or a row has another number of fields than the first.
 */
export function parseCsv(text: string, fileName: string): Csv {
  const rows: string[][] = [];
  const lines: number[] = [];
  let row: string[] = [];
  let at = text.startsWith('\uFEFF') ? 1 : 0;
  let line = 1;
  /** Of the row. */
  let firstLine = 1;
  const fail = (what: string): never => {
    throw new InputError(`${fileName}: line ${what}`);
  };
  const skipBlanks = (from: number): number => {
    let end = from;
    while (text.charCodeAt(end) === SPACE || text.charCodeAt(end) === TAB) end++;
    return end;
  };
  /** Behind the line break at a place; there itself where there is none. */
  const breakEnd = (place: number): number => {
    const code = text.charCodeAt(place);
    if (code === CARRIAGE_RETURN) return text.charCodeAt(place + 1) === LINE_FEED ? place + 2 : place + 1;
    return code === LINE_FEED ? place + 1 : place;
  };
  const quoted = (quote: number): string => {
    let end = text.indexOf('"', quote + 1);
    // Two quotes stand for one.
    while (end >= 0 && text.charCodeAt(end + 1) === QUOTE) end = text.indexOf('"', end + 2);
    if (end < 0) fail(`${line}: a quote is not closed`);
    for (at = quote + 1; at < end; ) {
      const next = breakEnd(at);
      if (next > at) line++;
      at = Math.max(next, at + 1);
    }
    at = skipBlanks(end + 1);
    return text.slice(quote + 1, end).replaceAll('""', '"');
  };
  const plain = (): string => {
    const start = at;
    for (; at < text.length; at++) {
      const code = text.charCodeAt(at);
      if (code === COMMA || code === LINE_FEED || code === CARRIAGE_RETURN) break;
    }
    const field = text.slice(start, at).trim();
    if (field.startsWith('"')) fail(`${line}: a quote is not closed`);
    return field;
  };
  const endRow = (): void => {
    if (row.length > 1 || row[0] !== '') {
      if (rows.length > 0 && row.length !== rows[0].length)
        fail(`${firstLine} has ${row.length} fields, the first has ${rows[0].length}; give every line the same`);
      rows.push(row);
      lines.push(firstLine);
    }
    row = [];
    firstLine = ++line;
  };
  while (at < text.length) {
    const quote = skipBlanks(at);
    row.push(text.charCodeAt(quote) === QUOTE ? quoted(quote) : plain());
    if (text.charCodeAt(at) === COMMA) {
      at++;
      // A comma at the very end of the text stands before one more, empty field.
      if (at === text.length) row.push('');
      continue;
    }
    const next = breakEnd(at);
    if (next === at && at < text.length) fail(`${line}: text after a closing quote`);
    at = next;
    endRow();
  }
  if (row.length > 0) endRow();
  return { rows, lines };
}
