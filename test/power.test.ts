import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { jsonDocument } from '../src/formats/json.ts';
import { log10PCosine } from '../src/maths/cosine.ts';
import { fisherLog10P } from '../src/maths/fisher.ts';
import { expectedEvidence, meanCosineNeeded, meanCosineOfShift, shiftOfMeanCosine } from '../src/maths/power.ts';
import { logNormalSurvival, normalUpperQuantile } from '../src/maths/special.ts';
import { curvesOf, measuredFor } from '../src/node/experiment/measured.ts';
import { parseResults, type Row } from '../src/node/experiment/results.ts';
import { build, ownLines, run } from './cli.ts';

/** Simpson's rule with 2n intervals. */
function integral(f: (x: number) => number, from: number, to: number, n: number): number {
  const h = (to - from) / (2 * n);
  let sum = f(from) + f(to);
  for (let i = 1; i < 2 * n; i++) sum += (i % 2 === 0 ? 2 : 4) * f(from + i * h);
  return (sum * h) / 3;
}

describe('the law of cosines with a shift', () => {
  /** E x/√(x² + r²), x normal about δ, r of the χ law with k − 1 degrees of freedom: by quadrature, without a gamma function. */
  function meanCosine(shift: number, k: number): number {
    const m = k - 1;
    const top = Math.sqrt(m) + 12;
    // The density of r to a factor, which its own integral takes out.
    const density = (r: number): number =>
      r === 0 ? Number(m === 1) : Math.exp((m - 1) * Math.log(r / Math.sqrt(m)) - (r * r) / 2 + m / 2);
    const total = integral(density, 0, top, 600);
    const given = (r: number): number =>
      integral(
        (x) => {
          const length = Math.hypot(x, r);
          return length === 0 ? 0 : ((x / length) * Math.exp(-((x - shift) ** 2) / 2)) / Math.sqrt(2 * Math.PI);
        },
        shift - 10,
        shift + 10,
        400,
      );
    return integral((r) => density(r) * given(r), 0, top, 600) / total;
  }

  it.each([
    [0.5, 3, 1e-7],
    [2, 3, 1e-7],
    [0.7, 32, 1e-9],
    [3, 32, 1e-9],
    [6, 128, 1e-9],
    [20, 32, 1e-9],
  ])('mean cosine at shift %d in %d dimensions', (shift, k, tolerance) => {
    const reference = meanCosine(shift, k);
    expect(Math.abs(meanCosineOfShift(shift, k) - reference)).toBeLessThan(tolerance);
  });

  it('in two dimensions Bessel functions give it, in closed form for none', () => {
    // E cos = √(π/8) δ e^{−δ²/4} (I₀(δ²/4) + I₁(δ²/4)), by their series.
    const bessel = (order: number, x: number): number => {
      let term = (x / 2) ** order;
      let sum = 0;
      for (let n = 0; n < 60; n++) {
        sum += term;
        term *= (x * x) / 4 / ((n + 1) * (n + 1 + order));
      }
      return sum;
    };
    for (const shift of [0.1, 1, 2.5]) {
      const x = (shift * shift) / 4;
      const reference = Math.sqrt(Math.PI / 8) * shift * Math.exp(-x) * (bessel(0, x) + bessel(1, x));
      expect(meanCosineOfShift(shift, 2)).toBeCloseTo(reference, 12);
    }
    expect(meanCosineOfShift(0, 5)).toBe(0);
  });

  it('the shift is found again, up to cosines near 1', () => {
    for (const k of [2, 32, 512])
      for (const mean of [0, 0.01, 0.3, 0.9, 0.999])
        expect(meanCosineOfShift(shiftOfMeanCosine(mean, k), k)).toBeCloseTo(mean, 9);
    expect(() => shiftOfMeanCosine(1, 10)).toThrow('must be from 0 to 0.999, it is 1');
    expect(() => shiftOfMeanCosine(Number.NaN, 10)).toThrow('must be from 0 to 0.999');
    expect(() => meanCosineOfShift(-1, 10)).toThrow('must not be negative');
  });
});

