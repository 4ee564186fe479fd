import { expect, test } from 'vitest';
import { compareEntries, median, ratio, table } from '../bench/peers/results.mjs';

test('medians of odd and even counts, of unsorted values', () => {
  expect(median([9, 1, 5])).toBe(5);
  expect(median([10, 1, 2, 7])).toBe(4.5);
});

test('a ratio pairs the rounds: the other time over ours', () => {
  // Twice, three times, four times as long; the medians alone would say 30/10.
  expect(ratio([20, 30, 80], [10, 10, 20])).toEqual({ min: 2, median: 3, max: 4 });
});

const entries = [
  { key: 'ours', timesMs: [2, 4, 2] },
  { key: 'slow', timesMs: [20, 20, 20] },
  { key: 'fast', timesMs: [8, 8, 10], firstRunMs: 50 },
  { key: 'outside', timesMs: [1, 1, 1] },
  { key: 'wrong', error: 'wrong result' },
  { key: 'without', unsupported: 'no gradients' },
];
const options = { ours: 'ours', peers: ['slow', 'fast', 'wrong', 'without'], flops: 8e6 };

test('the ratio is the fastest peer’s; what is no peer, failed or cannot do it does not count', () => {
  const { fastestPeer, ratio, ratios, implementations } = compareEntries(entries, options);
  expect(fastestPeer).toBe('fast');
  expect(ratio).toEqual({ min: 2, median: 4, max: 5 });
  expect(Object.keys(ratios)).toEqual(['slow', 'fast', 'outside']);
  expect(ratios.outside.median).toBe(0.5);
  // 8e6 operations in 8 ms.
  expect(implementations.fast).toEqual({
    ms: { min: 8, median: 8, max: 10 },
    gflops: 1,
    timesMs: [8, 8, 10],
    firstRunMs: 50,
  });
  expect(implementations.wrong).toEqual({ error: 'wrong result' });
});

test('no ratio where ours, or every peer, has no time', () => {
  const withoutOurs = compareEntries([{ key: 'ours', error: 'lost' }, ...entries.slice(1)], options);
  expect(withoutOurs.ratio).toBeUndefined();
  expect(withoutOurs.ratios).toEqual({});
  expect(compareEntries(entries, { ...options, peers: ['wrong'] }).fastestPeer).toBeUndefined();
});

test('the table shows times, what could not be done, and says what went wrong', () => {
  const row = { work: 'matmul', ...compareEntries(entries, options) };
  const columns = ['ours', 'fast', 'wrong', 'without'].map((key) => ({ key, title: key.toUpperCase() }));
  const lines = table([row], columns, ({ ratio }) => ratio && { ratio, to: 'FAST' }, 'ratio');
  expect(lines[1].split(/\s+/)).toEqual([
    'matmul',
    '2.00',
    '4.00',
    '8.00',
    '1.00',
    'error',
    '–',
    '4.00',
    '2.00–5.00',
    'FAST',
  ]);
  expect(lines.at(-1)).toBe('matmul, WRONG: wrong result');
});
