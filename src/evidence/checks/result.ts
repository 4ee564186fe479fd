/** A result: of this key, consistent, and what its arrays give. */

import { hashDataset } from '../../datasets/hash.ts';
import { parseSavedScores } from '../../detection/arrays.ts';
import type { Finding } from '../../detection/statistic.ts';
import { blackBoxOptions, type Retested, TESTS, whiteBoxOptions } from '../../detection/tests.ts';
import { IntegrityError } from '../../errors.ts';
import { hashBytes } from '../../formats/sha256.ts';
import { keyCarriers } from '../../marking/key.ts';
import { PROBES_NAME } from '../../marking/probe_manifest.ts';
import { type Check, compared, failed, notChecked } from '../check.ts';
import { nearlyEqual, selfContradictions } from '../consistency.ts';
import { type Material, NOTHING } from '../material.ts';
import { deviationsOf, hashCarriers, numberOf, type Result, type StatisticRecord } from '../result.ts';
import { toldLog10P } from '../told.ts';

export async function checkResult({ key, keyCommitment, result }: Material): Promise<Check[]> {
  if (!result) return [notChecked('result', 'none was given', 'the result of a test: --result FILE.json')];
  const { value } = result;
  const carriers = hashCarriers((await keyCarriers(key)).coordinates);
  return [
    compared(
      'result',
      value.keyCommitment === keyCommitment && value.markingModel.sha256 === key.model.sha256,
      `of this key and marking network: ${value.test}, ${toldLog10P(value.test, numberOf(value.log10p))}`,
      `of another key (${value.keyCommitment}) or marking network`,
    ),
    compared(
      'carriers',
      carriers === value.carriers.sha256,
      `drawn again from the secret: sha256 ${carriers}`,
      `drawn from the secret they have sha256 ${carriers}, the result says ${value.carriers.sha256}`,
    ),
  ];
}

/** Whether the test was made on the images that the key fixed. */
export function checkTestImages({ key }: Material, value: Result): Check[] {
  const fixed = key.heldOut ?? null;
  const images = `${value.data.count} images, sha256 ${value.data.sha256}`;
  return [
    fixed?.kind === 'content'
      ? compared(
          'test images',
          fixed.sha256 === value.data.sha256,
          `those that the key fixed: ${images}`,
          `the key fixed sha256 ${fixed.sha256}, tested on ${images}`,
        )
      : notChecked(
          'test images',
          `the key ${fixed ? `only says ${JSON.stringify(fixed.name)}` : 'left them open'}; tested on ${images}`,
          `${NOTHING}: a key made with keygen --held-out names them`,
        ),
  ];
}

/** The result's own numbers, as far as they follow from each other. */
export function checkItself(_: Material, value: Result): Check[] {
  const wrong = selfContradictions(value);
  return [
    compared(
      'result against itself',
      wrong.length === 0,
      'its p-values follow from each other, from its cosines or ranks and from the number of tests',
      wrong.slice(0, 3).join('; '),
    ),
  ];
}

/** The held-out images are those of the result, and none of them is a marked one. */
export async function checkHeldOut({ marked, heldOut }: Material, value: Result): Promise<Check[]> {
  if (!heldOut)
    return value.test === 'black-box'
      ? []
      : [notChecked('held-out files', 'the images that were tested on were not given', 'those images: --data HELDOUT')];
  const sha256 = await hashDataset(heldOut);
  const published = new Set(marked?.folder.manifest.images.map((image) => image.sha256));
  let both = 0;
  for (let i = 0; i < heldOut.length; i++) if (published.has(hashBytes(await heldOut.bytes(i)))) both++;
  return [
    compared(
      'held-out files',
      sha256 === value.data.sha256 && both === 0,
      `${heldOut.length} images are those of the result${marked ? ', none of them marked' : ''}`,
      both > 0 ? `${both} of them are marked images` : `have sha256 ${sha256}, the result says ${value.data.sha256}`,
    ),
  ];
}

export async function checkStatistics(material: Material, value: Result): Promise<Check[]> {
  return [await retest(material, value)];
}

