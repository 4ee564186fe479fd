import { toJsonSchema } from '@valibot/to-json-schema';
import { Ajv } from 'ajv';
import { describe, expect, it } from 'vitest';
import { ResultSchema } from '../src/evidence/result.ts';
import { jsonDocument } from '../src/formats/json.ts';
import { makeReport } from '../src/report/report.ts';
import { ReportSchema } from '../src/report/schema.ts';
import { sampleResult, stored } from './sample_result.ts';

/**
 * The published schemas follow from those that the program itself reads with. Where these changed, write them anew with
 * `npx vitest run test/schema.test.ts -u`.
 */
const SCHEMAS = [
  ['result', 'What radioactive detect prints with --json', ResultSchema],
  ['report', 'What radioactive report prints with --json', ReportSchema],
] as const;

const publishedForm = (title: string, schema: (typeof SCHEMAS)[number][2]): object => {
  const { $schema, ...rest } = toJsonSchema(schema, {
    // JSON Schema knows whole numbers, not whether float64 holds them exactly; and nothing of who may change a list.
    ignoreActions: ['readonly'],
    overrideAction: ({ valibotAction, jsonSchema }) =>
      valibotAction.type === 'safe_integer' ? { ...jsonSchema, type: 'integer' } : undefined,
  });
  return { $schema, title, ...rest };
};

describe('the published JSON schemas', () => {
  it.each(SCHEMAS)('%s.schema.json is that of the program', async (name, title, schema) => {
    const text = `${JSON.stringify(publishedForm(title, schema), null, 2)}\n`;
    await expect(text).toMatchFileSnapshot(`../docs/${name}.schema.json`);
  });

  it('accept what the program writes, with infinities, and nothing else', () => {
    const [result, report] = SCHEMAS.map(([, title, schema]) =>
      new Ajv({ strict: true, formats: { 'date-time': true } }).compile(publishedForm(title, schema)),
    );
    const sample = sampleResult({ log10p: Number.NEGATIVE_INFINITY });
    const { json } = stored(sample);
    expect(result(json), JSON.stringify(result.errors)).toBe(true);
    const made = JSON.parse(jsonDocument(makeReport({ result: stored(sample), files: [] })));
    expect(report(made), JSON.stringify(report.errors)).toBe(true);
    for (const change of [
      { log10p: 'small' },
      { keyCommitment: 'ab' },
      { version: 2 },
      { statistics: [{ name: 'white-box' }] },
      { register: undefined },
      { data: { path: 'x', count: 1.5, sha256: 'ab'.repeat(32) } },
    ])
      expect(result(JSON.parse(JSON.stringify({ ...json, ...change }))), JSON.stringify(change)).toBe(false);
  });
});
