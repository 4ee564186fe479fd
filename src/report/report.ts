/** What a report says, computed from a result and what belongs to it. How it looks is `page.ts`'s. */

import { describeOverlap } from '../datasets/overlap.ts';
import { agreementFault, describeAgreement } from '../detection/agreement.ts';
import { MARKS_DIFFER_BELOW } from '../detection/detect_blackbox.ts';
import { doubtsOf } from '../detection/doubts.ts';
import { calibration } from '../detection/statistic.ts';
import { TESTS } from '../detection/tests.ts';
import { IntegrityError } from '../errors.ts';
import { decidingStatistic, selfContradictions, timeContradictions } from '../evidence/consistency.ts';
import { bonferroni, type Register } from '../evidence/register.ts';
import { hashResult, numberOf, type Result, type StoredResult, suspectHash } from '../evidence/result.ts';
import { boundOf } from '../evidence/told.ts';
import type { Verification } from '../evidence/verification.ts';
import { version as programVersion } from '../version.ts';
import { boundedResult, type ShownResult } from './bounded.ts';
import type { Report } from './schema.ts';
import {
  boundInWords,
  counted,
  groupDigits,
  probabilityInWords,
  writtenBound,
  writtenProbability,
  writtenTime,
} from './words.ts';

/** What a report is made from. */
export interface ReportInput {
  readonly result: StoredResult;
  /** Arrays beside the result. */
  readonly files: Report['files'];
  /** All tests made with the key, read and checked. */
  readonly register?: Register | undefined;
  readonly marked?: Report['marked'] | undefined;
  /** Where the unmarked images are, for the command that verifies. */
  readonly originalPath?: string | undefined;
  readonly verification?: Verification | undefined;
  /**
   * Everything of a black-box result too: whoever has the probes and the model's answers learns from it which sets are true. Of a
   * white-box result everything is always there.
   */
  readonly full?: boolean | undefined;
}

/** At and below this log10 of the corrected probability a report calls evidence strong, */
const STRONG = -4;
/** and at and below this one weak. */
const WEAK = Math.log10(0.05);
/** Images for each feature dimension that a good alignment takes. */
const IMAGES_PER_DIMENSION = 10;

/**
 * Makes a report.
 *
 * @throws IntegrityError if the result contradicts itself, the register, or the verification: it was changed, or they are of
 * another result.
 */
export function makeReport(input: ReportInput): Report {
  const { result: stored, files, register, marked = null, verification = null } = input;
  const { value: exactResult } = stored;
  const full = input.full === true || exactResult.test !== 'black-box';
  const result: ShownResult = full ? exactResult : boundedResult(exactResult);
  const probability = (log10p: number) => (full ? exactProbability(log10p) : boundedProbability(log10p));
  const resultSha256 = hashResult(stored.json);
  if (register) requireEntry(register, stored, resultSha256);
  requireConsistent(stored, register);
  if (verification && verification.resultSha256 !== resultSha256)
    throw new IntegrityError('the verification is of another result; run verify with this one');

  const log10p = numberOf(exactResult.log10p);
  const raw = probability(log10p);
  const looks = Math.max(register?.looks.length ?? 0, result.register.looks);
  const correctedLog10p = bonferroni(log10p, looks);
  const corrected = {
    ...probability(correctedLog10p),
    entry: result.register.entry,
    looks,
    complete: result.register.withKey,
  };
  const deciding = decidingStatistic(result);
  const exact = deciding?.exact ?? true;
  const evidence: Report['evidence'] = !exact
    ? 'no p-value'
    : correctedLog10p <= STRONG
      ? 'strong'
      : correctedLog10p <= WEAK
        ? 'weak'
        : 'none';
  const statistics = exactResult.statistics.map((statistic, i) => ({
    ...describeStatistic(statistic, i === 0),
    ...probability(numberOf(statistic.log10p)),
  }));
  const marksAlike = numberOf(exactResult.blackBox?.marksLog10P ?? 0) >= MARKS_DIFFER_BELOW;
  const assumptions = listAssumptions({ result, full, marksAlike, exact, statistics, register, verification, files });
  const said = { result, full, raw, corrected, evidence, statistics, assumptions, verification };
  return {
    format: 'radioactive-report',
    version: 1,
    time: new Date().toISOString(),
    program: programVersion,
    headline: headlineOf(said),
    evidence,
    verdict: verdictOf(said),
    raw,
    corrected,
    statistics,
    assumptions,
    limits: listLimits({ result, full, statistics, marked }),
    marked,
    files: [...files],
    commands: listCommands(input),
    verification,
    full,
    resultSha256,
    result,
  };
}

