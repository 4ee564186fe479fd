/** A suspect of two classes with one output. */

import { expect, it } from 'vitest';
import { ClassMapping } from '../src/detection/class_mapping.ts';
import { parseScores } from '../src/detection/score_file.ts';
import { probeRows } from '../src/detection/scores.ts';
import { serializeNpy } from '../src/formats/npy.ts';
import { type ProbeManifest, probeLayout } from '../src/marking/probe_manifest.ts';

const CLASSES = ['cat', 'dog'];
const weight = Float64Array.of(1, -2, 3);

it('has the rows −w and w, whichever class is the second', () => {
  const own = ClassMapping.ownOrder(CLASSES, 1, 'x');
  expect([...own.rowsOf(weight, 3)]).toEqual([-1, 2, -3, 1, -2, 3]);
  expect([...own.logitsOf(Float64Array.of(4, -6), 1)]).toEqual([-2, 2, 3, -3]);
  const named = ClassMapping.byName(CLASSES, { names: ['dog', 'cat'], file: 'names.txt' }, 1, 'x');
  expect([...named.rowsOf(weight, 3)]).toEqual([1, -2, 3, -1, 2, -3]);
  expect(() => ClassMapping.ownOrder(['ant', ...CLASSES], 1, 'x')).toThrow('x: has 1 classes, expected 3');
});

it('is what binary cross-entropy trains: its two logits have the probabilities of the sigmoid', () => {
  const z = [0.3, -2, 5];
  const pairs = ClassMapping.ownOrder(CLASSES, 1, 'x').logitsOf(Float64Array.from(z), 1);
  z.forEach((logit, row) => {
    const [first, second] = [Math.exp(pairs[2 * row]), Math.exp(pairs[2 * row + 1])];
    expect(Math.abs(second / (first + second) - 1 / (1 + Math.exp(-logit)))).toBeLessThan(1e-12);
  });
});

it('other outputs are taken in their places', () => {
  const names = { names: ['dog', 'eel', 'cat'], file: 'names.txt' };
  const mapping = ClassMapping.byName(CLASSES, names, 3, 'x');
  expect([...mapping.logitsOf(Float64Array.of(1, 2, 3, 4, 5, 6), 3)]).toEqual([3, 1, 6, 4]);
});

it('answers probes with one number each', async () => {
  const manifest = {
    classes: CLASSES,
    sets: 2,
    images: [
      { class: 'cat', id: 'a' },
      { class: 'dog', id: 'b' },
    ],
  } as unknown as ProbeManifest;
  const list = { name: 'probes.csv', text: async () => '' };
  const count = probeRows(probeLayout(manifest));
  const values = Array.from({ length: count }, (_, i) => (i + 1) / 8);
  const csv = (numbers: readonly number[]) => new TextEncoder().encode(['dog', ...numbers].join('\n'));
  const npy = (numbers: readonly number[], shape: number[]) => serializeNpy(shape, Float32Array.from(numbers));
  const read = (bytes: Uint8Array, name: string) => parseScores(bytes, name, { manifest, list });
  const pairs = values.flatMap((p) => [1 - p, p]);
  for (const [bytes, name] of [
    [csv(values), 'a.csv'],
    [npy(values, [count]), 'a.npy'],
    [npy(values, [count, 1]), 'a.npy'],
  ] as const) {
    const scores = await read(bytes, name);
    expect(scores.kind).toBe('probabilities');
    expect([...scores.values]).toEqual(pairs);
  }
  const logits = await read(csv(values.map((p) => 8 * p - 4.5)), 'a.csv');
  expect(logits.kind).toBe('logits');
  expect([...logits.values]).toEqual(values.flatMap((p) => [2.25 - 4 * p, 4 * p - 2.25]));
  // Zeros and ones are classes.
  expect((await read(csv(values.map((_, i) => i % 2)), 'a.csv')).kind).toBe('labels');
});
