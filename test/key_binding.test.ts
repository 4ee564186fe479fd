import { createCipheriv, createHash, hkdfSync } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { InputError, IntegrityError } from '../src/errors.ts';
import { drandRoundAt, drandRoundTime, QUICKNET } from '../src/marking/beacon.ts';
import { chooseForMarking } from '../src/marking/choice.ts';
import { type KeyGuarantee, keyGuarantees } from '../src/marking/guarantees.ts';
import {
  awaitsBeacon,
  commitment,
  completeKey,
  createKey,
  type Key,
  keyBeacon,
  keyCarriers,
  keyProbeOrders,
  keySource,
  parseKey,
  serializeKey,
} from '../src/marking/key.ts';
import { keyStream } from '../src/marking/key_stream.ts';
import { defaultMarkingRecipe } from '../src/marking/recipe.ts';
import { orthonormaliseRows } from '../src/maths/linalg.ts';

interface Vectors {
  selection: { labels: number[]; dataSha256: string; fraction: number; hardness: number[] };
  keys: {
    key: Key;
    commitment: string;
    context: string;
    beacon: string | null;
    salt: string;
    keyStream: string;
    mark: string[];
    decoy7: string[];
    orders: number[][];
    chosen: number[];
    chosenHard: number[];
  }[];
}

const page = readFileSync(new URL('../docs/key-derivation.md', import.meta.url), 'utf8');
const blocks = [...page.matchAll(/```json\n(.*?)```/gs)].map(([, text]) => text);
const vectors: Vectors = JSON.parse(blocks[0]);

const hexOf = (bytes: Uint8Array): string => Buffer.from(bytes).toString('hex');
const hexOfFloats = (x: Float64Array): string[] =>
  Array.from(x, (value) => {
    const bytes = Buffer.alloc(8);
    bytes.writeDoubleBE(value);
    return bytes.toString('hex');
  });

const model = { sha256: 'c0'.repeat(32), architecture: 'resnet18', featureDimension: 6 };
const basis = orthonormaliseRows(Float64Array.of(1, 2, 3, 4, 5, 6, 1, 0, -1, 0, 2, 1), 2, 6).rows;
const vanilla = { count: 5, sha256: 'aa'.repeat(32), first: 'train/0', last: 'train/4' };
const options = { classes: ['cat', 'dog', 'owl'], model, basis, vanilla, centre: true };

/** Of drand's quicknet; the second is in the documentation of drand-verify, with this randomness. */
const ROUNDS = {
  1000: 'b44679b9a59af2ec876b1a6b1ad52ea9b1615fc3982b19576350f93447cb1125e342b73a8dd2bacbe47e4b6b63ed5e39',
  657413: 'b713718a38ae728dfd477991af2822e08d2f305e47718cef9f7848ce4050e7be41076862b98fad56e91a6b85b89cd97b',
};
const round = (number: keyof typeof ROUNDS, change: object = {}): Uint8Array =>
  new TextEncoder().encode(JSON.stringify({ round: number, signature: ROUNDS[number], ...change }));
const drand = { kind: 'drand', chain: QUICKNET.chain, round: 1000 } as const;

