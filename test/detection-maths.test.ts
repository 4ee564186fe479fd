import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { fisherOfRanks, rankTest } from '../src/detection/decoy.ts';
import { type WhiteBoxInput, whiteBoxTest } from '../src/detection/whitebox.ts';
import { InputError } from '../src/errors.ts';
import { parseSafetensors, toFloat64 } from '../src/formats/safetensors.ts';
import { type Carriers, deriveCarriers, placeCarriers } from '../src/marking/carriers.ts';
import { secretSource } from '../src/marking/key_stream.ts';
import { classIrrelevantSubspace } from '../src/marking/subspace.ts';
import { centreRows, dot, multiplyTransposed, orthonormaliseRows, transpose } from '../src/maths/linalg.ts';

/** Fails unless |actual − expected| ≤ tolerance; NaN fails. */
function close(actual: number, expected: number, tolerance: number): void {
  const error = Math.abs(actual - expected);
  if (!(error <= tolerance)) expect.fail(`${actual} should be ${expected}, error ${error}`);
}

/** Seeded standard normal numbers (Box and Muller), apart from the implementation's. */
function normals(seed: number, length: number): Float64Array {
  let state = seed >>> 0;
  const uniform = () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let t = Math.imul(state ^ (state >>> 15), state | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return (((t ^ (t >>> 14)) >>> 0) + 0.5) / 2 ** 32;
  };
  return Float64Array.from({ length }, () => Math.sqrt(-2 * Math.log(uniform())) * Math.cos(2 * Math.PI * uniform()));
}

/** sup |F_n(p) − p| of a sample of p-values. */
function kolmogorovDistance(p: number[]): number {
  const sorted = [...p].sort((a, b) => a - b);
  return Math.max(...sorted.map((x, i) => Math.max((i + 1) / sorted.length - x, x - i / sorted.length)));
}

/** What the distance of n uniform numbers exceeds with probability at most alpha (Dvoretzky-Kiefer-Wolfowitz-Massart). */
function kolmogorovBound(n: number, alpha: number): number {
  return Math.sqrt(Math.log(2 / alpha) / (2 * n));
}

const secretOf = (trial: number) => new Uint8Array(32).fill(7).map((x, i) => (i < 4 ? (trial >>> (8 * i)) & 255 : x));

describe('golden file', () => {
  const file = parseSafetensors(
    readFileSync(new URL('./golden/detection.safetensors', import.meta.url)),
    'detection.safetensors',
  );
  const tensor = (name: string) => toFloat64(file.tensors.get(name)!);
  const [n, d, dt] = [1500, 64, 48];
  const input = (centre: boolean): WhiteBoxInput => ({
    featuresMarking: tensor('features_marking'),
    featuresSuspect: tensor('features_suspect'),
    n,
    d,
    dt,
    weight: tensor('weight'),
    carriers: placeCarriers(tensor('carriers'), d, null),
    centre,
  });

  it.each([
    ['centred', true],
    ['uncentred', false],
  ])('%s', (name, centre) => {
    const result = whiteBoxTest(input(centre));
    const cosines = tensor(`${name}/cosines`);
    const log10p = tensor(`${name}/log10p`);
    expect(result.perClass.length).toBe(12);
    result.perClass.forEach((evidence, c) => {
      close(evidence.cosine, cosines[c], 1e-11);
      close(evidence.log10p, log10p[c], 1e-9);
    });
    close(result.log10p, tensor(`${name}/fisher_log10p`)[0], 1e-9);
    close(result.meanCosine, cosines.reduce((a, b) => a + b) / 12, 1e-11);
    expect(result).toMatchObject({ dimension: d, alignment: { n, rank: d }, warnings: [] });
  });

  it('tells centred from uncentred, and refuses the two networks swapped', () => {
    const [a, b] = [whiteBoxTest(input(true)).log10p, whiteBoxTest(input(false)).log10p];
    if (!(Math.abs(a - b) > 0.1)) expect.fail(`${a} and ${b} should differ`);
    const swapped = { ...input(true), featuresMarking: input(true).featuresSuspect, d: dt };
    expect(() => whiteBoxTest(swapped)).toThrow('feature dimension 64');
  });
});