const exactProbability = (log10p: number) => ({
  log10p,
  written: writtenProbability(log10p),
  words: probabilityInWords(log10p),
});

function boundedProbability(log10p: number): ReturnType<typeof exactProbability> {
  const bound = boundOf(log10p);
  return { log10p: bound, written: writtenBound(bound), words: boundInWords(bound) };
}

/** Refuses a result whose own numbers or times contradict each other. */
function requireConsistent({ path, value }: StoredResult, register: Register | undefined): void {
  const [first] = [...selfContradictions(value), ...timeContradictions(value, { register })];
  if (first !== undefined) throw new IntegrityError(`${path}: ${first}; give the result as detect wrote it`);
}

/** Refuses a register that has another result in this one's place. */
function requireEntry(register: Register, { path, value }: StoredResult, resultSha256: string): void {
  const { entry, sha256 } = value.register;
  const look = register.looks[entry - 1];
  const same =
    look !== undefined &&
    register.hashes[entry - 1] === sha256 &&
    look.resultSha256 === resultSha256 &&
    look.suspect === suspectHash(value.suspect) &&
    look.data === value.data.sha256;
  if (!same)
    throw new IntegrityError(
      `${register.path}: its entry ${entry} is not of ${path}; one of them was changed or is another's`,
    );
}

function describeStatistic(statistic: Result['statistics'][number], decides: boolean): Report['statistics'][number] {
  const { name, exact, null: sample } = statistic;
  return {
    name,
    decides,
    exact,
    ...exactProbability(numberOf(statistic.log10p)),
    null: sample && {
      kind: sample.kind,
      count: sample.log10p.length,
      atMost: sample.atMost,
      uniformity: exact && sample.kind === FRESH_KEYS && sample.log10p.length > 0 ? uniformityOf(name, sample) : null,
    },
  };
}

/**
 * The null that is a sample of independent p-values. Decoys, each taken for the true one in turn, are ranked among the same
 * others: they are drawn, but not judged.
 */
export const FRESH_KEYS = 'fresh keys';

function uniformityOf(name: string, sample: NonNullable<Result['statistics'][number]['null']>) {
  const { uniformity, passed } = calibration(name, sample.log10p.map(numberOf));
  return { ...uniformity, passed };
}

interface Said {
  readonly result: ShownResult;
  readonly full: boolean;
  readonly raw: Report['raw'];
  readonly corrected: Report['corrected'];
  readonly evidence: Report['evidence'];
  readonly statistics: Report['statistics'];
  readonly assumptions: Report['assumptions'];
  readonly verification: Report['verification'];
}

function headlineOf({ evidence, assumptions, verification }: Said): string {
  const found = {
    strong: 'The test found the mark of this key in the model',
    weak: 'The test found a hint of the mark, as chance gives too',
    none: 'The test did not find the mark of this key in the model',
    'no p-value': 'The number that decides is an approximation, no p-value',
  }[evidence];
  const broken = assumptions.some(({ holds }) => holds === false) || (verification?.failed ?? 0) > 0;
  return broken ? `${found}; but not all that this rests on holds` : found;
}

function verdictOf({ result, raw, corrected, evidence, statistics, assumptions, verification }: Said): string[] {
  const name = suspectName(result);
  const classes = result.key.classes.length;
  const broken = assumptions.filter(({ holds }) => holds === false);
  const failedChecks = verification?.failed ?? 0;
  const deciding = statistics.find(({ decides }) => decides);
  const sample = deciding?.null;
  return [
    `The question was whether the model ${name} learned from images that were marked with a secret key. The key holds a random direction, called carrier, for ${classes === 1 ? 'its one class' : `each of ${groupDigits(classes)} classes`} of images. Marking changes images a little, so that what a neural network makes of them moves along these directions. A model that was trained on such images takes the directions up; a model that has nothing to do with them cannot know them. The test that was made is called ${result.test}. ${TESTS[result.test].looksAt}`,
    evidence === 'no p-value'
      ? `The statistic that decides this test, ${deciding?.name}, is an approximation: its value ${raw.written} is no probability that anybody should rely on.`
      : `If the carriers were independent of the model, a result as strong as this one or stronger would have the probability ${raw.written}: ${raw.words}. ${looksSentence(corrected, raw)}`,
    ...(broken.length + failedChecks > 0
      ? [
          `Before anything is concluded: ${[
            ...(broken.length > 0
              ? [
                  `of what this rests on, ${broken.length === 1 ? 'this does not hold' : 'these do not hold'}: ${broken.map(({ assumption }) => assumption).join('; ')}`,
                ]
              : []),
            ...(failedChecks > 0 ? [`${counted(failedChecks, 'check')} of the verification failed`] : []),
          ].join('; ')}. The sections below say more.`,
        ]
      : []),
    ...(evidence === 'no p-value' ? [] : [readingOf(evidence, corrected)]),
    ...(sample && sample.count > 0 ? [nullSentence(sample)] : []),
    'The probability is that of such a result if the carriers were independent of the model. It is not the probability that the model was made without the marked images, and it is not the probability that anybody is guilty of anything: such statements need other evidence as well.',
  ];
}

