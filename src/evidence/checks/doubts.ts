/** What a result rests on beside its statistics: images that were never marked, outputs that are the key's classes, honest references. */

import { amongClasses, type Dataset } from '../../datasets/dataset.ts';
import { Loader } from '../../datasets/loader.ts';
import { describeOverlap, findOverlap, overlapFault } from '../../datasets/overlap.ts';
import {
  type Agreement,
  agreement,
  agreementFault,
  describeAgreement,
  linearLogits,
} from '../../detection/agreement.ts';
import { parseFeatures, parseSavedScores } from '../../detection/arrays.ts';
import { agreementOnProbes, testScores } from '../../detection/detect_blackbox.ts';
import { DOUBTS, doubtsOf } from '../../detection/doubts.ts';
import { heldOutMarks, MARKED_BELOW } from '../../detection/held_out_marks.ts';
import { InputError } from '../../errors.ts';
import { awaitsBeacon } from '../../marking/key.ts';
import { PROBES_NAME, vanillaImages } from '../../marking/probe_manifest.ts';
import type { Elements } from '../../maths/linalg.ts';
import { infer } from '../../nn/inference.ts';
import { type Check, compared, failed, notChecked, passed } from '../check.ts';
import { nearlyEqual } from '../consistency.ts';
import { type Material, ON_A_GPU } from '../material.ts';
import { overlapSources } from '../overlap.ts';
import { CONTRADICTED, networkRecord, numberOf, type Result, TAKEN_FOR } from '../result.ts';

/** The images that a test ran on, as they were before anybody marked them: held-out ones, or those that probes were made from. */
function testedImages({ heldOut, probes }: Material, value: Result): Dataset | undefined {
  if (value.test === 'white-box') return heldOut;
  if (!probes || probes.dataset.length !== probes.manifest.images.length * (probes.manifest.sets + 1)) return undefined;
  return vanillaImages(probes.manifest, probes.dataset);
}

const imagesFlag = ({ test }: Result): string => (test === 'white-box' ? '--data HELDOUT' : '--probes PROBES');

/** Whether images that were tested on show what marked ones do. */
export async function checkOverlap(material: Material, value: Result): Promise<Check[]> {
  const name = 'overlap';
  const { marked, original, onProgress, signal } = material;
  const images = testedImages(material, value);
  if (!images || !marked)
    return [
      notChecked(
        name,
        'the images tested on were not compared with marked ones',
        `the images and the marked data set: ${imagesFlag(value)} --marked OUT --original DATASET`,
      ),
    ];
  const found = await findOverlap(images, overlapSources(marked, original), {
    onProgress: (done, total) => onProgress?.('comparing what images show', done, total),
    signal,
  });
  const fault = overlapFault(found);
  if (fault !== undefined) return [failed(name, fault)];
  return [
    original
      ? passed(name, describeOverlap(found))
      : notChecked(name, describeOverlap(found), 'the images before they were marked: --original DATASET'),
  ];
}

/** Whether images that were tested on carry the mark: a check that needs no list of the marked ones. */
export async function checkHeldOutMarks(material: Material, value: Result): Promise<Check[]> {
  const name = 'held-out marks';
  const { key, model, arrays, signal } = material;
  const images = testedImages(material, value);
  if (awaitsBeacon(key)) return [];
  const needs =
    value.test === 'white-box'
      ? 'the images, for their classes, and the saved arrays: --data HELDOUT --features DIR'
      : `the probes and the marking network, ${ON_A_GPU}: --probes PROBES --model MARKER`;
  const open = [notChecked(name, 'whether the images tested on carry the mark is not known', needs)];
  if (!images) return open;
  let features: Elements;
  if (value.test === 'white-box') {
    if (!arrays || Object.keys(arrays.files).length === 0) return open;
    const kept = parseFeatures(arrays);
    if (kept.n !== images.length) return [failed(name, `the stored features are not of ${images.length} images`)];
    features = kept.marking;
  } else {
    if (!model?.network) return open;
    const loader = await Loader.open(images, model.network.config.channels);
    features = (await infer(model.network, loader, { signal })).features;
  }
  const log10p = await heldOutMarks(key, features, amongClasses(images, key.classes).labels);
  if (log10p === undefined) return [];
  const said = value.heldOutMarks;
  const told = `a linear classifier trained on them has log10 p ${log10p.toFixed(1)} for this key`;
  if (said !== undefined && !nearlyEqual(numberOf(said), log10p))
    return [failed(name, `${told}, the result says ${numberOf(said)}`)];
  return [
    compared(
      name,
      log10p >= MARKED_BELOW,
      `the images tested on do not carry the mark: ${told}`,
      `they carry it: ${told}`,
    ),
  ];
}

