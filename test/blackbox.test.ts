import { describe, expect, it } from 'vitest';
import { blackBoxTest, marksAlike } from '../src/detection/blackbox.ts';
import { calibrateBlackBox } from '../src/detection/calibrate.ts';
import { ModelScores, probeResponse, reorderSets } from '../src/detection/scores.ts';
import { stratifiedSumLog10P } from '../src/maths/permutation.ts';
import { derive } from '../src/random.ts';
import { expectClose } from './tolerance.ts';

const normals = (label: string, length: number): Float64Array => {
  const random = derive(11, label);
  return Float64Array.from({ length }, () => random.gaussian());
};
const names = (K: number): string[] => Array.from({ length: K }, (_, c) => `class ${c}`);

/** Every choice of one of S in each of K strata. */
function* choices(K: number, S: number): Generator<number[]> {
  for (let code = 0; code < S ** K; code++) yield Array.from({ length: K }, (_, c) => Math.floor(code / S ** c) % S);
}

describe('the stratified permutation law', () => {
  it('is what enumeration gives, at every value', () => {
    const [K, S] = [4, 5];
    const random = derive(2, 'rows');
    // Values come twice in a row, and rows differ in width.
    const rows = Float64Array.from({ length: K * S }, (_, i) => random.below(4 + 30 * Math.floor(i / S)) - 20);
    const sums = [...choices(K, S)].map((choice) => choice.reduce((sum, s, c) => sum + rows[c * S + s], 0));
    const at = [...new Set(sums)].flatMap((t) => [t, t + 0.5]);
    const expected = at.map((t) => Math.log10(sums.filter((sum) => sum >= t).length / S ** K));
    const found = stratifiedSumLog10P(rows, K, at);
    for (const [i, value] of expected.entries())
      if (value === Number.NEGATIVE_INFINITY) expect(found[i]).toBe(value);
      else expectClose([found[i]], [value], 1e-11, `at ${at[i]}`);
  });

  it('reaches far below the smallest float64', () => {
    // Sums of 200 ranks from 0 to 29, counted in whole numbers.
    const [K, S] = [200, 30];
    let counts: bigint[] = [1n];
    for (let c = 0; c < K; c++) {
      const next: bigint[] = [];
      let window = 0n;
      for (let t = 0; t < counts.length + S - 1; t++) {
        window += (counts[t] ?? 0n) - (t >= S ? counts[t - S] : 0n);
        next.push(window);
      }
      counts = next;
    }
    const log10 = (x: bigint): number => {
      const digits = String(x);
      return Math.log10(Number(`0.${digits.slice(0, 20)}`)) + digits.length;
    };
    const at = [K * (S - 1), K * (S - 1) - 7, 5500, 4000, 3000, 2900, 1000];
    const expected = at.map((t) => log10(counts.slice(t).reduce((sum, n) => sum + n, 0n)) - K * Math.log10(S));
    expect(expected[0]).toBeLessThan(-295);
    const rows = Float64Array.from({ length: K * S }, (_, i) => i % S);
    expectClose(stratifiedSumLog10P(rows, K, at), expected, 1e-11, 'log10 p');
  });

  it('refuses what is no table of integers', () => {
    expect(() => stratifiedSumLog10P([1, 2, 3], 2, [1])).toThrow('3 values in 2 strata');
    expect(() => stratifiedSumLog10P([1, 2.5], 1, [1])).toThrow('a value is 2.5');
  });
});