function readingOf(evidence: 'strong' | 'weak' | 'none', corrected: Report['corrected']): string {
  switch (evidence) {
    case 'strong':
      return 'Chance is no reasonable explanation of so small a number. What remains is that the model depends on the carriers, as models do that were trained on images marked with them, or that something this rests on does not hold: the section on assumptions names each, with how it was checked.';
    case 'weak':
      return `Chance alone gives a result like this too: ${corrected.words}. By itself it is a hint and no more.`;
    case 'none':
      return `Chance alone gives a result as strong as this one with the probability ${corrected.written}, ${corrected.words}: the test found no evidence. That does not show that the model was made without the images; with few marked images, or few classes, a test can miss them.`;
  }
}

function looksSentence({ entry, looks, complete, written, words }: Report['corrected'], raw: Report['raw']): string {
  const known = complete
    ? ''
    : ' The list of tests was begun after the key was made: nobody can say how many there were before, and for these nothing is corrected.';
  if (looks === 1)
    return complete
      ? "It is the only test on the owner's list of tests with this key: there is nothing to correct for."
      : known.trim();
  const corrected = written === raw.written ? 'it stays the same to the digits shown' : `it is ${written}: ${words}`;
  return `This was test ${entry} of ${groupDigits(looks)} with this key; corrected for all of them (Bonferroni), ${corrected}.${known}`;
}

function nullSentence({ kind, count, atMost }: NonNullable<Report['statistics'][number]['null']>): string {
  const what =
    kind === FRESH_KEYS
      ? 'keys that marked nothing were tried on the same model'
      : kind === 'decoys'
        ? 'sets of decoys, drawn as the carriers were, took the place of the true one'
        : `comparisons (${kind}) were made on the same model`;
  const found =
    atMost === 0 ? 'none of them gave' : atMost === 1 ? 'one of them gave' : `${groupDigits(atMost)} of them gave`;
  return `For comparison, ${groupDigits(count)} ${what}: ${found} a result as strong.`;
}

interface Known {
  readonly result: ShownResult;
  readonly full: boolean;
  /** Whether the true set's marks are like its decoys'. */
  readonly marksAlike: boolean;
  readonly exact: boolean;
  readonly statistics: Report['statistics'];
  readonly register: Register | undefined;
  readonly verification: Verification | null;
  readonly files: Report['files'];
}

