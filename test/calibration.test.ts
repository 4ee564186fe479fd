import { describe, expect, it } from 'vitest';
import { calibrateWhiteBox } from '../src/detection/calibrate.ts';
import { freshCoordinates } from '../src/detection/fresh_keys.ts';
import { calibration, nullSample } from '../src/detection/statistic.ts';
import { alignSuspect, cosineTest, testedRows, whiteBoxTest } from '../src/detection/whitebox.ts';
import { placeCarriers } from '../src/marking/carriers.ts';
import { orthonormaliseRows } from '../src/maths/linalg.ts';
import { derive } from '../src/random.ts';
import { expectClose } from './tolerance.ts';

const normals = (label: string, length: number): Float64Array => {
  const random = derive(3, label);
  return Float64Array.from({ length }, () => random.gaussian());
};

const [n, d, dt, K, k] = [90, 12, 9, 6, 5];
const labels = Uint32Array.from({ length: n }, (_, i) => i % K);
const { rows: basis } = orthonormaliseRows(normals('basis', k * d), k, d);

/**
 * An innocent suspect that has learned its task: features gather around class means, its last layer points at them, and classes
 * resemble each other.
 */
function innocent() {
  const common = normals('common', dt);
  const means = normals('means', K * dt).map((x, i) => x + 2 * common[i % dt]);
  const featuresSuspect = normals('noise', n * dt).map(
    (x, i) => 0.3 * x + means[labels[Math.floor(i / dt)] * dt + (i % dt)],
  );
  return { featuresMarking: normals('marking', n * d), featuresSuspect, weight: means, n, d, dt, centre: true };
}

describe('calibration', () => {
  it('finds valid p-values valid, of uniform and of subspace carriers', async () => {
    const { featuresMarking, featuresSuspect: features, weight } = innocent();
    const calibrations = await calibrateWhiteBox({
      arrays: { marking: featuresMarking, suspect: { features, weight }, n },
      featureDimension: d,
      carriers: [
        { name: 'uniform', basis: null },
        { name: 'subspace', basis },
      ],
      centre: true,
      keys: 1000,
    });
    expect(calibrations.map(({ name, samples }) => [name, samples])).toEqual([
      ['uniform', 1000],
      ['uniform, each class', 6000],
      ['subspace', 1000],
      ['subspace, each class', 6000],
    ]);
    for (const { passed, falsePositives, log10p, samples } of calibrations) {
      expect(passed).toBe(true);
      for (const { alpha, count, rate, low, high } of falsePositives) {
        expect(count).toBe(log10p.filter((value) => value <= Math.log10(alpha)).length);
        expect(rate).toBe(count / samples);
        expect(low).toBeLessThanOrEqual(rate);
        expect(high).toBeGreaterThanOrEqual(rate);
      }
    }
  });

  it("tests a fresh key as the owner's is tested", async () => {
    const suspect = innocent();
    const { featuresSuspect: features, weight, featuresMarking } = suspect;
    const carriers = [{ name: 'subspace', basis }];
    const [combined, perClass] = await calibrateWhiteBox({
      arrays: { marking: featuresMarking, suspect: { features, weight }, n },
      ...{ featureDimension: d, carriers, centre: true, keys: 20 },
    });
    for (const index of [0, 19]) {
      const coordinates = await freshCoordinates(index, K, k);
      const whole = whiteBoxTest({ ...suspect, carriers: placeCarriers(coordinates, k, basis) });
      expect(combined.log10p[index]).toBe(whole.log10p);
      expect(perClass.log10p.slice(index * K, (index + 1) * K)).toEqual(whole.perClass.map(({ log10p }) => log10p));
    }
  });

  it('notices one carrier for all classes', async () => {
    const rows = testedRows(alignSuspect(innocent()), null);
    const honest: number[] = [];
    const broken: number[] = [];
    for (let index = 0; index < 1000; index++) {
      const coordinates = await freshCoordinates(index, K, d);
      honest.push(cosineTest(rows, coordinates, K).log10p);
      const same = coordinates.map((_, i) => coordinates[i % d]);
      broken.push(cosineTest(rows, same, K).log10p);
    }
    expect(calibration('honest', honest).passed).toBe(true);
    expect(calibration('broken', broken).passed).toBe(false);
  });

  it('notices marked images in the alignment', async () => {
    const suspect = innocent();
    const run = async (marked: boolean): Promise<boolean> => {
      const log10p: number[] = [];
      for (let index = 0; index < 200; index++) {
        const carriers = placeCarriers(await freshCoordinates(index, K, d), d, null);
        // The marking network sees every image moved towards its class's carrier; the innocent suspect does not.
        const featuresMarking = suspect.featuresMarking.map(
          (x, i) => x + (marked ? 2 * carriers.directions[labels[Math.floor(i / d)] * d + (i % d)] : 0),
        );
        log10p.push(whiteBoxTest({ ...suspect, featuresMarking, carriers }).log10p);
      }
      return calibration('alignment', log10p).passed;
    };
    expect(await run(false)).toBe(true);
    expect(await run(true)).toBe(false);
  });

  it('does not hold it against discrete p-values that they are conservative', () => {
    const random = derive(1, 'ranks');
    const ranks = Array.from({ length: 2000 }, () => Math.log10((1 + random.below(5)) / 5));
    expect(calibration('ranks', ranks).passed).toBe(false);
    expect(calibration('ranks', ranks, 'conservative').passed).toBe(true);
    const small = ranks.map((value) => value + Math.log10(0.9));
    expect(calibration('too small', small, 'conservative').passed).toBe(false);
  });

  it('fails a statistic with too many false positives at one level alone', () => {
    const even = Array.from({ length: 2000 }, (_, i) => Math.log10((i + 0.5) / 2000));
    expect(calibration('even', even).passed).toBe(true);
    const spoilt = even.map((value, i) => (i < 12 ? -5 : value));
    const { uniformity, passed, falsePositives } = calibration('spoilt', spoilt);
    expect(uniformity.p).toBeGreaterThan(0.9);
    expect(falsePositives.map(({ count }) => count)).toEqual([100, 20, 12]);
    expect(passed).toBe(false);
  });

  it('places an observed value in its null', () => {
    expect(nullSample('fresh keys', [-1, -2, -0.5, -2], -2)).toEqual({
      kind: 'fresh keys',
      log10p: [-1, -2, -0.5, -2],
      atMost: 2,
    });
  });
});

describe('fresh keys', () => {
  it('are unit rows that differ, the same every time', async () => {
    const one = await freshCoordinates(1, 3, 4);
    expect(await freshCoordinates(1, 3, 4)).toEqual(one);
    expect(await freshCoordinates(2, 3, 4)).not.toEqual(one);
    for (let row = 0; row < 12; row += 4)
      expectClose([one.subarray(row, row + 4).reduce((sum, x) => sum + x * x, 0)], [1], 1e-14, 'length');
  });
});
