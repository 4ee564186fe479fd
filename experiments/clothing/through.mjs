// Does it pay to find the mark of a JPEG file through its encoding? Marks the same photographs, saved at several qualities, both ways and
// with several step sizes, and prints for each PSNR and gain, measured on the saved files; the last table compares at equal PSNR.
// Usage: node experiments/clothing/through.mjs KEY MARKER FOLDER QUALITY,… STEP,… [JSON]   FOLDER has a data set qQUALITY for each quality

import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { markingRecipeFor } from '../../dist/index.js';
import * as node from '../../dist/node.js';

const [keyPath, modelPath, folder, qualityList, stepList, out] = process.argv.slice(2);
if (stepList === undefined) {
  process.stderr.write('usage: node through.mjs KEY MARKER FOLDER QUALITY,… STEP,… [JSON]\n');
  process.exit(2);
}
const numbers = (list) => list.split(',').map(Number);
const key = await node.openKey(keyPath);
const device = await node.openDevice();
const { model } = await node.openModel(device, modelPath);
const base = markingRecipeFor(model.config);
const mean = (values) => values.reduce((sum, value) => sum + value, 0) / values.length;
/** Of the mean squared change, not of decibels. */
const meanPsnr = (ratios) => -10 * Math.log10(mean(ratios.map((psnr) => (psnr === null ? 0 : 10 ** (-psnr / 10)))));

const rows = [];
for (const quality of numbers(qualityList)) {
  const dataset = await node.openDataset(join(folder, `q${quality}`));
  for (const step of numbers(stepList))
    for (const throughEncoding of [false, true]) {
      const temporary = mkdtempSync(join(tmpdir(), 'through-'));
      // `frequencies` has one right step; there it is the strength of the pattern that varies.
      const strength =
        model.config.architecture === 'frequencies'
          ? { lambdaImage: base.lambdaImage / step, learningRate: base.learningRate * step }
          : { lambdaImage: 0, learningRate: step, iterations: 10 };
      const recipe = { ...base, ...strength, throughEncoding };
      const manifest = await node.markDataset({ key, model, dataset, fraction: 1, recipe, out: join(temporary, 'out') });
      rmSync(temporary, { recursive: true });
      const row = {
        quality,
        step,
        how: throughEncoding ? 'through' : 'before',
        images: manifest.images.length,
        psnr: meanPsnr(manifest.images.map(({ psnr }) => psnr)),
        gain: mean(manifest.images.map(({ gain }) => gain)),
        largestChange: Math.max(...manifest.images.map(({ maxChangeLevels }) => maxChangeLevels)),
      };
      rows.push(row);
      process.stdout.write(
        `quality ${quality}  step ${step}  ${row.how.padEnd(7)}  ${row.psnr.toFixed(2)} dB  gain ${row.gain.toFixed(4)}  largest change ${row.largestChange}\n`,
      );
      if (out) writeFileSync(out, `${JSON.stringify(rows, null, 2)}\n`);
    }
}

process.stdout.write('\ngain at the same PSNR, through ÷ before (gain and PSNR interpolated between steps)\n');
for (const quality of numbers(qualityList)) {
  const of = (how) => rows.filter((row) => row.quality === quality && row.how === how).sort((a, b) => a.psnr - b.psnr);
  const [through, before] = [of('through'), of('before')];
  const at = (line, psnr) => {
    const right = Math.min(line.length - 1, Math.max(1, line.findIndex((row) => row.psnr >= psnr)));
    const [a, b] = [line[right - 1], line[right]];
    const share = (psnr - a.psnr) / (b.psnr - a.psnr);
    return Math.exp((1 - share) * Math.log(a.gain) + share * Math.log(b.gain));
  };
  const low = Math.max(through[0].psnr, before[0].psnr);
  const high = Math.min(through.at(-1).psnr, before.at(-1).psnr);
  if (low > high) continue;
  const middle = (low + high) / 2;
  const cells = [low, middle, high].map(
    (psnr) => `${psnr.toFixed(1)} dB: ${at(before, psnr).toFixed(4)} → ${at(through, psnr).toFixed(4)} (${(at(through, psnr) / at(before, psnr)).toFixed(3)})`,
  );
  process.stdout.write(`quality ${quality}  ${cells.join('  ')}\n`);
}
model.destroy();
device.destroy();
