import { InputError } from '../errors.ts';

/** Rows as comma-separated values (RFC 4180), lines ending in a line feed. */
export function serializeCsv(rows: readonly (readonly string[])[]): string {
  const field = (text: string): string => (/[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text);
  return rows.map((row) => `${row.map(field).join(',')}\n`).join('');
}

/**
 * Reads comma-separated values (RFC 4180; lines may end in a line feed alone, and spaces around a field are dropped). Empty lines are passed over.
 *
 * @throws InputError naming the line where quotes do not close or a row has another number of fields than the first.
 */
export function parseCsv(text: string, fileName: string): string[][] {
  const rows: string[][] = [];
  let row: string[] = [];
  let line = 1;
  let at = text.startsWith('\uFEFF') ? 1 : 0;
  const endRow = (): void => {
    if (row.length > 1 || row[0] !== '') {
      if (rows.length > 0 && row.length !== rows[0].length)
        throw new InputError(
          `${fileName}: line ${line} has ${row.length} fields, the first has ${rows[0].length}; give every line the same`,
        );
      rows.push(row);
    }
    row = [];
    line++;
  };
  const plain = /[^,\r\n]*/y;
  const quoted = /[ \t]*"((?:[^"]|"")*)"[ \t]*/y;
  while (at < text.length) {
    quoted.lastIndex = at;
    const match = quoted.exec(text);
    if (match) {
      row.push(match[1].replaceAll('""', '"'));
      at = quoted.lastIndex;
    } else {
      plain.lastIndex = at;
      const [field] = plain.exec(text)!;
      if (field.trimStart().startsWith('"')) throw new InputError(`${fileName}: line ${line}: a quote is not closed`);
      row.push(field.trim());
      at = plain.lastIndex;
    }
    if (text[at] === ',') {
      at++;
      // A comma at the very end of the text stands before one more, empty field.
      if (at === text.length) row.push('');
      continue;
    }
    if (at < text.length && text[at] !== '\r' && text[at] !== '\n')
      throw new InputError(`${fileName}: line ${line}: text after a closing quote`);
    if (text[at] === '\r' && text[at + 1] === '\n') at++;
    at++;
    endRow();
  }
  if (row.length > 0) endRow();
  return rows;
}