/** A suspect of random features and weights, and its marking features. */
function randomSuspect(seed: number, n: number, d: number, dt: number, K: number) {
  return {
    featuresMarking: normals(seed, n * d),
    featuresSuspect: normals(seed + 1000, n * dt),
    weight: normals(seed + 2000, K * dt),
    n,
    d,
    dt,
    centre: true,
  };
}

describe('white-box test', () => {
  const [n, d, dt, K, k] = [40, 12, 9, 6, 5];
  const { rows: basis } = orthonormaliseRows(normals(99, k * d), k, d);
  const drawUniform = async (trial: number) =>
    placeCarriers(
      await deriveCarriers(secretSource(secretOf(trial)), { classCount: K, dimension: d, purpose: 'mark' }),
      d,
      null,
    );
  const drawSubspace = async (trial: number) =>
    placeCarriers(
      await deriveCarriers(secretSource(secretOf(trial)), { classCount: K, dimension: k, purpose: 'mark' }),
      k,
      basis,
    );

  it('finds the carriers in a suspect whose features are a linear map of the marking features', async () => {
    const carriers = await drawUniform(1);
    const featuresMarking = normals(1, 200 * d);
    // φ_t = φ₀ Q S + 5 with Q orthogonal and S diagonal, so that W = U Q S⁻¹ gives W (Q S)ᵀ = U.
    const { rows: Q } = orthonormaliseRows(normals(2, d * d), d, d);
    const rotated = multiplyTransposed(featuresMarking, transpose(Q, d, d), 200, d, d);
    const featuresSuspect = rotated.map((x, i) => (1 + (i % d)) * x + 5);
    const weight = multiplyTransposed(carriers.directions, transpose(Q, d, d), K, d, d).map(
      (x, i) => x / (1 + (i % d)),
    );
    const result = whiteBoxTest({ featuresMarking, featuresSuspect, n: 200, d, dt: d, weight, carriers, centre: true });
    close(result.meanCosine, 1, 1e-12);
    close(result.alignment.r2, 1, 1e-12);
    if (!(result.log10p < -200)) expect.fail(`log10 p is ${result.log10p}`);
    const opposite = { featuresMarking, featuresSuspect, n: 200, d, dt: d, carriers, centre: true };
    close(whiteBoxTest({ ...opposite, weight: weight.map((w) => -w) }).log10p, 0, 1e-12);
  });

  it('takes subspace cosines after centring over classes, blind to everything outside', async () => {
    const carriers = await drawSubspace(2);
    const featuresMarking = normals(3, 200 * d);
    const { rows: outside } = orthonormaliseRows(normals(4, 3 * d), 3, d, basis);
    const common = normals(5, d);
    const loud = multiplyTransposed(normals(6, K * 3), transpose(outside, 3, d), K, d, 3);
    const weight = carriers.directions.map((u, i) => u + common[i % d] + 100 * loud[i]);
    const input = { featuresMarking, featuresSuspect: featuresMarking, n: 200, d, dt: d, carriers, centre: true };
    const result = whiteBoxTest({ ...input, weight, classes: ['a', 'b', 'c', 'd', 'e', 'f'] });
    const centred = centreRows(carriers.coordinates, K, k);
    result.perClass.forEach((evidence, c) => {
      const norm = Math.sqrt(dot(centred, c * k, centred, c * k, k));
      close(evidence.cosine, dot(centred, c * k, carriers.coordinates, c * k, k) / norm, 1e-12);
      expect(evidence.class).toBe('abcdef'[c]);
    });
    expect(result.dimension).toBe(k);
  });

  const TRIALS = 1500;
  const ALPHA = 1e-6;
  it.each([
    ['uniform', drawUniform],
    ['subspace', drawSubspace],
  ])('has uniform p-values under the null hypothesis: %s carriers', async (_, draw) => {
    const suspects = Array.from({ length: 8 }, (_, i) => randomSuspect(i, n, d, dt, K));
    const combined: number[] = [];
    const single: number[] = [];
    for (let trial = 0; trial < TRIALS; trial++) {
      const result = whiteBoxTest({ ...suspects[trial % 8], carriers: await draw(trial) });
      combined.push(10 ** result.log10p);
      single.push(...result.perClass.map((evidence) => 10 ** evidence.log10p));
    }
    for (const p of [combined, single]) {
      const distance = kolmogorovDistance(p);
      if (!(distance <= kolmogorovBound(p.length, ALPHA))) expect.fail(`Kolmogorov distance ${distance}`);
    }
  });

  it('would notice one carrier for all classes', async () => {
    const suspect = randomSuspect(1, n, d, dt, K);
    // Classes that resemble each other, as the last layers of real networks do.
    suspect.weight = suspect.weight.map((w, i) => 0.3 * w + suspect.weight[i % dt]);
    const honest: number[] = [];
    const broken: number[] = [];
    for (let trial = 0; trial < TRIALS; trial++) {
      const carriers = await drawUniform(trial);
      honest.push(10 ** whiteBoxTest({ ...suspect, carriers }).log10p);
      const same = carriers.coordinates.map((_, i) => carriers.coordinates[i % d]);
      broken.push(10 ** whiteBoxTest({ ...suspect, carriers: placeCarriers(same, d, null) }).log10p);
    }
    const bound = kolmogorovBound(TRIALS, ALPHA);
    if (!(kolmogorovDistance(honest) <= bound)) expect.fail('independent carriers must be uniform on the same suspect');
    if (!(kolmogorovDistance(broken) > bound)) expect.fail('one carrier for all classes was not noticed');
  });

  it('takes float32 and features that are dead or doubled', async () => {
    const carriers = await drawUniform(3);
    const suspect = randomSuspect(2, n, d, dt, K);
    const reference = whiteBoxTest({ ...suspect, carriers });
    const single = {
      ...suspect,
      featuresMarking: Float32Array.from(suspect.featuresMarking),
      featuresSuspect: Float32Array.from(suspect.featuresSuspect),
      weight: Float32Array.from(suspect.weight),
    };
    close(whiteBoxTest({ ...single, carriers }).log10p, reference.log10p, 1e-5);
    const dead = single.featuresMarking.slice();
    for (let row = 0; row < dead.length; row += d) {
      dead[row + 2] = 0;
      dead[row + 5] = dead[row + 4];
    }
    const result = whiteBoxTest({ ...single, featuresMarking: dead, carriers });
    expect(result.alignment.rank).toBe(d - 2);
    expect(result.warnings).toContain('the marking features have rank 10 of 12');
    if (!Number.isFinite(result.log10p)) expect.fail(`log10 p is ${result.log10p}`);
  });

  it('counts a zero row as no evidence and says so', async () => {
    const carriers = await drawUniform(4);
    const suspect = randomSuspect(3, n, d, dt, K);
    suspect.weight.fill(0, 2 * dt, 3 * dt);
    const result = whiteBoxTest({ ...suspect, carriers });
    expect(result.perClass[2]).toEqual({ cosine: 0, log10p: 0 });
    expect(result.warnings.join()).toContain('class 2');
    expect(result.warnings.join()).toContain('40 images for 12 feature dimensions: at least 120');
  });

  it('refuses what it cannot judge, naming it', async () => {
    const carriers = await drawUniform(5);
    const suspect = { ...randomSuspect(4, n, d, dt, K), carriers };
    const spoilt = (x: Float64Array, at: number, value: number) => x.map((old, i) => (i === at ? value : old));
    const cases: [Partial<WhiteBoxInput>, string][] = [
      [
        { featuresMarking: spoilt(suspect.featuresMarking, 3 * d + 7, Number.NaN) },
        "the marking network's features: row 3, column 7 is NaN",
      ],
      [
        { featuresSuspect: spoilt(suspect.featuresSuspect, dt, Number.POSITIVE_INFINITY) },
        "the suspect's features: row 1, column 0 is Infinity",
      ],
      [{ weight: spoilt(suspect.weight, 0, Number.NaN) }, "the suspect's last layer: row 0, column 0 is NaN"],
      [{ weight: suspect.weight.slice(dt) }, "the suspect's last layer should be [6,9], there are 45 elements"],
      [{ n: 39 }, "the marking network's features should be [39,12]"],
      [
        { n: d, featuresMarking: normals(1, d * d), featuresSuspect: normals(1, d * dt) },
        '12 images cannot align 12 feature dimensions, take at least 120',
      ],
      [{ classes: ['a'] }, '1 class names for carriers of 6 classes'],
      [{ featuresMarking: new Float64Array(n * d) }, 'F0 is zero'],
    ];
    for (const [change, message] of cases) {
      const run = () => whiteBoxTest({ ...suspect, ...change });
      expect(run).toThrow(message);
      expect(run).toThrow(InputError);
    }
    const one: Carriers = placeCarriers(normals(1, k), k, basis);
    expect(() => whiteBoxTest({ ...suspect, weight: suspect.weight.slice(0, dt), carriers: one })).toThrow(
      'two classes',
    );
  });
});