describe('the response', () => {
  const [K, S] = [3, 2];
  const labels = [2, 0, 1, 0];
  const layout = { labels, classCount: K, sets: S };
  const N = labels.length * (S + 1);
  const logits = normals('logits', N * K);
  const softmax = (scores: Float64Array): Float64Array => {
    const out = scores.map(Math.exp);
    for (let row = 0; row < N; row++) {
      const sum = out[row * K] + out[row * K + 1] + out[row * K + 2];
      for (let k = 0; k < K; k++) out[row * K + k] /= sum;
    }
    return out;
  };
  const scored = (scores: Float64Array): ModelScores => ModelScores.ofScores(scores, K);

  it('is the mean change of the margin, of logits, log-probabilities and probabilities alike', () => {
    const margin = (row: number, c: number): number => {
      const [a, b, z] = logits.subarray(row * K);
      return logits[row * K + c] - (a + b + z) / 3;
    };
    const expected = Array.from({ length: K * S }, (_, at) => {
      const [c, s] = [Math.floor(at / S), at % S];
      const of = labels.flatMap((label, b) => (label === c ? [b] : []));
      return of.reduce((sum, b) => sum + margin(b * 3 + 1 + s, c) - margin(b * 3, c), 0) / of.length;
    });
    const found = probeResponse(scored(logits), layout);
    expect(found.kind).toBe('logits');
    expectClose(found.response, expected, 1e-13, 'logits');
    const probabilities = softmax(logits);
    const told = probeResponse(scored(probabilities), layout);
    expect(told.kind).toBe('probabilities');
    expectClose(told.response, expected, 1e-12, 'probabilities');
    const logs = probeResponse(scored(probabilities.map(Math.log)), layout);
    expect(logs.kind).toBe('logits');
    expectClose(logs.response, expected, 1e-12, 'log-probabilities');
  });

  it('takes a probability of zero for half the smallest that there is', () => {
    const probabilities = softmax(logits);
    probabilities.set([0.9999, 0.0001, 0], 0);
    const smallest = probabilities.reduce((least, p) => (p > 0 ? Math.min(least, p) : least), 1);
    expect(smallest).toBe(0.0001);
    const filled = probabilities.slice();
    filled[2] = 0.00005;
    expect(probeResponse(scored(probabilities), layout).response).toEqual(
      probeResponse(scored(filled), layout).response,
    );
  });

  it('is the change of how often the class is predicted, of labels', () => {
    const predicted = Array.from({ length: N }, (_, row) =>
      [0, 1, 2].reduce((best, k) => (logits[row * K + k] > logits[row * K + best] ? k : best), 0),
    );
    const rate = (c: number, version: number): number => {
      const of = labels.flatMap((label, b) => (label === c ? [b] : []));
      return of.filter((b) => predicted[b * 3 + version] === c).length / of.length;
    };
    const expected = Array.from({ length: K * S }, (_, at) => {
      const c = Math.floor(at / S);
      return rate(c, 1 + (at % S)) - rate(c, 0);
    });
    expect(expected.some((x) => x !== 0)).toBe(true);
    const fromLabels = probeResponse(ModelScores.ofLabels(predicted, K), layout);
    expect(fromLabels).toEqual(probeResponse(scored(logits), layout, { labelOnly: true }));
    expect(fromLabels.kind).toBe('labels');
    expectClose(fromLabels.response, expected, 1e-15, 'rates');
  });

  it.each([
    [logits.slice(3), 'scores: has 11 rows, the probes are 12 images; give one row per image'],
    [logits.with(7, Number.NaN), 'scores: row 2, column 1 is NaN; give finite logits'],
    [logits.with(7, Number.NEGATIVE_INFINITY), 'scores: row 2, column 1 is -Infinity; give finite logits'],
  ])('refuses scores that do not fit', (scores, message) => {
    expect(() => probeResponse(scored(scores), layout)).toThrow(message);
  });

  it('refuses labels that are no classes, and a class without image', () => {
    const few = ModelScores.ofLabels(new Uint8Array(11), K);
    expect(() => probeResponse(few, layout)).toThrow('has 11 rows, the probes are 12 images');
    expect(() => ModelScores.ofLabels(new Uint8Array(N).fill(3, 4, 5), K)).toThrow('row 4 is 3; give a class, 0 to 2');
    const without = { ...layout, labels: [0, 0, 1, 1] };
    expect(() => probeResponse(scored(logits), without)).toThrow('there is no probe image of class 2');
  });
});

