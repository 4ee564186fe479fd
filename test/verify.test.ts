import { createHash } from 'node:crypto';
import { cpSync, existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { hostname, tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { Check } from '../src/evidence/check.ts';
import { appendLook, newRegister, serializeRegister } from '../src/evidence/register.ts';
import { hashResult, type Result, suspectHash } from '../src/evidence/result.ts';
import { parseNpy, serializeNpy } from '../src/formats/npy.ts';
import { keyCarriers, parseKey } from '../src/marking/key.ts';
import { parseOptions } from '../src/node/cli/command.ts';
import { verify as verifyCommand } from '../src/node/cli/verify.ts';
import { build, ownLines, run } from './cli.ts';
import { useDevice } from './device.ts';
import { writeFolder, writeModel } from './small_data.ts';

const device = useDevice();
let folder: string;
const at = (name: string): string => join(folder, name);
/** Runs a command line in which `@name` stands for a file of this test. */
const runLine = (line: string) =>
  run(
    'cli',
    line.split(' ').map((word) => word.replaceAll(/@(?=[a-z])/g, `${folder}/`)),
  );
async function runJson(line: string) {
  const { exitCode, stdout, stderr } = await runLine(`${line} --json --quiet`);
  expect(exitCode, stderr).toBe(0);
  return JSON.parse(stdout);
}

const DETECT = 'detect --key @owner.key --model @marker.safetensors --suspect @suspect.safetensors --fresh-keys 20';
const ALL =
  '--key @owner.key --result @evidence/result.json --marked @marked --original @images --model @marker.safetensors --data @held-out';
const NETWORKS = '--vanilla @held-out --suspect @suspect.safetensors';

let keygen: { commitment: string; heldOut: unknown };
let mark: { commitment: string; merkleRoot: string };
let first: { log10p: number; saved: object; register: { looks: number } };
beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'radioactive-verify-'));
  build();
  writeFolder(at('images'), 12);
  writeFolder(at('held-out'), 60);
  writeModel(at('marker.safetensors'));
  writeModel(at('suspect.safetensors'), { seed: 1 });
  keygen = await runJson(
    'keygen --classes @images --vanilla @held-out --dimension 4 --model @marker.safetensors --held-out @held-out -o @owner.key',
  );
  mark = await runJson(
    'mark --key @owner.key --model @marker.safetensors --data @images --fraction 0.5 --iterations 3 -o @marked',
  );
  first = await runJson(`${DETECT} --data @held-out --save @evidence`);
});
afterAll(() => rmSync(folder, { recursive: true }));

/** `verify` in this process, as a table by name. */
async function verify(line: string, exitCode: number): Promise<Record<string, Check>> {
  const words = line.split(' ').map((word) => word.replaceAll(/@(?=[a-z])/g, `${folder}/`));
  const result = await verifyCommand.run({
    options: parseOptions(verifyCommand.options, words),
    signal: new AbortController().signal,
    progress: () => ({ update: () => undefined, done: () => undefined }),
    log: () => undefined,
    openDevice: async () => device(),
  });
  const { checks, failed } = result.json as { checks: Check[]; failed: number };
  expect(result.exitCode ?? 0, result.text).toBe(exitCode);
  expect(failed > 0).toBe(exitCode === 6);
  return Object.fromEntries(checks.map((check) => [check.check, check]));
}
const failedOf = (table: Record<string, Check>): string[] =>
  Object.values(table).flatMap(({ check, state }) => (state === 'failed' ? [check] : []));

