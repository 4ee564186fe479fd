import * as v from 'valibot';
import { VerificationSchema } from '../evidence/verification.ts';
import { count, hex32 } from '../formats/fields.ts';
import { ShownResultSchema } from './bounded.ts';

const real = v.union([v.number(), v.picklist(['-Infinity', 'Infinity', 'NaN'])]);
const described = <T extends v.GenericSchema>(schema: T, text: string) => v.pipe(schema, v.description(text));

const probability = {
  log10p: described(real, 'log10 of it'),
  written: described(v.string(), 'like 10^-22.6'),
  words: described(v.string(), 'like "about one in 44 000"'),
};

/** A report: everything that its page says, from one result and what belongs to it. */
export const ReportSchema = v.object({
  format: v.literal('radioactive-report'),
  version: v.literal(1),
  time: v.pipe(v.string(), v.isoTimestamp()),
  program: described(v.string(), 'version of the program that wrote the report'),
  headline: v.string(),
  evidence: described(
    v.picklist(['strong', 'weak', 'none', 'no p-value']),
    'by the corrected probability: at most 10^-4, at most 0.05, or above; no p-value where the deciding statistic is an approximation',
  ),
  verdict: described(v.array(v.string()), 'the finding in plain words, a paragraph each'),
  raw: described(
    v.object(probability),
    'probability of a result this strong if the carriers were independent of the model; not the probability of guilt',
  ),
  corrected: described(
    v.object({
      ...probability,
      entry: described(count, 'number of this test among those made with the key, from 1'),
      looks: described(count, 'tests made with the key, as far as known'),
      complete: described(v.boolean(), "whether the owner's list of tests says that it was begun with the key"),
    }),
    'the same, corrected for the number of tests by Bonferroni',
  ),
  statistics: v.array(
    v.object({
      name: v.string(),
      decides: described(v.boolean(), 'whether it is the statistic whose p-value is the result'),
      exact: v.boolean(),
      ...probability,
      null: v.nullable(
        v.object({
          kind: v.string(),
          count,
          atMost: described(count, 'how many are as small as the observed value or smaller'),
          uniformity: described(
            v.nullable(v.object({ distance: real, p: real, passed: v.boolean() })),
            'Kolmogorov and Smirnov: are these p-values uniform, as they should be? Only for fresh keys and exact statistics',
          ),
        }),
      ),
    }),
  ),
  assumptions: v.array(
    v.object({
      assumption: v.string(),
      check: described(v.string(), 'how it was checked, and what was found'),
      holds: described(v.nullable(v.boolean()), 'null where this report cannot tell'),
    }),
  ),
  limits: v.array(v.string()),
  marked: described(
    v.nullable(
      v.object({
        path: v.string(),
        commitment: described(hex32, 'of the marked data set, see docs/key-derivation.md'),
        merkleRoot: hex32,
        marked: count,
        of: described(count, 'images in the data set'),
        options: v.record(v.string(), v.union([v.string(), v.number(), v.boolean()])),
        psnrMedian: described(v.nullable(v.number()), 'dB'),
        psnrMin: v.nullable(v.number()),
        maxChangeLevels: described(count, 'largest change of any pixel, in 8-bit levels'),
        examples: described(
          v.array(
            v.object({
              id: v.string(),
              class: v.string(),
              width: count,
              height: count,
              psnr: described(v.nullable(v.number()), 'measured again; null for equal images'),
              maxChangeLevels: described(count, 'measured again'),
            }),
          ),
          'images that the page shows beside their originals',
        ),
      }),
    ),
    'the marked images, where they were given',
  ),
  files: described(
    v.array(v.object({ name: v.string(), sha256: hex32, found: v.boolean() })),
    'arrays that the result was made from, and whether they were beside it, with that SHA-256',
  ),
  commands: described(v.array(v.object({ purpose: v.string(), command: v.string() })), 'for a POSIX shell'),
  verification: described(v.nullable(VerificationSchema), 'what verify found, where it was given'),
  full: described(
    v.boolean(),
    'false for a black-box result of which the report holds bounds alone: probabilities rounded up to powers of ten, nothing of classes and sets',
  ),
  resultSha256: described(
    hex32,
    'of the result as canonical JSON without its section register, as the register has it',
  ),
  result: ShownResultSchema,
});

/** Everything that a report says, see `docs/report.schema.json`. */
export type Report = v.InferOutput<typeof ReportSchema>;
