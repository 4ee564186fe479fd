// What is gained by marks that are to survive JPEG files of quality 75? Marks the same photographs with and without `--survive jpeg:75`,
// and prints PSNR, gain, and the gain that is left after each treatment, measured on the saved files.
// Usage: node experiments/clothing/survive.mjs KEY MARKER DATASET STEP[s],… [JSON]   a step with an s: with --survive jpeg:75

import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { markingRecipeFor } from '../../dist/index.js';
import * as node from '../../dist/node.js';

const [keyPath, modelPath, data, stepList, out] = process.argv.slice(2);
if (stepList === undefined) {
  process.stderr.write('usage: node survive.mjs KEY MARKER DATASET STEP[s],… [JSON]\n');
  process.exit(2);
}
const key = await node.openKey(keyPath);
const device = await node.openDevice();
const { model } = await node.openModel(device, modelPath);
const original = await node.openDataset(data);
const rows = [];
for (const text of stepList.split(',')) {
  const [step, survive] = [Number.parseFloat(text), text.endsWith('s')];
  const temporary = mkdtempSync(join(tmpdir(), 'survive-'));
  const recipe = {
    ...markingRecipeFor(model.config),
    ...{ lambdaImage: 0, learningRate: step, iterations: 10 },
    ...(survive && { survive: ['jpeg:75'] }),
  };
  await node.markDataset({ key, model, dataset: original, fraction: 1, recipe, out: join(temporary, 'out') });
  const marked = await node.openDataset(join(temporary, 'out'));
  const report = await node.datasetSurvival({ key, model, marked, original, images: original.length });
  rmSync(temporary, { recursive: true });
  rows.push({ step, survive: survive ? 'jpeg:75' : 'none', ...report });
  const after = report.treatments.map(({ treatment, gainAfter, left }) =>
    left === null ? '' : `${treatment} ${gainAfter.toFixed(4)} (${(100 * left).toFixed(0)} %)`,
  );
  process.stdout.write(
    `step ${step} survive ${rows.at(-1).survive}: ${report.images} images, ${report.psnr.toFixed(2)} dB, gain ${report.gain.toFixed(4)}; ${after.filter(Boolean).join(', ')}\n`,
  );
  if (out) writeFileSync(out, `${JSON.stringify(rows, null, 2)}\n`);
}
model.destroy();
device.destroy();
