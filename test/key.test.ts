import { createCipheriv, createHash, hkdfSync } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { InputError, IntegrityError } from '../src/errors.ts';
import { deriveCarriers, placeCarriers, polarGaussians, portableLog } from '../src/marking/carriers.ts';
import {
  checkKeyMatches,
  commitment,
  createKey,
  type Key,
  keyCarriers,
  keySource,
  parseKey,
  serializeKey,
} from '../src/marking/key.ts';
import { keyStream, secretSource } from '../src/marking/key_stream.ts';
import { probeOrder } from '../src/marking/probe_order.ts';
import { defaultMarkingRecipe } from '../src/marking/recipe.ts';
import { multiplyTransposed, orthonormaliseRows } from '../src/maths/linalg.ts';

interface Vectors {
  carriers: {
    secret: string;
    purpose: 'mark' | 'decoy';
    draw: number;
    hkdf: string;
    keyStream: string;
    gaussians: string[];
    classCount: number;
    dimension: number;
    carriers: string[];
  }[];
  commitments: { key: Key; commitment: string }[];
  probeOrders: { secret: string; classIndex: number; sets: number; order: number[] }[];
}

const page = readFileSync(new URL('../docs/key-derivation.md', import.meta.url), 'utf8');
const vectors: Vectors = JSON.parse([...page.matchAll(/```json\n(.*?)```/gs)][1][1]);

const hexOfFloats = (x: Float64Array) =>
  Array.from(x, (value) => {
    const bytes = Buffer.alloc(8);
    bytes.writeDoubleBE(value);
    return bytes.toString('hex');
  });
const secret = Uint8Array.from({ length: 32 }, (_, i) => i);
const source = secretSource(secret);
const short = secretSource(secret.subarray(1));
const model = { sha256: 'c0'.repeat(32), architecture: 'resnet18', featureDimension: 6 };
const uniformOptions = { classes: ['cat', 'dog', 'owl'], model, basis: null, centre: true };
const basis = orthonormaliseRows(Float64Array.of(1, 2, 3, 4, 5, 6, 1, 0, -1, 0, 2, 1), 2, 6).rows;

