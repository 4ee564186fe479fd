import { describe, expect, it } from 'vitest';
import { log10PCosine } from '../src/maths/cosine.ts';
import { fisherLog10P } from '../src/maths/fisher.ts';
import {
  centreRows,
  leastSquares,
  multiplyTransposed,
  orthonormaliseRows,
  symmetricEigen,
  transpose,
} from '../src/maths/linalg.ts';
import {
  log1mExp,
  logBeta,
  logGamma,
  logIncompleteBeta,
  logIncompleteBetaComplement,
  logNormalSurvival,
  logSumExp,
  logUpperGammaQ,
} from '../src/maths/special.ts';
import { binomialTail, clopperPearson, smirnovTail, uniformity } from '../src/maths/uniformity.ts';

/** Fails unless |actual − expected| ≤ tolerance · |expected| + absolute; NaN fails. */
function close(actual: number, expected: number, tolerance: number, absolute = 0): void {
  const error = Math.abs(actual - expected);
  if (!(error <= tolerance * Math.abs(expected) + absolute)) {
    expect.fail(`${actual} should be ${expected}, error ${error}`);
  }
}

/** Seeded uniform numbers in [−1, 1). */
function uniforms(seed: number, length: number): Float64Array {
  let state = seed >>> 0;
  return Float64Array.from({ length }, () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let t = Math.imul(state ^ (state >>> 15), state | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 31 - 1;
  });
}

const { NEGATIVE_INFINITY, POSITIVE_INFINITY, NaN: NOT_A_NUMBER } = Number;