describe('version 4', () => {
  it.each(vectors.keys.map((vector, i) => ({ ...vector, name: `${i + 1}` })))(
    'published vector $name',
    async (vector) => {
      const key = await parseKey(JSON.stringify(vector.key), 'vector');
      expect(await commitment(key)).toBe(vector.commitment);
      const beacon = await keyBeacon(key);
      expect(beacon && hexOf(beacon.value)).toBe(vector.beacon);
      const source = await keySource(key);
      expect(hexOf(source.salt)).toBe(vector.salt);
      expect(hexOf(await keyStream(source, 'carriers/mark/0', 32))).toBe(vector.keyStream);
      expect(hexOfFloats((await keyCarriers(key)).coordinates)).toEqual(vector.mark);
      expect(hexOfFloats((await keyCarriers(key, 'decoy', 7)).coordinates)).toEqual(vector.decoy7);
      expect((await keyProbeOrders(key, 10)).map((order) => [...order])).toEqual(vector.orders);
      const { hardness, ...selection } = vectors.selection;
      expect([...(await chooseForMarking({ key, ...selection })).selected]).toEqual(vector.chosen);
      expect([...(await chooseForMarking({ key, ...selection, hardness })).selected]).toEqual(vector.chosenHard);
    },
  );

  it('is what the page says, written again from it', async () => {
    // Steps 1 and 2 of the page, with Node's own functions.
    const sha256 = (...parts: (string | Uint8Array)[]): Buffer => {
      const hash = createHash('sha256');
      for (const part of parts) hash.update(part);
      return hash.digest();
    };
    const canonical = (value: unknown): string =>
      Array.isArray(value)
        ? `[${value.map(canonical).join()}]`
        : value !== null && typeof value === 'object'
          ? `{${Object.keys(value)
              .sort()
              .map((name) => `${JSON.stringify(name)}:${canonical((value as Record<string, unknown>)[name])}`)
              .join()}}`
          : JSON.stringify(value);
    const stream = (key: Key, beacon: Uint8Array, use: string, length: number): Buffer => {
      const { secret, beaconReply: _, ...rest } = key;
      const context = sha256('radioactive-key-context/v4\n', canonical(rest));
      const salt = sha256('radioactive/hkdf/v4\n', context, beacon);
      const bytes = Buffer.from(hkdfSync('sha256', Buffer.from(secret, 'hex'), salt, `radioactive/v4/${use}`, 32));
      return createCipheriv('aes-256-ctr', bytes, Buffer.alloc(16)).update(Buffer.alloc(length));
    };
    const plain = await createKey(options);
    const waiting = await createKey({ ...options, beacon: drand });
    const complete = await completeKey(waiting, round(1000), 'round.json');
    for (const [key, beacon] of [
      [plain, Buffer.alloc(0)],
      [complete, sha256(Buffer.from(ROUNDS[1000], 'hex'))],
    ] as const)
      for (const use of ['carriers/mark/0', 'carriers/decoy/12', 'probes/order/2', 'selection/x/0'])
        expect(hexOf(await keyStream(await keySource(key), use, 200))).toBe(hexOf(stream(key, beacon, use, 200)));
  });

  it('draws all anew when anything in the key is another', async () => {
    const blackBox = {
      combine: 'sum',
      decoys: 9,
      perClass: 3,
      recipe: defaultMarkingRecipe(32),
      references: null,
      scores: 'scores',
    } as const;
    const key = await createKey({ ...options, blackBox, beacon: drand });
    const { carriers, statistic } = key;
    if (carriers.kind !== 'subspace') expect.fail('no subspace');
    const turned = Float64Array.from([...basis.slice(6), ...basis.slice(0, 6)]);
    const { carriers: turnedCarriers } = await createKey({ ...options, basis: turned });
    const complete = (change: Partial<Key>): Key =>
      ({ ...key, beaconReply: Buffer.from(round(1000)).toString('base64'), ...change }) as Key;
    const changes: Partial<Key>[] = [
      {},
      { secret: '11'.repeat(32) },
      { nonce: '11'.repeat(32) },
      { classes: ['dog', 'cat', 'owl'] },
      { model: { ...model, sha256: 'c1'.repeat(32) } },
      { model: { ...model, architecture: 'resnet34' } },
      { model: { ...model, network: { width: 8 } } },
      { carriers: turnedCarriers },
      { carriers: { ...carriers, vanilla: null } },
      { carriers: { ...carriers, vanilla: { ...vanilla, first: 'test/0' } } },
      { statistic: { ...statistic, decoys: 10 } as Key['statistic'] },
      { statistic: { ...statistic, scores: 'labels' } as Key['statistic'] },
      { statistic: { ...statistic, references: ['ab'.repeat(32)] } as Key['statistic'] },
      { heldOut: { kind: 'name', name: 'later' } },
      { created: '2024-01-02T03:04:05.678Z' },
      { beacon: { ...drand, round: 657413 }, beaconReply: Buffer.from(round(657413)).toString('base64') },
      { beacon: null, beaconReply: undefined as never },
    ];
    const streams = {
      carriers: 'carriers/mark/0',
      decoy: 'carriers/decoy/0',
      order: 'probes/order/0',
      choice: 'selection/x/0',
    };
    for (const use of Object.values(streams)) {
      const seen = new Set<string>();
      for (const change of changes) seen.add(hexOf(await keyStream(await keySource(complete(change)), use, 32)));
      expect(seen.size, use).toBe(changes.length);
    }
    // How a round is written makes no difference: it could be written until one suits.
    const spaced = Buffer.from(
      JSON.stringify({ more: 1, ...JSON.parse(Buffer.from(round(1000)).toString()) }, null, 3),
    );
    expect(await keySource(complete({ beaconReply: spaced.toString('base64') }))).toEqual(
      await keySource(complete({})),
    );
  });
});