describe('derivation', () => {
  it.each(vectors.carriers)('published vector: $purpose $draw', async (vector) => {
    const bytes = Buffer.from(vector.secret, 'hex');
    const use = `carriers/${vector.purpose}/${vector.draw}`;
    const prk = Buffer.from(hkdfSync('sha256', bytes, 'radioactive/hkdf/v1', `radioactive/v1/${use}`, 32));
    expect(prk.toString('hex')).toBe(vector.hkdf);
    const cipher = createCipheriv('aes-256-ctr', prk, Buffer.alloc(16));
    const stream = await keyStream(secretSource(bytes), use, 1000);
    expect(Buffer.from(stream)).toEqual(cipher.update(Buffer.alloc(1000)));
    expect(Buffer.from(stream.subarray(0, 48)).toString('hex')).toBe(vector.keyStream);
    expect(hexOfFloats(polarGaussians(stream, 8)!)).toEqual(vector.gaussians);
    const coordinates = await deriveCarriers(secretSource(bytes), vector);
    expect(hexOfFloats(coordinates)).toEqual(vector.carriers);
  });

  it("has a logarithm within 2 units in the last place, beside the engine's", () => {
    const stream = new DataView(new ArrayBuffer(8));
    for (let i = 0; i < 100_000; i++) {
      const x = (i + 0.5) / 100_000;
      const expected = Math.log(x);
      stream.setFloat64(0, expected);
      const unit = 2 ** (((stream.getUint32(0) >>> 20) & 0x7ff) - 1023 - 52);
      // one more unit for the engine's own error
      if (!(Math.abs(portableLog(x) - expected) <= 3 * unit)) expect.fail(`ln ${x} is ${portableLog(x)}`);
    }
    expect(portableLog(1)).toBe(0);
    // −104 ln 2
    expect(portableLog(2 ** -104)).toBe(-72.0873067782343);
    // ln(1 − 2^−53) = −2^−53 − 2^−107 − …
    expect(portableLog(1 - 2 ** -53)).toBe(-(2 ** -53));
  });

  it('says when a stream is used up, drops what falls outside the disc', () => {
    expect(polarGaussians(new Uint8Array(15), 1)).toBeNull();
    // t = 0 twice: u = v = −1 is outside the disc.
    expect(polarGaussians(new Uint8Array(160), 1)).toBeNull();
    // t = ½ twice: u = v = 0, the centre, is dropped too.
    const centre = Uint8Array.from({ length: 160 }, (_, i) => (i % 8 === 0 ? 0x80 : 0));
    expect(polarGaussians(centre, 1)).toBeNull();
    // t = ¾ and ½: u = ½, v = 0, s = ¼: f = √(8 ln 4).
    const pair = Uint8Array.from({ length: 16 }, (_, i) => (i === 0 ? 0xc0 : i === 8 ? 0x80 : 0));
    const [first, second] = polarGaussians(pair, 2)!;
    if (!(Math.abs(first - Math.sqrt(8 * Math.log(4)) / 2) <= 1e-15)) expect.fail(`${first}`);
    expect(second).toBe(0);
  });

  it('gives normal numbers: moments of 200 000 within five standard errors', async () => {
    const n = 200_000;
    const g = polarGaussians(await keyStream(source, 'carriers/mark/0', 11 * n), n)!;
    const moment = (order: number) => g.reduce((sum, x) => sum + x ** order, 0) / n;
    // E x^k = 0, 1, 0, 3 and Var x^k = 1, 2, 15, 96
    for (const [order, mean, variance] of [
      [1, 0, 1],
      [2, 1, 2],
      [3, 0, 15],
      [4, 3, 96],
    ] as const) {
      const z = (moment(order) - mean) / Math.sqrt(variance / n);
      if (!(Math.abs(z) <= 5)) expect.fail(`moment ${order} is ${z} standard errors off`);
    }
  });

  it('gives unit rows, one set per purpose and draw, longer ones without a seam', async () => {
    const options = { classCount: 300, dimension: 50, purpose: 'decoy' } as const;
    const sets = await Promise.all([
      deriveCarriers(source, { ...options, purpose: 'mark' }),
      deriveCarriers(source, options),
      deriveCarriers(source, { ...options, draw: 1 }),
      deriveCarriers(secretSource(secret.map((x) => x ^ 1)), options),
    ]);
    for (const [i, set] of sets.entries()) {
      for (let row = 0; row < 300; row++) {
        const norm = Math.sqrt(set.subarray(row * 50, (row + 1) * 50).reduce((sum, x) => sum + x * x, 0));
        if (!(Math.abs(norm - 1) <= 1e-15)) expect.fail(`row ${row} has length ${norm}`);
      }
      for (let j = 0; j < i; j++) {
        // The mean scalar product of 300 pairs of independent rows has standard deviation 1/√(50 · 300).
        const product = set.reduce((sum, x, at) => sum + x * sets[j][at], 0) / 300;
        if (!(Math.abs(product) <= 5 / Math.sqrt(50 * 300))) expect.fail(`sets ${i} and ${j} are alike: ${product}`);
      }
    }
    expect(await deriveCarriers(source, options)).toEqual(sets[1]);
  });

  it('refuses a short secret, a second mark and sizes that are none', async () => {
    const options = { classCount: 2, dimension: 3, purpose: 'mark' } as const;
    await expect(deriveCarriers(short, options)).rejects.toThrow('this one has 31');
    await expect(deriveCarriers(source, { ...options, draw: 1 })).rejects.toThrow('a key has one mark');
    await expect(deriveCarriers(source, { ...options, classCount: 0 })).rejects.toThrow('positive integers');
    await expect(deriveCarriers(source, { ...options, dimension: 1.5 })).rejects.toThrow('positive integers');
    await expect(deriveCarriers(source, { ...options, purpose: 'decoy', draw: -1 })).rejects.toThrow('draw must be');
    expect(() => placeCarriers(new Float64Array(7), 3, null)).toThrow('7 coordinates');
  });
});