// References in this file: mpmath 1.3 with 60 to 200 digits, rounded to float64.
describe('special functions', () => {
  it.each([
    [1e-300, 690.7755278982137],
    [1e-5, 11.512919692895826],
    [0.1, 2.252712651734206],
    [0.4999, 0.5725613186041184],
    [0.5, 0.5723649429247001],
    [0.75, 0.20328095143129538],
    [0.9999999, 5.772157468444193e-8],
    [1.0000001, -5.772155829918507e-8],
    [1.25, -0.09827183642181316],
    [1.5, -0.12078223763524522],
    [1.999, -0.0004224618006921073],
    [2.0001, 4.2281658112919945e-5],
    [2.5, 0.2846828704729192],
    [2.75, 0.47521466691493713],
    [3, Math.LN2],
    [7.5, 7.534364236758733],
    [9.999, 12.799575780077413],
    [10, 12.801827480081469],
    [10.5, 13.940625219403763],
    [100, 359.1342053695754],
    [171.5, 709.1431630309282],
    [1e4, 82099.71749644238],
    [123456.789, 1323902.0187950633],
    [1e10, 220258509288.81058],
    [1e15, 3.3538776394910668e16],
    [1e100, 2.2925850929940456e102],
    [1e300, 6.897755278982137e302],
  ])('ln Γ(%f)', (x, expected) => close(logGamma(x), expected, 1.5e-15));

  it('ln Γ is exactly 0 at 1 and 2 and refuses what has none', () => {
    close(logGamma(1), 0, 0);
    close(logGamma(2), 0, 0);
    expect(logGamma(POSITIVE_INFINITY)).toBe(POSITIVE_INFINITY);
    for (const x of [0, -0.5, NOT_A_NUMBER]) expect(() => logGamma(x)).toThrow('logGamma');
  });

  it.each([
    [0.5, 0.5, 1.1447298858494002],
    [1, 0.5, Math.LN2],
    [4.5, 0.5, -0.1519523165808033],
    [9.9, 0.5, -0.5612815244756989],
    [10, 0.5, -0.5664327963975939],
    [63.5, 0.5, -1.5011865264273498],
    [255.5, 0.5, -2.198757025418838],
    [2047.5, 0.5, -3.239761414878469],
    [1e6, 0.5, -6.335390211057437],
    [1e9, 0.5, -9.789267975423506],
    [1e-8, 3, 18.420680728952366],
    [5, 7, -7.745002803515839],
    [12, 15, -18.568172732389435],
    [300, 4000, -1089.9555075683106],
    [1e8, 1e8, -138629444.05681732],
  ])('ln B(%f, %f)', (a, b, expected) => {
    close(logBeta(a, b), expected, 1e-15, 1e-15);
    expect(logBeta(b, a)).toBe(logBeta(a, b));
  });

  it.each([
    [0.3, 2, 5, -0.545028945107489, -0.8670839878195068],
    [0.9, 2, 5, -5.500151255546056e-5, -9.808177372731805],
    [0.25, 0.5, 0.5, -1.0986122886681098, -0.4054651081081644],
    [0.999, 255.5, 0.5, -0.7448365550696361, -0.6439987933142277],
    [0.5, 255.5, 0.5, -180.09893637835273, -6.081710375497982e-79],
    [1e-9, 10, 0.5, -208.96881066560601, -1.7619705208204282e-91],
    [0.1, 2047.5, 0.5, -4718.874938166606, 0],
    [0.99999, 2047.5, 0.5, -0.17477761139686981, -1.8303572342028542],
    [0.4, 30, 45, -0.6806631057623168, -0.70578907984956],
    [0.5, 1e-3, 2, -0.0001932721389088974, -8.551507950593907],
    // binomial sums
    [0.41, 3000, 4500, -0.039591186064963056, -3.2488790425804037],
    [0.39, 3000, 4500, -3.263374695385678, -0.03901016522538687],
    [0.2, 3000, 4500, -789.3571711921398, 1.5557538194652854e-61],
  ])('ln I_%f(%f, %f) and its complement', (x, a, b, lower, upper) => {
    const [lnX, ln1mX] = [Math.log(x), Math.log1p(-x)];
    // ln x itself has half a unit of error, a-fold in the result.
    const rounding = 3e-16 * (a * Math.abs(lnX) + b * Math.abs(ln1mX) + 10);
    close(logIncompleteBeta(lnX, ln1mX, a, b), lower, 2e-14, rounding);
    close(logIncompleteBetaComplement(lnX, ln1mX, a, b), upper, 2e-14, rounding);
  });

  it('ln I_x is exact at both ends and refuses bad arguments', () => {
    expect(logIncompleteBeta(NEGATIVE_INFINITY, 0, 2, 3)).toBe(NEGATIVE_INFINITY);
    expect(logIncompleteBeta(0, NEGATIVE_INFINITY, 2, 3)).toBe(0);
    expect(() => logIncompleteBeta(-1, -1, 0, 1)).toThrow('a and b');
    expect(() => logIncompleteBeta(NOT_A_NUMBER, -1, 1, 1)).toThrow('ln x');
    expect(() => logIncompleteBeta(1, -1, 1, 1)).toThrow('ln x');
  });

  it('log-sum-exp and log(1 − exp) keep their digits', () => {
    close(logSumExp([-1e4, -1e4]), -1e4 + Math.LN2, 1e-15);
    close(logSumExp([1e4, 0]), 1e4, 0);
    expect(logSumExp([])).toBe(NEGATIVE_INFINITY);
    expect(logSumExp([NEGATIVE_INFINITY, NEGATIVE_INFINITY])).toBe(NEGATIVE_INFINITY);
    close(log1mExp(-1e-20), Math.log(1e-20), 1e-15);
    close(log1mExp(-50), -1.9287498479639178e-22, 1e-15);
    expect(log1mExp(0)).toBe(NEGATIVE_INFINITY);
    expect(() => log1mExp(1e-9)).toThrow('log1mExp');
  });

  it.each([
    [1, 2.5, -2.5],
    [3, 0.001, -1.6654171666664883e-10],
    [10, 5, -0.03234558072953487],
    [10, 100, -71.26204609830751],
    [100, 90, -0.1722377566538677],
    [1000, 1200, -20.470050520898305],
    [1000, 1e4, -6703.98515452173],
    [2000, 1e5, -90184.56525128362],
  ])('ln Q(%i, %f)', (K, z, expected) => close(logUpperGammaQ(K, z), expected, 1e-15, 4e-16 * (z + 1)));

  it('ln Q at its ends', () => {
    expect(logUpperGammaQ(7, 0)).toBe(0);
    expect(logUpperGammaQ(7, POSITIVE_INFINITY)).toBe(NEGATIVE_INFINITY);
    for (const K of [0, 1.5, NOT_A_NUMBER]) expect(() => logUpperGammaQ(K, 1)).toThrow('K must');
    for (const z of [-1, NOT_A_NUMBER]) expect(() => logUpperGammaQ(1, z)).toThrow('z must');
  });

  it.each([
    [-40, 0],
    [-10, -7.619853024160525e-24],
    [-3, -0.0013508099647481938],
    [-1.7, -0.045589029170068934],
    [-1, -0.17275377902344988],
    [-0.1, -0.6165050101150263],
    [0, -Math.LN2],
    [1e-10, -0.6931471806397338],
    [0.1, -0.7761545927302733],
    [0.5, -1.1759117615936185],
    [1, -1.8410216450092636],
    [1.4999, -2.7057505373594806],
    [1.5, -2.7059444008238898],
    [1.7, -3.1107960975524813],
    [2, -3.783184333682032],
    [3, -6.607726221510349],
    [5, -15.064998393988725],
    [10, -53.23128515051247],
    [38, -726.5572160188201],
    [100, -5005.524208694205],
    [1e5, -5000000012.431864],
  ])('ln P(Z > %f)', (z, expected) =>
    close(logNormalSurvival(z), expected, 1.5e-15, expected < -1e-3 ? 2e-15 : 1e-300),
  );

  it('ln P(Z > z) at its ends', () => {
    expect(logNormalSurvival(POSITIVE_INFINITY)).toBe(NEGATIVE_INFINITY);
    close(logNormalSurvival(NEGATIVE_INFINITY), 0, 0);
    expect(() => logNormalSurvival(NOT_A_NUMBER)).toThrow('NaN');
  });
});