async function retest({ key, arrays, signal }: Material, value: Result): Promise<Check> {
  if (arrays === undefined || !value.saved)
    return notChecked(
      'statistics',
      'the arrays that the test was made from were not given',
      'the folder that detect --save made: --features DIR',
    );
  const { saved } = value;
  const changed = Object.entries(saved).find(
    ([name, sha256]) => Object.hasOwn(arrays.files, name) && hashBytes(arrays.files[name]) !== sha256,
  );
  if (changed) return failed('statistics', `${arrays.folder}/${changed[0]}: its SHA-256 is not the one in the result`);
  const test = TESTS[value.test];
  let again: Retested;
  try {
    again = await test.retest(key, arrays, value, signal);
  } catch (error) {
    if (error instanceof IntegrityError) return failed('statistics', error.message);
    throw error;
  }
  const { finding, from, foreign } = again;
  const [ours, theirs] = [numbersOf(finding), numbersOf(value)];
  const missing = finding.warnings.find((warning) => !value.warnings.includes(warning));
  if (missing !== undefined)
    return failed('statistics', `computed again ${from}, the test warns of what the result leaves out: ${missing}`);
  const same =
    foreign === undefined &&
    ours.length === theirs.length &&
    ours.every((x, i) => Object.is(x, theirs[i]) || nearlyEqual(x, theirs[i]));
  return compared(
    'statistics',
    same,
    `computed again ${from}: ${toldLog10P(value.test, finding.log10p)}, every class's ${test.perClass}, its warnings and what it gives where there is nothing to find are the same`,
    `computed again ${from}, log10 p is ${finding.log10p}; the result says ${numberOf(value.log10p)}, or another of its numbers ${foreign === undefined ? 'differs' : `or ${foreign} differ`}`,
  );
}

/** All numbers of a finding that follow from the arrays and the key. */
function numbersOf(found: Finding | Result): number[] {
  const { perClass = [], alignment, meanCosine, blackBox } = found as Result;
  return [
    numberOf(found.log10p),
    ...(alignment ? [alignment.n, alignment.rank, numberOf(alignment.r2)] : []),
    ...(meanCosine === undefined ? [] : [numberOf(meanCosine)]),
    ...perClass.flatMap(({ cosine, log10p }) => [numberOf(cosine), numberOf(log10p)]),
    ...(blackBox
      ? [
          blackBox.sets,
          blackBox.imagesPerClass,
          ...blackBox.control.beta.map(numberOf),
          numberOf(blackBox.control.explained),
          numberOf(blackBox.marksLog10P),
        ]
      : []),
    ...found.statistics.flatMap(({ log10p, perClass, null: sample }) => [
      numberOf(log10p),
      ...perClass.flatMap((entry) => [numberOf(entry.score), numberOf(entry.log10p ?? 'NaN')]),
      ...(sample ? [sample.atMost, ...sample.log10p.map(numberOf)] : []),
    ]),
  ];
}

/** Whether the test is the one that the key fixes: found again from the key, the probes and what was tested. */
export function checkDeviations(material: Material, value: Result): Check[] {
  return [deviations(material, value)];
}

function deviations({ key, arrays, probes }: Material, value: Result): Check {
  const name = 'deviations';
  const { test, blackBox } = value;
  let options: StatisticRecord | undefined;
  if (test === 'white-box') options = whiteBoxOptions(key);
  else if (blackBox) {
    const manifest =
      probes?.manifest ??
      (arrays && Object.hasOwn(arrays.files, PROBES_NAME) ? parseSavedScores(arrays).probes : undefined);
    if (manifest)
      options = blackBoxOptions(key, manifest, {
        scores: blackBox.scores,
        probesSha256: blackBox.probes.sha256,
        references: blackBox.references.map((record) => record.sha256 ?? record.scoresSha256),
      });
  }
  if (!options)
    return notChecked(
      name,
      'how the probes were made is not known',
      'their folder, --probes PROBES, or the saved arrays',
    );
  const derived = deviationsOf(key, test, options, value);
  const silent = derived.filter((deviation) => !value.deviations.includes(deviation));
  const wrong = [
    ...silent.map((deviation) => `the result does not say that ${deviation}`),
    ...(value.primary === (value.deviations.length === 0)
      ? []
      : ['it is called the test that the key fixes beside deviations, or the other way round']),
  ];
  return compared(
    name,
    wrong.length === 0,
    value.primary
      ? 'none: the test is the one that the key fixes'
      : `as the result says them: ${value.deviations.join('; ')}`,
    wrong.join('; '),
  );
}