describe('the order of probes', () => {
  it.each(vectors.probeOrders)('published vector: class $classIndex, $sets sets', async (vector) => {
    const order = await probeOrder(secretSource(Buffer.from(vector.secret, 'hex')), vector.classIndex, vector.sets);
    expect([...order]).toEqual(vector.order);
  });

  it('puts the true set anywhere, in each class by itself', async () => {
    const S = 8;
    const places = new Float64Array(S);
    const orders = await Promise.all(Array.from({ length: 400 }, (_, c) => probeOrder(source, c, S)));
    for (const order of orders) {
      expect([...order].sort()).toEqual([0, 1, 2, 3, 4, 5, 6, 7]);
      places[order.indexOf(0)] += 1;
    }
    // χ² with 7 degrees of freedom exceeds 24.3 once in a thousand.
    const deviation = places.reduce((sum, count) => sum + (count - 50) ** 2 / 50, 0);
    expect(deviation).toBeLessThan(24.3);
    expect(new Set(orders.map(String)).size).toBeGreaterThan(390);
  });

  it('takes many sets and refuses none', async () => {
    const order = await probeOrder(source, 0, 5000);
    expect(new Set(order).size).toBe(5000);
    expect([...(await probeOrder(source, 0, 1))]).toEqual([0]);
    await expect(probeOrder(source, 0, 0)).rejects.toThrow('no order of 0 sets');
    await expect(probeOrder(source, -1, 2)).rejects.toThrow('for class -1');
    await expect(probeOrder(short, 0, 2)).rejects.toThrow('this one has 31');
  });
});