describe('a beacon', () => {
  it("is drand's quicknet, as its chain's hash says", () => {
    const numbers = Buffer.alloc(12);
    numbers.writeUInt32BE(QUICKNET.periodSeconds);
    numbers.writeBigInt64BE(BigInt(QUICKNET.genesisSeconds), 4);
    const hash = createHash('sha256').update(numbers);
    hash.update(QUICKNET.publicKey, 'hex').update(QUICKNET.groupHash, 'hex').update(QUICKNET.name);
    expect(hash.digest('hex')).toBe(QUICKNET.chain);
    expect(drandRoundTime(1)).toBe('2023-08-23T15:09:27.000Z');
    for (const [time, number] of [
      ['2023-08-23T15:09:27.000Z', 1],
      ['2023-08-23T15:09:27.001Z', 2],
      ['2023-08-23T15:09:30.000Z', 2],
      ['2000-01-01T00:00:00.000Z', 1],
    ] as const)
      expect(drandRoundAt(new Date(time)), time).toBe(number);
    expect(drandRoundAt(new Date(drandRoundTime(123_456)))).toBe(123_456);
  });

  it('is waited for: no carriers before it, the same commitment after it', async () => {
    const key = await createKey({ ...options, beacon: drand });
    expect(awaitsBeacon(key)).toBe(true);
    for (const use of [keyCarriers, keySource, (k: Key) => keyProbeOrders(k, 3), keyBeacon])
      await expect(use(key)).rejects.toThrow(
        /^the key has no carriers before round 1000 of drand's quicknet, 2023-08-23T15/,
      );
    const complete = await completeKey(await parseKey(serializeKey(key), 'x.key'), round(1000), 'round.json');
    expect(awaitsBeacon(complete)).toBe(false);
    expect(await commitment(complete)).toBe(await commitment(key));
    expect(await parseKey(serializeKey(complete), 'x.key')).toEqual(complete);
    expect(await keyBeacon(complete)).toEqual({
      value: new Uint8Array(createHash('sha256').update(ROUNDS[1000], 'hex').digest()),
      time: '2023-08-23T15:59:24.000Z',
    });
    await keyCarriers(complete);
    await expect(completeKey(complete, round(1000), 'again')).rejects.toThrow('has its beacon already');
    await expect(completeKey(await createKey(options), round(1000), 'x')).rejects.toThrow('made without a beacon');
  });

  it('is not one that somebody made up', async () => {
    const key = await createKey({ ...options, beacon: drand });
    const flipped = `${ROUNDS[1000].slice(0, -1)}8`;
    for (const [reply, message] of [
      [round(657413), 'is round 657413, the key waits for round 1000'],
      [round(1000, { signature: flipped }), "its signature is not that of drand's quicknet for round 1000"],
      [round(1000, { signature: ROUNDS[657413] }), 'its signature is not'],
      [round(1000, { randomness: 'ab'.repeat(32) }), 'its randomness is not the SHA-256 of its signature'],
      [round(1000, { signature: '00'.repeat(48) }), 'its signature is not'],
      [round(1000, { signature: ROUNDS[1000].toUpperCase() }), 'signature: expected 96 lower-case hex digits'],
      [new TextEncoder().encode('no JSON'), 'not valid JSON'],
    ] as const) {
      await expect(completeKey(key, reply, 'round.json')).rejects.toThrow(`round.json: ${message}`);
      const forged = JSON.stringify({ ...key, beaconReply: Buffer.from(reply).toString('base64') });
      await expect(parseKey(forged, 'x.key')).rejects.toThrow(`x.key: beaconReply: ${message}`);
    }
  });

  it("of a time stamp is for this key's commitment", async () => {
    const { key } = vectors.keys[1];
    expect((await keyBeacon(key))?.time).toMatch(/^20/);
    const other = JSON.stringify({ ...key, nonce: '11'.repeat(32) });
    await expect(parseKey(other, 'x.key')).rejects.toThrow(IntegrityError);
    await expect(parseKey(other, 'x.key')).rejects.toThrow('x.key: beaconReply: stamps another hash');
    const { beaconReply, ...waiting } = key;
    const reply = Buffer.from(beaconReply!, 'base64');
    expect(await completeKey(waiting, reply, 'x.tsr')).toEqual(key);
    await expect(completeKey(waiting, reply.subarray(0, 50), 'x.tsr')).rejects.toThrow(
      'x.tsr: is no granted time-stamp',
    );
    await expect(completeKey(waiting, round(1000), 'x.tsr')).rejects.toThrow('x.tsr: is no granted time-stamp');
  });
});

