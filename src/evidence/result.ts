import * as v from 'valibot';
import { type Doubtful, doubtsOf } from '../detection/doubts.ts';
import type { Finding } from '../detection/statistic.ts';
import { TEST_NAMES, type TestName, whiteBoxOptions } from '../detection/tests.ts';
import { canonicalJson } from '../formats/canonical.ts';
import { type DocumentKind, readDocument } from '../formats/document.ts';
import { count, hex32, list, real, time } from '../formats/fields.ts';
import { jsonDocument } from '../formats/json.ts';
import { hashBytes } from '../formats/sha256.ts';
import { commitment, type Key, keyCarriers } from '../marking/key.ts';
import { recipeRecord } from '../marking/recipe.ts';
import { version as programVersion } from '../version.ts';
import { bonferroni, type NewLook, type Register } from './register.ts';

const plain = v.union([v.string(), v.number(), v.boolean()]);

/** Loose, as the result itself: a statistic may tell more than what all of them tell. */
const statistic = v.looseObject({
  name: v.string(),
  log10p: v.pipe(real, v.description('of the p-value')),
  exact: v.pipe(v.boolean(), v.description('false for an approximation, which is no p-value')),
  perClass: list(
    v.looseObject({
      class: v.string(),
      score: v.pipe(real, v.description('larger means more evidence')),
      log10p: v.nullable(real),
    }),
  ),
  null: v.pipe(
    v.nullable(
      v.object({
        kind: v.string(),
        log10p: list(real),
        atMost: v.pipe(count, v.description('how many are as small as the observed value or smaller')),
      }),
    ),
    v.description('what the same statistic gives of the same suspect where there is nothing to find'),
  ),
});

const RESULT_VERSION = 1;

