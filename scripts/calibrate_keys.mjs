/**
 * False positives of the whole way from a key to its p-value, under keys that marked nothing:
 *
 *     npm run build && node scripts/calibrate_keys.mjs [--keys 20000] [--out experiments/calibration] [--series NAME]
 *
 * Every key is new, from the system's generator, made by `createKey` in the current version; carriers, decoys and orders come
 * through its derivation, p-values from `testArrays` and `testScores`. Suspects are small and synthetic, and know no key.
 * Two questions are asked of each statistic: how often p is at most 0.05, 0.01 and 0.001, with Clopper and Pearson's 95 % intervals,
 * and whether p is uniform (for discrete p-values: not small too often).
 *
 * `--series` runs one of them alone, for several processes side by side; without it all that is missing is run, and told.
 *
 * Goes on where it was stopped: log10 p of every key is appended to OUT/NAME.txt, which is not kept in the repository. Writes
 * OUT/summary.json and OUT/README.md. Ends with 1 where a statistic fails what valid p-values fail once in a thousand times.
 */

import { appendFileSync, existsSync, mkdirSync, readFileSync, truncateSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import {
  calibration,
  commitment,
  createKey,
  keyCarriers,
  keyProbeOrders,
  ModelScores,
  testArrays,
  testScores,
} from '../dist/index.js';

const { values } = parseArgs({
  options: {
    keys: { type: 'string', default: '20000' },
    out: { type: 'string', default: 'experiments/calibration' },
    series: { type: 'string' },
  },
});
const wanted = Number(values.keys);
const { out } = values;
/** Keys between two writes. */
const BATCH = 100;

/** Numbers for the suspects, from a seed: mulberry32 and Box and Muller. */
function numbers(seed) {
  let state = seed >>> 0;
  const uniform = () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let t = Math.imul(state ^ (state >>> 15), state | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  };
  const normal = () => Math.sqrt(-2 * Math.log(1 - uniform())) * Math.cos(2 * Math.PI * uniform());
  return (length) => Float64Array.from({ length }, normal);
}

const model = (featureDimension) => ({ sha256: 'ab'.repeat(32), architecture: 'synthetic', featureDimension });
const names = (K) => Array.from({ length: K }, (_, c) => `class ${c}`);
const SUSPECTS = 4;

/** White box: suspects with features and last layers of their own, that have learned the classes' means more or less. */
const white = (() => {
  const [n, d, dt, K, k] = [260, 24, 20, 6, 12];
  const suspects = Array.from({ length: SUSPECTS }, (_, s) => {
    const normals = numbers(1 + s);
    const means = normals(K * dt);
    const marking = normals(n * d);
    const turn = normals(d * dt);
    const features = normals(n * dt).map((x, i) => {
      const [row, column] = [Math.floor(i / dt), i % dt];
      let along = 0;
      for (let j = 0; j < d; j++) along += marking[row * d + j] * turn[j * dt + column];
      // The last suspect has features that have nothing to do with the marking network's.
      return (s === SUSPECTS - 1 ? 0 : along) + x + 2 * means[(row % K) * dt + column];
    });
    const weight = normals(K * dt).map((x, i) => 0.3 * x + means[i]);
    return { marking, suspect: { features, weight } };
  });
  const basis = orthonormal(numbers(99)(k * d), k, d);
  const options = (subspace) => ({ classes: names(K), model: model(d), basis: subspace ? basis : null, centre: true });
  return async (subspace, index) => {
    const { marking, suspect } = suspects[index % SUSPECTS];
    return (await testArrays(await createKey(options(subspace)), { marking, suspect, n }, { freshKeys: 0 })).log10p;
  };
})();

/** Black box: networks of one hidden layer answer images and the same images marked towards the key's carriers and its decoys'. */
const black = (() => {
  const [K, S, d, hidden, perClass] = [4, 10, 12, 16, 3];
  const recipe = {
    radiusLevels: 10,
    iterations: 30,
    learningRate: 1,
    lambdaFeatures: 0,
    lambdaImage: 0,
    roundEvery: 10,
    crop: null,
    vanillaCrop: 'same',
    seed: 0,
  };
  const suspects = Array.from({ length: SUSPECTS }, (_, s) => {
    const normals = numbers(50 + s);
    return { first: normals(hidden * d), second: normals(K * hidden), images: normals(K * perClass * d) };
  });
  const answer = ({ first, second }, image) => {
    const scores = new Float64Array(K);
    for (let h = 0; h < hidden; h++) {
      let sum = 0;
      for (let i = 0; i < d; i++) sum += first[h * d + i] * image[i];
      for (let c = 0; c < K && sum > 0; c++) scores[c] += second[c * hidden + h] * sum;
    }
    return scores;
  };
  return async (index) => {
    const key = await createKey({
      classes: names(K),
      model: model(d),
      basis: null,
      centre: true,
      blackBox: { combine: 'sum', decoys: S - 1, perClass, recipe, references: [] },
    });
    const orders = await keyProbeOrders(key, S);
    const draws = [await keyCarriers(key)];
    for (let m = 0; m < S - 1; m++) draws.push(await keyCarriers(key, 'decoy', m));
    const suspect = suspects[index % SUSPECTS];
    const rows = [];
    const images = [];
    for (let c = 0; c < K; c++)
      for (let n = 0; n < perClass; n++) {
        const image = suspect.images.subarray((c * perClass + n) * d, (c * perClass + n + 1) * d);
        images.push({ class: key.classes[c], id: `${c}/${n}` });
        rows.push(answer(suspect, image));
        for (const draw of orders[c])
          rows.push(
            answer(
              suspect,
              image.map((x, i) => x + draws[draw].directions[c * d + i]),
            ),
          );
      }
    const ones = names(K).map(() => new Array(S).fill(1));
    const probes = {
      classes: key.classes,
      sets: S,
      keyCommitment: await commitment(key),
      images,
      marks: { changeLevels: ones, gain: ones },
    };
    const scores = ModelScores.ofScores(Float64Array.from(rows.flatMap((row) => [...row])), K);
    const log10P = async (labelOnly) => (await testScores(key, probes, scores, [], { labelOnly })).log10p;
    return [await log10P(false), await log10P(true)];
  };
})();

/** Gram and Schmidt, twice. */
function orthonormal(rows, k, d) {
  for (let i = 0; i < k; i++) {
    const row = rows.subarray(i * d, (i + 1) * d);
    for (let j = 0; j < 2 * i; j++) {
      const other = rows.subarray((j % i) * d, ((j % i) + 1) * d);
      const along = row.reduce((sum, x, at) => sum + x * other[at], 0);
      for (let at = 0; at < d; at++) row[at] -= along * other[at];
    }
    const norm = Math.hypot(...row);
    for (let at = 0; at < d; at++) row[at] /= norm;
  }
  return rows;
}

const SERIES = [
  { names: ['white-box-subspace'], side: 'both', draw: async (index) => [await white(true, index)] },
  { names: ['white-box-uniform'], side: 'both', draw: async (index) => [await white(false, index)] },
  { names: ['black-box-sum-scores', 'black-box-sum-labels'], side: 'conservative', draw: black },
];

/** The p-values that a file has, without a last line that was cut off. */
function readSeries(file) {
  if (!existsSync(file)) return [];
  const text = readFileSync(file, 'utf8');
  const whole = text.slice(0, text.lastIndexOf('\n') + 1);
  if (whole.length < text.length) truncateSync(file, whole.length);
  return whole.split('\n').slice(0, -1).map(Number);
}

mkdirSync(out, { recursive: true });
const results = [];
for (const { names: series, side, draw } of SERIES) {
  if (values.series !== undefined && !series.includes(values.series)) continue;
  const files = series.map((name) => join(out, `${name}.txt`));
  const log10p = files.map(readSeries);
  const done = Math.min(...log10p.map((list) => list.length));
  for (const [i, list] of log10p.entries()) {
    if (list.length === done) continue;
    list.length = done;
    writeFileSync(files[i], list.map((value) => `${value}\n`).join(''));
  }
  for (let index = done; index < wanted; ) {
    const batch = files.map(() => '');
    for (const end = Math.min(wanted, index + BATCH); index < end; index++)
      for (const [i, value] of (await draw(index)).entries()) {
        log10p[i].push(value);
        batch[i] += `${value}\n`;
      }
    for (const [i, text] of batch.entries()) appendFileSync(files[i], text);
    if (index % (10 * BATCH) === 0) process.stderr.write(`${series.join(', ')}: ${index} of ${wanted}\n`);
  }
  for (const [i, name] of series.entries()) results.push(calibration(name, log10p[i].slice(0, wanted), side));
}

if (values.series !== undefined) process.exit();

const version = (await createKey({ classes: names(2), model: model(4), basis: null, centre: true })).version;
const summary = results.map(({ log10p: _, ...rest }) => rest);
writeFileSync(
  join(out, 'summary.json'),
  `${JSON.stringify({ keyVersion: version, keys: wanted, statistics: summary }, null, 1)}\n`,
);
const cell = ({ rate, low, high }) => `${rate.toFixed(5)} [${low.toFixed(5)}, ${high.toFixed(5)}]`;
const lines = [
  '# Calibration of the key derivation',
  '',
  `\`node scripts/calibrate_keys.mjs --keys ${wanted}\` made this: ${wanted} new keys of version ${version} for each row, from the system's generator,`,
  'none of which marked anything. Rates of p-values at most a level, with 95 % intervals (Clopper and Pearson). What the suspects are, the',
  'script says. P-values of the black-box test are discrete, and may be small more seldom than the level, not more often: there the last',
  'column asks that alone.',
  '',
  '| statistic | p ≤ 0.05 | p ≤ 0.01 | p ≤ 0.001 | Kolmogorov–Smirnov p | |',
  '|---|---|---|---|---|---|',
  ...results.map(
    ({ name, falsePositives, uniformity, passed }) =>
      `| ${name.replaceAll('-', ' ')} | ${falsePositives.map(cell).join(' | ')} | ${uniformity.p.toPrecision(3)} | ${passed ? 'passed' : 'FAILED'} |`,
  ),
];
writeFileSync(join(out, 'README.md'), `${lines.join('\n')}\n`);
process.stdout.write(`${lines.slice(7).join('\n')}\n`);
process.exitCode = results.every(({ passed }) => passed) ? 0 : 1;