describe('key', () => {
  it('makes a new secret each time and survives its file', async () => {
    const [a, b] = [await createKey(uniformOptions), await createKey({ ...uniformOptions, basis, centre: false })];
    expect(a.secret).not.toBe(b.secret);
    expect(a.nonce).not.toBe(b.nonce);
    expect(a.secret).not.toBe(a.nonce);
    for (const key of [a, b]) {
      expect(await parseKey(serializeKey(key), 'x.key')).toEqual(key);
      expect(Buffer.from((await keySource(key)).secret).toString('hex')).toBe(key.secret);
    }
    expect(a.carriers).toEqual({ kind: 'uniform', dimension: 6 });
    expect(b.statistic).toEqual({ kind: 'white-box', centre: false, rcond: 1e-6 });
  });

  it('fixes the black-box test with all its options', async () => {
    const recipe = { ...defaultMarkingRecipe(224), iterations: 30 };
    const blackBox = { combine: 'sum', decoys: 99, perClass: 30, recipe, references: ['ab'.repeat(32)] } as const;
    const key = await createKey({ ...uniformOptions, blackBox: { ...blackBox, references: [...blackBox.references] } });
    expect(key).toMatchObject({ version: 4, statistic: { kind: 'black-box', scores: 'scores', ...blackBox } });
    const text = serializeKey(key);
    expect(await parseKey(text, 'x.key')).toEqual(key);
    const { statistic } = key;
    const seen = new Set<string>([await commitment(key)]);
    for (const change of [
      { combine: 'fisher' },
      { decoys: 98 },
      { perClass: 29 },
      { recipe: { ...recipe, iterations: 31 } },
      { recipe: { ...recipe, crop: null } },
      { references: null },
      { references: [] },
      { scores: 'labels' },
    ])
      seen.add(await commitment({ ...key, statistic: { ...statistic, ...change } as Key['statistic'] }));
    expect(seen.size).toBe(9);
    for (const [change, message] of [
      [{ version: 2 }, 'statistic.kind: expected "white-box" in a key of version 2'],
      [{ version: 3 }, 'statistic.scores: unknown field'],
      [{ statistic: { ...statistic, scores: undefined } }, 'statistic.scores: missing'],
      [{ statistic: { ...statistic, scores: 'some' } }, 'statistic.scores: expected "scores" or "labels"'],
      [{ statistic: { kind: 'other' } }, 'statistic.kind: expected "white-box" or "black-box"'],
      [{ statistic: { ...statistic, decoys: 0 } }, 'statistic.decoys: expected 1 or more'],
      [{ statistic: { ...statistic, combine: 'max' } }, 'statistic.combine: expected "sum" or "fisher"'],
      [{ statistic: { ...statistic, recipe: { ...recipe, crop: 1 } } }, 'statistic.recipe.crop: expected an object'],
      [{ statistic: { ...statistic, recipe: { ...recipe, more: 1 } } }, 'statistic.recipe.more: unknown field'],
      [{ statistic: { ...statistic, references: ['ab'] } }, 'statistic.references[0]: expected 64'],
      [{ statistic: { ...statistic, references: undefined } }, 'statistic.references: missing'],
    ] as const)
      await expect(parseKey(JSON.stringify({ ...key, ...change }), 'x.key')).rejects.toThrow(`x.key: ${message}`);
  });

  it('keeps the basis bit for bit and marks inside it', async () => {
    const key = await createKey({ ...uniformOptions, basis });
    const carriers = await keyCarriers(await parseKey(serializeKey(key), 'x.key'));
    expect(carriers.basis).toEqual(basis);
    if (key.carriers.kind !== 'subspace') expect.fail('the key has no subspace');
    const bytes = Buffer.from(key.carriers.basis, 'base64');
    expect(bytes.readDoubleLE(8)).toBe(basis[1]);
    expect(key.carriers.basisSha256).toBe(createHash('sha256').update(bytes).digest('hex'));
    expect(carriers).toMatchObject({ classCount: 3, dimension: 2, featureDimension: 6 });
    const coordinates = await deriveCarriers(await keySource(key), { classCount: 3, dimension: 2, purpose: 'mark' });
    expect(carriers.coordinates).toEqual(coordinates);
    // directions · Bᵀ gives the coordinates back, and nothing is left outside: the directions have length 1.
    const back = multiplyTransposed(carriers.directions, basis, 3, 2, 6);
    back.forEach((x, i) => {
      if (!(Math.abs(x - coordinates[i]) <= 1e-15)) expect.fail(`coordinate ${i} is ${x}`);
    });
    const norms = multiplyTransposed(carriers.directions, carriers.directions, 3, 3, 6).filter((_, i) => i % 4 === 0);
    for (const norm of norms) if (!(Math.abs(norm - 1) <= 1e-14)) expect.fail(`squared length ${norm}`);
  });

  it('draws uniform carriers in the whole space, and decoys apart', async () => {
    const key = await createKey(uniformOptions);
    const mark = await keyCarriers(key);
    expect(mark.directions).toEqual(mark.coordinates);
    expect(mark.basis).toBeNull();
    const decoy = await keyCarriers(key, 'decoy', 0);
    expect(decoy.directions).not.toEqual(mark.directions);
    await expect(keyCarriers(key, 'mark', 1)).rejects.toThrow('one mark');
  });

  it('takes the basis of a large network', async () => {
    const d = 512;
    const identity = new Float64Array(d * d);
    for (let i = 0; i < d; i++) identity[i * d + i] = 1;
    const key = await createKey({ ...uniformOptions, model: { ...model, featureDimension: d }, basis: identity });
    expect((await parseKey(serializeKey(key), 'x.key')).carriers.dimension).toBe(d);
  });

  it.each(vectors.commitments)(
    'published commitment, version $key.version, $key.carriers.kind',
    async ({ key, commitment: expected }) => {
      expect(await commitment(await parseKey(JSON.stringify(key), 'vector'))).toBe(expected);
    },
  );

  it('commits to every field', async () => {
    const key = vectors.commitments[0].key;
    const other = '11'.repeat(32);
    const { statistic: whiteBox } = key;
    if (whiteBox.kind !== 'white-box') expect.fail('the vector is not of the white-box test');
    const changes: Partial<Key>[] = [
      {},
      { secret: other },
      { nonce: other },
      { classes: [...key.classes].reverse() },
      { classes: ['catH', 'ündin'] },
      { model: { ...key.model, sha256: other } },
      { model: { ...key.model, architecture: 'resnet34' } },
      { model: { ...key.model, featureDimension: 4 } },
      { carriers: { kind: 'uniform', dimension: 2 } },
      { carriers: { ...key.carriers, dimension: 1 } },
      { carriers: { kind: 'subspace', dimension: 2, basis: '', basisSha256: other } },
      { statistic: { ...whiteBox, centre: false } },
      { statistic: { ...whiteBox, rcond: 1e-5 } },
      { created: '2024-01-02T03:04:05.679Z' },
      { version: 2, heldOut: null },
      { version: 2, heldOut: { kind: 'name', name: 'later' } },
      { version: 2, heldOut: { kind: 'content', count: 1, sha256: other } },
      { version: 2, heldOut: { kind: 'content', count: 2, sha256: other } },
    ];
    const seen = new Set(await Promise.all(changes.map((change) => commitment({ ...key, ...change }))));
    expect(seen.size).toBe(changes.length);
  });

  it('refuses a damaged file in one line that names file and field, never the secret', async () => {
    const good = await createKey({ ...uniformOptions, basis });
    if (good.carriers.kind !== 'subspace') expect.fail('the key has no subspace');
    const text = serializeKey(good);
    const edit = (change: object) => JSON.stringify({ ...good, ...change });
    const skewed = Buffer.from(good.carriers.basis, 'base64');
    skewed.writeDoubleLE(0.5, 0);
    const skewedSha256 = createHash('sha256').update(skewed).digest('hex');
    const { nonce: _, ...withoutNonce } = good;
    expect(good.heldOut).toBeNull();
    const cases: [string, string][] = [
      ['', 'not valid JSON'],
      [text.slice(0, -5), 'not valid JSON'],
      [`${good.secret}`, 'not valid JSON'],
      ['5', 'is no key'],
      [JSON.stringify(withoutNonce), 'nonce: missing'],
      [edit({ format: good.secret }), 'is no key'],
      [edit({ version: 5 }), 'is a key of version 5, this program reads version 1, 2, 3, 4'],
      [edit({ version: 2 }), 'carriers.vanilla: unknown field'],
      [edit({ version: 2, carriers: { kind: 'uniform', dimension: 6 } }), 'beacon: unknown field'],
      [edit({ beacon: undefined }), 'beacon: missing'],
      [edit({ beacon: { kind: 'dice' } }), 'beacon.kind: expected "time-stamp" or "drand"'],
      [edit({ beacon: { kind: 'drand', chain: good.secret, round: 5 } }), "beacon.chain: expected the hash of drand's"],
      [edit({ beaconReply: 'AAAA' }), 'beaconReply: unknown field'],
      [edit({ beaconReply: '*' }), 'beaconReply: expected base64'],
      [edit({ carriers: { ...good.carriers, vanilla: undefined } }), 'carriers.vanilla: missing'],
      [edit({ carriers: { ...good.carriers, vanilla: { count: 5 } } }), 'carriers.vanilla.sha256: missing'],
      [edit({ version: 1 }), 'heldOut: unknown field'],
      [edit({ heldOut: undefined }), 'heldOut: missing'],
      [edit({ heldOut: { kind: 'other' } }), 'heldOut.kind: expected "content" or "name"'],
      [edit({ heldOut: { kind: 'name', name: '' } }), 'heldOut.name: expected a name'],
      [edit({ heldOut: { kind: 'content', count: 0, sha256: good.nonce } }), 'heldOut.count: expected 1 or more'],
      [edit({ secret: good.secret.toUpperCase() + good.secret }), 'secret: expected 64'],
      [edit({ secret: `${good.secret}0` }), 'secret: expected 64'],
      [edit({ secret: [good.secret] }), 'secret: expected a string'],
      [edit({ nonce: 5 }), 'nonce: expected a string'],
      [edit({ classes: good.secret }), 'classes: expected a list'],
      [edit({ classes: [] }), 'classes: expected at least one'],
      [edit({ classes: ['a', 'b', 'a'] }), 'classes: expected every class once'],
      [edit({ classes: ['a', ''] }), 'classes[1]: expected a name'],
      [edit({ classes: ['a', 'b\n'] }), 'classes[1]: expected a name'],
      [edit({ classes: ['a', '\ud800'] }), 'classes[1]: expected a name'],
      [edit({ classes: ['a'] }), 'classes: subspace carriers need at least two'],
      [edit({ model: { ...model, sha256: 'zz' } }), 'model.sha256: expected 64'],
      [edit({ model: { ...model, featureDimension: 0 } }), 'model.featureDimension: expected 1 or more'],
      [edit({ model: { ...model, featureDimension: 2.5 } }), 'model.featureDimension: expected a whole number'],
      [edit({ model: { ...model, featureDimension: 2 ** 40 } }), 'model.featureDimension: expected 1048576 or less'],
      [
        edit({
          classes: Array.from({ length: 200 }, (_, c) => `class ${c}`),
          model: { ...model, featureDimension: 2 ** 20 },
          carriers: { kind: 'uniform', dimension: 2 ** 20 },
        }),
        'classes: expected at most 134217728 values',
      ],
      [edit({ carriers: { kind: 'other' } }), 'carriers.kind: expected "uniform" or "subspace"'],
      [edit({ carriers: { kind: 'uniform', dimension: 5 } }), "carriers.dimension: expected 6, the model's"],
      [edit({ carriers: { kind: 'uniform' } }), 'carriers.dimension: missing'],
      [edit({ carriers: { ...good.carriers, dimension: 3 } }), 'carriers.basis: expected 3 × 6 float64'],
      [edit({ carriers: { ...good.carriers, basis: '*' } }), 'carriers.basis: expected base64'],
      [
        edit({ carriers: { ...good.carriers, basis: skewed.toString('base64'), basisSha256: skewedSha256 } }),
        'carriers.basis: its rows are not orthonormal',
      ],
      [edit({ statistic: { ...good.statistic, rcond: 0 } }), 'statistic.rcond: expected at least'],
      [edit({ statistic: { ...good.statistic, centre: 1 } }), 'statistic.centre: expected true or false'],
      [edit({ statistic: { ...good.statistic, extra: good.secret } }), 'statistic.extra: unknown field'],
      [edit({ created: 'yesterday' }), 'created: expected an ISO 8601 time'],
    ];
    for (const [damaged, message] of cases) {
      const error = await parseKey(damaged, 'dir/x.key').then(
        () => expect.fail(`accepted: ${message}`),
        (reason: unknown) => reason as InputError,
      );
      expect(error).toBeInstanceOf(InputError);
      expect(error.message).toContain('dir/x.key: ');
      expect(error.message).toContain(message);
      expect(error.message).not.toMatch(/\n/);
      expect(`${error.message} ${error.cause}`).not.toContain(good.secret);
    }
    const swapped = edit({ carriers: { ...good.carriers, basis: skewed.toString('base64') } });
    await expect(parseKey(swapped, 'x.key')).rejects.toThrow(IntegrityError);
  });

  it('refuses options a key file would not take', async () => {
    await expect(createKey({ ...uniformOptions, classes: ['a', 'a'] })).rejects.toThrow(
      'classes: expected every class',
    );
    await expect(createKey({ ...uniformOptions, basis: basis.map((x) => 2 * x) })).rejects.toThrow('not orthonormal');
    await expect(createKey({ ...uniformOptions, basis: basis.slice(1) })).rejects.toThrow('carriers.dimension');
    await expect(createKey({ ...uniformOptions, rcond: Number.NaN })).rejects.toThrow('statistic.rcond');
  });

  it('tells the marking network and the classes, and their order', async () => {
    const key = await createKey(uniformOptions);
    const found = { modelSha256: model.sha256, classes: ['cat', 'dog', 'owl'] };
    expect(() => checkKeyMatches(key, found)).not.toThrow();
    const otherModel = () => checkKeyMatches(key, { ...found, modelSha256: 'd1'.repeat(32) });
    expect(otherModel).toThrow(IntegrityError);
    expect(otherModel).toThrow(new RegExp(`${'c0'.repeat(32)}.*${'d1'.repeat(32)}`));
    for (const [classes, message] of [
      [['cat', 'owl', 'dog'], 'position 1: the key has "dog", the data "owl" (3 and 3 classes'],
      [['cat', 'dog'], 'position 2: the key has "owl", the data nothing (3 and 2 classes'],
      [['cat', 'dog', 'owl', 'yak'], 'position 3: the key has nothing, the data "yak"'],
    ] as const) {
      const otherClasses = () => checkKeyMatches(key, { ...found, classes });
      expect(otherClasses).toThrow(InputError);
      expect(otherClasses).toThrow(message);
    }
  });
});
