/** The probes of a black-box test: their images, and the figures that the true set and its decoys are compared by. */

import type { Dataset } from '../../datasets/dataset.ts';
import { hashDataset } from '../../datasets/hash.ts';
import { type Key, keyCarriers, keyProbeOrders } from '../../marking/key.ts';
import type { ProbeManifest } from '../../marking/probe_manifest.ts';
import { recipeOfRecord, recipeRecord } from '../../marking/recipe.ts';
import type { Model } from '../../nn/model.ts';
import { type Check, compared, notChecked } from '../check.ts';
import { changesDiffer, gainsDiffer } from '../marks.ts';
import { type Material, NOTHING, ON_A_GPU } from '../material.ts';
import { cannotRemark, type Remarked, remark } from '../remark.ts';
import type { Result } from '../result.ts';
import { drawSample } from '../sample.ts';
import { comparedMarks } from './marks.ts';

/** The probes' images are those that `probes.json` tells of, within the radius of their vanilla versions, and made as the key says. */
export async function checkProbes(material: Material, value: Result): Promise<Check[]> {
  const { key, probes, signal } = material;
  if (value.test !== 'black-box') return [];
  if (!probes) return [notChecked('probes', 'their images were not given', 'their folder: --probes PROBES')];
  const { manifest, sha256, dataset: images } = probes;
  const found = await hashDataset(images);
  const listed = found === manifest.sha256 && images.length === manifest.images.length * (manifest.sets + 1);
  const same = sha256 === value.blackBox?.probes.sha256;
  return [
    compared(
      'probes',
      listed && same,
      `${images.length} images are those of the result`,
      `have sha256 ${found} (probes.json says ${manifest.sha256}, and is${same ? '' : ' not'} that of the result)`,
    ),
    checkOptions(key, manifest),
    // Of other images than the listed ones, or of other classes, nothing is to be measured.
    ...(listed && sameClasses(key, manifest)
      ? [await checkChanges(manifest, images, signal), ...(await checkMarks(material, { manifest, images }))]
      : []),
  ];
}

const sameClasses = (key: Key, { classes, images }: ProbeManifest): boolean =>
  classes.length === key.classes.length &&
  classes.every((name, c) => name === key.classes[c]) &&
  images.length % classes.length === 0;

/** What probes.json says that they were made with, against what the key fixes. */
function checkOptions(key: Key, manifest: ProbeManifest): Check {
  const name = 'options of the probes';
  const { options, classes, sets, images } = manifest;
  const { statistic, model } = key;
  const wrong: string[] = [];
  const mustBe = (what: string, said: unknown, wanted: unknown): void => {
    if (said !== wanted) wrong.push(`${what} ${String(said)}, not ${String(wanted)}`);
  };
  if (!sameClasses(key, manifest))
    wrong.push('other classes than the key has, or not the same number of images of each');
  mustBe('the marking network', options.modelSha256, model.sha256);
  mustBe('decoys', options.decoys, sets - 1);
  mustBe('images a class', options.perClass, images.length / classes.length);
  if (statistic.kind === 'black-box') {
    const fixed = { decoys: statistic.decoys, perClass: statistic.perClass, ...recipeRecord(statistic.recipe) };
    for (const [option, wanted] of Object.entries(fixed)) mustBe(option, options[option], wanted);
  }
  if (wrong.length > 0 || statistic.kind === 'black-box')
    return compared(name, wrong.length === 0, 'those that the key fixes', `made with ${wrong.slice(0, 3).join('; ')}`);
  return notChecked(name, 'the key leaves them open', `${NOTHING}: a key for the black-box test fixes them`);
}

/** How much the images change. */
async function checkChanges(manifest: ProbeManifest, images: Dataset, signal?: AbortSignal): Promise<Check> {
  const { wrong, largest } = await changesDiffer(manifest, images, signal);
  const radius = Number(manifest.options.radiusLevels);
  return compared(
    'changes of the probes',
    wrong === undefined && largest <= radius,
    `measured again of every image: as probes.json says, by at most ${largest} levels`,
    wrong ?? `an image changes by ${largest} levels, the radius being ${radius}`,
  );
}

interface Probes {
  readonly manifest: ProbeManifest;
  readonly images: Dataset;
}

/** The figures that the true set and its decoys are compared by, and the marks of the true set made again. */
async function checkMarks(material: Material, probes: Probes): Promise<Check[]> {
  const [gains, again] = ['gains of the probes', 'probes marked again'];
  const { key, model, signal } = material;
  if (!model?.network) {
    const needs = `the network, ${ON_A_GPU}: --model MARKER`;
    return [
      notChecked(gains, 'how far the marking network moves is what probes.json says', needs),
      notChecked(again, 'whether the true set was marked as its decoys is not known', needs),
    ];
  }
  const gain = await gainsDiffer(key, model.network, probes.manifest, probes.images, signal);
  return [
    compared(gains, gain === undefined, 'measured again of every image: as probes.json says', gain ?? ''),
    await checkAgain(again, model.network, material, probes),
  ];
}

/**
 * All images of the true set, and as many of the decoys, drawn at random, marked again. Figures can be the same of marks that hold
 * something else beside: what a model answers to that tells nothing of a mark.
 */
async function checkAgain(
  name: string,
  network: Model,
  { key, sample, seed, signal, onProgress }: Material,
  { manifest, images }: Probes,
): Promise<Check> {
  const { options, sets, classes } = manifest;
  const recipe = recipeOfRecord(options);
  const why = cannotRemark(recipe, options.precision, network);
  if (why !== undefined || !recipe) return notChecked(name, why ?? '', 'the version and the device that marked them');
  const orders = await keyProbeOrders(key, sets);
  const draws = [await keyCarriers(key)];
  for (let m = 0; m < sets - 1; m++) draws.push(await keyCarriers(key, 'decoy', m));
  const d = key.model.featureDimension;
  const classOf = (b: number): number => classes.indexOf(manifest.images[b].class);
  const count = manifest.images.length;
  const chosen = drawSample(count, sample, seed, 'true set').map((b) => ({ b, s: orders[classOf(b)].indexOf(0) }));
  const decoys = drawSample(count * (sets - 1), chosen.length, seed, 'decoys').map((i) => {
    const [b, other] = [Math.floor(i / (sets - 1)), i % (sets - 1)];
    const own = orders[classOf(b)].indexOf(0);
    return { b, s: other < own ? other : other + 1 };
  });
  const marks: Remarked[] = [];
  for (const { b, s } of [...chosen, ...decoys]) {
    const c = classOf(b);
    const carrier = draws[orders[c][s]].directions.subarray(c * d, (c + 1) * d);
    marks.push({
      job: {
        id: manifest.images[b].id,
        image: await images.image(b * (sets + 1)),
        direction: Float32Array.from(carrier),
      },
      saved: await images.image(b * (sets + 1) + 1 + s),
      lossy: false,
    });
  }
  const found = await remark(network, recipe, marks, {
    signal,
    onProgress: (done, total) => onProgress?.('marking probes again', done, total),
  });
  const of = `${chosen.length} of ${count} images of the true set and ${decoys.length} of the decoys`;
  const row = comparedMarks(name, of, marks.length, found);
  return chosen.length < count && row.state === 'ok'
    ? notChecked(name, `${row.detail}; the others of the true set were not looked at`, 'all of them: without --sample')
    : row;
}
