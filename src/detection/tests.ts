/** The tests that a key can fix: one entry each, which everything that knows of tests takes from. */

import { hashBytes } from '../formats/sha256.ts';
import { type Key, keyAlignment } from '../marking/key.ts';
import { PROBES_NAME, type ProbeManifest } from '../marking/probe_manifest.ts';
import { parseFeatures, parseSavedScores, type StoredArrays } from './arrays.ts';
import { testArrays } from './detect.ts';
import { keyCombination, testScores } from './detect_blackbox.ts';
import { DOUBTS } from './doubts.ts';
import type { Finding, NullSample } from './statistic.ts';

/** What a test says of a result that is to be computed again. */
export interface Retested {
  readonly finding: Finding;
  /** What it was computed from: `from 10 images' features of both networks`. */
  readonly from: string;
  /** What of the result, beside its numbers, does not belong to these arrays; absent where all does. */
  readonly foreign?: string;
}

/** What a result told of a test, as far as computing it again depends on it. */
export interface ToldOfTest {
  readonly blackBox?: { readonly scores: string; readonly probes: { readonly sha256: string } } | undefined;
  readonly statistics: readonly { readonly null: { readonly log10p: readonly unknown[] } | null }[];
}

/** A test with a p-value of its own. */
export interface ProductTest {
  /** For the command line: what it looks at. */
  readonly summary: string;
  /** The same for a report, as a sentence. */
  readonly looksAt: string;
  /** What it measures of each class. */
  readonly perClass: string;
  /** What its deciding statistic is compared with. */
  readonly nullKind: NullSample['kind'];
  /** What an experiment must have for it. */
  readonly needs: { readonly references: boolean; readonly vanilla: boolean };
  /** The numbers again from the arrays that were kept. */
  retest(key: Key, arrays: StoredArrays, told: ToldOfTest, signal?: AbortSignal): Promise<Retested>;
}

const entries = {
  'white-box': {
    summary: 'on the weights of suspects',
    looksAt: 'It looks for the directions in the weights of the last layer of the model.',
    perClass: 'cosine',
    nullKind: 'fresh keys',
    needs: { references: false, vanilla: false },
    async retest(key, stored, { statistics }, signal) {
      const arrays = parseFeatures(stored);
      const freshKeys = statistics[0]?.null?.log10p.length ?? 0;
      const finding = await testArrays(key, arrays, { freshKeys, signal });
      return { finding, from: `from ${arrays.n} images' features of both networks` };
    },
  },
  'black-box': {
    summary: 'on their scores',
    looksAt: 'It looks only at what the model answers to images, not inside the model.',
    perClass: 'response',
    nullKind: 'decoys',
    needs: { references: true, vanilla: true },
    async retest(key, stored, { blackBox }) {
      const { probes, suspect, references } = parseSavedScores(stored);
      const labelOnly = blackBox?.scores === 'labels';
      const finding = await testScores(key, probes, suspect, references, { labelOnly, despite: DOUBTS });
      return {
        finding,
        from: `from the scores on ${probes.sets} carrier sets and the order that the secret gives`,
        ...(hashBytes(stored.files[PROBES_NAME]) !== blackBox?.probes.sha256 && { foreign: 'the probes' }),
      };
    },
  },
} satisfies Readonly<Record<string, ProductTest>>;

/** The name of a test, as keys and results say it. */
export type TestName = keyof typeof entries;

/** A new test is an entry here. */
export const TESTS: Readonly<Record<TestName, ProductTest>> = entries;

/** All of them. */
export const TEST_NAMES = Object.keys(TESTS) as [TestName, ...TestName[]];

/** The white-box test's options as a result records them: those that the key fixes, or the defaults. */
export const whiteBoxOptions = (key: Key) => ({ kind: 'white-box' as const, ...keyAlignment(key) });

/** The black-box test's options as a result records them. */
export const blackBoxOptions = (
  key: Key,
  { options }: Pick<ProbeManifest, 'options'>,
  asked: {
    readonly scores: string;
    readonly probesSha256: string;
    readonly references: readonly string[];
    readonly taken?: string | undefined;
  },
) => ({
  kind: 'black-box' as const,
  combine: keyCombination(key),
  ...options,
  scores: asked.scores,
  probesSha256: asked.probesSha256,
  references: [...asked.references].sort().join(' '),
  ...(asked.taken !== undefined && { network: asked.taken }),
});
