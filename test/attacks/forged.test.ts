/** An owner who lies makes files of one's own, each consistent with all others, and has them verified. */

import { cpSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { Dataset } from '../../src/datasets/dataset.ts';
import { hashDataset } from '../../src/datasets/hash.ts';
import { Loader } from '../../src/datasets/loader.ts';
import { type Manifest, type ManifestImage, parseManifest, serializeManifest } from '../../src/datasets/manifest.ts';
import { merkleRoot } from '../../src/datasets/merkle.ts';
import { parseFeatures, serializeFeatures } from '../../src/detection/arrays.ts';
import { testArrays } from '../../src/detection/detect.ts';
import { SINGLE_USE } from '../../src/detection/detect_blackbox.ts';
import { appendLook, newRegister, serializeRegister } from '../../src/evidence/register.ts';
import { concludeTest, hashResult, type Result, suspectHash } from '../../src/evidence/result.ts';
import { parseSafetensors, serializeSafetensors, toFloat32 } from '../../src/formats/safetensors.ts';
import { hashBytes } from '../../src/formats/sha256.ts';
import type { Image8 } from '../../src/images/image.ts';
import {
  commitment,
  createKey,
  type Key,
  keyCarriers,
  keyProbeOrders,
  parseKey,
  serializeKey,
} from '../../src/marking/key.ts';
import type { ProbeManifest } from '../../src/marking/probe_manifest.ts';
import { multiplyTransposed, orthonormaliseRows, transpose } from '../../src/maths/linalg.ts';
import { infer } from '../../src/nn/inference.ts';
import type { Model } from '../../src/nn/model.ts';
import { openDataset } from '../../src/node/datasets/open.ts';
import { readArrays } from '../../src/node/evidence/arrays.ts';
import { openModel } from '../../src/node/runs/open_model.ts';
import { derive } from '../../src/random.ts';
import { Authorities, opensslMissing } from '../authority.ts';
import { useDevice } from '../device.ts';
import { pngOf } from '../png.ts';
import { CLASSES, writeFolder, writeModel } from '../small_data.ts';
import { inState, laboratory } from './laboratory.ts';

const device = useDevice();
let folder: string;
const at = (name: string): string => join(folder, name);
const { run, verify } = laboratory(
  () => folder,
  () => device(),
);
const json = (name: string) => JSON.parse(readFileSync(at(name), 'utf8'));
const keyOf = async (name: string): Promise<Key> => await parseKey(readFileSync(at(name), 'utf8'), name);

/** PSNR and largest change of two images, by the attacker's own arithmetic. */
function changeOf(before: Image8, after: Image8): { psnr: number | null; levels: number } {
  let [squares, levels] = [0, 0];
  for (const [i, x] of before.data.entries()) {
    squares += (x - after.data[i]) ** 2;
    levels = Math.max(levels, Math.abs(x - after.data[i]));
  }
  return { psnr: squares === 0 ? null : 10 * Math.log10((255 ** 2 * before.data.length) / squares), levels };
}

const featuresOf = async (model: Model, images: Dataset): Promise<Float32Array> =>
  (await infer(model, await Loader.open(images, model.config.channels))).features;

/** A register in which a result stands alone, and the result with its place in it. */
function enter(body: Omit<Result, 'register'>, name: string): void {
  const list = appendLook(newRegister(`${name}.jsonl`, body.keyCommitment as string, true), {
    test: body.test as string,
    primary: body.primary as boolean,
    options: {},
    suspect: suspectHash(body.suspect as Record<string, string>),
    data: (body.data as Result['data']).sha256,
    log10p: Number(body.log10p),
    resultSha256: hashResult(body),
  });
  const register = { entry: 1, sha256: list.hashes[0], looks: 1, log10pBonferroni: body.log10p, withKey: true };
  writeFileSync(at(`${name}.json`), JSON.stringify({ ...body, register }));
  writeFileSync(at(`${name}.jsonl`), serializeRegister(list));
}

let marker: Model;
beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'radioactive-forged-'));
  writeFolder(at('images'), 16);
  writeFolder(at('held-out'), 60, CLASSES, 1000);
  writeFolder(at('vanilla'), 40, CLASSES, 2000);
  writeModel(at('marker.safetensors'));
  writeModel(at('suspect.safetensors'), { seed: 1 });
  ({ model: marker } = await openModel(device(), at('marker.safetensors')));
});
afterAll(() => {
  marker.destroy();
  rmSync(folder, { recursive: true });
});