describe('the black-box test', () => {
  const [K, S] = [3, 6];
  const references = [normals('first', K * S), normals('second', K * S)];
  const response = normals('own', K * S).map(
    (x, i) => 0.4 * x + 0.9 * references[0][i] - 0.5 * references[1][i] + Math.floor(i / S) + (i % S === 0 ? 0.8 : 0),
  );
  const input = { response, references, classes: names(K), combine: 'sum' } as const;
  const test = (change: object = {}) => blackBoxTest({ ...input, ...change });
  const named = (statistics: ReturnType<typeof test>['statistics'], name: string) =>
    statistics.find((statistic) => statistic.name === `black-box ${name}`)!;

  /** The definition in plain loops: residuals by Cramer's rule, tails by enumeration. */
  function plain(values: Float64Array, controls: readonly Float64Array[]) {
    const centred = (of: Float64Array): number[][] =>
      names(K).map((_, c) => {
        const row = [...of.subarray(c * S, (c + 1) * S)];
        const mean = row.reduce((sum, x) => sum + x, 0) / S;
        return row.map((x) => x - mean);
      });
    const R = centred(values);
    let E = R;
    if (controls.length === 2) {
      const [r, q] = controls.map(centred) as [number[][], number[][]];
      const product = (x: number[][], y: number[][]): number => {
        let sum = 0;
        for (let c = 0; c < K; c++) for (let s = 0; s < S; s++) sum += x[c][s] * y[c][s];
        return sum;
      };
      const [rr, rq, qq, rR, qR] = [product(r, r), product(r, q), product(q, q), product(r, R), product(q, R)];
      const determinant = rr * qq - rq * rq;
      const [a, b] = [(rR * qq - qR * rq) / determinant, (qR * rr - rR * rq) / determinant];
      E = R.map((row, c) => row.map((x, s) => x - a * r[c][s] - b * q[c][s]));
    }
    const z = E.map((row) => {
      const deviation = Math.sqrt(row.reduce((sum, x) => sum + x * x, 0) / S);
      return row.map((x) => x / deviation);
    });
    const rounded = z.map((row) => row.map((x) => Math.round(64 * x)));
    const total = (rows: number[][], choice: readonly number[]): number =>
      choice.reduce((sum, s, c) => sum + rows[c][s], 0);
    const truth = names(K).map(() => 0);
    const all = [...choices(K, S)].map((choice) => total(rounded, choice));
    const observed = total(rounded, truth);
    const ranks = E.map((row) => row.filter((x) => x >= row[0]).length / S);
    const half = -ranks.reduce((sum, p) => sum + Math.log(p), 0);
    const joint = Array.from({ length: S }, (_, s) =>
      total(
        z,
        names(K).map(() => s),
      ),
    );
    const [own, ...decoys] = joint as [number, ...number[]];
    const mean = decoys.reduce((sum, x) => sum + x, 0) / decoys.length;
    const variance = decoys.reduce((sum, x) => sum + (x - mean) ** 2, 0) / (decoys.length - 1);
    return {
      z,
      sum: Math.log10(all.filter((x) => x >= observed).length / all.length),
      ranks: ranks.map(Math.log10),
      // The upper tail of χ² with 6 degrees of freedom.
      fisher: (-half + Math.log(1 + half + half ** 2 / 2)) / Math.LN10,
      rank: Math.log10(joint.filter((x) => x >= own).length / S),
      standardScore: (own - mean) / Math.sqrt(variance),
    };
  }

  it.each([[references], [[]]])('is its definition in plain loops, with and without references', (controls) => {
    const expected = plain(response, controls);
    const { log10p, statistics } = test({ references: controls });
    expectClose([log10p], [expected.sum], 1e-12, 'sum');
    expectClose([named(statistics, 'ranks of classes (Fisher)').log10p], [expected.fisher], 1e-12, 'Fisher');
    expectClose([named(statistics, 'rank of the sum').log10p], [expected.rank], 1e-12, 'rank');
    const { perClass } = named(statistics, 'sum of responses');
    expectClose(
      perClass.map(({ score }) => score),
      expected.z.map((row) => row[0]),
      1e-11,
      'responses',
    );
    expectClose(
      perClass.map((entry) => entry.log10p!),
      expected.ranks,
      1e-13,
      'ranks',
    );
    const normal = named(statistics, 'normal approximation');
    expect(normal).toMatchObject({ exact: false, null: null });
    // Simpson's rule for the normal tail.
    const density = (x: number): number => Math.exp(-x * x * 0.5) / Math.sqrt(2 * Math.PI);
    const [steps, width] = [4000, 40];
    let integral = 0;
    for (let i = 0; i <= steps; i++) {
      const weight = i === 0 || i === steps ? 1 : i % 2 === 0 ? 2 : 4;
      integral += weight * density(expected.standardScore + (width * i) / steps);
    }
    expectClose([normal.log10p], [Math.log10((integral * width) / steps / 3)], 1e-7, 'normal');
  });

  it('lets the key decide which combination counts', () => {
    const fisher = test({ combine: 'fisher' });
    expect(fisher.log10p).toBe(named(test().statistics, 'ranks of classes (Fisher)').log10p);
    expect(fisher.statistics.map(({ name }) => name)).toEqual([
      'black-box ranks of classes (Fisher)',
      'black-box sum of responses',
      'black-box rank of the sum',
      'black-box normal approximation',
    ]);
    expect(fisher.log10p).not.toBe(test().log10p);
  });

  it("takes each decoy in turn for the true set: the null is the test's own", () => {
    const { statistics } = test();
    for (const statistic of statistics.filter(({ exact }) => exact)) {
      expect(statistic.null).toMatchObject({ kind: 'decoys' });
      expect(statistic.null!.atMost).toBe(statistic.null!.log10p.filter((x) => x <= statistic.log10p).length);
      for (let m = 1; m < S; m++) {
        // The same with set m first.
        const order = Uint32Array.from({ length: S }, (_, s) => (s === 0 ? m : s <= m ? s - 1 : s));
        const orders = names(K).map(() => order);
        const first = blackBoxTest({
          ...input,
          response: reorderSets(response, orders),
          references: references.map((reference) => reorderSets(reference, orders)),
        });
        const again = first.statistics.find(({ name }) => name === statistic.name)!;
        expectClose([statistic.null!.log10p[m - 1]], [again.log10p], 1e-12, statistic.name);
      }
    }
  });

  it.each(['scores', 'label rates with ties'])('is exact over all assignments of the true set: %s', (kind) => {
    const [classes, sets] = [3, 7];
    const ties = kind !== 'scores';
    const random = derive(4, 'rates');
    const values = ties
      ? Float64Array.from({ length: classes * sets }, () => random.below(3) / 4)
      : normals('values', classes * sets).map((x, i) => x * (1 + Math.floor(i / sets)));
    const control = ties ? [] : [normals('control', classes * sets)];
    const found = new Map<string, number[]>();
    for (const choice of choices(classes, sets)) {
      const orders = choice.map((first) =>
        Uint32Array.from({ length: sets }, (_, s) => (s === 0 ? first : s <= first ? s - 1 : s)),
      );
      const { statistics } = blackBoxTest({
        response: reorderSets(values, orders),
        references: control.map((reference) => reorderSets(reference, orders)),
        classes: names(classes),
        combine: 'sum',
        withNull: false,
      });
      for (const { name, exact, log10p } of statistics)
        if (exact) found.set(name, [...(found.get(name) ?? []), 10 ** log10p]);
    }
    expect(found.size).toBe(3);
    for (const [name, p] of found) {
      expect(p).toHaveLength(sets ** classes);
      for (const alpha of p) {
        const share = p.filter((x) => x <= alpha * (1 + 1e-12)).length / p.length;
        // The rank of the sum compares fixed partners: it is exact over full permutations, see the calibration below.
        if (!name.endsWith('rank of the sum') && !(share <= alpha * (1 + 1e-9)))
          expect.fail(`${name}: P(p <= ${alpha}) is ${share}`);
      }
    }
    // Resolved as finely as there are assignments, not just ranks.
    if (!ties) expect(Math.min(...found.get('black-box sum of responses')!)).toBeLessThan(1.5 / sets ** classes);
  });

  it('leaves the coefficients alone, whichever sets change places within a class', () => {
    const random = derive(5, 'orders');
    const orders = names(K).map(() => random.shuffle(Uint32Array.from({ length: S }, (_, s) => s)));
    const { control } = test();
    const moved = test({
      response: reorderSets(response, orders),
      references: references.map((reference) => reorderSets(reference, orders)),
    });
    expectClose(moved.control.beta, control.beta, 1e-12, 'beta');
    expectClose([moved.control.explained], [control.explained], 1e-12, 'explained');
    expect(control.explained).toBeGreaterThan(0.5);
  });

  it('counts ties against the mark, and silence for nothing', () => {
    const silent = test({ response: new Float64Array(K * S), references: [] });
    expect(silent.log10p).toBe(0);
    expect(silent.statistics.map(({ log10p }) => log10p)).toEqual([0, 0, 0]);
    expect(silent.warnings).toContain(
      'class class 1: the suspect answers all sets alike, which is taken for no evidence',
    );
    const twice = Float64Array.from({ length: K * S }, (_, i) => (i % S < 2 ? 1 : 0));
    const { statistics } = test({ response: twice, references: [] });
    expectClose([statistics[0].log10p], [K * Math.log10(2 / S)], 1e-12, 'two at the top');
    // References that say nothing change nothing.
    expect(test({ references: [new Float64Array(K * S)] }).log10p).toBe(test({ references: [] }).log10p);
    expect(test({ references: [references[0], references[0]] }).log10p).toBe(
      test({ references: [references[0]] }).log10p,
    );
  });

  it('sees what is hidden behind the variation that a reference shares', () => {
    const [classes, sets] = [10, 50];
    const shared = normals('shared', classes * sets);
    const marked = normals('noise', classes * sets).map(
      (x, i) => 0.3 * x + 1.5 * shared[i] + (i % sets === 0 ? 0.6 : 0),
    );
    const seen = (controls: Float64Array[]): number =>
      blackBoxTest({ response: marked, references: controls, classes: names(classes), combine: 'sum' }).log10p;
    expect(seen([])).toBeGreaterThan(-3);
    expect(seen([shared])).toBeLessThan(-6);
  });

  it.each([
    [{ response: response.slice(1) }, 'the response has 17 values for 3 classes'],
    [{ response: response.with(7, Number.NaN) }, 'the response of class 1 is NaN'],
    [{ references: [references[0].slice(6)] }, "a reference has 12 values for 3 classes, the suspect's has 18"],
    [{ references: [references[0].with(0, Number.POSITIVE_INFINITY)] }, 'a reference of class 0 is Infinity'],
    [{ response: response.slice(0, 3), references: [] }, 'needs at least one decoy'],
  ])('refuses what does not fit: %#', (change, message) => {
    expect(() => test(change)).toThrow(message);
  });
});

