/** Whether a result's arrays are what the networks make of the images: without that anybody can write arrays. */

import type { Dataset } from '../../datasets/dataset.ts';
import { parseFeatures, parseSavedScores } from '../../detection/arrays.ts';
import type { ModelScores } from '../../detection/scores.ts';
import { PROBES_NAME } from '../../marking/probe_manifest.ts';
import type { Elements } from '../../maths/linalg.ts';
import type { Model } from '../../nn/model.ts';
import { type Check, compared, failed, notChecked } from '../check.ts';
import { type Material, NOTHING, ON_A_GPU } from '../material.ts';
import { recomputeRows, SAME_OUTPUT } from '../networks.ts';
import type { Result } from '../result.ts';

/** The suspect's file, and everything that networks answer. */
export async function checkNetworks(options: Material, value: Result): Promise<Check[]> {
  const { suspect, references = [] } = options;
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
      ? await checkFeatures(options, recorded !== undefined)
      : await checkScores(options, value, references)),
  );
  return rows;
}

type Row = {
  readonly name: string;
  readonly network: Model | undefined;
  readonly dataset: Dataset | undefined;
  readonly kept: Elements | undefined;
  readonly what: 'features' | 'logits';
  readonly needs: string;
};

async function recompute(
  { name, network, dataset, kept, what, needs }: Row,
  { sample, signal }: Material,
): Promise<Check> {
  if (!network || !dataset || !kept)
    return notChecked(name, 'whether the stored arrays are what the network makes of the images is not known', needs);
  if (kept.length % dataset.length !== 0)
    return failed(name, `the stored array is not one of ${dataset.length} images`);
  const { count, largest, same } = await recomputeRows(network, dataset, kept, what, { sample, signal });
  const of = `${count} of ${dataset.length} images: the largest difference of one is ${largest.toExponential(1)} of its length, at most ${SAME_OUTPUT} is rounding`;
  return compared(name, same, `computed again on ${of}`, `computed again, they are others, on ${of}`);
}

async function checkFeatures(options: Material, seen: boolean): Promise<Check[]> {
  const { arrays, heldOut, model, suspect } = options;
  const kept = arrays && Object.keys(arrays.files).length > 0 ? parseFeatures(arrays) : undefined;
  const rows = [
    await recompute(
      {
        name: 'features of the marking network',
        network: model?.network,
        dataset: heldOut,
        kept: kept?.marking,
        what: 'features',
        needs: `the network, the held-out images and the saved arrays, ${ON_A_GPU}: --model MARKER --data HELDOUT --features DIR`,
      },
      options,
    ),
  ];
  if (!seen) return rows;
  rows.push(
    await recompute(
      {
        name: 'features of the suspect',
        network: suspect?.network,
        dataset: heldOut,
        kept: kept?.suspect.features,
        what: 'features',
        needs: `its file, the held-out images and the saved arrays, ${ON_A_GPU}: --suspect MODEL --data HELDOUT --features DIR`,
      },
      options,
    ),
  );
  const name = 'last layer of the suspect';
  if (!suspect?.network || !kept)
    return [
      ...rows,
      notChecked(
        name,
        'whether the stored one is the one in its file is not known',
        `its file, ${ON_A_GPU}: --suspect MODEL`,
      ),
    ];
  const weight = await suspect.network.headWeight();
  const columns = suspect.network.featureDimension;
  const mapped = suspect.classes ? suspect.classes.rowsOf(weight, columns) : weight;
  const same = mapped.length === kept.suspect.weight.length && kept.suspect.weight.every((x, i) => x === mapped[i]);
  return [
    ...rows,
    compared(
      name,
      same,
      'the stored one is the one in its file',
      'the stored one is not the one in its file, or of other classes',
    ),
  ];
}

async function checkScores(
  options: Material,
  value: Result,
  references: NonNullable<Material['references']>,
): Promise<Check[]> {
  const { arrays, probes, suspect } = options;
  const kept = arrays && Object.hasOwn(arrays.files, PROBES_NAME) ? parseSavedScores(arrays) : undefined;
  const rows: Check[] = [];
  const needs = (flag: string): string =>
    `the file, the probes and the saved arrays, ${ON_A_GPU}: ${flag} MODEL --probes PROBES --features DIR`;
  const valuesOf = (scores: ModelScores | undefined): Elements | undefined =>
    scores?.kind === 'logits' ? (scores.values as Elements) : undefined;
  if (value.suspect.sha256 !== undefined)
    rows.push(
      await recompute(
        {
          name: 'scores of the suspect',
          network: suspect?.network,
          dataset: probes?.dataset,
          kept: valuesOf(kept?.suspect),
          what: 'logits',
          needs: needs('--suspect'),
        },
        options,
      ),
    );
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
      continue;
    }
    const given = references.find(({ sha256 }) => sha256 === record.sha256);
    rows.push(
      await recompute(
        {
          name,
          network: given?.network,
          dataset: probes?.dataset,
          kept: valuesOf(kept?.references[i]),
          what: 'logits',
          needs: needs('--reference'),
        },
        options,
      ),
    );
  }
  return rows;
}