describe('the white-box test', () => {
  const FILES = '--model @marker.safetensors --suspect @suspect.safetensors --data @held-out';
  beforeAll(async () => {
    await run(
      'keygen --classes @images --vanilla @vanilla --dimension 4 --model @marker.safetensors --held-out @held-out -o @owner.key',
    );
    await run(`detect --key @owner.key ${FILES} --fresh-keys 20 --save @evidence`);
  });

  /** A result of arrays that the attacker made, under the suspect's name, its hash, and everything else that is true. */
  async function forge(
    name: string,
    change: (features: Float32Array, known: { marking: Float32Array; weight: Float32Array; key: Key }) => void,
  ): Promise<Result> {
    const key = await keyOf('owner.key');
    const honest = json('evidence/result.json') as Result;
    const stored = parseFeatures(await readArrays(at('evidence'), Object.keys(honest.saved!)));
    const suspect = { features: Float32Array.from(stored.suspect.features), weight: stored.suspect.weight };
    change(suspect.features, {
      marking: Float32Array.from(stored.marking),
      weight: Float32Array.from(suspect.weight),
      key,
    });
    const arrays = { ...stored, suspect };
    const files = serializeFeatures(arrays);
    cpSync(at('evidence'), at(name), { recursive: true });
    for (const [file, bytes] of Object.entries(files)) writeFileSync(at(`${name}/${file}`), bytes);
    let list = newRegister(`${name}.jsonl`, await commitment(key), true);
    const result = await concludeTest(
      await testArrays(key, arrays, { freshKeys: 20 }),
      {
        key,
        test: 'white-box',
        suspect: honest.suspect,
        data: honest.data,
        adapter: honest.program.adapter,
        runtime: honest.program.node,
        command: honest.command,
        saved: Object.fromEntries(Object.entries(files).map(([file, bytes]) => [file, hashBytes(bytes)])),
      },
      (look) => {
        list = appendLook(list, look);
        return list;
      },
    );
    writeFileSync(at(`${name}/result.json`), JSON.stringify(result));
    writeFileSync(at(`${name}.jsonl`), serializeRegister(list));
    return result;
  }
  const verifyForged = (name: string, more: string, exitCode: 6 | 7) =>
    verify(`--key @owner.key --result @${name}/result.json --register @${name}.jsonl ${FILES}${more}`, exitCode);

  /**
   * Adds to an image's features what makes the map from the marking network's to them carry the last layer's weights onto the carriers:
   * the map gains U Vᵀ, U being the carriers and V the pseudo-inverse of the weights.
   */
  async function towardsCarriers(
    features: Float32Array,
    known: { marking: Float32Array; weight: Float32Array; key: Key },
    strength: (row: number, step: Float64Array, own: Float32Array) => number,
  ): Promise<void> {
    const { marking, weight, key } = known;
    const [K, d] = [CLASSES.length, key.model.featureDimension];
    const { directions } = await keyCarriers(key);
    const dt = weight.length / K;
    const [a, b, c] = [0, 1, 3].map((i) => {
      const [p, q] = [i >> 1, i & 1];
      return weight.slice(p * dt, (p + 1) * dt).reduce((sum, x, j) => sum + x * weight[q * dt + j], 0);
    });
    const det = a * c - b * b;
    const inverse = [c / det, -b / det, -b / det, a / det];
    const V = Float64Array.from({ length: K * dt }, (_, i) => {
      const [row, column] = [Math.floor(i / dt), i % dt];
      return inverse[row * 2] * weight[column] + inverse[row * 2 + 1] * weight[dt + column];
    });
    const n = features.length / dt;
    const along = multiplyTransposed(Float64Array.from(marking), directions, n, K, d);
    // Only how they differ between images counts.
    for (let k = 0; k < K; k++) {
      let mean = 0;
      for (let row = 0; row < n; row++) mean += along[row * K + k] / n;
      for (let row = 0; row < n; row++) along[row * K + k] -= mean;
    }
    for (let row = 0; row < n; row++) {
      const own = features.subarray(row * dt, (row + 1) * dt);
      const step = new Float64Array(dt);
      for (let k = 0; k < K; k++) for (let j = 0; j < dt; j++) step[j] += along[row * K + k] * V[k * dt + j];
      const scale = strength(row, step, own);
      for (let j = 0; j < dt; j++) own[j] += scale * step[j];
    }
  }
  const norm = (x: ArrayLike<number>): number => Math.hypot(...Array.from(x));

  it('arrays that are forged where nobody is known to look', async () => {
    // An earlier version drew every sample from the same seed: the attacker leaves those images alone.
    const order = Array.from({ length: 60 }, (_, row) => row);
    derive(0, 'verify').shuffle(order);
    const looked = new Set(order.slice(0, 6));
    const key = await keyOf('owner.key');
    const honest = parseFeatures(
      await readArrays(at('evidence'), Object.keys((json('evidence/result.json') as Result).saved!)),
    );
    const made = Float32Array.from(honest.suspect.features);
    await towardsCarriers(
      made,
      { marking: Float32Array.from(honest.marking), weight: Float32Array.from(honest.suspect.weight), key },
      (row) => (looked.has(row) ? 0 : 1000),
    );
    await forge('unlooked', (features) => features.set(made));
    for (const sample of ['', ' --sample 6'])
      expect(inState(await verifyForged('unlooked', sample, 6), 'failed'), sample).toContain('features of the suspect');
    // One row alone may be missed by a sample, which therefore never counts as checked.
    await forge('one-row', (features) =>
      features.set(
        features.subarray(0, 32).map((x) => -7 * x),
        32 * 9,
      ),
    );
    expect(inState(await verifyForged('one-row', '', 6), 'failed')).toEqual(['features of the suspect']);
    const honestly = await verify(`--key @owner.key --result @evidence/result.json ${FILES} --sample 30`, 7);
    for (const row of ['features of the suspect', 'features of the marking network', 'test again'])
      expect(honestly[row].state, row).toBe('not checked');
  });

  it('steps of every row within what another adapter may round', async () => {
    const key = await keyOf('owner.key');
    const stored = parseFeatures(
      await readArrays(at('evidence'), Object.keys((json('evidence/result.json') as Result).saved!)),
    );
    const made = Float32Array.from(stored.suspect.features);
    await towardsCarriers(
      made,
      { marking: Float32Array.from(stored.marking), weight: Float32Array.from(stored.suspect.weight), key },
      (_, step, own) => (9e-4 * norm(own)) / norm(step),
    );
    const forged = await forge('small-steps', (features) => features.set(made));
    const honest = Number((json('evidence/result.json') as Result).log10p);
    const moved = Math.abs(Number(forged.log10p) - honest) > 0.02 + 0.01 * Math.abs(honest);
    const table = await verifyForged('small-steps', '', moved ? 6 : 7);
    expect(table['features of the suspect'].state).toBe('ok');
    expect(table['test again'].state).toBe(moved ? 'failed' : 'ok');
  });

  it('a subspace that holds the classes, of which the key says that vanilla images gave it', async () => {
    const honest = await keyOf('owner.key');
    if (honest.carriers.kind !== 'subspace') expect.fail('no subspace');
    const d = honest.model.featureDimension;
    const head = await marker.headWeight();
    const random = derive(5, 'fill');
    const rows = Float64Array.from({ length: 4 * d }, (_, i) => head[i] ?? random.gaussian());
    const evil = await createKey({
      classes: honest.classes,
      model: honest.model,
      basis: orthonormaliseRows(rows, 4, d).rows,
      vanilla: honest.carriers.vanilla,
      centre: true,
      heldOut: honest.heldOut,
    });
    writeFileSync(at('evil.key'), serializeKey(evil));
    await run(`detect --key @evil.key --new-register ${FILES} --fresh-keys 20 --save @evil`);
    const line = `--key @evil.key --result @evil/result.json ${FILES}`;
    expect((await verify(line, 6)).subspace.state).toBe('not checked');
    const table = await verify(`${line} --vanilla @vanilla`, 6);
    // The list was begun after the key, too.
    expect(inState(table, 'failed')).toEqual(['subspace', 'register']);
    expect(table.subspace.detail).toMatch(/^computed again it is another/);
  });

  it('a list of tests that is put back, or begun anew', async () => {
    const list = at('owner.key.register.jsonl');
    const before = readFileSync(list);
    await run(`detect --key @owner.key ${FILES} --fresh-keys 20 -o @second.json`);
    writeFileSync(list, before);
    const table = await verify(`--key @owner.key --result @evidence/result.json ${FILES}`, 7);
    expect(table.register).toMatchObject({ state: 'ok', detail: expect.stringContaining("owner's list") });
    expect(table['register complete'].state).toBe('not checked');
    await run('report @evidence --register @owner.key.register.jsonl -o @put-back.json');
    const { assumptions } = json('put-back.json');
    const listed = assumptions.filter(({ assumption }: { assumption: string }) => /list/.test(assumption));
    expect(listed.map(({ holds }: { holds: unknown }) => holds)).toEqual([null, null]);
    expect(listed[1].check).toContain('Nobody but the owner can tell');
    const { limits } = await run('verify --key @owner.key');
    expect((limits as string[]).join(' ')).toContain('Nothing shows a copy of it');
  });

  it('marked images that were never marked', async () => {
    const source = await openDataset(at('images'));
    const key = await keyOf('owner.key');
    await run(
      'mark --key @owner.key --model @marker.safetensors --data @images --fraction 0.5 --iterations 3 -o @published',
    );
    const honest = parseManifest(readFileSync(at('published.private/manifest.json'), 'utf8'), 'x');
    /** Publishes the originals, the marked ones changed in some way, with a manifest that says of them what it likes. */
    async function publish(
      name: string,
      change: (image: Image8) => Uint8Array,
      claim: (image: ManifestImage, row: number) => Partial<ManifestImage>,
    ) {
      for (const part of ['', '.private']) cpSync(at(`published${part}`), at(`${name}${part}`), { recursive: true });
      for (let index = 0; index < source.length; index++) {
        const image = await source.image(index);
        const marked = honest.images.some(({ id }) => id === source.id(index));
        writeFileSync(
          at(`${name}/${source.id(index)}`),
          pngOf({ ...image, data: marked ? change(image) : image.data }),
        );
      }
      const published = await openDataset(at(name));
      const idsOf = new Map(Array.from({ length: published.length }, (_, index) => [published.id(index), index]));
      const [before, after] = [await featuresOf(marker, source), await featuresOf(marker, published)];
      const { directions, featureDimension: d } = await keyCarriers(key);
      const images = await Promise.all(
        honest.images.map(async (image, row) => {
          const index = idsOf.get(image.id)!;
          const { psnr, levels } = changeOf(await source.image(index), await published.image(index));
          const c = CLASSES.indexOf(image.class);
          let gain = 0;
          for (let i = 0; i < d; i++) gain += (after[index * d + i] - before[index * d + i]) * directions[c * d + i];
          const sha256 = hashBytes(await published.bytes(index));
          return { ...image, psnr, maxChangeLevels: levels, gain, sha256, ...claim(image, row) };
        }),
      );
      const manifest: Manifest = { ...honest, images, merkleRoot: merkleRoot(images) };
      writeFileSync(at(`${name}.private/manifest.json`), serializeManifest(manifest));
      return await verify(`--key @owner.key --model @marker.safetensors --marked @${name} --original @images`, 6);
    }
    const unchanged = await publish(
      'unchanged',
      ({ data }) => data,
      () => ({ gain: 1.234 }),
    );
    expect(inState(unchanged, 'failed')).toEqual(['change and PSNR', 'gains of the marked images', 'marked again']);
    // Noise, with figures that are all true.
    const random = derive(5, 'noise');
    const noise = ({ data }: Image8) =>
      data.map((x) => Math.min(255, Math.max(0, x + (random.below(2) === 0 ? 10 : -10))));
    expect(inState(await publish('noise', noise, () => ({})), 'failed')).toEqual(['marked again']);
    // The marks are true, one gain is not: as of a journal that was edited before the run went on.
    const { images } = honest;
    writeFileSync(
      at('published.private/manifest.json'),
      serializeManifest({
        ...honest,
        images: images.map((image, i) => (i === 2 ? { ...image, gain: 99.5 } : image)),
        merkleRoot: merkleRoot(images.map((image, i) => (i === 2 ? { ...image, gain: 99.5 } : image))),
      }),
    );
    const edited = await verify(
      '--key @owner.key --model @marker.safetensors --marked @published --original @images',
      6,
    );
    expect(inState(edited, 'failed')).toEqual(['gains of the marked images']);
  });
});