/** The result of a test: everything a report shows and everything `verify` compares with. */
export const ResultSchema = v.looseObject({
  format: v.literal('radioactive-result'),
  version: v.literal(RESULT_VERSION),
  time,
  program: v.object({ version: v.string(), node: v.string(), adapter: v.string() }),
  command: v.pipe(v.array(v.string()), v.description('the command line that was run')),
  test: v.pipe(v.picklist(TEST_NAMES), v.description('the test that was made')),
  primary: v.pipe(v.boolean(), v.description('whether statistic, options and images are those that the key fixed')),
  deviations: v.pipe(v.array(v.string()), v.description('where they are not')),
  log10p: v.pipe(
    real,
    v.description(
      'log10 of the p-value: the probability of a result this strong if the carriers were independent of the model. It is not the probability of guilt',
    ),
  ),
  warnings: v.array(v.string()),
  statistics: list(statistic),
  alignment: v.exactOptional(
    v.object({
      n: v.pipe(count, v.description('images')),
      rank: v.pipe(count, v.description("of the marking network's features, after truncation")),
      r2: v.pipe(real, v.description("share of the suspect's features that the marking network's explain linearly")),
    }),
  ),
  agreement: v.exactOptional(
    v.pipe(
      v.object({
        outputs: v.pipe(
          v.array(count),
          v.description("which of the suspect's outputs each of the key's classes was taken to be"),
        ),
        outputCount: count,
        images: count,
        right: v.pipe(count, v.description('images of which the output of their class is the largest of these')),
        byChance: v.pipe(
          real,
          v.description('share that would be right if its answers had nothing to do with the labels'),
        ),
        log10p: v.pipe(real, v.description('of the binomial probability of so many or more')),
        best: v.pipe(
          v.nullable(v.object({ outputs: v.array(count), right: count })),
          v.description('outputs that fit the labels better; null where there are none'),
        ),
      }),
      v.description('how often the suspect is right about the images: whether its outputs are the classes of the key'),
    ),
  ),
  heldOutMarks: v.exactOptional(
    v.pipe(
      real,
      v.description(
        'log10 of the p-value of a linear classifier trained on the images to test on: small where these are marked',
      ),
    ),
  ),
  overlap: v.exactOptional(
    v.pipe(
      v.object({
        images: count,
        compared: v.object({ marked: count, originals: count }),
        copies: v.pipe(count, v.description('images with the very pixels of a marked image')),
        alike: v.pipe(count, v.description('images that show the same as a marked image or an original')),
        examples: v.array(v.object({ id: v.string(), of: v.string(), kind: v.picklist(['marked', 'original']) })),
      }),
      v.description('the images to test on, compared with marked ones and their originals by what they show'),
    ),
  ),
  dimension: v.exactOptional(v.pipe(count, v.description('of the space in which cosines are taken'))),
  meanCosine: v.exactOptional(real),
  perClass: v.exactOptional(v.array(v.object({ class: v.string(), cosine: real, log10p: real }))),
  blackBox: v.exactOptional(
    v.object({
      sets: v.pipe(count, v.description('the true carrier set and its decoys')),
      imagesPerClass: count,
      scores: v.pipe(v.string(), v.description('what the suspect was asked for: logits, probabilities or labels')),
      control: v.object({
        beta: v.pipe(list(real), v.description("one coefficient a reference model's response")),
        explained: v.pipe(real, v.description('share of the variation between sets that they explain')),
      }),
      marksLog10P: v.pipe(
        real,
        v.description(
          "log10 p of a check of the probes: are the true set's marks like the decoys'? Small values forbid the test",
        ),
      ),
      referencesLog10P: v.exactOptional(
        v.pipe(
          real,
          v.description(
            'the same check of what the reference models answer; absent without. Small values: one knows the mark',
          ),
        ),
      ),
      probes: v.object({ path: v.string(), sha256: v.pipe(hex32, v.description('of probes.json')) }),
      references: list(v.record(v.string(), v.string())),
    }),
  ),
  key: v.object({
    created: time,
    classes: v.array(v.string()),
    statistic: v.pipe(v.record(v.string(), plain), v.description('fixed with the key, with its options')),
    heldOut: v.pipe(
      v.nullable(
        v.variant('kind', [
          v.object({ kind: v.literal('content'), count, sha256: hex32 }),
          v.object({ kind: v.literal('name'), name: v.string() }),
        ]),
      ),
      v.description('the images fixed with the key; null where it left them open'),
    ),
  }),
  carriers: v.object({
    kind: v.string(),
    dimension: count,
    sha256: v.pipe(hex32, v.description('of their coordinates [K,k] as float64, little-endian')),
  }),
  keyCommitment: hex32,
  markingModel: v.object({
    sha256: hex32,
    architecture: v.string(),
    featureDimension: count,
    network: v.exactOptional(
      v.pipe(v.record(v.string(), v.any()), v.description('what the key says of it beside its file')),
    ),
  }),
  suspect: v.pipe(
    v.record(v.string(), v.string()),
    v.description('the model under test: paths and SHA-256 of its files'),
  ),
  data: v.object({
    path: v.string(),
    count,
    sha256: v.pipe(hex32, v.description("of the data set's listing, see docs/key-derivation.md")),
  }),
  saved: v.exactOptional(
    v.pipe(
      v.record(v.string(), hex32),
      v.description('files from which the statistics can be computed again, with their SHA-256'),
    ),
  ),
  register: v.pipe(
    v.object({
      entry: v.pipe(count, v.description('its number in the register of tests with this key, from 1')),
      sha256: v.pipe(hex32, v.description("of the entry's line")),
      looks: v.pipe(count, v.description('tests made with this key so far, this one included')),
      log10pBonferroni: v.pipe(real, v.description('log10 p corrected for them')),
      withKey: v.pipe(
        v.boolean(),
        v.description("whether the register, the owner's list, says that it was begun with the key"),
      ),
    }),
    v.description('added after the rest was hashed and registered'),
  ),
});

/** Its name in a folder with the arrays that it was made from. */
export const RESULT_NAME = 'result.json';

/** A test's result, see `docs/result.schema.json`. Numbers that are not finite are strings, as JSON has none. */
export type Result = v.InferOutput<typeof ResultSchema>;

