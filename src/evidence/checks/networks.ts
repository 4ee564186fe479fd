/** Whether a result's arrays are what the networks make of the images: without that anybody can write arrays. */

import type { Dataset } from '../../datasets/dataset.ts';
import { parseFeatures, parseSavedScores } from '../../detection/arrays.ts';
import { ClassMapping } from '../../detection/class_mapping.ts';
import { testArrays } from '../../detection/detect.ts';
import { testScores } from '../../detection/detect_blackbox.ts';
import { ModelScores } from '../../detection/scores.ts';
import type { Finding } from '../../detection/statistic.ts';
import { InputError, IntegrityError } from '../../errors.ts';
import { PROBES_NAME } from '../../marking/probe_manifest.ts';
import type { Elements } from '../../maths/linalg.ts';
import type { Model } from '../../nn/model.ts';
import { type Check, compared, failed, notChecked, passed } from '../check.ts';
import { type Material, NOTHING, ON_A_GPU } from '../material.ts';
import { recomputeRows, SAME_OUTPUT } from '../networks.ts';
import { numberOf, type Result } from '../result.ts';
import { drawSample } from '../sample.ts';
import { toldLog10P } from '../told.ts';

/** The suspect's file, and everything that networks answer. */
export async function checkNetworks(options: Material, value: Result): Promise<Check[]> {
  const { suspect } = options;
  const rows: Check[] = [];
  const recorded = value.suspect.sha256;
  if (recorded === undefined)
    rows.push(
      notChecked(
        'suspect',
        'what the suspect answers was supplied by a person: the program did not see the model',
        `${NOTHING}: detect --suspect MODEL looks at the model itself`,
      ),
    );
  else if (!suspect)
    rows.push(notChecked('suspect', `its file has sha256 ${recorded}, says the result`, 'the file: --suspect MODEL'));
  else
    rows.push(
      compared(
        'suspect',
        suspect.sha256 === recorded,
        `sha256 ${recorded}`,
        `${suspect.path} has sha256 ${suspect.sha256}, the result says ${recorded}`,
      ),
    );
  rows.push(
    ...(value.test === 'white-box'
      ? await checkFeatures(options, value, recorded !== undefined)
      : await checkScores(options, value)),
  );
  return rows;
}

type Row = {
  readonly name: string;
  readonly network: Model | undefined;
  readonly dataset: Dataset | undefined;
  readonly kept: Elements | undefined;
  readonly what: 'features' | 'logits';
  readonly convert?: ((outputs: Float32Array) => Elements) | undefined;
  readonly needs: string;
};

/** A row about an array, and the whole array as the network gives it now, where all of it was computed. */
interface Again {
  readonly row: Check;
  readonly values?: Elements;
}

async function recompute(
  { name, network, dataset, kept, what, convert, needs }: Row,
  { sample, seed, signal, onProgress }: Material,
): Promise<Again> {
  if (!network || !dataset || !kept)
    return {
      row: notChecked(name, 'whether the stored arrays are what the network makes of the images is not known', needs),
    };
  const { length } = dataset;
  if (kept.length % length !== 0) return { row: failed(name, `the stored array is not one of ${length} images`) };
  const rows = drawSample(length, sample, seed, name);
  const { largest, same, found } = await recomputeRows(network, dataset, kept, what, rows, {
    signal,
    convert,
    onProgress: (done, total) => onProgress?.(name, done, total),
  });
  const of = `${rows.length} of ${length} images: the largest difference of one is ${largest.toExponential(1)} of its length, at most ${SAME_OUTPUT} is rounding`;
  if (!same) return { row: failed(name, `computed again, they are others, on ${of}`) };
  return rows.length < length
    ? {
        row: notChecked(
          name,
          `computed again on ${of}; a few others are enough for any result`,
          'all of them: without --sample',
        ),
      }
    : { row: passed(name, `computed again on ${of}`), values: found };
}

/** By so much may log10 p differ from that of arrays of another adapter. */
const sameLog10P = (a: number, b: number): boolean => a === b || Math.abs(a - b) <= 0.02 + 0.01 * Math.abs(b);

/**
 * The number itself, from what the networks make of the images now. The rows before it bound how far each stored row is from that, and
 * small steps of many rows in one direction can add up.
 */
async function checkAgain(value: Result, test: (() => Promise<Finding>) | undefined): Promise<Check> {
  const name = 'test again';
  if (!test)
    return notChecked(
      name,
      'the test was not made again from the networks',
      'all that the rows above need, and without --sample',
    );
  const said = numberOf(value.log10p);
  let log10p: number;
  try {
    ({ log10p } = await test());
  } catch (error) {
    if (error instanceof IntegrityError || error instanceof InputError) return failed(name, error.message);
    throw error;
  }
  return compared(
    name,
    sameLog10P(log10p, said),
    `from what the networks make of the images now: ${toldLog10P(value.test, log10p)}, as the result says`,
    `from what the networks make of the images now it is another: log10 p ${log10p.toFixed(3)}, the result says ${said.toFixed(3)}`,
  );
}