describe('calibration of the black-box test', () => {
  const [K, S] = [8, 40];
  const classes = names(K);
  const calibrate = (response: Float64Array, keys = 200) =>
    calibrateBlackBox({
      response,
      references: [normals('reference', K * S)],
      classes,
      combine: 'sum',
      marksLog10P: -0.3,
      keys,
    });
  const failed = async (response: Float64Array): Promise<string[]> =>
    (await calibrate(response)).flatMap(({ name, passed }) => (passed ? [] : [name]));

  it('finds p-values valid where classes and sets are drawn independently, even of a marked suspect', async () => {
    const innocent = normals('innocent', K * S);
    const calibrations = await calibrate(innocent);
    expect(calibrations.map(({ name, samples, side }) => [name, samples, side])).toEqual([
      ['black-box sum of responses', 200, 'conservative'],
      ['black-box each class', 200 * K, 'conservative'],
      ['black-box ranks of classes (Fisher)', 200, 'conservative'],
      ['black-box rank of the sum', 200, 'conservative'],
      ['black-box sum of responses, each set in turn', S, 'conservative'],
      ['black-box ranks of classes (Fisher), each set in turn', S, 'conservative'],
      ['marks of the true set like its decoys', 1, 'conservative'],
    ]);
    expect(calibrations.every(({ passed }) => passed)).toBe(true);
    expect(await failed(innocent.map((x, i) => x + (i % S === 0 ? 4 : 0)))).toEqual([]);
  });

  it('notices one carrier for all classes', async () => {
    const common = normals('common', S);
    const response = normals('innocent', K * S).map((x, i) => 0.4 * x + 0.9 * common[i % S]);
    expect(await failed(response)).toEqual([
      'black-box sum of responses, each set in turn',
      'black-box ranks of classes (Fisher), each set in turn',
    ]);
  });

  it('notices a true set whose marks were made differently', () => {
    const change = normals('change', K * S).map((x) => 8 + 0.2 * x);
    const gain = normals('gain', K * S).map((x) => 2 + 0.3 * x);
    const truth = (values: Float64Array, by: number) => values.map((x, i) => x + (i % S === 0 ? by : 0));
    expect(marksAlike([change, gain], K)).toBeGreaterThan(-2);
    expect(marksAlike([truth(change, 0.6), gain], K)).toBeLessThan(-3);
    expect(marksAlike([change, truth(gain, -0.9)], K)).toBeLessThan(-3);
  });

  it('gives the check of the marks its own row', async () => {
    const bad = await calibrateBlackBox({
      response: normals('innocent', K * S),
      classes,
      combine: 'fisher',
      marksLog10P: -4,
      keys: 20,
    });
    expect(bad.flatMap(({ name, passed }) => (passed ? [] : [name]))).toEqual([
      'marks of the true set like its decoys',
    ]);
  });

  it('stops when told to', async () => {
    const run = calibrateBlackBox({
      response: normals('innocent', K * S),
      classes,
      combine: 'sum',
      marksLog10P: 0,
      keys: 1000,
      signal: AbortSignal.abort(),
    });
    await expect(run).rejects.toThrow('aborted');
  });
});