/** A statistic with its options as plain values. */
export type StatisticRecord = Readonly<Record<string, string | number | boolean>>;

/** A key's statistic as plain values; what it leaves open is not there. */
export function statisticRecord(statistic: Key['statistic']): StatisticRecord {
  if (statistic.kind === 'white-box') return statistic;
  const { recipe, references, ...rest } = statistic;
  return { ...rest, ...recipeRecord(recipe), ...(references && { references: joinReferences(references) }) };
}

/** Hashes of reference models as one value, whatever their order. */
export const joinReferences = (sha256: readonly string[]): string => [...sha256].sort().join(' ');

/** What was tested. */
export interface Circumstances {
  readonly key: Key;
  readonly test: TestName;
  /** The options it was made with; default: those of the white-box test with the key. */
  readonly options?: StatisticRecord | undefined;
  readonly suspect: Readonly<Record<string, string>>;
  readonly data: Result['data'];
  readonly adapter: string;
  /** The version of the runtime: `process.versions.node`. */
  readonly runtime: string;
  readonly command: readonly string[];
  readonly saved?: Readonly<Record<string, string>> | undefined;
}

/**
 * Completes a finding to a result and enters it in the key's register: nobody sees a result that was not counted.
 *
 * @param enter enters a test in the register that is kept, and gives the register with it as its last: of a file, or
 * `(look) => (kept = appendLook(kept, look))`. What it throws is thrown.
 */
export async function concludeTest(
  finding: Finding & object,
  circumstances: Circumstances,
  enter: (look: NewLook) => Register | Promise<Register>,
): Promise<Result> {
  const { key, test, suspect, data, adapter, runtime, command, saved } = circumstances;
  const options = circumstances.options ?? whiteBoxOptions(key);
  const deviations = deviationsOf(key, test, options, { ...finding, data, suspect });
  const { coordinates } = await keyCarriers(key);
  const keyCommitment = await commitment(key);
  const body = {
    format: 'radioactive-result' as const,
    version: RESULT_VERSION as 1,
    time: new Date().toISOString(),
    program: { version: programVersion, node: runtime, adapter },
    command: [...command],
    test,
    primary: deviations.length === 0,
    deviations,
    ...finding,
    statistics: finding.statistics.map((statistic) => ({ ...statistic })),
    key: {
      created: key.created,
      classes: key.classes,
      statistic: statisticRecord(key.statistic),
      heldOut: key.heldOut ?? null,
    },
    carriers: {
      kind: key.carriers.kind,
      dimension: key.carriers.dimension,
      sha256: hashCarriers(coordinates),
    },
    keyCommitment,
    markingModel: key.model,
    suspect,
    data,
    ...(saved && { saved }),
  };
  const register = await enter({
    test,
    primary: body.primary,
    options,
    suspect: suspectHash(suspect),
    data: data.sha256,
    log10p: finding.log10p === -Infinity ? null : finding.log10p,
    resultSha256: hashResult(body),
  });
  return { ...body, register: registerSection(finding.log10p, register) };
}

const registerSection = (log10p: number, { looks, hashes, withKey }: Register): Result['register'] => ({
  entry: looks.length,
  sha256: hashes.at(-1)!,
  looks: looks.length,
  log10pBonferroni: bonferroni(log10p, looks.length),
  withKey,
});

/** What of a result says whether the test is the one that the key fixes, beside its options. */
export type WhatWasTested = Doubtful & Pick<Result, 'data' | 'suspect'>;

