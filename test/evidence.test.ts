import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { hostname, tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { merkleRoot } from '../src/datasets/merkle.ts';
import { IntegrityError } from '../src/errors.ts';
import { bonferroni, type NewLook } from '../src/evidence/register.ts';
import { canonicalJson } from '../src/formats/canonical.ts';
import { beginRegister, enterLook, readRegister, requireRegister } from '../src/node/evidence/register.ts';

let folder: string;
const at = (name: string): string => join(folder, name);
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'radioactive-evidence-'));
});
afterAll(() => rmSync(folder, { recursive: true }));

describe('canonical JSON', () => {
  it('is that of RFC 8785, 3.2.2 and 3.2.3', () => {
    const values = JSON.parse(String.raw`{
      "numbers": [333333333.33333329, 1E30, 4.50, 2e-3, 0.000000000000000000000000001],
      "string": "\u20ac$\u000F\u000aA'\u0042\u0022\u005c\\\"\/",
      "literals": [null, true, false]
    }`);
    expect(canonicalJson(values)).toBe(
      String.raw`{"literals":[null,true,false],"numbers":[333333333.3333333,1e+30,4.5,0.002,1e-27],"string":"€$\u000f\nA'B\"\\\\\"/"}`,
    );
    const names = JSON.parse(
      String.raw`{"\u20ac": 1, "\r": 2, "\ufb33": 3, "1": 4, "\ud83d\ude00": 5, "\u0080": 6, "\u00f6": 7}`,
    );
    expect(Object.values(JSON.parse(canonicalJson(names)))).toHaveLength(7);
    expect([...canonicalJson(names).matchAll(/:(\d)/g)].map((match) => Number(match[1]))).toEqual([
      2, 4, 6, 7, 1, 5, 3,
    ]);
  });

  it('has no number without end', () => {
    for (const x of [Number.NaN, Number.NEGATIVE_INFINITY])
      expect(() => canonicalJson({ x })).toThrow(`JSON has no ${x}`);
  });
});

describe('the Merkle root', () => {
  const page = readFileSync(new URL('../docs/key-derivation.md', import.meta.url), 'utf8');
  const blocks = Array.from(page.matchAll(/```json\n(.*?)```/gs), ([, text]) => JSON.parse(text));
  const { images, roots } = blocks.find((block) => 'merkleRoots' in block).merkleRoots;

  it.each([1, 2, 3, 4, 5, 6, 7])('of the first %i published images', (n) => {
    expect(merkleRoot(images.slice(0, n))).toBe(roots[n - 1]);
  });
});

describe('the register', () => {
  const key = 'ab'.repeat(32);
  const look = (n: number): NewLook => ({
    test: 'white-box',
    primary: true,
    options: { centre: true, rcond: 1e-6 },
    suspect: 'cd'.repeat(32),
    data: 'ef'.repeat(32),
    log10p: n === 3 ? null : -1 - n,
    resultSha256: '01'.repeat(32),
  });

  it('lists every test, also of processes that append at once', async () => {
    const path = at('many.jsonl');
    await beginRegister(path, key, true);
    await expect(beginRegister(path, key, true)).rejects.toThrow('exists already');
    const seen = await Promise.all(Array.from({ length: 12 }, (_, n) => enterLook(path, key, look(n))));
    expect(seen.map(({ looks }) => looks.length).sort((a, b) => a - b)).toEqual(
      Array.from({ length: 12 }, (_, i) => i + 1),
    );
    const { looks, withKey } = await readRegister(path, key);
    expect(withKey).toBe(true);
    expect(looks.map(({ log10p }) => log10p).sort()).toEqual(
      Array.from({ length: 12 }, (_, n) => look(n).log10p).sort(),
    );
    expect(looks.map(({ index }) => index)).toEqual(Array.from({ length: 12 }, (_, i) => i + 1));
  });

  it('is not locked for ever by a process that has died', async () => {
    const path = at('crashed.jsonl');
    await beginRegister(path, key, true);
    writeFileSync(`${path}.lock`, JSON.stringify({ pid: 2 ** 30, host: hostname(), token: 'a' }));
    expect((await enterLook(path, key, look(1))).looks).toHaveLength(1);
    expect(existsSync(`${path}.lock`)).toBe(false);
  });

  it('cut off or changed anywhere it is refused, and not gone on with', async () => {
    const path = at('whole.jsonl');
    await beginRegister(path, key, true);
    for (const n of [1, 2, 3]) await enterLook(path, key, look(n));
    const whole = readFileSync(path);
    const broken = at('broken.jsonl');
    const refused = async (bytes: Uint8Array, what: string): Promise<void> => {
      writeFileSync(broken, bytes);
      const error = await enterLook(broken, key, look(4)).catch((reason: unknown) => reason);
      expect(error, what).toBeInstanceOf(IntegrityError);
      expect((error as Error).message).toMatch(/^[^\n]*broken\.jsonl: [^\n]*$/);
      expect(readFileSync(broken).equals(bytes), what).toBe(true);
    };
    for (let length = 0; length < whole.length; length += 7)
      await refused(whole.subarray(0, length), `${length} bytes`);
    const lines = whole.toString().split('\n');
    expect(lines).toHaveLength(6);
    const without = (n: number): Uint8Array => Buffer.from(lines.toSpliced(n, 1).join('\n'));
    for (let n = 0; n < 6; n++) await refused(without(n), `without line ${n + 1}`);
    const swapped = [lines[0], lines[2], lines[1], ...lines.slice(3)].join('\n');
    await refused(Buffer.from(swapped), 'two lines exchanged');
    for (const [from, to] of [
      ['"log10p":-2', '"log10p":-9'],
      ['"log10p":null', '"log10p":0'],
      ['"primary":true', '"primary":false'],
      ['"withKey":true', '"withKey":false'],
      ['"entries":3', '"entries":2'],
    ] as const) {
      expect(whole.includes(from)).toBe(true);
      await refused(Buffer.from(whole.toString().replace(from, to)), from);
    }
    await expect(readRegister(path, 'ac'.repeat(32))).rejects.toThrow('lists the tests of another key');
    await enterLook(path, key, look(4));
    expect((await readRegister(path, key)).looks).toHaveLength(4);
  });

  it('must be there before a test begins', async () => {
    const path = at('none.jsonl');
    await expect(requireRegister(path, key)).rejects.toThrow(
      expect.objectContaining({ exitCode: 6, message: expect.stringContaining('nobody can say how many tests') }),
    );
  });

  it('counts for Bonferroni', () => {
    expect(bonferroni(-4, 1)).toBe(-4);
    expect(bonferroni(-4, 100)).toBe(-2);
    expect(bonferroni(-1, 100)).toBe(0);
    expect(bonferroni(Number.NEGATIVE_INFINITY, 3)).toBe(Number.NEGATIVE_INFINITY);
  });
});