describe('the black-box test', () => {
  const S = 5;
  const DETECT =
    'detect --key @black.key --black-box --suspect @suspect.safetensors --reference @reference.safetensors';
  const verifyBlack = (probes: string, result: string, exitCode: 6 | 7, more = '') =>
    verify(
      `--key @black.key --model @marker.safetensors --suspect @suspect.safetensors --reference @reference.safetensors --data @held-out --data-split train --probes @${probes} --result @${result}${more}`,
      exitCode,
    );
  let probes: ProbeManifest;
  beforeAll(async () => {
    writeModel(at('reference.safetensors'), { seed: 2 });
    await run(
      'keygen --classes @images --vanilla @vanilla --dimension 4 --model @marker.safetensors --statistic black-box --decoys 4 --per-class 4 --iterations 3 --held-out @held-out --reference @reference.safetensors -o @black.key',
    );
    await run('probes --key @black.key --model @marker.safetensors --data @held-out -o @probes');
    probes = json('probes/probes.json');
  });

  it('honest probes are what the key gives', async () => {
    await run(`${DETECT} --probes @probes --save @black`);
    const table = await verifyBlack('probes', 'black/result.json', 7);
    expect(inState(table, 'not checked')).not.toContain('probes marked again');
    expect(table['probes marked again'].detail).toBe(
      '8 of 8 images of the true set and 8 of the decoys, with the key and the recipe: the same pixels',
    );
    expect(table['probes used once'].state).toBe('ok');
    // What is shown around gives bounds.
    const told = Object.values(table).map(({ detail }) => detail);
    expect(told.join('\n')).not.toContain(Number((json('black/result.json') as Result).log10p).toFixed(3));
    const again = await run(`${DETECT} --probes @probes -o @again.json`);
    expect((again as unknown as Result).warnings.join()).toContain('these probes were used in test 1');
    expect((await verifyBlack('probes', 'again.json', 7))['probes used once']).toMatchObject({
      state: 'not checked',
      detail: expect.stringContaining('used in test 1'),
    });
  });

  it('a true set that holds more than marks, all figures being true', async () => {
    cpSync(at('probes'), at('loaded'), { recursive: true });
    const key = await keyOf('black.key');
    const orders = await keyProbeOrders(key, S);
    const open = () => openDataset(at('loaded/images'), { classes: ['0000', '0001'] });
    const images = await open();
    const rowOf = (b: number, s: number) => b * (S + 1) + s;
    // What models answer to, in the way of the marks of the true set and within the radius.
    for (const [b, { class: name }] of probes.images.entries()) {
      const s = 1 + orders[CLASSES.indexOf(name)].indexOf(0);
      const [before, marked] = [await images.image(rowOf(b, 0)), await images.image(rowOf(b, s))];
      const data = marked.data.map((x, i) => {
        const low = Math.max(0, before.data[i] - 10);
        const high = Math.min(255, before.data[i] + 10);
        return Math.min(high, Math.max(low, x + ((Math.floor(i / 4) + i) % 2 === 0 ? 6 : -6)));
      });
      writeFileSync(at(`loaded/images/${images.id(rowOf(b, s))}`), pngOf({ ...marked, data }));
    }
    const loaded = await open();
    const features = await featuresOf(marker, loaded);
    const { featureDimension: d } = key.model;
    const draws = [await keyCarriers(key)];
    for (let m = 0; m < S - 1; m++) draws.push(await keyCarriers(key, 'decoy', m));
    const marks = { changeLevels: [0, 1].map(() => Array(S).fill(0)), gain: [0, 1].map(() => Array(S).fill(0)) };
    for (const [b, { class: name }] of probes.images.entries())
      for (let s = 0; s < S; s++) {
        const c = CLASSES.indexOf(name);
        const carrier = draws[orders[c][s]].directions.subarray(c * d, (c + 1) * d);
        const { psnr } = changeOf(await loaded.image(rowOf(b, 0)), await loaded.image(rowOf(b, s + 1)));
        marks.changeLevels[c][s] += (psnr === null ? 0 : 255 * 10 ** (-psnr / 20)) / 4;
        const [from, to] = [rowOf(b, 0) * d, rowOf(b, s + 1) * d];
        for (let i = 0; i < d; i++) marks.gain[c][s] += ((features[to + i] - features[from + i]) * carrier[i]) / 4;
      }
    const sha256 = await hashDataset({ ...loaded, classes: CLASSES });
    writeFileSync(at('loaded/probes.json'), JSON.stringify({ ...probes, sha256, marks }));
    await run(`${DETECT} --probes @loaded --save @loaded-evidence`);
    const table = await verifyBlack('loaded', 'loaded-evidence/result.json', 6);
    expect(inState(table, 'failed')).toEqual(['probes marked again']);
    // Some of them alone is no check.
    const some = await verifyBlack('probes', 'black/result.json', 7, ' --sample 3');
    expect(some['probes marked again'].state).toBe('not checked');
  });

  it('probes of other options than the key fixes, and a result that does not say so', async () => {
    await run('probes --key @black.key --model @marker.safetensors --data @held-out --radius 20 -o @other');
    await run(`${DETECT} --probes @other --save @other-evidence`);
    const honest = json('other-evidence/result.json') as Result;
    expect(honest.primary).toBe(false);
    expect(inState(await verifyBlack('other', 'other-evidence/result.json', 6), 'failed')).toEqual([
      'options of the probes',
    ]);
    const { register: _, ...told } = honest;
    enter({ ...told, primary: true, deviations: [], warnings: [SINGLE_USE] } as unknown as Result, 'hidden');
    const table = await verifyBlack('other', 'hidden.json', 6, ' --register @hidden.jsonl --features @other-evidence');
    expect(inState(table, 'failed')).toEqual(expect.arrayContaining(['options of the probes', 'deviations']));
  });

  it('patterns that are not the published ones', async () => {
    await run('frequencies --like @images --patterns 8 -o @patterns.safetensors');
    const { tensors, metadata } = parseSafetensors(readFileSync(at('patterns.safetensors')), 'x');
    const patterns = Float64Array.from(toFloat32(tensors.get('patterns.weight')!));
    const random = derive(5, 'turn');
    const turn = orthonormaliseRows(
      Float64Array.from({ length: 64 }, () => random.gaussian()),
      8,
      8,
    ).rows;
    const mixed = Float32Array.from(
      multiplyTransposed(turn, transpose(patterns, 8, patterns.length / 8), 8, patterns.length / 8, 8),
    );
    const own = tensors.get('patterns.weight')!;
    const changed = new Map(tensors).set('patterns.weight', { ...own, data: new Uint8Array(mixed.buffer) });
    writeFileSync(at('mixed.safetensors'), serializeSafetensors(changed, metadata));
    for (const [name, state] of [
      ['patterns', 'ok'],
      ['mixed', 'not checked'],
    ] as const) {
      await run(`keygen --classes @held-out --model @${name}.safetensors --carriers uniform -o @${name}.key`);
      const table = await verify(`--key @${name}.key --model @${name}.safetensors`, 7);
      expect(table.patterns.state, name).toBe(state);
    }
  });
});

