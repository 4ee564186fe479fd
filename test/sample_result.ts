import { bonferroni } from '../src/evidence/register.ts';
import { parseResult, type Result, type StoredResult } from '../src/evidence/result.ts';
import { jsonDocument } from '../src/formats/json.ts';
import { cosineOfP, log10PCosine } from '../src/maths/cosine.ts';
import { fisherLog10P } from '../src/maths/fisher.ts';
import { derive } from '../src/random.ts';

type Statistic = Result['statistics'][number];

export interface SampleOptions {
  readonly log10p?: number;
  readonly classes?: readonly string[];
  readonly looks?: number;
  readonly withKey?: boolean;
  /** Uniform p-values of so many fresh keys. */
  readonly freshKeys?: number;
  readonly change?: (result: Result) => Result;
}

/** log10 of uniform numbers. */
export const uniformNull = (count: number, seed = 0): number[] => {
  const random = derive(seed, 'null');
  return Array.from({ length: count }, () => Math.log10(1 - random.uniform()));
};

/** A null sample as results hold it. */
export const nullOf = (log10p: readonly number[], observed: number, kind = 'fresh keys'): Statistic['null'] => ({
  kind,
  log10p,
  atMost: log10p.filter((x) => x <= observed).length,
});

/** Cosines whose p-values Fisher's method combines to a given one; they differ a little. */
function cosinesOf(log10p: number, count: number, dimension: number): number[] {
  const random = derive(1, 'cosines');
  const shares = Array.from({ length: count }, () => 0.5 + random.uniform());
  const all = (strength: number): number[] => shares.map((share) => cosineOfP(-strength * share, dimension));
  const combined = (strength: number): number =>
    fisherLog10P(all(strength).map((cosine) => log10PCosine(cosine, dimension)));
  if (log10p === 0) return shares.map(() => -1);
  if (log10p === Number.NEGATIVE_INFINITY) return shares.map(() => 1);
  let [low, high] = [0, 10 - 10 * log10p];
  for (let i = 0; i < 200; i++) {
    const middle = (low + high) / 2;
    if (combined(middle) > log10p) low = middle;
    else high = middle;
  }
  return all(low);
}

/** The result of a white-box test as `detect` writes it, with made-up numbers that go together. */
export function sampleResult(options: SampleOptions = {}): Result {
  const { log10p = -22.612, classes = ['ape', 'bee', 'cat'], looks = 1, withKey = true, freshKeys = 200 } = options;
  const hex = (digit: string): string => digit.repeat(64);
  // Cosines that float64 has room for: near 1 they are far apart.
  const dimension = log10p < -100 * classes.length ? 4096 : 32;
  const cosines = cosinesOf(log10p, classes.length, dimension);
  const perClass = classes.map((name, c) => ({
    class: name,
    cosine: cosines[c],
    log10p: log10PCosine(cosines[c], dimension),
  }));
  const result: Result = {
    format: 'radioactive-result',
    version: 1,
    time: '2021-05-06T07:08:09.000Z',
    program: { version: '0.1.0', node: '20.20.0', adapter: 'llvmpipe' },
    command: ['radioactive', 'detect', '--key', 'owner.key', '--model', 'marker.safetensors', '--suspect', "it's one"],
    test: 'white-box',
    primary: true,
    deviations: [],
    log10p,
    warnings: [],
    statistics: [
      {
        name: 'white-box',
        log10p,
        exact: true,
        perClass: perClass.map(({ class: name, cosine, log10p: own }) => ({ class: name, score: cosine, log10p: own })),
        null: nullOf(uniformNull(freshKeys), log10p),
      },
    ],
    alignment: { n: 600, rank: 64, r2: 0.8123 },
    dimension,
    meanCosine: perClass.reduce((sum, { cosine }) => sum + cosine, 0) / classes.length,
    perClass,
    key: {
      created: '2021-01-02T03:04:05.000Z',
      classes: [...classes],
      statistic: { kind: 'white-box', centre: true, rcond: 1e-6 },
      heldOut: { kind: 'content', count: 600, sha256: hex('d') },
    },
    carriers: { kind: 'subspace', dimension, sha256: hex('c') },
    keyCommitment: hex('a'),
    markingModel: { sha256: hex('b'), architecture: 'resnet18', featureDimension: 64 },
    suspect: { path: 'models/suspect.safetensors', sha256: hex('e') },
    data: { path: 'held-out', count: 600, sha256: hex('d') },
    register: {
      entry: looks,
      sha256: hex('f'),
      looks,
      log10pBonferroni: bonferroni(log10p, looks),
      withKey,
    },
  };
  return options.change?.(result) ?? result;
}

/** A result as it is read from its file. */
export function stored(result: Result, path = 'evidence/result.json'): StoredResult {
  const text = jsonDocument(result);
  return { path, json: JSON.parse(text), value: parseResult(text, path) };
}