async function checkFeatures(options: Material, value: Result, seen: boolean): Promise<Check[]> {
  const { key, arrays, heldOut, model, suspect, signal } = options;
  const kept = arrays && Object.keys(arrays.files).length > 0 ? parseFeatures(arrays) : undefined;
  const marking = await recompute(
    {
      name: 'features of the marking network',
      network: model?.network,
      dataset: heldOut,
      kept: kept?.marking,
      what: 'features',
      needs: `the network, the held-out images and the saved arrays, ${ON_A_GPU}: --model MARKER --data HELDOUT --features DIR`,
    },
    options,
  );
  if (!seen) return [marking.row];
  const features = await recompute(
    {
      name: 'features of the suspect',
      network: suspect?.network,
      dataset: heldOut,
      kept: kept?.suspect.features,
      what: 'features',
      needs: `its file, the held-out images and the saved arrays, ${ON_A_GPU}: --suspect MODEL --data HELDOUT --features DIR`,
    },
    options,
  );
  const weight = suspect?.network && (await lastLayer(suspect.network, suspect.classes));
  const again =
    heldOut && marking.values && features.values && weight
      ? { marking: marking.values, suspect: { features: features.values, weight }, n: heldOut.length }
      : undefined;
  return [
    marking.row,
    features.row,
    checkLastLayer(weight, kept?.suspect.weight),
    await checkAgain(value, again && (() => testArrays(key, again, { freshKeys: 0, signal }))),
  ];
}

async function lastLayer(network: Model, classes: ClassMapping | undefined): Promise<Elements> {
  const weight = await network.headWeight();
  return classes ? classes.rowsOf(weight, network.featureDimension) : weight;
}

function checkLastLayer(weight: Elements | undefined, kept: Elements | undefined): Check {
  const name = 'last layer of the suspect';
  if (!weight || !kept)
    return notChecked(
      name,
      'whether the stored one is the one in its file is not known',
      `its file, ${ON_A_GPU}: --suspect MODEL`,
    );
  return compared(
    name,
    weight.length === kept.length && kept.every((x, i) => x === weight[i]),
    'the stored one is the one in its file',
    'the stored one is not the one in its file, or of other classes',
  );
}

async function checkScores(options: Material, value: Result): Promise<Check[]> {
  const { key, arrays, probes, suspect, references = [] } = options;
  const kept = arrays && Object.hasOwn(arrays.files, PROBES_NAME) ? parseSavedScores(arrays) : undefined;
  const needs = (flag: string): string =>
    `the file, the probes and the saved arrays, ${ON_A_GPU}: ${flag} MODEL --probes PROBES --features DIR`;
  const scoresOf = async (name: string, flag: string, network: Model | undefined, scores: ModelScores | undefined) =>
    await recompute(
      {
        name,
        network,
        dataset: probes?.dataset,
        kept: scores?.kind === 'logits' ? (scores.values as Elements) : undefined,
        what: 'logits',
        // One output stands for two classes.
        ...(network?.config.numClasses === 1 && {
          convert: (logits) => ClassMapping.ownOrder(key.classes, 1, name).logitsOf(logits, 1),
        }),
        needs: needs(flag),
      },
      options,
    );
  const rows: Check[] = [];
  const own =
    value.suspect.sha256 === undefined
      ? undefined
      : await scoresOf('scores of the suspect', '--suspect', suspect?.network, kept?.suspect);
  if (own) rows.push(own.row);
  const answers: (ModelScores | undefined)[] = [];
  const K = key.classes.length;
  for (const [i, record] of (value.blackBox?.references ?? []).entries()) {
    const name = `scores of reference ${i + 1}`;
    if (record.sha256 === undefined) {
      rows.push(
        notChecked(
          name,
          'supplied by a person: the program did not see the model',
          `${NOTHING}: detect --reference MODEL looks at the model itself`,
        ),
      );
      answers.push(kept?.references[i]);
      continue;
    }
    const given = references.find(({ sha256 }) => sha256 === record.sha256);
    const { row, values } = await scoresOf(name, '--reference', given?.network, kept?.references[i]);
    rows.push(row);
    answers.push(values && ModelScores.ofScores(values, K));
  }
  if (!own) return rows;
  const others = answers.filter((each) => each !== undefined);
  const again =
    probes && own.values && others.length === answers.length
      ? { suspect: ModelScores.ofScores(own.values, K), manifest: probes.manifest }
      : undefined;
  const labelOnly = value.blackBox?.scores === 'labels';
  return [
    ...rows,
    await checkAgain(value, again && (() => testScores(key, again.manifest, again.suspect, others, { labelOnly }))),
  ];
}