/** Another generator than the program's: Lehmer's, and Box and Muller's transformation. */
function normalDeviates(): () => number {
  let state = 12345;
  const uniform = (): number => {
    state = (state * 48271) % 2147483647;
    return state / 2147483647;
  };
  return () => Math.sqrt(-2 * Math.log(uniform())) * Math.cos(2 * Math.PI * uniform());
}

/** n sets of K vectors of k components, the first with a mean: their cosines with the first axis, and Fisher's log10 p of each set. */
function drawSets(n: number, K: number, k: number, shift: number): { mean: number; sorted: number[] } {
  const normal = normalDeviates();
  let mean = 0;
  const sorted = Array.from({ length: n }, () =>
    fisherLog10P(
      Array.from({ length: K }, () => {
        let squares = 0;
        const first = normal() + shift;
        for (let i = 1; i < k; i++) squares += normal() ** 2;
        const cosine = first / Math.sqrt(first * first + squares);
        mean += cosine / (n * K);
        return log10PCosine(cosine, k);
      }),
    ),
  ).sort((a, b) => a - b);
  return { mean, sorted };
}

describe('the mean cosine needed', () => {
  it.each([
    [10, 32, -4],
    [10, 128, -4],
    [1, 32, -2],
    [2, 3, -1.5],
    [300, 16, -6],
  ])('%d classes, %d dimensions, log10 p %d: half of simulated keys reach it', (K, k, level) => {
    const n = Math.max(300, Math.round(20_000 / K));
    const { sorted } = drawSets(
      n,
      K,
      k,
      shiftOfMeanCosine(meanCosineNeeded(level, { classCount: K, dimension: k })!, k),
    );
    const share = sorted.filter((value) => value <= level).length / n;
    expect(Math.abs(share - 0.5)).toBeLessThan(0.01 + 2.5 / Math.sqrt(n));
  });

  it('is a little above the normal approximation z/√(K d)', () => {
    for (const [K, d] of [
      [1000, 512],
      [10, 512],
      [10, 128],
    ]) {
      const ratio = meanCosineNeeded(-4, { classCount: K, dimension: d })! / (3.719 / Math.sqrt(K * d));
      expect(ratio).toBeGreaterThan(1);
      expect(ratio).toBeLessThan(1.15);
    }
  });

  it('is 0 where half of all keys reach it by chance, and null where nothing suffices', () => {
    expect(meanCosineNeeded(Math.log10(0.6), { classCount: 10, dimension: 32 })).toBe(0);
    expect(meanCosineNeeded(-20, { classCount: 1, dimension: 2 })).toBeNull();
  });

  it('refuses what has no answer', () => {
    const law = { classCount: 10, dimension: 32 };
    expect(() => meanCosineNeeded(0, law)).toThrow('must be below 0, it is 0');
    expect(() => meanCosineNeeded(Number.NEGATIVE_INFINITY, law)).toThrow('must be below 0');
    expect(() => meanCosineNeeded(-1, { ...law, classCount: 0 })).toThrow('number of classes');
    expect(() => meanCosineNeeded(-1, { ...law, dimension: 1 })).toThrow('dimension must be an integer of at least 2');
  });
});