/** Whether the outputs that were tested are the key's classes: how often the suspect is right. */
export function checkAgreement(material: Material, value: Result): Check[] {
  const name = 'classes of the suspect';
  const { key, arrays } = material;
  if (key.classes.length < 2) return [];
  const found = value.test === 'white-box' ? ofFeatures(material) : ofScores(material);
  if (found === undefined)
    return [
      notChecked(
        name,
        value.agreement
          ? `${describeAgreement({ ...value.agreement, byChance: numberOf(value.agreement.byChance) })}, says the result`
          : 'how often the suspect is right is not known',
        value.test === 'white-box'
          ? 'the images, for their classes, and the saved arrays: --data HELDOUT --features DIR'
          : 'the saved arrays: --features DIR',
      ),
    ];
  if (typeof found === 'string') return [failed(name, found)];
  const said = value.agreement;
  const told = describeAgreement(found);
  if (said && (said.right !== found.right || said.images !== found.images))
    return [
      failed(name, `computed again from ${arrays!.folder}, ${told}; the result says ${said.right} of ${said.images}`),
    ];
  // Outputs that are not among the stored ones are known from the result alone.
  const fault = agreementFault({ ...found, best: said?.best ?? found.best }, key.classes);
  return [compared(name, fault === undefined, told, `${fault}: its outputs are not shown to be the key's classes`)];
}

/** From stored arrays; a text where these contradict each other. */
function ofFeatures({ key, arrays, heldOut }: Material): Agreement | string | undefined {
  if (!heldOut || !arrays || Object.keys(arrays.files).length === 0) return undefined;
  const { suspect, n } = parseFeatures(arrays);
  if (n !== heldOut.length) return `the stored arrays are of ${n} images, ${heldOut.length} were given`;
  const outputs = key.classes.map((_, c) => c);
  const linear = linearLogits(suspect.features, suspect.weight, n);
  if (suspect.logits && !sameButBias(linear, suspect.logits, outputs.length))
    return 'the stored logits are not what the stored last layer makes of the stored features';
  return agreement(
    suspect.logits ?? linear,
    { classes: key.classes, outputs },
    amongClasses(heldOut, key.classes).labels,
  );
}

/** By so much of the largest may logits computed in float32 differ. */
const SAME_LOGITS = 1e-3;

/** Whether two tables [n, K] differ by a number for each column alone. */
function sameButBias(a: Elements, b: Elements, K: number): boolean {
  if (a.length !== b.length) return false;
  let scale = 0;
  for (const x of b) scale = Math.max(scale, Math.abs(x));
  for (let at = K; at < a.length; at++) {
    const bias = b[at % K] - a[at % K];
    if (!(Math.abs(b[at] - a[at] - bias) <= SAME_LOGITS * scale)) return false;
  }
  return true;
}

function ofScores({ key, arrays }: Material): Agreement | undefined {
  if (!arrays || !Object.hasOwn(arrays.files, PROBES_NAME)) return undefined;
  const { suspect, probes } = parseSavedScores(arrays);
  return agreementOnProbes(suspect, probes, key.classes);
}

/** Whether the reference models are others than the suspect, and know nothing of the mark, as far as their answers tell. */
export async function checkReferences({ key, arrays }: Material, value: Result): Promise<Check[]> {
  const name = 'reference models';
  if (!value.blackBox || value.blackBox.references.length === 0) return [];
  const { sha256, scoresSha256 } = value.suspect;
  const own = value.blackBox.references.findIndex(
    (record) => (record.sha256 ?? record.scoresSha256) === (sha256 ?? scoresSha256),
  );
  if (own >= 0) return [failed(name, `reference ${own + 1} is the suspect itself`)];
  if (!arrays || !Object.hasOwn(arrays.files, PROBES_NAME))
    return [notChecked(name, 'what they answer was not given', 'the saved arrays: --features DIR')];
  const kept = parseSavedScores(arrays);
  const { blackBox } = await testScores(key, kept.probes, kept.suspect, kept.references, {
    labelOnly: value.blackBox.scores === 'labels',
    despite: DOUBTS,
  });
  const [doubt] = doubtsOf({ blackBox }, key.classes);
  if (doubt) return [failed(name, doubt.found)];
  const explained = `together they explain ${(100 * blackBox.control.explained).toFixed(0)} % of the suspect's answers`;
  return [
    passed(
      name,
      `${explained}, and answer to the true set as to its decoys (log10 p ${(blackBox.referencesLog10P ?? 0).toFixed(1)}); how they were trained no file tells`,
    ),
  ];
}

/** Whether the suspect was taken for what its file says of itself. */
export function checkSuspectNetwork({ suspect }: Material, value: Result): Check[] {
  const name = 'network of the suspect';
  if (value.suspect.sha256 === undefined) return [];
  const told = value.suspect[TAKEN_FOR];
  const said = value.suspect[CONTRADICTED];
  const what = told === undefined ? 'nothing was told of it beside its file' : `taken for ${told} beside its file`;
  if (suspect?.contradicted === undefined)
    return [notChecked(name, `${what}, says the result`, 'the file, to read what it says of itself: --suspect MODEL')];
  const found = networkRecord({}, suspect.contradicted)[CONTRADICTED];
  if (found !== said)
    return [
      failed(name, `${what}; the file says ${found ?? 'nothing else'}, the result says ${said ?? 'nothing'} of that`),
    ];
  return [compared(name, found === undefined, what, `${what}, against what the file says of itself: ${found}`)];
}

/** What a result says that its suspect was taken for, as flags would say it. */
export function recordedNetwork(value: Result | undefined): object {
  const told = value?.suspect[TAKEN_FOR];
  if (told === undefined) return {};
  try {
    return JSON.parse(told) as object;
  } catch {
    throw new InputError(`result: suspect.${TAKEN_FOR} is no JSON; give the result as detect wrote it`);
  }
}