describe('what a key guarantees', () => {
  const table = (key: Key): Record<string, boolean> =>
    Object.fromEntries(keyGuarantees(key).map(({ name, holds }) => [name, holds]));
  const detail = (key: Key, name: KeyGuarantee['name']): string =>
    keyGuarantees(key).find((each) => each.name === name)!.detail;

  it('with a coming round: all; without: that keys may have been drawn until one suited', async () => {
    const heldOut = { kind: 'content', count: 9, sha256: 'dd'.repeat(32) } as const;
    const blackBox = {
      combine: 'sum',
      decoys: 9,
      perClass: 3,
      recipe: defaultMarkingRecipe(32),
      references: ['ab'.repeat(32)],
    } as const;
    const all = {
      bound: true,
      beacon: true,
      'one draw': true,
      subspace: true,
      'choice of images': true,
      'test images': true,
      references: true,
      scores: true,
    };
    const full = { ...options, blackBox: { ...blackBox, references: [...blackBox.references] }, heldOut };
    const waiting = await createKey({ ...full, beacon: drand });
    const early = { ...waiting, created: '2023-08-23T15:20:00.000Z' };
    expect(table(await completeKey(early, round(1000), 'x'))).toEqual(all);
    expect(table(early)).toEqual({ ...all, beacon: false, 'one draw': false });
    // A round that was known when the key was made.
    expect(table(await completeKey(waiting, round(1000), 'x'))).toEqual({ ...all, beacon: false, 'one draw': false });
    const plain = await createKey(full);
    expect(table(plain)).toEqual({ ...all, beacon: false, 'one draw': false });
    expect(detail(plain, 'beacon')).toContain('2^n times gains n bits, so that log10 p may be too small by 0.301 n');
    // A time stamp can be asked for again.
    expect(table(vectors.keys[1].key)).toMatchObject({ beacon: true, 'one draw': false });
    const open = await createKey({
      ...full,
      vanilla: null,
      heldOut: null,
      blackBox: { ...blackBox, references: null },
    });
    expect(table(open)).toMatchObject({ subspace: false, 'test images': false, references: false });
    expect(table(await createKey({ ...options, basis: null }))).not.toHaveProperty('subspace');
  });

  it('of older versions: not that it is bound, nor the choice of images', async () => {
    const old: { commitments: { key: Key }[] } = JSON.parse(blocks[1]);
    expect(old.commitments.length).toBeGreaterThan(5);
    for (const { key } of old.commitments)
      expect(table(key)).toMatchObject({
        bound: false,
        beacon: false,
        'one draw': false,
        'choice of images': false,
        ...(key.carriers.kind === 'subspace' && { subspace: false }),
        ...(key.statistic.kind === 'black-box' && { scores: false }),
      });
  });
});