describe('what is to be expected', () => {
  const law = { classCount: 10, dimension: 32, level: -2 };

  it('at no mean cosine p-values are uniform', () => {
    const { quantiles, reached, draws } = expectedEvidence({ ...law, meanCosine: 0 }, { draws: 4000 });
    const error = (p: number): number => 5 * Math.sqrt((p * (1 - p)) / draws);
    expect(Math.abs(reached - 0.01)).toBeLessThan(error(0.01));
    for (const [name, p] of [
      ['p05', 0.05],
      ['p50', 0.5],
      ['p95', 0.95],
    ] as const)
      expect(Math.abs(10 ** quantiles[name] - p)).toBeLessThan(error(p));
  });

  it.each([2, 3, 32])('agrees with vectors drawn component by component in %d dimensions', (k) => {
    const K = 4;
    const meanCosine = 0.3;
    const shift = shiftOfMeanCosine(meanCosine, k);
    const n = 4000;
    const { mean, sorted: values } = drawSets(n, K, k, shift);
    expect(Math.abs(mean - meanCosine)).toBeLessThan(5 / Math.sqrt(n * K));
    const found = expectedEvidence({ classCount: K, dimension: k, meanCosine, level: -1 }, { draws: n });
    const shareBelow = (x: number): number => values.filter((value) => value <= x).length / n;
    // Both quantile and share vary: by at most this much in all but one case of a million.
    const error = (p: number): number => 5 * Math.sqrt((2 * p * (1 - p)) / n);
    expect(Math.abs(shareBelow(found.quantiles.p05) - 0.05)).toBeLessThan(error(0.05));
    expect(Math.abs(shareBelow(found.quantiles.p50) - 0.5)).toBeLessThan(error(0.5));
    expect(Math.abs(shareBelow(found.quantiles.p95) - 0.95)).toBeLessThan(error(0.95));
    expect(Math.abs(shareBelow(-1) - found.reached)).toBeLessThan(error(0.5));
  });

  it('is the same every time', () => {
    const once = expectedEvidence({ ...law, meanCosine: 0.2 });
    expect(expectedEvidence({ ...law, meanCosine: 0.2 })).toEqual(once);
    expect(once.quantiles.p05).toBeLessThan(once.quantiles.p50);
    expect(once.quantiles.p50).toBeLessThan(once.quantiles.p95);
  });
});

/** Results of two keys at 0, 0.1 and 0.3: −0.5 and −0.1, −2 and −4, −6 and −∞. */
function sampleResults(): string {
  const row = (fraction: number, key: number, log10p: number): Row => ({
    ...{
      setting: 'linear',
      fraction,
      key,
      seed: 1,
      testedWith: key,
      statistic: 'white-box',
      deciding: true,
      exact: true,
    },
    ...{ control: fraction === 0 ? 'unmarked' : null, log10p, score: fraction + key / 100, marked: 5 },
    ...{
      accuracy: 0.9 - fraction / 10,
      vanillaAccuracy: 0.9,
      psnrMedian: 30,
      psnrMin: 29,
      trainingSeconds: 1,
      testSeconds: 1,
    },
  });
  return jsonDocument({
    format: 'radioactive-experiment-results',
    version: 1,
    config: { title: 'sample', marking: { dimension: 32 } },
    classes: Array.from({ length: 10 }, (_, i) => String(i)),
    marker: { sha256: 'x', featureDimension: 128 },
    rows: [
      ...[row(0, 1, -0.5), row(0, 2, -0.1), row(0.1, 1, -2), row(0.1, 2, -4)],
      ...[row(0.3, 1, -6), row(0.3, 2, Number.NEGATIVE_INFINITY)],
      { ...row(0.1, 1, -0.2), control: 'other key', testedWith: 2 },
    ],
  });
}

/** P(Z > z) by quadrature. */
const upperTail = (z: number): number => integral((x) => Math.exp((-x * x) / 2) / Math.sqrt(2 * Math.PI), z, 12, 2000);

