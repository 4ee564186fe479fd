import { readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { golden } from '../golden.ts';
import { expectGoldenOutputs, expectGoldenTraining } from '../golden_resnet.ts';
import { installPrograms } from './install.ts';
import type { Detected } from './programs/detection.ts';
import type { NetworkOutputs } from './programs/golden_network.ts';
import type { DecodedFiles } from './programs/image_files.ts';
import type { ProgramName } from './programs/index.ts';
import type { Marked } from './programs/marking.ts';
import type { Refused } from './programs/refused.ts';
import type { Reported } from './programs/report.ts';
import type { SelfTested } from './programs/self_test.ts';
import type { Trained } from './programs/training.ts';
import { missing, node, others, type Started } from './runtimes.ts';
import { decodeResult } from './wire.ts';

const inputs = fileURLToPath(new URL('../golden', import.meta.url));

let folder: string;
beforeAll(async () => {
  folder = await installPrograms();
});
afterAll(() => rmSync(folder, { recursive: true }));

/** What Node gives, once for all that are compared with it. */
const fromNode = new Map<ProgramName, Promise<unknown>>();
function expected<T>(program: ProgramName): Promise<T> {
  let result = fromNode.get(program);
  if (!result) {
    result = node.start(folder, inputs).then(async ({ run }) => decodeResult(await run(program)));
    fromNode.set(program, result);
  }
  return result as Promise<T>;
}

describe.each([node, ...others].map((runtime) => [runtime.name + missing(runtime.executable), runtime] as const))(
  '%s',
  (_name, runtime) => {
    let started: Started;
    beforeAll(async () => {
      if (!missing(runtime.executable)) started = await runtime.start(folder, inputs);
    });
    afterAll(() => started?.stop());
    const test = it.skipIf(missing(runtime.executable) !== '');
    async function resultOf<T>(program: ProgramName): Promise<T> {
      if (runtime === node) return await expected(program);
      return decodeResult(await started.run(program)) as T;
    }

    test('the self-test passes, also where pipelines can only be made synchronously', async ({ annotate }) => {
      const { adapter, tests, synchronous } = await resultOf<SelfTested>('self-test');
      await annotate(`on ${adapter}`);
      expect(tests.length).toBeGreaterThan(0);
      expect(synchronous.tests.map(({ name }) => name)).toEqual(tests.map(({ name }) => name));
      for (const { name, error, tolerance } of [...tests, ...synchronous.tests])
        expect(error, name).toBeLessThanOrEqual(tolerance);
      expect(synchronous.thrown).toBeGreaterThan(0);
    });

    test('a device that computes wrongly is refused', async () => {
      const { name, message } = await resultOf<Refused>('refused');
      expect(name).toBe('AdapterError');
      expect(message).toMatch(/ computes wrongly with precision f32 \(.*: relative error \d/);
    });

    test('image files are decoded to the bit, and written without loss', async () => {
      const files = await resultOf<DecodedFiles>('image files');
      const expected: DecodedFiles = JSON.parse(readFileSync(join(inputs, 'images/decoded.json'), 'utf8'));
      expect(Object.keys(files)).toEqual(Object.keys(expected));
      for (const [name, decoded] of Object.entries(files)) {
        if ('refused' in decoded)
          expect(decoded.refused, name).toMatch(/, which portableCodec does not decode; convert it$/);
        else expect(decoded, name).toMatchObject({ ...expected[name], again: decoded.sha256 });
      }
      const refused = Object.values(files).filter((decoded) => 'refused' in decoded);
      expect(refused.length).toBe(runtime.portable ? 3 : 0);
    });

    test('features, logits and image gradient are those of PyTorch', async () => {
      expectGoldenOutputs(await resultOf<NetworkOutputs>('golden network'));
    });

    test('ten training steps are those of PyTorch', async () => {
      expectGoldenTraining(await resultOf<Trained>('training'));
    });

    test(`eight images are marked as in ${node.name}`, async ({ annotate }) => {
      const images = await resultOf<Marked>('marking');
      const reference = await expected<Marked>('marking');
      expect(images).toHaveLength(8);
      let different = 0;
      let levels = 0;
      images.forEach(({ image, marked }, index) => {
        expect(image).toEqual(reference[index].image);
        expect({ ...marked, data: null }).toEqual({ ...image, data: null });
        expect(marked.data).toHaveLength(image.data.length);
        const change = largest(differences(marked.data, image.data));
        expect(change).toBeGreaterThan(0);
        expect(change).toBeLessThanOrEqual(10);
        const others = differences(marked.data, reference[index].marked.data);
        expect(largest(others), `image ${index}`).toBeLessThanOrEqual(runtime.sameAdapter ? 0 : 1);
        different += others.filter((difference) => difference > 0).length;
        levels += others.length;
      });
      await annotate(`${different} of ${levels} levels differ`);
      // Another adapter rounds otherwise where a value lies between two levels: that is rare.
      expect(different).toBeLessThanOrEqual(levels / 100);
    });

    test(`white-box and black-box tests give the p-values of ${node.name}`, async () => {
      const detected = await resultOf<Detected>('detection');
      const file = golden('detection');
      const log10p = (name: string): number[] => Array.from(file.float64(name));
      expectAlike(
        detected.golden.perClass.map((evidence) => evidence.log10p),
        log10p('centred/log10p'),
        'log10 p',
      );
      expectAlike([detected.golden.log10p], log10p('centred/fisher_log10p'), 'log10 p of all classes');
      expect(detected.blackBox.log10p).toBeLessThan(-2);
      expectAlike(detected, await expected<Detected>('detection'), 'detection');
    });

    test(`a report is made, and says what it says in ${node.name}`, async () => {
      const { page, ...report } = await resultOf<Reported>('report');
      const { page: _, ...reference } = await expected<Reported>('report');
      expect(page).toMatch(/^<!DOCTYPE html>\n/);
      expect(page).toContain('</html>');
      expect(report.corrected.looks).toBe(1);
      expectAlike(report, reference, 'report');
    });
  },
);

const differences = (a: Uint8Array, b: Uint8Array): Uint8Array => a.map((level, i) => Math.abs(level - b[i]));
const largest = (values: Uint8Array): number => values.reduce((most, value) => Math.max(most, value), 0);

/** Fails unless both are the same but for rounding: numbers to 1e-9, relative to the larger of the expected number and 1. */
function expectAlike(actual: unknown, expected: unknown, path: string): void {
  if (typeof expected === 'number') {
    const error = Math.abs((actual as number) - expected);
    expect(error / Math.max(1, Math.abs(expected)), `${path}: ${actual} instead of ${expected}`).toBeLessThanOrEqual(
      1e-9,
    );
  } else if (typeof expected === 'object' && expected !== null) {
    expect(Object.keys(actual as object), path).toEqual(Object.keys(expected));
    for (const [key, part] of Object.entries(expected))
      expectAlike((actual as Record<string, unknown>)[key], part, join(path, key));
  } else expect(actual, path).toEqual(expected);
}