describe('p-value of a cosine', () => {
  it.each([
    // docs/method.md, 4
    [10, 0.5, -1.231706797],
    [128, 0.1, -0.8868798342],
    [512, -0.05, -0.06005649137],
    [512, 0.1, -1.929847503],
    [512, 0.5, -33.37683386],
    [512, 0.9, -185.9864087],
    [512, 0.99, -436.3922042],
    [4096, 0.99, -3485.299207],
  ])('published vector d=%i c=%f', (d, c, expected) => close(log10PCosine(c, d), expected, 6e-10));

  it.each([
    [2, 0.3, -0.3946806040802295],
    [2, -0.3, -0.22403535584020637],
    [3, 0.25, -0.42596873227228116],
    [3, -0.999, -0.000217201545864256],
    [3, 0.999999999, -9.301030007946668],
    [4, 0.5, -0.7088507736197454],
    [33, 0.2, -0.8914967841009173],
    [128, -0.3, -0.0001199133348948477],
    [512, 1e-9, -0.30103000349327075],
    [512, -0.3, -8.591129010781338e-13],
    [1000000, 0.001, -0.7995452103129311],
    [2048, -0.001, -0.28563561139103494],
    [512, 1 - 2 ** -53, -4001.2380352486034],
  ])('mpmath d=%i c=%f', (d, c, expected) => close(log10PCosine(c, d), expected, 1e-13));

  it('is the angle in two dimensions and linear in three', () => {
    for (const c of uniforms(1, 200)) {
      close(10 ** log10PCosine(c, 2), Math.acos(c) / Math.PI, 1e-13);
      close(10 ** log10PCosine(c, 3), (1 - c) / 2, 1e-13);
    }
  });

  it.each([4, 5, 10, 33, 64, 200])('agrees with quadrature of the density (1 − t²)^((d−3)/2), d = %i', (d) => {
    // With t = cos θ the density is sin^{d−2} θ: composite Simpson on [0, arccos c] over [0, π].
    const integral = (to: number) => {
      const intervals = 20_000;
      const h = to / intervals;
      let sum = 0;
      for (let i = 0; i <= intervals; i++) {
        sum += (i === 0 || i === intervals ? 1 : i % 2 === 1 ? 4 : 2) * Math.sin(i * h) ** (d - 2);
      }
      return (sum * h) / 3;
    };
    const whole = integral(Math.PI);
    for (const c of [-0.9, -0.4, -0.05, 0, 0.02, 0.2, 0.45, 0.7]) {
      close(log10PCosine(c, d), Math.log10(integral(Math.acos(c)) / whole), 1e-9, 1e-13);
    }
  });

  it('handles the ends, one dimension and rounding', () => {
    expect(log10PCosine(1, 5)).toBe(NEGATIVE_INFINITY);
    expect(log10PCosine(1 + 1e-13, 5)).toBe(NEGATIVE_INFINITY);
    expect(log10PCosine(-1, 5)).toBe(0);
    expect(log10PCosine(-1 - 1e-13, 5)).toBe(0);
    close(log10PCosine(1, 1), Math.log10(0.5), 1e-15);
    close(log10PCosine(-1, 1), 0, 0);
    for (const d of [2, 3, 512]) close(log10PCosine(0, d), Math.log10(0.5), 1e-15);
  });

  it('refuses what is no cosine and no dimension', () => {
    for (const c of [NOT_A_NUMBER, 1 + 1e-11, -1.1, POSITIVE_INFINITY])
      expect(() => log10PCosine(c, 5)).toThrow('cosine');
    for (const d of [0, 2.5, NOT_A_NUMBER]) expect(() => log10PCosine(0.1, d)).toThrow('dimension');
  });

  it('p(c) + p(−c) = 1 and p falls with c', () => {
    for (const d of [2, 7, 128]) {
      let last = 1;
      for (let c = -0.99; c < 0.995; c += 0.01) {
        const p = 10 ** log10PCosine(c, d);
        close(p + 10 ** log10PCosine(-c, d), 1, 1e-14);
        if (!(p <= last)) expect.fail(`p rises at c = ${c}, d = ${d}`);
        last = p;
      }
    }
  });
});