describe('what was measured', () => {
  it('normal quantiles: the inverse of the tail', () => {
    for (const z of [-5, -3, -0.5, 0, 1, 5]) expect(normalUpperQuantile(Math.log(upperTail(z)))).toBeCloseTo(z, 6);
    for (const z of [10, 40, 200]) expect(normalUpperQuantile(logNormalSurvival(z))).toBeCloseTo(z, 10);
    expect(normalUpperQuantile(Number.NEGATIVE_INFINITY)).toBe(Number.POSITIVE_INFINITY);
    expect(normalUpperQuantile(0)).toBe(Number.NEGATIVE_INFINITY);
    expect(() => normalUpperQuantile(0.1)).toThrow('must not be positive');
  });

  const files = [{ file: 'results.json', results: parseResults(sampleResults(), 'results.json') }];
  const plan = { classCount: 10, dimension: 32, fraction: 0.05 };

  it('is interpolated key by key, with the spread over keys', () => {
    const [found] = measuredFor(files, plan);
    expect(found).toMatchObject({ setting: 'linear', statistic: 'white-box', between: [0, 0.1], models: 2 });
    // Half way between the normal quantiles of p, by tables: 10^−0.5 0.478, 10^−0.1 −0.822, 10^−2 2.326, 10^−4 3.719.
    expect(10 ** found.log10p.max).toBeCloseTo(upperTail((0.478 + 2.326) / 2), 3);
    expect(10 ** found.log10p.min).toBeCloseTo(upperTail((-0.822 + 3.719) / 2), 3);
    expect(found.score!.min).toBeCloseTo(0.06, 12);
    expect(found.accuracyChange!.median).toBeCloseTo(-0.005, 12);
    expect(measuredFor(files, { ...plan, dimension: undefined })).toEqual([found]);
    const [there] = measuredFor(files, { ...plan, fraction: 0.1 });
    expect(there).toMatchObject({ between: [0.1, 0.1], log10p: { min: -4, max: -2, median: -3 } });
    const [between] = measuredFor(files, { ...plan, fraction: 0.2 });
    expect(between.log10p).toMatchObject({ min: Number.NEGATIVE_INFINITY, median: Number.NEGATIVE_INFINITY });
    // Weaker than the straight line between −2 and −6.
    expect(between.log10p.max).toBeLessThan(-2);
    expect(between.log10p.max).toBeGreaterThan(-4);
  });

  it('is not extrapolated', () => {
    for (const other of [
      { fraction: 0.31 },
      { classCount: 9 },
      { dimension: 33 },
      { setting: 'scratch' },
      { statistic: 'response' },
    ])
      expect(measuredFor(files, { ...plan, ...other })).toEqual([]);
    expect(curvesOf(files)).toEqual([
      {
        file: 'results.json',
        classCount: 10,
        dimension: 32,
        setting: 'linear',
        statistic: 'white-box',
        deciding: true,
        marked: 'random',
        fractions: [0, 0.1, 0.3],
      },
    ]);
  });

  it('a file that is none is refused', () => {
    expect(() => parseResults('{}', 'x.json')).toThrow('x.json: format: ');
    expect(() => parseResults('no', 'x.json')).toThrow('x.json: not valid JSON');
  });
});

describe('radioactive power', () => {
  let folder: string;
  let file: string;
  beforeAll(() => {
    build();
    folder = mkdtempSync(join(tmpdir(), 'radioactive-power-'));
    file = join(folder, 'results.json');
    writeFileSync(file, sampleResults());
  });
  afterAll(() => rmSync(folder, { recursive: true }));

  it('tells what is needed, what is to be expected, and what was measured', async () => {
    const args = ['power', '--classes', '10', '--dim', '32', '--fraction', '0.1', '--measured', file];
    const { exitCode, stdout } = await run('cli', args);
    expect(exitCode).toBe(0);
    expect(stdout).toContain('10 classes, carriers in 32 dimensions');
    expect(stdout).toMatch(/0\.0001 {6}0\.2\d\d\d\n/);
    expect(stdout).toMatch(/linear +white-box +random +32 +2 +-3\.00 \(-4\.00 to -2\.00\) +0\.115 .*-1\.00 \(/);
    const json = JSON.parse((await run('cli', [...args, '--json', '--fraction', '0.5'])).stdout);
    expect(json.measured).toEqual([]);
    expect(json.curves).toHaveLength(1);
    expect(json.needed.map(({ p }: { p: number }) => p)).toEqual([0.05, 0.01, 1e-4, 1e-6, 1e-10]);
    const refused = await run('cli', [...args, '--setting', 'scratch']);
    expect(refused.stdout).toContain(
      'not measured, and not guessed; what was measured:\n  10 classes, 32 dimensions, linear, white-box, random images, fractions 0, 0.1, 0.3',
    );
  });

  it('explains what goes together', async () => {
    const wrong = await run('cli', ['power', '--classes', '10', '--setting', 'linear']);
    expect(wrong.exitCode).toBe(2);
    expect(ownLines(wrong).at(-1)).toContain('--setting, --statistic and --measured go with --fraction');
  });
});
