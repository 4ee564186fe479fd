/** The probes of a black-box test: their images, and the figures that the true set and its decoys are compared by. */

import type { Dataset } from '../../datasets/dataset.ts';
import { hashDataset } from '../../datasets/hash.ts';
import type { ProbeManifest } from '../../marking/probe_manifest.ts';
import { derive } from '../../random.ts';
import { type Check, compared, notChecked } from '../check.ts';
import { changesDiffer, gainsDiffer } from '../marks.ts';
import { type Material, ON_A_GPU } from '../material.ts';
import { measureChange } from '../pairs.ts';
import type { Result } from '../result.ts';

/** The probes' images are those that `probes.json` tells of, within the radius of their vanilla versions. */
export async function checkProbes({ key, model, probes, sample, signal }: Material, value: Result): Promise<Check[]> {
  if (value.test !== 'black-box') return [];
  if (!probes) return [notChecked('probes', 'their images were not given', 'their folder: --probes PROBES')];
  const { manifest, sha256 } = probes;
  const images = probes.dataset;
  const found = await hashDataset(images);
  const rows = Array.from({ length: images.length }, (_, row) => row).filter((row) => row % (manifest.sets + 1) > 0);
  derive(0, 'verify').shuffle(rows);
  rows.length = Math.min(sample, rows.length);
  let largest = 0;
  for (const row of rows) {
    signal?.throwIfAborted();
    const vanilla = row - (row % (manifest.sets + 1));
    largest = Math.max(largest, measureChange(await images.image(vanilla), await images.image(row)).changeLevels);
  }
  const radius = Number(manifest.options.radiusLevels);
  return [
    compared(
      'probes',
      found === manifest.sha256 && sha256 === value.blackBox?.probes.sha256 && largest <= radius,
      `${images.length} images are those of the result; ${rows.length} compared with their originals change by at most ${largest} levels`,
      `have sha256 ${found} (probes.json says ${manifest.sha256}, and is${sha256 === value.blackBox?.probes.sha256 ? '' : ' not'} that of the result), or change by ${largest} levels, the radius being ${radius}`,
    ),
    ...(await checkProbeMarks({ key, model, signal }, manifest, images, found === manifest.sha256)),
  ];
}

/** The figures that the true set and its decoys are compared by, from the images themselves. */
async function checkProbeMarks(
  { key, model, signal }: Pick<Material, 'key' | 'model' | 'signal'>,
  manifest: ProbeManifest,
  images: Dataset,
  theirs: boolean,
): Promise<Check[]> {
  const [changes, gains] = ['changes of the probes', 'gains of the probes'];
  // Of other images than the listed ones nothing is to be measured.
  if (!theirs || images.length !== manifest.images.length * (manifest.sets + 1)) return [];
  const change = await changesDiffer(manifest, images, signal);
  const rows = [
    compared(changes, change === undefined, 'measured again of every image: as probes.json says', change ?? ''),
  ];
  if (!model?.network)
    return [
      ...rows,
      notChecked(
        gains,
        'how far the marking network moves is what probes.json says',
        `the network, ${ON_A_GPU}: --model MARKER`,
      ),
    ];
  const gain = await gainsDiffer(key, model.network, manifest, images, signal);
  return [
    ...rows,
    compared(gains, gain === undefined, 'measured again of every image: as probes.json says', gain ?? ''),
  ];
}