describe("Fisher's method", () => {
  it.each([
    [10, -2, -2.3014287],
    [10, -10, -30.948713],
    [100, -10, -293.21926],
    [1000, -10, -2911.5038],
  ])('K=%i equal ln p=%f', (K, lnP, expected) =>
    close(fisherLog10P(new Float64Array(K).fill(lnP / Math.LN10)), expected, 3e-8),
  );

  it('leaves a single p-value alone, whatever its size', () => {
    for (const log10p of [-1e-9, -0.3, -5, -4000]) close(fisherLog10P([log10p]), log10p, 1e-13);
  });

  it('p = z(1 − ln z) for two', () => {
    close(fisherLog10P([-1, -2]), Math.log10(1e-3 * (1 - Math.log(1e-3))), 1e-14);
  });

  it('passes certainty through and refuses what is no p-value', () => {
    expect(fisherLog10P([-1, NEGATIVE_INFINITY])).toBe(NEGATIVE_INFINITY);
    expect(fisherLog10P([0, 0])).toBe(0);
    expect(() => fisherLog10P([])).toThrow('at least one');
    for (const bad of [NOT_A_NUMBER, 0.1]) expect(() => fisherLog10P([-1, bad])).toThrow('p-value 1');
  });
});

describe('linear algebra', () => {
  it('multiplies by a transpose at sizes that are no multiple of a tile', () => {
    for (const [m, n, k] of [
      [1, 1, 1],
      [4, 2, 3],
      [5, 3, 7],
      [9, 8, 1030],
      [3, 11, 513],
    ] as const) {
      const A = uniforms(m, m * k);
      const B = uniforms(n + 100, n * k);
      const C = multiplyTransposed(A, B, m, n, k);
      for (let i = 0; i < m; i++) {
        for (let j = 0; j < n; j++) {
          let sum = 0;
          for (let p = 0; p < k; p++) sum += A[i * k + p] * B[j * k + p];
          close(C[i * n + j], sum, 0, 1e-13);
        }
      }
    }
    expect([...transpose(Float64Array.of(1, 2, 3, 4, 5, 6), 2, 3)]).toEqual([1, 4, 2, 5, 3, 6]);
    expect([...centreRows(Float64Array.of(1, 2, 3, 6), 2, 2)]).toEqual([-1, -2, 1, 2]);
  });

  it('finds the eigenvalues of the second difference, 2 − 2 cos(jπ/(n+1))', () => {
    for (const n of [1, 2, 3, 17, 128]) {
      const A = new Float64Array(n * n);
      for (let i = 0; i < n; i++) {
        A[i * n + i] = 2;
        if (i > 0) A[i * n + i - 1] = A[(i - 1) * n + i] = -1;
      }
      const { values } = symmetricEigen(A, n);
      for (let j = 0; j < n; j++) close(values[j], 2 - 2 * Math.cos(((n - j) * Math.PI) / (n + 1)), 0, 1e-14 * n);
    }
  });

  it.each([
    ['full rank', 60, 60],
    ['rank 5 of 60', 60, 5],
    ['200 × 200', 200, 200],
  ])('decomposes a symmetric matrix: %s', (_, n, rank) => {
    const G = uniforms(n + rank, n * rank);
    const A = multiplyTransposed(G, G, n, n, rank).map((x) => x * 1e160);
    const { values, vectors } = symmetricEigen(A, n);
    const products = multiplyTransposed(vectors, vectors, n, n, n);
    for (let i = 0; i < n * n; i++) close(products[i], i % (n + 1) === 0 ? 1 : 0, 0, 1e-13);
    const AV = multiplyTransposed(vectors, A, n, n, n);
    for (let i = 0; i < n * n; i++) {
      close(AV[i], values[Math.floor(i / n)] * vectors[i], 0, n * 3e-16 * values[0]);
    }
    for (let i = 1; i < n; i++) if (!(values[i] <= values[i - 1])) expect.fail('eigenvalues must descend');
    for (let i = rank; i < n; i++) close(values[i], 0, 0, n * 3e-16 * values[0]);
  });

  it('decomposes zero, diagonal and repeated eigenvalues, refuses NaN', () => {
    expect([...symmetricEigen(new Float64Array(9), 3).values]).toEqual([0, 0, 0]);
    expect([...symmetricEigen(Float64Array.of(1, 0, 0, 0, 3, 0, 0, 0, -2), 3).values]).toEqual([3, 1, -2]);
    const { values } = symmetricEigen(Float64Array.of(2, 1, 1, 1, 2, 1, 1, 1, 2), 3);
    [4, 1, 1].forEach((expected, i) => {
      close(values[i], expected, 1e-15);
    });
    expect(() => symmetricEigen(Float64Array.of(1, NOT_A_NUMBER, NOT_A_NUMBER, 1), 2)).toThrow('element 1');
  });

  it('orthonormalises nearly dependent rows and finds the rank', () => {
    const n = 12;
    // Läuchli's rows (1, ε at i): plain Gram-Schmidt loses orthogonality altogether.
    const rows = new Float64Array(6 * n);
    for (let i = 0; i < 5; i++) {
      rows[i * n] = 1;
      rows[i * n + i + 1] = 1e-7;
    }
    for (let j = 0; j < n; j++) rows[5 * n + j] = 3 * rows[j] - 2 * rows[n + j];
    const against = Float64Array.from({ length: n }, (_, j) => (j === n - 1 ? 1 : 0));
    for (const outside of [new Float64Array(0), against]) {
      const { rows: Q, rank } = orthonormaliseRows(rows, 6, n, outside);
      expect(rank).toBe(5);
      const products = multiplyTransposed(Q, Q, 5, 5, n);
      products.forEach((x, i) => {
        close(x, i % 6 === 0 ? 1 : 0, 0, 1e-15);
      });
    }
    expect(orthonormaliseRows(against, 1, n, against).rank).toBe(0);
    expect(orthonormaliseRows(uniforms(3, 40 * n), 40, n).rank).toBe(n);
    expect(orthonormaliseRows(new Float64Array(n), 1, n).rank).toBe(0);
  });
});