/** What the number rests on, each with its check; `verify`'s findings where there are some. */
function listAssumptions({
  result,
  full,
  marksAlike,
  exact,
  statistics,
  register,
  verification,
  files,
}: Known): Report['assumptions'] {
  type Assumption = Report['assumptions'][number];
  const checks = verification?.checks ?? [];
  /** What verify says under some names: fails if one does, holds if all do. */
  const verified = (names: readonly string[], needed?: string): Omit<Assumption, 'assumption'> | undefined => {
    const rows = checks.filter(({ check, state }) => names.includes(check) && state !== 'not checked');
    const failed = rows.filter(({ state }) => state === 'failed');
    if (
      rows.length === 0 ||
      (failed.length === 0 && needed !== undefined && !rows.some(({ check }) => check === needed))
    )
      return undefined;
    const told = failed.length > 0 ? failed : rows;
    return {
      check: `A file says that verify found: ${told.map(({ detail }) => detail).join('; ')}.`,
      holds: failed.length === 0,
    };
  };
  /** The same of rows that may lack: open where one was not checked, and why. */
  const allVerified = (names: readonly string[], otherwise: string): Omit<Assumption, 'assumption'> => {
    const open = checks.filter(({ check, state }) => names.includes(check) && state === 'not checked');
    const found = verified(names);
    if (found?.holds === false || (found && open.length === 0)) return found;
    return {
      check: [otherwise, ...open.map(({ check, detail }) => `Not checked: ${check}, ${detail}.`)].join(' '),
      holds: null,
    };
  };
  const byPerson = Object.hasOwn(result.suspect, 'scores') || Object.hasOwn(result.suspect, 'features');
  const published = verified(['commitment']);
  const stamp = checks.find(({ check }) => check === 'time stamp');
  const { key, alignment, blackBox, markingModel, carriers, register: section } = result;
  const options = Object.entries(key.statistic).map(([name, value]) => (name === 'kind' ? value : `${name} ${value}`));
  return [
    {
      assumption: 'When the key was fixed is proved',
      ...(verified(['time stamp', 'beacon signature']) ?? {
        check: [
          `The key says that it was made on ${writtenTime(key.created)}.`,
          published?.check,
          'A time stamp on its commitment proves when it was there, and so does its publication at a known time.',
          stamp
            ? `Of time stamps the verification says: ${stamp.detail}.`
            : 'No time stamp was at hand for this report.',
        ]
          .filter((sentence) => sentence !== undefined)
          .join(' '),
        holds: published?.holds === false ? false : null,
      }),
    },
    {
      assumption: 'The carriers that were tested follow from the key',
      ...(verified(['carriers']) ?? {
        check: `Whoever is given the key can draw them again: sha256 ${carriers.sha256}.`,
        holds: null,
      }),
    },
    {
      assumption: 'What was tested was fixed with the key',
      check: result.primary
        ? `The key fixes the test and its options: ${options.join(', ')}${
            key.heldOut === null
              ? '. It leaves the images to test on open.'
              : key.heldOut.kind === 'content'
                ? `. By their hash it also fixes the ${groupDigits(key.heldOut.count)} images to test on, and these are they.`
                : `. Of the images to test on it says ${JSON.stringify(key.heldOut.name)}.`
          }`
        : `It was not: ${result.deviations.join('; ')}. The test counts as a look, and is not the evidence that was announced.`,
      holds: !result.primary ? false : key.heldOut?.kind === 'content' ? true : null,
    },
    {
      assumption: "The test is on the owner's list of tests, which was begun with the key",
      ...(!section.withKey
        ? { check: 'The list of tests was begun after the key: earlier ones are not in it.', holds: false }
        : (verified(['register', 'entry', 'register complete'], 'register complete') ?? {
            check: `${
              register
                ? `By the owner's own list, whose chain of hashes is whole, ${counted(register.looks.length, 'test')} ${register.looks.length === 1 ? 'was' : 'were'} made since the key was, and this is entry ${section.entry}, unchanged.`
                : `The result says that it is test ${section.entry} on the owner's own list; the list itself was not at hand for this report, and later tests are not counted here.`
            } A list of which the beginning was not time-stamped beside the key can be begun anew by its owner.`,
            holds: null,
          })),
    },
    {
      assumption: "The owner's list has every test of this key, and no other key was tried",
      check:
        'Nobody but the owner can tell. A copy of the list shows nothing of what was entered in another copy, and keys that were never shown are not counted.',
      holds: null,
    },
    {
      assumption: 'The images tested on were never marked',
      ...allVerified(
        ['held-out files', 'overlap', 'held-out marks'],
        result.overlap
          ? `The test compared them: ${describeOverlap(result.overlap)}. Whoever has the marked data set can do so again.`
          : 'Whether copies of marked images are among them can be verified with the marked data set, by what images show.',
      ),
    },
    {
      assumption: 'The outputs that were tested are the classes of the key',
      ...outputsOf(result, verified(['classes of the suspect', 'network of the suspect'], 'classes of the suspect')),
    },
    {
      assumption: 'The number follows from the stored arrays',
      ...(verified(['statistics']) ?? {
        check:
          files.length === 0
            ? 'No arrays were kept with the result: the test has to be run again.'
            : files.every(({ found }) => found)
              ? `The ${counted(files.length, 'file')} that the result was made from ${files.length === 1 ? 'is' : 'are'} there, unchanged; whoever is given the key can compute it again.`
              : `Not at hand for this report: ${files
                  .filter(({ found }) => !found)
                  .map(({ name }) => name)
                  .join(', ')}.`,
        holds: null,
      }),
    },
    {
      assumption: 'The stored arrays are what the networks make of the images',
      ...allVerified(
        [
          'suspect',
          'features of the marking network',
          'features of the suspect',
          'last layer of the suspect',
          'scores of the suspect',
          ...(blackBox?.references ?? []).map((_, i) => `scores of reference ${i + 1}`),
        ],
        byPerson
          ? 'What the model answers was supplied by a person, in a file: the program did not see the model.'
          : 'Whoever has the file of the model can compute them again: radioactive verify --suspect.',
      ),
    },
    {
      assumption: 'The key was not made to suit: nothing in it was chosen after its secret, and it was drawn once',
      ...allVerified(
        ['bound', 'beacon', 'subspace', 'patterns', 'class weights'],
        'The key tells, once it is revealed: radioactive verify. Without public randomness in it, its owner could have drawn keys until one suited: 2^n tries gain n bits.',
      ),
    },
    ...(blackBox && blackBox.references.length > 0
      ? [
          {
            assumption: 'The reference models never saw the mark, and were not made for this suspect',
            check: `${
              Object.hasOwn(key.statistic, 'references')
                ? 'The key names their files, so that they were there before.'
                : 'The key leaves them open: they could be chosen, or made, to suit.'
            } How they were trained no file tells. Together they explain ${(100 * numberOf(blackBox.control.explained)).toFixed(0)} % of the variation of the suspect's answers; one that is the suspect, or saw the mark, can make evidence and can hide it.`,
            holds:
              doubtsOf({ blackBox }, key.classes).length > 0 ||
              blackBox.references.some(
                (record) => record.sha256 === result.suspect.sha256 && record.sha256 !== undefined,
              ) ||
              checks.some(({ check, state }) => check === 'reference models' && state === 'failed')
                ? false
                : null,
          },
        ]
      : []),
    {
      assumption: 'The p-value is exact, not an approximation',
      check: exact
        ? 'The randomness is that of the carriers: if these are independent of the model, the law of the statistic is known, whatever the model is.'
        : 'It is an approximation, shown for comparison.',
      holds: exact,
    },
    ...statistics.flatMap(({ name, null: sample }): Assumption[] => {
      if (!sample?.uniformity) return [];
      const { passed, p } = sample.uniformity;
      const ks = `Kolmogorov and Smirnov's test gives probability ${writtenProbability(Math.log10(numberOf(p)))} for what was seen`;
      return [
        {
          assumption: `${name}: p-values on this model are what they claim to be`,
          check: `${groupDigits(sample.count)} keys that marked nothing were tested in the same way. Their p-values should be spread evenly from 0 to 1: ${ks}, and ${passed ? 'small ones are as rare as they should be' : 'this is too small, or small p-values are too common'}.`,
          holds: passed,
        },
      ];
    }),
    ...(blackBox
      ? [
          {
            assumption: 'Images were marked towards decoys as they were towards the true carriers',
            check: `How much images change, and how far what the marking network makes of them moves, was compared between the true set and its decoys. If all were made alike, a difference like the one seen would have the probability ${(full ? writtenProbability : writtenBound)(numberOf(blackBox.marksLog10P))}; less than 10^${MARKS_DIFFER_BELOW} would forbid the test.`,
            holds: marksAlike,
          },
        ]
      : []),
    ...(alignment
      ? [
          {
            assumption: 'There are enough images to compare the two networks',
            check: `${groupDigits(alignment.n)} images for ${groupDigits(markingModel.featureDimension)} features; ${groupDigits(IMAGES_PER_DIMENSION * markingModel.featureDimension)} or more are advised. Too few make the test weaker, not wrong.`,
            holds: alignment.n >= IMAGES_PER_DIMENSION * markingModel.featureDimension ? true : null,
          },
        ]
      : []),
  ];
}