describe('class-irrelevant subspace', () => {
  it('takes the axes of largest variance that classes and weights leave', () => {
    // Axis i has standard deviation i + 1. Classes differ along the last axis, weights along the one before.
    const [n, d] = [400, 8];
    const labels = Int32Array.from({ length: n }, (_, i) => i % 2);
    const features = new Float64Array(n * d);
    for (let i = 0; i < n; i++) {
      // A Walsh basis over i >> 1 makes the axes exactly uncorrelated, with mean zero in both classes.
      for (let j = 0; j < d; j++) {
        const bits = (i >> 1) & (j + 1) & 7;
        const parity = (bits & 1) ^ ((bits >> 1) & 1) ^ ((bits >> 2) & 1);
        features[i * d + j] = (j + 1) * (parity === 0 ? 1 : -1);
      }
      features[i * d + d - 1] = 50 * labels[i] + 3;
    }
    const weight = new Float64Array(2 * d);
    weight[d - 2] = 1;
    weight[2 * d - 2] = 0.5;
    const basis = classIrrelevantSubspace({ features, labels, classCount: 2, weight, k: 3 });
    const expected = new Float64Array(3 * d);
    expected[d - 3] = expected[d + d - 4] = expected[2 * d + d - 5] = 1;
    basis.forEach((x, i) => {
      close(x, expected[i], 1e-12);
    });
  });

  it('is orthonormal, outside means and weights, has a sign, and is the same twice', () => {
    const [n, d, K, k] = [600, 40, 5, 20];
    const labels = Array.from({ length: n }, (_, i) => i % K);
    const centres = normals(1, K * d);
    const mixing = normals(2, d * d);
    // Classes so far apart that rounding of their variance alone would tilt the rest.
    const features = Float64Array.from(
      multiplyTransposed(normals(3, n * d), mixing, n, d, d).map(
        (x, i) => x + 1e5 * centres[labels[Math.floor(i / d)] * d + (i % d)],
      ),
    );
    const weight = Float32Array.from(normals(4, K * d));
    const basis = classIrrelevantSubspace({ features, labels, classCount: K, weight, k });
    multiplyTransposed(basis, basis, k, k, d).forEach((x, i) => {
      close(x, i % (k + 1) === 0 ? 1 : 0, 1e-14);
    });
    const means = new Float64Array(K * d);
    features.forEach((x, i) => {
      means[labels[Math.floor(i / d)] * d + (i % d)] += x / (n / K);
    });
    for (const relevant of [centreRows(means, K, d), centreRows(weight, K, d)]) {
      const length = Math.max(...relevant);
      multiplyTransposed(relevant, basis, K, k, d).forEach((x) => {
        close(x / length, 0, 1e-14);
      });
    }
    const projections = multiplyTransposed(centreRows(features, n, d), basis, n, k, d);
    const variances = Array.from({ length: k }, (_, j) =>
      projections.reduce((sum, x, i) => (i % k === j ? sum + x * x : sum), 0),
    );
    for (let j = 1; j < k; j++) if (!(variances[j] < variances[j - 1])) expect.fail('variances must descend');
    for (let row = 0; row < k; row++) {
      const values = [...basis.subarray(row * d, (row + 1) * d)];
      const extremes = [Math.max(...values), -Math.min(...values)];
      if (!(extremes[0] > extremes[1])) expect.fail(`the largest component of row ${row} is negative`);
    }
    expect(classIrrelevantSubspace({ features, labels, classCount: K, weight, k })).toEqual(basis);
  });

  it('leaves the weights aside of a network with half as many classes as features', () => {
    const [n, d, K, k] = [300, 12, 3, 8];
    const labels = Array.from({ length: n }, (_, i) => i % K);
    const features = normals(5, n * d);
    const foreign = (rows: number) =>
      classIrrelevantSubspace({ features, labels, classCount: K, weight: normals(6, rows * d), k });
    expect(foreign(6)).toEqual(foreign(1000));
    expect(() => foreign(5)).toThrow('8 directions asked for, 6 are left of 12');
  });

  it('refuses more directions than are left, and bad labels', () => {
    const [n, d, K] = [60, 10, 3];
    const features = normals(7, n * d);
    // One dead feature: 10 − 2 means − 2 weights − 1 dead = 5.
    for (let i = 4; i < features.length; i += d) features[i] = 0;
    const labels = Array.from({ length: n }, (_, i) => i % K);
    const weight = normals(8, K * d);
    for (let i = 4; i < weight.length; i += d) weight[i] = 0;
    const input = { features, labels, classCount: K, weight, k: 5 };
    expect(classIrrelevantSubspace(input).length).toBe(5 * d);
    const cases: [Partial<typeof input>, string][] = [
      [{ k: 6 }, '6 directions asked for, 5 are left of 10'],
      [{ k: 0 }, 'k must be'],
      [{ classCount: 4 }, 'class 3 has no image'],
      [{ classCount: 2 }, 'label 2 is 2, there are 2 classes'],
      [{ labels: labels.slice(1) }, '600 feature values do not fit 59 labels'],
      [{ weight: weight.slice(1) }, '29 weights do not fit'],
      [{ features: features.map((x, i) => (i === 9 ? Number.NaN : x)) }, 'a feature is NaN'],
    ];
    for (const [change, message] of cases) {
      expect(() => classIrrelevantSubspace({ ...input, ...change })).toThrow(message);
    }
  });
});