describe('least squares', () => {
  it('fits a line with an intercept exactly', () => {
    // y = 2x + 1, x = 0…3; without the intercept Σxy/Σx² = 34/14
    const F0 = Float64Array.of(0, 1, 2, 3);
    const Ft = Float64Array.of(1, 3, 5, 7);
    const centred = leastSquares(F0, Ft, { n: 4, d: 1, dt: 1, centre: true });
    close(centred.X[0], 2, 1e-15);
    close(centred.r2, 1, 1e-15);
    expect([centred.rank, centred.n]).toEqual([1, 4]);
    const through = leastSquares(F0, Ft, { n: 4, d: 1, dt: 1, centre: false });
    close(through.X[0], 34 / 14, 1e-15);
    close(through.r2, 34 ** 2 / 14 / 84, 1e-14);
  });

  it('takes the minimal norm where columns depend on each other, and leaves dead ones at zero', () => {
    const n = 50;
    const x = uniforms(5, n);
    const F0 = new Float64Array(n * 4);
    for (let i = 0; i < n; i++) F0.set([x[i], 2 * x[i], 0, 0], i * 4);
    // y = 10x: the minimal X on (x, 2x) is 10 · (1, 2)/5.
    const { X, rank } = leastSquares(
      F0,
      x.map((value) => 10 * value),
      { n, d: 4, dt: 1, centre: false },
    );
    expect(rank).toBe(1);
    [2, 4, 0, 0].forEach((expected, i) => {
      close(X[i], expected, 1e-14);
    });
  });

  it('recovers a map through singular values from 1 to 1e-5', () => {
    const [n, d, dt] = [300, 20, 7];
    const { rows: U } = orthonormaliseRows(uniforms(11, d * n), d, n);
    const { rows: V } = orthonormaliseRows(uniforms(12, d * d), d, d);
    const expected = uniforms(13, d * dt);
    const scaled = U.map((u, i) => u * 10 ** ((-5 * Math.floor(i / n)) / (d - 1)));
    const F0 = multiplyTransposed(transpose(scaled, d, n), transpose(V, d, d), n, d, d);
    const Ft = multiplyTransposed(F0, transpose(expected, d, dt), n, dt, d);
    const { X, rank, r2 } = leastSquares(F0, Ft, { n, d, dt, centre: false });
    expect(rank).toBe(d);
    close(r2, 1, 1e-12);
    // Backward stable: condition number times rounding, not its square.
    X.forEach((x, i) => {
      close(x, expected[i], 0, 1e5 * 1e-14);
    });
  });

  it('truncates at rcond and nowhere else', () => {
    const n = 40;
    const { rows: U } = orthonormaliseRows(uniforms(21, 3 * n), 3, n);
    const F0 = transpose(
      U.map((u, i) => u * [1, 1e-3, 3e-5][Math.floor(i / n)]),
      3,
      n,
    );
    const rank = (rcond: number) => leastSquares(F0, F0, { n, d: 3, dt: 3, centre: false, rcond }).rank;
    expect([0.1, 1.1e-3, 0.9e-3, 3.3e-5, 2.7e-5].map(rank)).toEqual([1, 1, 2, 2, 3]);
    for (const bad of [0, 1e-8, 1, NOT_A_NUMBER]) expect(() => rank(bad)).toThrow('rcond');
  });

  it('has a residual orthogonal to the features, at full size', () => {
    const [n, d, dt] = [1500, 300, 40];
    const F0 = Float32Array.from(uniforms(31, n * d));
    const Ft = Float32Array.from(uniforms(32, n * dt));
    const { X, r2, rank } = leastSquares(F0, Ft, { n, d, dt, centre: true });
    expect(rank).toBe(d);
    // n − 1 − d of n − 1 degrees of freedom are left to noise: r² = d/(n−1) within its spread.
    close(r2, d / (n - 1), 0, 0.02);
    const [F0c, Ftc] = [centreRows(F0, n, d), centreRows(Ft, n, dt)];
    const residual = multiplyTransposed(F0c, transpose(X, d, dt), n, dt, d).map((y, i) => Ftc[i] - y);
    const products = multiplyTransposed(transpose(F0c, n, d), transpose(residual, n, dt), d, dt, n);
    products.forEach((x) => {
      close(x, 0, 0, 1e-11);
    });
  });

  it('refuses zero features and wrong lengths', () => {
    const constant = new Float64Array(10).fill(3);
    expect(() => leastSquares(constant, constant, { n: 10, d: 1, dt: 1, centre: true })).toThrow('F0 is zero');
    expect(leastSquares(uniforms(1, 10), constant, { n: 10, d: 1, dt: 1, centre: true }).r2).toBe(0);
    expect(() => leastSquares(constant, constant, { n: 5, d: 1, dt: 2, centre: true })).toThrow('10 elements');
  });
});