/** How often the suspect is right, under the classes that its outputs were taken for. */
function outputsOf(
  { agreement, key }: Pick<Result, 'agreement' | 'key'>,
  verified: Omit<Report['assumptions'][number], 'assumption'> | undefined,
): Omit<Report['assumptions'][number], 'assumption'> {
  if (verified) return verified;
  if (!agreement) return { check: 'How often the model is right about the images is not in the result.', holds: null };
  const found = { ...agreement, byChance: numberOf(agreement.byChance), log10p: numberOf(agreement.log10p) };
  const fault = agreementFault(found, key.classes);
  return {
    check: `The result says that ${fault ?? describeAgreement(found)}. Where outputs are chosen after looking, some fit the carriers by chance; outputs that are right are those that were meant. Whoever has the images can count again.`,
    holds: fault === undefined ? null : false,
  };
}

function listLimits({
  result,
  full,
  statistics,
  marked,
}: {
  readonly result: ShownResult;
  readonly full: boolean;
  readonly statistics: Report['statistics'];
  readonly marked: Report['marked'];
}): string[] {
  const approximations = statistics.filter(({ exact }) => !exact).map(({ name }) => name);
  return [
    ...result.warnings.map((warning) => `The test remarked: ${warning}.`),
    ...result.deviations.map((deviation) => `Not as the key fixes it: ${deviation}.`),
    ...(approximations.length > 0
      ? [`Approximations, shown for comparison and no p-values: ${approximations.join(', ')}.`]
      : []),
    ...(full
      ? []
      : [
          'Probabilities here are bounds, powers of ten, and there is nothing of single classes: with the exact numbers whoever has the probes and the answers of the model could tell which probes are marked towards the true carriers. The result itself has them, for whoever checks it.',
        ]),
    'A test that finds nothing does not show that the images were not used.',
    'The test says that a model depends on the carriers. It does not say who trained it, when, on how many of the marked images, or whether that was allowed.',
    'Keys are not counted: the number is corrected for the tests made with this key, not for other keys that were tried and never shown.',
    `The words: this program speaks of strong evidence from a corrected probability of 10^-4 on, of weak evidence up to 0.05, and of none above. These limits are the program's, and not chosen for this result.`,
    `The networks ran on ${result.program.adapter}. Another adapter gives features that differ by rounding, which changes the last digits.`,
    ...(marked ? [] : ['The marked images were not at hand for this report.']),
  ];
}