/** Where a test is not the one that the key fixes, or is one that should not have been made. */
export function deviationsOf(key: Key, test: string, options: StatisticRecord, tested: WhatWasTested): string[] {
  const { statistic, heldOut } = key;
  const { data, suspect } = tested;
  const found: string[] = [];
  if (statistic.kind !== test) found.push(`the key fixes the ${statistic.kind} test, this is the ${test} test`);
  else
    for (const [name, value] of Object.entries(statisticRecord(statistic)))
      if (options[name] !== value && !(name === 'scores' && value === 'scores' && options.scores !== 'labels'))
        found.push(`the key fixes ${name} ${value}, here it was ${options[name] || 'none'}`);
  if (statistic.kind === 'black-box' && test === 'black-box') {
    if (statistic.scores === undefined)
      found.push(`the key does not say what suspects are asked for, here it was ${options.scores}`);
    if (statistic.references === null && options.references)
      found.push(`the key leaves the reference models open, here they were ${options.references}`);
  }
  if (heldOut?.kind === 'content' && heldOut.sha256 !== data.sha256) {
    found.push(`the key fixes ${heldOut.count} images with sha256 ${heldOut.sha256}, these are others`);
  }
  if (suspect[CONTRADICTED] !== undefined)
    found.push(
      `the suspect's file says ${suspect[CONTRADICTED]} of itself, here it was taken for ${suspect[TAKEN_FOR]}`,
    );
  return [...found, ...doubtsOf(tested, key.classes).map((doubt) => doubt.found)];
}

/**
 * What a suspect's record says of its network beside its file: what it was told to be, and what its file says otherwise. Nothing where
 * nothing was told.
 */
export function networkRecord(told: object, contradicted: object): Readonly<Record<string, string>> {
  const given = Object.fromEntries(Object.entries(told).filter(([, value]) => value !== undefined));
  return {
    ...(Object.keys(given).length > 0 && { [TAKEN_FOR]: canonicalJson(given) }),
    ...(Object.keys(contradicted).length > 0 && { [CONTRADICTED]: canonicalJson(contradicted) }),
  };
}

/** In the record of a suspect: what was said of its network beside its file, as JSON; */
export const TAKEN_FOR = 'network';
/** and what the file says otherwise. */
export const CONTRADICTED = 'contradicted';

/** What names a suspect: the SHA-256 of its file; for several, that of the canonical JSON of theirs. */
export function suspectHash(suspect: Readonly<Record<string, string>>): string {
  const hashes = Object.entries(suspect).filter(([name]) => /sha256$/i.test(name));
  return hashes.length === 1 ? hashes[0][1] : hashText(canonicalJson(Object.fromEntries(hashes)));
}

/** SHA-256, in hex, of carriers' coordinates as float64, little-endian. */
export function hashCarriers(coordinates: Float64Array): string {
  const bytes = new DataView(new ArrayBuffer(8 * coordinates.length));
  for (const [i, x] of coordinates.entries()) bytes.setFloat64(8 * i, x, true);
  return hashBytes(new Uint8Array(bytes.buffer));
}

/** SHA-256, in hex, of a result as canonical JSON, without its section `register`, which tells of this hash. */
export function hashResult(result: object): string {
  const { register: _, ...body } = JSON.parse(jsonDocument(result));
  return hashText(canonicalJson(body));
}

/** A result with what is in its file, which is what its hash is of. */
export interface StoredResult {
  readonly path: string;
  readonly json: object;
  readonly value: Result;
}

/**
 * Reads the text of a result's file.
 *
 * @throws InputError naming the file and the place in it if it is not a result.
 */
export function parseStoredResult(text: string, path: string): StoredResult {
  const value = parseResult(text, path);
  return { path, json: JSON.parse(text) as object, value };
}

/**
 * Reads a result as `detect` wrote it.
 *
 * @throws InputError naming the file and the place in it if it is not one.
 */
export function parseResult(text: string, fileName: string): Result {
  return readDocument(RESULT, text, fileName);
}

const RESULT = {
  name: 'result of a test',
  cure: 'give a result that detect wrote',
  schema: ResultSchema,
  header: { format: 'radioactive-result', versions: [RESULT_VERSION] },
} satisfies DocumentKind;

/** A number of a result. */
export const numberOf = (value: Result['log10p']): number => Number(value);

const hashText = (text: string): string => hashBytes(new TextEncoder().encode(text));
