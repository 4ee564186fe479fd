import { InputError } from '../errors.ts';

/**
 * A value's JSON in its canonical form (RFC 8785): names of an object sorted by UTF-16 units, no white space, numbers and strings as
 * ECMAScript writes them. Equal values have equal texts, whatever program wrote them: what is hashed is this.
 *
 * @throws InputError for a number that is not finite, which JSON does not have.
 */
export function canonicalJson(value: unknown): string {
  if (Array.isArray(value)) return `[${value.map(canonicalJson).join(',')}]`;
  if (typeof value === 'object' && value !== null) {
    const members = Object.entries(value)
      .filter(([, entry]) => entry !== undefined)
      .sort(([a], [b]) => (a < b ? -1 : 1))
      .map(([name, entry]) => `${JSON.stringify(name)}:${canonicalJson(entry)}`);
    return `{${members.join(',')}}`;
  }
  if (typeof value === 'number' && !Number.isFinite(value)) throw new InputError(`JSON has no ${value}`);
  return JSON.stringify(value);
}