function listCommands({ result: { path, value }, files, marked, originalPath }: ReportInput): Report['commands'] {
  const { command, keyCommitment, data, blackBox } = value;
  const argument = (name: string): string | undefined => {
    const at = command.indexOf(name);
    return at >= 0 ? command[at + 1] : command.find((word) => word.startsWith(`${name}=`))?.slice(name.length + 1);
  };
  const model = argument('--model');
  const split = argument('--split');
  const complete = files.length > 0 && files.every(({ found }) => found);
  const verify = [
    'radioactive verify',
    ['--key', argument('--key') ?? 'KEY'],
    ['--commitment', keyCommitment],
    ...(model === undefined ? [] : [['--model', model]]),
    ['--result', path],
    ...(complete ? [['--features', folderName(path)]] : []),
    ...(blackBox ? [['--probes', blackBox.probes.path]] : [['--data', data.path]]),
    ...(split === undefined || blackBox ? [] : [['--data-split', split]]),
    ...(marked ? [['--marked', marked.path]] : []),
    ...(marked && originalPath !== undefined ? [['--original', originalPath]] : []),
  ];
  return [
    {
      purpose: complete
        ? 'Check, with the revealed key, the commitment, the carriers, the images, the list of tests, and the statistics from the stored arrays. Take the commitment from where it was published, and add --reply and --ca for time stamps.'
        : 'Check, with the revealed key, the commitment, the carriers, the images and the list of tests. Take the commitment from where it was published, and add --reply and --ca for time stamps.',
      command: verify.map((part) => (typeof part === 'string' ? part : part.map(shellQuote).join(' '))).join(' \\\n  '),
    },
    {
      purpose: 'Run the test again. It will be counted as another test.',
      command: withoutFiles(command).map(shellQuote).join(' '),
    },
  ];
}

/** A command line without the files it writes, which are there by now. */
function withoutFiles(command: readonly string[]): string[] {
  const writes = ['-o', '--output', '--save', '--report'];
  return command.filter(
    (word, i) =>
      !writes.includes(word) && !writes.includes(command[i - 1] ?? '') && !/^--(output|save|report)=/.test(word),
  );
}

/** A word as a POSIX shell reads it. */
const shellQuote = (word: string): string =>
  /^[\w@%+=:,./-]+$/.test(word) ? word : `'${word.replaceAll("'", `'\\''`)}'`;

/** What people call the model: its file's name. */
export function suspectName({ suspect }: Pick<Result, 'suspect'>): string {
  const [path] = Object.entries(suspect).flatMap(([name, value]) => (/sha256$/i.test(name) ? [] : [value]));
  return path === undefined ? 'under test' : fileName(path);
}

/** The last part of a path. */
const fileName = (path: string): string => /([^/]+)\/*$/.exec(path)?.[1] ?? path;

/** What is before the last part of a path. */
const folderName = (path: string): string =>
  /^(.*[^/])\/+[^/]+\/*$/.exec(path)?.[1] ?? (path.startsWith('/') ? '/' : '.');