describe('rank test', () => {
  it('counts the decoys that reach the true score, ties against the mark', () => {
    close(rankTest(3, [1, 2, 4]), Math.log10(2 / 4), 1e-15);
    close(rankTest(5, [1, 2, 4]), Math.log10(1 / 4), 1e-15);
    close(rankTest(0, [1, 2, 4]), 0, 0);
    close(rankTest(2, [1, 2, 2, 4]), Math.log10(4 / 5), 1e-15);
  });

  it('is uniform on its M + 1 values under the null hypothesis', () => {
    const [M, trials] = [9, 20_000];
    const scores = normals(5, trials * (M + 1));
    const counts = new Float64Array(M + 1);
    for (let t = 0; t < trials; t++) {
      const row = scores.subarray(t * (M + 1), (t + 1) * (M + 1));
      counts[Math.round(10 ** rankTest(row[0], row.subarray(1)) * (M + 1)) - 1] += 1;
    }
    // χ² with 9 degrees of freedom exceeds 46 with probability 6e-7.
    const expected = trials / (M + 1);
    const chiSquare = counts.reduce((sum, c) => sum + (c - expected) ** 2 / expected, 0);
    if (!(chiSquare < 46)) expect.fail(`χ² is ${chiSquare}`);
  });

  it('combines classes by Fisher, resolution far beyond one rank', () => {
    const decoys = Array.from({ length: 99 }, (_, i) => i);
    const { log10p, perClass } = fisherOfRanks([200, 200, 200], [decoys, decoys, decoys]);
    expect(perClass).toEqual([-2, -2, -2]);
    // Q(3, z) = e^−z (1 + z + z²/2) at z = 6 ln 10
    const z = 6 * Math.LN10;
    close(log10p, -6 + Math.log10(1 + z + z ** 2 / 2), 1e-13);
  });

  it('refuses scores that cannot be ranked', () => {
    expect(() => rankTest(1, [])).toThrow('at least one decoy');
    expect(() => rankTest(Number.NaN, [1])).toThrow('true score is NaN');
    expect(() => rankTest(1, [1, Number.NaN])).toThrow('decoy 1 is NaN');
    expect(() => fisherOfRanks([1, 2], [[1]])).toThrow('2 classes');
  });
});