describe('from keygen to verify', () => {
  it('holds what was made', async () => {
    expect(keygen.heldOut).toMatchObject({ kind: 'content', count: 60 });
    const table = await verify(`${ALL} ${NETWORKS} --commitment ${keygen.commitment}`, 7);
    expect(table['time stamp'].needs).toContain('--reply');
    expect(await verify(`${ALL} ${NETWORKS} --commitment ${keygen.commitment} --partial`, 0)).toEqual(table);
    expect(
      Object.values(table)
        .filter(({ state }) => state === 'not checked')
        .map(({ check }) => check),
    ).toEqual(['beacon', 'time stamp', 'register complete']);
    expect(Object.keys(table)).toEqual([
      ...[
        'commitment',
        'marking network',
        'bound',
        'beacon',
        'subspace',
        'choice of images',
        'class weights',
        'time stamp',
      ],
      ...['manifest', 'marked images', 'Merkle root', 'originals', 'chosen images', 'change and PSNR'],
      ...['gains of the marked images', 'marked again'],
      ...['result', 'carriers', 'result against itself', 'test images', 'held-out files', 'deviations', 'statistics'],
      ...['suspect', 'features of the marking network', 'features of the suspect', 'last layer of the suspect'],
      'test again',
      ...['register', 'register complete', 'times', 'entry'],
    ]);
    expect(table['Merkle root'].detail).toBe(mark.merkleRoot);
    expect(table.manifest.detail).toContain(mark.commitment);
    expect(table['change and PSNR'].detail).toMatch(/^6 of 6 /);
    expect(table['marked again'].detail).toBe('6 of 6 images, with the key and the recipe: the same pixels');
    expect(table['test again'].detail).toContain(first.log10p.toFixed(3));
    const text = await runLine(`verify ${ALL}`);
    expect(text.stdout).toMatch(/\n\nKeys are not counted: [\s\S]*\n\n\d+ ok, 0 failed, 9 not checked\n$/);
  });

  it('says what cannot be checked without the material', async () => {
    const table = await verify('--key @owner.key', 7);
    expect(Object.values(table).map(({ check, state }) => [check, state])).toEqual([
      ['commitment', 'not checked'],
      ['marking network', 'not checked'],
      ['bound', 'ok'],
      ['beacon', 'not checked'],
      ['subspace', 'not checked'],
      ['choice of images', 'ok'],
      ['test images', 'ok'],
      ['class weights', 'not checked'],
      ['time stamp', 'not checked'],
      ['marked images', 'not checked'],
      ['result', 'not checked'],
      ['register', 'ok'],
      ['register complete', 'not checked'],
    ]);
    for (const { state, needs } of Object.values(table)) expect(needs !== null).toBe(state === 'not checked');
  });

  it('finds what was changed, each with its own row', async () => {
    const changed = (
      name: string,
      change: (bytes: Buffer) => Uint8Array | string,
      copy = `changed-${name.replaceAll('/', '-')}`,
    ) => {
      writeFileSync(at(copy), change(readFileSync(at(name))));
      return copy;
    };
    const replaced = (from: string | RegExp, to: string) => (bytes: Buffer) => {
      const text = bytes.toString().replace(from, to);
      expect(text).not.toBe(bytes.toString());
      return text;
    };
    const failures = async (line: string) => failedOf(await verify(line, 6));

    expect(await failures(`${ALL} --commitment ${'0'.repeat(64)}`)).toEqual(['commitment']);
    expect(await failures(ALL.replace('@marker', '@suspect'))).toEqual(['marking network']);

    // A key that is not the one that was committed to: its carriers follow from all of it.
    const nonce = changed('owner.key', replaced(/"nonce": "[0-9a-f]{8}/, '"nonce": "01234567'));
    const table = await verify(`${ALL.replace('@owner.key', `@${nonce}`)} --register @owner.key.register.jsonl`, 6);
    expect(failedOf(table)).toEqual([
      ...['manifest', 'chosen images', 'gains of the marked images', 'marked again'],
      ...['result', 'carriers', 'statistics', 'register'],
    ]);
    const secret = changed('owner.key', replaced(/"secret": "[0-9a-f]{8}/, '"secret": "01234567'));
    expect(await failures(`--key @${secret} --result @evidence/result.json`)).toEqual([
      'result',
      'carriers',
      'statistics',
    ]);

    // Marked images.
    for (const [what, from, to, rows] of [
      ['psnr', /"psnr":[\d.]+/, '"psnr":99', ['change and PSNR']],
      ['level', /"maxChangeLevels":\d+/, '"maxChangeLevels":1', ['change and PSNR']],
      ['root', /"merkleRoot": "[0-9a-f]{8}/, '"merkleRoot": "01234567', ['Merkle root']],
      ['hash', /"sha256":"[0-9a-f]{8}/, '"sha256":"01234567', ['marked images', 'Merkle root']],
    ] as const) {
      const copy = `marked-${what}`;
      cpSync(at('marked'), at(copy), { recursive: true });
      cpSync(at('marked.private'), at(`${copy}.private`), { recursive: true });
      changed('marked.private/manifest.json', replaced(from, to), `${copy}.private/manifest.json`);
      expect(await failures(ALL.replace('@marked', `@${copy}`)), what).toEqual(rows);
    }
    for (const part of ['', '.private']) cpSync(at(`marked${part}`), at(`marked-missing${part}`), { recursive: true });
    const { images } = JSON.parse(readFileSync(at('marked.private/manifest.json'), 'utf8'));
    rmSync(at(`marked-missing/${images[0].id}`));
    expect(await failures(ALL.replace('@marked', '@marked-missing'))).toEqual(['marked images', 'change and PSNR']);
    expect(await failures(ALL.replace('--original @images', '--original @held-out'))).toContain('originals');
    expect(await failures(ALL.replace('--data @held-out', '--data @marked'))).toEqual([
      'held-out files',
      'features of the marking network',
    ]);

    // The result and what it was made from.
    const better = changed('evidence/result.json', replaced(/"log10p": -?[\d.e-]+/, '"log10p": -44'));
    expect(await failures(`${ALL.replace('@evidence/result.json', `@${better}`)} --features @evidence`)).toEqual([
      'result against itself',
      'statistics',
      'entry',
    ]);
    cpSync(at('evidence'), at('evidence-2'), { recursive: true });
    const { shape, data } = parseNpy(readFileSync(at('evidence/classifier_suspect.npy')), '');
    writeFileSync(
      at('evidence-2/classifier_suspect.npy'),
      serializeNpy(
        shape,
        (data as Float32Array).map((x) => -x),
      ),
    );
    expect(await failures(`${ALL} --features @evidence-2`)).toEqual(['statistics']);

    // The register: cut off after its first line, and rolled back to before the test.
    const lines = readFileSync(at('owner.key.register.jsonl'), 'utf8').split('\n');
    const cut = changed('owner.key.register.jsonl', () => `${lines.slice(0, 2).join('\n')}\n`, 'cut.jsonl');
    expect(await failures(`${ALL} --register @${cut}`)).toEqual(['register']);
  });

  it('finds a headline that its own statistic contradicts, and times that cannot be, without any array', async () => {
    const edit = (name: string, change: (result: Record<string, unknown>) => object) =>
      writeFileSync(at(name), JSON.stringify(change(JSON.parse(readFileSync(at('evidence/result.json'), 'utf8')))));
    const failures = async (name: string) => failedOf(await verify(`--key @owner.key --result @${name}`, 6));
    edit('headline.json', ({ saved: _, ...rest }) => ({ ...rest, log10p: -50 }));
    expect(await failures('headline.json')).toEqual(['result against itself', 'entry']);
    edit('early.json', ({ saved: _, ...rest }) => ({ ...rest, time: '2001-01-01T00:00:00.000Z' }));
    expect(await failures('early.json')).toEqual(['times', 'entry']);
    for (const name of ['headline', 'early'])
      expect((await runLine(`report @${name}.json -o @${name}.html`)).exitCode).toBe(6);
    // A list that was begun after the test it has, its chain being whole.
    const lines = readFileSync(at('owner.key.register.jsonl'), 'utf8')
      .trimEnd()
      .split('\n')
      .map((line) => JSON.parse(line));
    const chain = lines
      .slice(0, -1)
      .map((line, i) => (i === 0 ? { ...line, begun: '2099-01-01T00:00:00.000Z' } : line));
    const texts: string[] = [];
    const hash = (text: string) => createHash('sha256').update(text).digest('hex');
    for (const line of chain)
      texts.push(JSON.stringify(texts.length === 0 ? line : { ...line, previous: hash(texts.at(-1)!) }));
    const last = JSON.stringify({ entries: chain.length - 1, head: hash(texts.at(-1)!) });
    writeFileSync(at('begun-2099.jsonl'), `${[...texts, last].join('\n')}\n`);
    const table = await verify(`--key @owner.key --result @evidence/result.json --register @begun-2099.jsonl`, 6);
    expect(table.times.detail).toContain('the test was made at');
    expect(failedOf(table)).toContain('times');
  });

  /** What an owner who lies does: changes a result and writes a list in which it stands. */
  function forge(name: string, change: (result: Result) => object): string {
    const { register: _, ...told } = JSON.parse(readFileSync(at('evidence/result.json'), 'utf8'));
    const empty = newRegister(`${name}.jsonl`, keygen.commitment, true);
    const body = { ...told, time: new Date().toISOString(), ...change(told) } as Result;
    const list = appendLook(empty, {
      test: body.test,
      primary: body.primary,
      options: {},
      suspect: suspectHash(body.suspect),
      data: body.data.sha256,
      log10p: Number(body.log10p),
      resultSha256: hashResult(body),
    });
    const register = { entry: 1, sha256: list.hashes[0], looks: 1, log10pBonferroni: body.log10p, withKey: true };
    writeFileSync(at(`${name}.json`), JSON.stringify({ ...body, register }));
    writeFileSync(at(`${name}.jsonl`), serializeRegister(list));
    return `--key @owner.key --result @${name}.json --register @${name}.jsonl --model @marker.safetensors --data @held-out`;
  }

  it('finds arrays that are not what the model makes of the images, under its true SHA-256', async () => {
    // Its own weights and the carriers on top, given as features of another framework.
    const read = (name: string) => parseNpy(readFileSync(at(`evidence/${name}`)), name);
    const [features, weight] = [read('features_suspect.npy'), read('classifier_suspect.npy')];
    const marking = read('features_marking.npy');
    const { directions } = await keyCarriers(await parseKey(readFileSync(at('owner.key'), 'utf8'), 'owner.key'));
    // The features of the marking network, and a last layer along the carriers.
    writeFileSync(at('made-up-features.npy'), serializeNpy(marking.shape, marking.data as Float32Array));
    writeFileSync(at('made-up-weight.npy'), serializeNpy([2, marking.shape[1]], Float32Array.from(directions)));
    expect(features.shape[1]).toBe(weight.shape[1]);
    const made = await runJson(
      'detect --key @owner.key --register @made-up.jsonl --new-register --model @marker.safetensors --data @held-out --fresh-keys 20 --suspect-features @made-up-features.npy --suspect-classifier @made-up-weight.npy --save @made-up',
    );
    const honest = await verify(
      '--key @owner.key --result @made-up/result.json --register @made-up.jsonl --model @marker.safetensors --data @held-out',
      6,
    );
    expect(honest.suspect).toMatchObject({ state: 'not checked', detail: expect.stringContaining('by a person') });
    const { register: _, time, ...told } = made;
    const line = `${forge('under-its-name', () => ({ ...told, suspect: JSON.parse(readFileSync(at('evidence/result.json'), 'utf8')).suspect }))} --features @made-up`;
    // Green for the attacker before; now it is not checked, and with the model's file it fails.
    const without = await verify(line, 7);
    expect(without['features of the suspect'].state).toBe('not checked');
    const table = await verify(`${line} --suspect @suspect.safetensors`, 6);
    expect(failedOf(table)).toEqual(['features of the suspect', 'last layer of the suspect']);
    expect(table.suspect.state).toBe('ok');
    const page = await runLine(
      'report @under-its-name.json --register @under-its-name.jsonl -o @under-its-name.report.json',
    );
    expect(page.exitCode, page.stderr).toBe(0);
    const { assumptions } = JSON.parse(readFileSync(at('under-its-name.report.json'), 'utf8'));
    expect(
      assumptions.find(({ assumption }: { assumption: string }) => assumption.startsWith('The stored arrays are'))
        .holds,
    ).toBeNull();
  });

  it('finds null samples, warnings and alignment that do not follow from the arrays', async () => {
    for (const [name, change] of [
      [
        'null',
        ({ statistics: [one] }: Result) => ({
          statistics: [{ ...one, null: { ...one.null!, log10p: one.null!.log10p.map(() => -0.0001), atMost: 0 } }],
        }),
      ],
      ['warnings', () => ({ warnings: [] })],
      ['alignment', ({ alignment }: Result) => ({ alignment: { ...alignment!, r2: 0.9999 } })],
    ] as const) {
      const line = forge(`edited-${name}`, change);
      expect(failedOf(await verify(`${line} --features @evidence`, 6)), name).toEqual(['statistics']);
    }
    expect(failedOf(await verify(`${forge('unedited', () => ({}))} --features @evidence`, 7))).toEqual([]);
  });

  it('nothing in a result repaints the screen of whoever verifies it', async () => {
    const paint = '\u001b[2J\u001b[H17 ok, 0 failed, 0 not checked\u202e\u009b';
    const edit = (name: string, change: (result: Record<string, unknown>) => object) =>
      writeFileSync(at(name), JSON.stringify(change(JSON.parse(readFileSync(at('evidence/result.json'), 'utf8')))));
    edit('painted.json', (result) => ({
      ...result,
      program: { ...(result.program as object), adapter: paint },
      warnings: [paint],
      suspect: { path: paint, sha256: '0'.repeat(64) },
    }));
    edit('painted-test.json', (result) => ({ ...result, test: paint }));
    for (const [line, exitCode] of [
      [`verify --key @owner.key --result @painted.json --features @evidence --commitment ${'0'.repeat(64)}`, 6],
      ['verify --key @owner.key --result @painted-test.json', 3],
      ['report @painted.json -o @painted.html', 0],
    ] as const) {
      const found = await runLine(line);
      expect(found.exitCode, found.stderr).toBe(exitCode);
      // biome-ignore lint/suspicious/noControlCharactersInRegex: these are what must not be there
      expect(found.stdout + found.stderr).not.toMatch(/[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u202a-\u202e]/);
    }
  });

  it('two tests do not write into one folder', async () => {
    const holder = { pid: process.pid, host: hostname(), token: 'a' };
    writeFileSync(at('shared.lock'), JSON.stringify(holder));
    const second = await runLine(`${DETECT} --data @held-out --save @shared`);
    expect(second.exitCode).toBe(3);
    expect(ownLines(second)).toEqual([expect.stringContaining('shared: another run is writing there')]);
    expect(existsSync(at('shared'))).toBe(false);
  });

  it('verifies nothing of files that are none', async () => {
    const wrong = await runLine('verify --key @owner.key --result @owner.key');
    expect(wrong.exitCode).toBe(3);
    expect(ownLines(wrong)).toEqual([
      expect.stringMatching(/^error: .*owner\.key: is no result of a test; give a result that detect wrote$/),
    ]);
  });
});

describe('tests are counted', () => {
  it('each with its correction, and those that the key does not fix are told apart', async () => {
    expect(first.register).toMatchObject({ entry: 1, looks: 1, log10pBonferroni: first.log10p, withKey: true });
    const second = await runJson(`${DETECT} --data @held-out`);
    expect(second).toMatchObject({ log10p: first.log10p, primary: true, deviations: [], register: { looks: 2 } });
    const expected = Math.min(0, first.log10p + Math.log10(2));
    if (!(Math.abs(second.register.log10pBonferroni - expected) <= 1e-12))
      expect.fail('the correction is not Bonferroni’s');
    writeFolder(at('others'), 50);
    const other = await runJson(`${DETECT} --data @others`);
    expect(other).toMatchObject({ primary: false, register: { looks: 3 } });
    expect(other.deviations).toEqual([expect.stringContaining('the key fixes 60 images')]);
    const table = await verify(ALL, 7);
    expect(table.entry.detail).toMatch(/^the result is entry 1 of 3, unchanged; corrected for all of them/);
  });

  it('not where the list is lost or damaged, unless a new one is begun, which shows', async () => {
    for (const file of ['owner.key', 'owner.key.register.jsonl']) cpSync(at(file), at(file.replace('owner', 'copy')));
    const detect = `${DETECT.replace('@owner.key', '@copy.key')} --data @held-out`;
    const register = at('copy.key.register.jsonl');
    const whole = readFileSync(register, 'utf8');
    writeFileSync(register, whole.slice(0, -3));
    const damaged = await runLine(`${detect} -o @damaged.json`);
    expect(damaged.exitCode).toBe(6);
    expect(ownLines(damaged)).toEqual([
      expect.stringContaining('copy.key.register.jsonl: line 5: the file is cut off;'),
    ]);
    expect(existsSync(at('damaged.json'))).toBe(false);
    expect(readFileSync(register, 'utf8')).toBe(whole.slice(0, -3));
    rmSync(register);
    const lost = await runLine(detect);
    expect(lost.exitCode).toBe(6);
    expect(ownLines(lost)).toEqual([expect.stringContaining('or begin one with --new-register')]);
    const anew = await runJson(`${detect} --new-register -o @anew.json`);
    expect(anew.register).toMatchObject({ entry: 1, looks: 1, withKey: false });
    const table = await verify('--key @copy.key --result @anew.json', 6);
    expect(failedOf(table)).toEqual(['register']);
    expect(table.register.detail).toContain('was begun on');
  });
});