describe('the choice of images', () => {
  const K = 3;
  const labels = Uint32Array.from({ length: 300 }, (_, i) => (i < 200 ? 0 : i < 297 ? 1 : 2));
  const dataSha256 = '12'.repeat(32);

  it('takes its share of each class, at least one, and follows from secret and data alone', async () => {
    const [a, b] = [await createKey(options), await createKey(options)];
    const choose = async (key: Key, fraction: number, data = dataSha256) =>
      (await chooseForMarking({ key, labels, fraction, dataSha256: data })).selected;
    const chosen = await choose(a, 0.1);
    const counts = Array.from({ length: K }, (_, c) => chosen.filter((i) => labels[i] === c).length);
    expect(counts).toEqual([20, 10, 1]);
    expect([...chosen]).toEqual([...chosen].sort((x, y) => x - y));
    expect(await choose(a, 0.1)).toEqual(chosen);
    expect(await choose(b, 0.1)).not.toEqual(chosen);
    expect(await choose(a, 0.1, '13'.repeat(32))).not.toEqual(chosen);
    expect(await choose(a, 0)).toHaveLength(0);
    expect(await choose(a, 1)).toHaveLength(300);
    expect(await choose(a, 1e-9)).toHaveLength(K);
  });

  it('is at random: every image as often as another', async () => {
    const times = new Float64Array(60);
    const few = new Uint32Array(60);
    const fixed = {
      ...(await createKey({ ...options, basis: null })),
      nonce: '00'.repeat(32),
      created: '2024-01-01T00:00:00Z',
    };
    for (let n = 0; n < 600; n++) {
      const key = { ...fixed, secret: createHash('sha256').update(`${n}`).digest('hex') };
      for (const i of (await chooseForMarking({ key, labels: few, fraction: 0.25, dataSha256 })).selected)
        times[i] += 1;
    }
    // 600 · 15 draws without replacement: χ² of 60 counts, variance 600 · ¼ · ¾ each, exceeds 102.7 once in a thousand (60 − 1 degrees).
    const mean = 150;
    const chi2 = times.reduce((sum, x) => sum + (x - mean) ** 2 / (600 * 0.25 * 0.75), 0) * (59 / 60);
    expect(chi2).toBeLessThan(102.7);
    expect(chi2).toBeGreaterThan(28);
  });

  it('draws from the hardest three times as many, readable ones first', async () => {
    const { key } = vectors.keys[0];
    const three = { ...key, classes: ['a', 'b', 'c'] };
    const hardness = Float64Array.from(labels, (_, i) => (i % 50 === 0 ? -1 : (i * 37) % 101));
    const { selected } = await chooseForMarking({ key: three, labels, fraction: 0.1, dataSha256, hardness });
    const hardest = (c: number, n: number): Set<number> =>
      new Set(
        [...labels.keys()]
          .filter((i) => labels[i] === c)
          .sort((x, y) => hardness[y] - hardness[x] || x - y)
          .slice(0, n),
      );
    const [first, pool] = [hardest(0, 20), hardest(0, 60)];
    const ours = [...selected].filter((i) => labels[i] === 0);
    expect(ours).toHaveLength(20);
    expect(ours.every((i) => pool.has(i))).toBe(true);
    expect(ours.filter((i) => first.has(i)).length).toBeLessThan(15);
    const most = await chooseForMarking({ key: three, labels, fraction: 0.9, dataSha256, hardness });
    expect([...most.selected].filter((i) => hardness[i] < 0)).toHaveLength(0);
    const all = await chooseForMarking({ key: three, labels, fraction: 1, dataSha256, hardness });
    expect(all.selected).toHaveLength(300);
  });

  it('refuses what does not fit', async () => {
    const key = await createKey(options);
    const choose = (change: object) => chooseForMarking({ key, labels, fraction: 0.1, dataSha256, ...change });
    await expect(choose({ fraction: 1.5 })).rejects.toThrow(InputError);
    await expect(choose({ fraction: Number.NaN })).rejects.toThrow('fraction NaN');
    await expect(choose({ labels: [0, 3] })).rejects.toThrow('image 1 has label 3, the key has 3 classes');
    await expect(choose({ hardness: [1] })).rejects.toThrow('300 images and 1 values of hardness');
    await expect(choose({ key: await createKey({ ...options, beacon: drand }) })).rejects.toThrow('no carriers before');
  });
});
