import * as v from 'valibot';
import { describe, expect, test } from 'vitest';
import { InputError } from '../src/errors.ts';
import { parseJson, readDocument } from '../src/formats/document.ts';
import { count, hex32, list, text } from '../src/formats/fields.ts';

const SECRET = 'ab'.repeat(32);
const kind = {
  name: 'thing',
  cure: 'remake it',
  schema: v.strictObject({
    format: v.literal('thing'),
    version: v.picklist([1, 2]),
    secret: hex32,
    items: list(v.strictObject({ id: text, size: count, colour: v.optional(v.picklist(['red', 'blue'])) })),
  }),
  header: { format: 'thing', versions: [1, 2] },
};
const good = { format: 'thing', version: 1, secret: SECRET, items: [{ id: 'a', size: 1 }] };
const item = (fields: object) => ({ ...good, items: [good.items[0], { id: 'b', size: 2, ...fields }] });

describe('documents', () => {
  test('are read to what is in them', () => {
    expect(readDocument(kind, JSON.stringify(good), 'x.json')).toEqual(good);
  });

  test.each<[unknown, string]>([
    [5, 'is no thing'],
    [{ ...good, format: 'other' }, 'is no thing'],
    [{ ...good, version: 3, more: 1 }, 'is a thing of version 3, this program reads version 1, 2'],
    [{ ...good, more: 1 }, 'more: unknown field'],
    [{ ...good, [SECRET]: 1 }, '(an odd name): unknown field'],
    [{ ...good, secret: SECRET + SECRET }, 'secret: expected 64 lower-case hex digits'],
    [{ ...good, items: SECRET }, 'items: expected a list'],
    [item({ size: -1 }), 'items[1].size: expected 0 or more'],
    [item({ size: 0.5 }), 'items[1].size: expected a whole number'],
    [item({ size: SECRET }), 'items[1].size: expected a number'],
    [item({ size: undefined }), 'items[1].size: missing'],
    [item({ id: '' }), 'items[1].id: expected one that is not empty'],
    [item({ colour: SECRET }), 'items[1].colour: expected "red" or "blue"'],
  ])('refuses %j in one line that quotes nothing of it', (value, message) => {
    const read = () => readDocument(kind, JSON.stringify(value), 'x.json');
    expect(read).toThrow(InputError);
    expect(read).toThrow(`x.json: ${message}`);
    expect(read).not.toThrow(SECRET);
  });

  test('refuse what JSON.parse lets pass, and say where JSON ends', () => {
    const read = (json: string) => () => parseJson(json, 'x.json', 'remake it');
    expect(read('{"a": {"b": 1, "c": {"b": 2}}, "d": ["a", "a"]}')()).toEqual({
      a: { b: 1, c: { b: 2 } },
      d: ['a', 'a'],
    });
    expect(read('{"a": 1, "b": {"c": 1, "\\u0063": 2}}')).toThrow('x.json: has the field c twice; remake it');
    expect(read(`{"a": ${'['.repeat(20_000)}${']'.repeat(20_000)}}`)).toThrow('x.json: nested more than 64 deep');
    expect(read(`${'['.repeat(64)}${']'.repeat(64)}`)()).toBeInstanceOf(Array);
    expect(read('{\n  "a" 1}')).toThrow('x.json: not valid JSON (line 2, column 7); remake it');
    expect(read('')).toThrow('x.json: not valid JSON; remake it');
    expect(read(`{"${SECRET}`)).not.toThrow(SECRET);
  });
});