// References: scipy 1.17 (ksone, kstwo, binomtest), the one-sided tails also by mpmath 1.3 with 60 digits.
describe('uniformity', () => {
  it.each([
    [1, 0.3, 0.7, 1],
    [2, 0.6, 0.16, 0.32],
    [5, 0.2, 0.58528, 0.9616],
    [10, 0.274, 0.1866050696914838, 0.3715203845434957],
    [10, 0.9, 1e-10, 2e-10],
    [50, 0.001, 0.998949805362203, 1],
    [100, 0.05, 0.5871453380805337, 0.9532159710635725],
    [1000, 0.04, 0.03967222345491757, 0.07933955959000225],
    [1000, 0.1, 1.8518435484088595e-9, 3.703687096817711e-9],
    [100_000, 0.004, 0.04065347569406545, 0.08130148920222469],
  ])("Smirnov's tail of n = %i at %f; doubled, it bounds Kolmogorov's", (n, x, one, two) => {
    close(smirnovTail(n, x), one, 1e-9);
    const doubled = Math.min(1, 2 * smirnovTail(n, x));
    if (!(doubled >= two * (1 - 1e-9))) expect.fail(`${doubled} is no bound of ${two}`);
    if (two < 0.5) close(doubled, two, 0.02);
  });

  it('has its ends', () => {
    expect([smirnovTail(7, 0), smirnovTail(7, -1), smirnovTail(7, 1), smirnovTail(7, 2)]).toEqual([1, 1, 0, 0]);
    expect(() => smirnovTail(0, 0.5)).toThrow('positive integer');
    expect(() => smirnovTail(3, NOT_A_NUMBER)).toThrow('NaN');
  });

  it('measures the distance on either side, ties included', () => {
    // Of three p-values 0.1: F_n jumps to 1 at 0.1, before it is 0.
    close(uniformity([0.1, 0.1, 0.1]).distance, 0.9, 1e-15);
    close(uniformity([0.9, 0.9, 0.9]).distance, 0.9, 1e-15);
    close(uniformity([0.9, 0.9, 0.9], 'conservative').distance, 0.1, 1e-14);
    close(uniformity([0.25, 0.5, 0.75, 1], 'conservative').distance, 0, 0, 1e-15);
    close(uniformity([0.125, 0.375, 0.625, 0.875]).distance, 0.125, 1e-15);
    expect(() => uniformity([])).toThrow('no p-values');
    expect(() => uniformity([0.5, NOT_A_NUMBER])).toThrow('NaN');
    expect(() => uniformity([1.5])).toThrow('1.5');
  });

  it.each([
    [0, 10, 0.95, 0, 0.30849710781876294, 1],
    [10, 10, 0.95, 0.6915028921812371, 1, 9.765625000000005e-14],
    [3, 40, 0.95, 0.015742179851041527, 0.20386474873289898, 0.3232642392513527],
    [57, 1000, 0.95, 0.04345358193695859, 0.07322272946066255, 0.17205773936542598],
    [1, 1000, 0.99, 5.0125292607668415e-6, 0.007406286938353162, 1],
    [12, 200, 0.95, 0.03138395389348212, 0.10246183130833159, 0.30024429664578084],
  ])('%i of %i: the interval of confidence %f, the tail at 0.05', (count, n, level, low, high, tail) => {
    const interval = clopperPearson(count, n, level);
    close(interval.low, low, 1e-9);
    close(interval.high, high, 1e-9);
    close(binomialTail(count, n, 0.05), tail, 1e-9);
  });
});