describe.skipIf(opensslMissing)(`times${opensslMissing ? ' (skipped: openssl is missing)' : ''}`, () => {
  let authorities: Authorities;
  beforeAll(() => {
    authorities = new Authorities();
    authorities.certificate('ca', { subject: '/O=Known authority/CN=Root' });
    authorities.certificate('tsa', { by: 'ca' });
  });
  afterAll(() => authorities.remove());
  /** What the authority answers to a request of ours. */
  function stamp(name: string): void {
    authorities.write(`${name}.tsq`, readFileSync(at(`${name}.tsq`)));
    writeFileSync(at(`${name}.tsr`), authorities.stamp('tsa', `${name}.tsq`));
    writeFileSync(at('ca.pem'), authorities.read('ca.pem'));
  }

  it('a stamp after the test, by an authority that the owner made', async () => {
    await run('commit --key @owner.key -o @late.tsq');
    // Stamps have whole seconds.
    await new Promise((resolve) => setTimeout(resolve, 1100));
    stamp('late');
    const late = await verify('--key @owner.key --result @evidence/result.json --reply @late.tsr --ca @ca.pem', 6);
    expect(late['time stamp']).toMatchObject({
      state: 'failed',
      detail: expect.stringMatching(/after the test of .* and proves nothing about it$/),
    });
    const table = await verify('--key @owner.key --reply @late.tsr --ca @ca.pem', 7);
    const [, fingerprint] = /=(.*)/.exec(
      authorities.run('x509', '-in', 'ca.pem', '-noout', '-fingerprint', '-sha256'),
    )!;
    expect(table['time stamp'].detail).toContain('CN=Root');
    expect(table['time stamp'].detail).toContain(fingerprint.replaceAll(':', '').toLowerCase());
    expect(table['time stamp'].detail).toContain('chosen by whoever ran verify');
    expect((await verify('--key @owner.key --reply @late.tsr', 7))['time stamp'].state).toBe('not checked');
  });

  it('randomness that is older than the key, whatever the key says of its age, and a model that is older than the carriers', async () => {
    const signature =
      'b44679b9a59af2ec876b1a6b1ad52ea9b1615fc3982b19576350f93447cb1125e342b73a8dd2bacbe47e4b6b63ed5e39';
    await run(
      'keygen --classes @images --model @marker.safetensors --carriers uniform --await-beacon drand -o @round.key',
    );
    const made = json('round.key');
    const reply = Buffer.from(JSON.stringify({ round: 1000, signature })).toString('base64');
    const old = {
      ...made,
      created: '2023-08-01T00:00:00.000Z',
      beacon: { ...made.beacon, round: 1000 },
      beaconReply: reply,
    };
    writeFileSync(at('backdated.key'), JSON.stringify(old));
    await run('commit --key @backdated.key -o @backdated.tsq');
    stamp('backdated');
    const table = await verify('--key @backdated.key --reply @backdated.tsr --ca @ca.pem', 7);
    expect(table['beacon signature'].state).toBe('ok');
    expect(table.beacon).toMatchObject({
      state: 'not checked',
      detail: expect.stringContaining('if the round was known'),
      needs: expect.stringContaining('from before 2023-08-23'),
    });
    expect(JSON.stringify(table)).not.toContain('it was stamped at');

    await run(
      'keygen --classes @images --model @marker.safetensors --carriers uniform --await-beacon time-stamp -o @young.key',
    );
    authorities.write('suspect.bin', readFileSync(at('suspect.safetensors')));
    authorities.run('ts', '-query', '-data', 'suspect.bin', '-sha256', '-cert', '-out', 'model.tsq');
    writeFileSync(at('model.tsr'), authorities.stamp('tsa', 'model.tsq'));
    await new Promise((resolve) => setTimeout(resolve, 1100));
    await run('commit --key @young.key -o @young.tsq');
    stamp('young');
    await run('complete --key @young.key --beacon @young.tsr --ca @ca.pem');
    const older = await verify(
      '--key @young.key --suspect @suspect.safetensors --reply @young.tsr,@model.tsr --ca @ca.pem',
      6,
    );
    expect(older['time stamp']).toMatchObject({
      state: 'failed',
      detail: expect.stringContaining('it cannot have learned them'),
    });
  });
});
