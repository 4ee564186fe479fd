import {
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import { commitment, completeKey, serializeKey } from '../src/marking/key.ts';
import { openDataset } from '../src/node/datasets/open.ts';
import { acrossClasses } from '../src/node/experiment/measured.ts';
import { measuredFiles } from '../src/node/experiment/measured_files.ts';
import { type CheckFiles, runCheck } from '../src/node/protection/check.ts';
import { outlookAt, shareFor } from '../src/node/protection/outlook.ts';
import { type ProtectionFiles, planProtection } from '../src/node/protection/plan.ts';
import { type ProtectionReport, runProtection } from '../src/node/protection/protect.ts';
import { quietContext, type RunContext } from '../src/node/runs/context.ts';
import { openKey } from '../src/node/runs/inputs.ts';
import { Authorities, opensslMissing } from './authority.ts';
import { build, ownLines, run } from './cli.ts';
import { useDevice } from './device.ts';
import { killEverywhere, life } from './mortal_files.ts';
import { writePhotographs } from './photographs.ts';
import { CLASSES, writeFolder, writeIdx, writeModel } from './small_data.ts';
import { expectClose } from './tolerance.ts';

vi.mock('node:fs/promises', async (importOriginal) => (await import('./mortal_files.ts')).mortalFiles(importOriginal));

let folder: string;
const at = (name: string): string => join(folder, name);
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'radioactive-protect-'));
  writeFolder(at('images'), 8);
});
afterAll(() => rmSync(folder, { recursive: true }));

/** Paths of the files in a folder, hidden ones too. */
const filesIn = (root: string): string[] =>
  (readdirSync(root, { recursive: true }) as string[]).filter((path) => statSync(join(root, path)).isFile()).sort();

/** The same with their bytes. */
const contents = (root: string): Record<string, string> =>
  Object.fromEntries(filesIn(root).map((path) => [path, readFileSync(join(root, path), 'latin1')]));

const words = (text: string): string => readFileSync(at(text), 'utf8');
const looksIn = (register: string): number => words(register).match(/"result/g)?.length ?? 0;

/** Answers to the probes at random, but for what the model knows of the classes. */
function answers(list: string, classes: readonly string[]): string {
  const rows = readFileSync(list, 'utf8').trim().split('\n').slice(1);
  const scores = rows.map((row, i) =>
    classes.map((name, k) => (row.split(',')[2] === name ? 2 : 0) + Math.sin(12.9898 * (i + 1) * (k + 1))),
  );
  return [classes, ...scores].map((cells) => `${cells.join(',')}\n`).join('');
}

describe('a new user with a folder of photographs', () => {
  const cli = (line: string, options?: Parameters<typeof run>[2]) =>
    run(
      'cli',
      line.split(' ').map((word) => word.replace(/^@/, `${folder}/`)),
      options,
    );
  const PROTECT = 'protect @photographs --decoys 4 --per-class 4 -o @published';
  const CHECK = 'check --key @published.private/owner.key';

  beforeAll(async () => {
    build();
    await writePhotographs(at('photographs'), 24, 45);
  });

  it('is told what would be done, and nothing is done', async () => {
    const before = filesIn(folder);
    const { exitCode, stdout, stderr } = await cli(`${PROTECT} --dry-run`);
    expect(exitCode, stderr).toBe(0);
    expect(stdout).toMatch(/^.*photographs: 24 images in 2 classes, colour, shorter side \d+ to \d+ pixels$/m);
    expect(stdout).toMatch(/^ {2}elk +12 +4 +2$/m);
    expect(stdout).toContain('never marked, and not in');
    expect(stdout).toMatch(/^expected log10 p at 20 % marked, hoped for -6\.0, by the measured curves/m);
    expect(stdout).toMatch(/the last column is extrapolated by the number of classes/);
    expect(stdout).toContain('the test can give no log10 p below -1.4');
    expect(filesIn(folder)).toEqual(before);
  });

  it('protects it, killed in between, and is told what to publish, keep and do', async () => {
    const killed = await cli(PROTECT, {
      onStderr: (stderr, kill) => {
        if (/marking: 0/.test(stderr)) kill('SIGKILL');
      },
    });
    expect(killed.exitCode).toBeNull();
    expect(existsSync(at('published'))).toBe(false);
    const { exitCode, stdout, stderr } = await cli(PROTECT);
    expect(exitCode, stderr).toBe(0);
    expect(stderr).toMatch(/^2\/4 reading .* left$|^2\/4 reading /m);
    const [publish, keep, test] = stdout.trim().split('\n').slice(-3);
    expect(publish).toBe(`Publish: ${at('published')}, as it is, in place of ${at('photographs')}`);
    expect(keep).toContain(
      `${at('published.private')}, with the key, the images to test on ${at('published.private/held-out')}`,
    );
    expect(test).toBe(`Test:    radioactive check --key ${at('published.private/owner.key')} SUSPECT`);

    const published = filesIn(at('published'));
    const heldOut = filesIn(at('published.private/held-out'));
    expect(heldOut.length).toBe(8);
    expect([...published, ...heldOut].sort()).toEqual(filesIn(at('photographs')));
    const held = new Set(words('published.private/held-out.txt').trim().split('\n'));
    expect(heldOut.every((id) => held.has(id))).toBe(true);
    for (const id of heldOut)
      expect(readFileSync(at(`published.private/held-out/${id}`))).toEqual(readFileSync(at(`photographs/${id}`)));
    const manifest = JSON.parse(words('published.private/manifest.json'));
    expect(manifest.images.length).toBe(4);
    expect(manifest.images.some(({ id }: { id: string }) => held.has(id))).toBe(false);
    for (const name of ['', ...readdirSync(at('published.private'))])
      expect(statSync(at(`published.private/${name}`)).mode & 0o77, name).toBe(name === 'held-out' ? 0o55 : 0);
    const key = await openKey(at('published.private/owner.key'));
    expect(words('published.private/commitment.txt')).toContain(`key ${await commitment(key)}\n`);
    expect(stdout).toContain(await commitment(key));
    expect(key.heldOut).toMatchObject({ kind: 'content', count: 8 });

    // Again: nothing is written anew. Otherwise: it is refused.
    const whole = { ...contents(at('published')), ...contents(at('published.private')) };
    const again = await cli(`${PROTECT} --json --quiet`);
    expect(JSON.parse(again.stdout)).toMatchObject({ state: 'protected', key: { commitment: await commitment(key) } });
    expect({ ...contents(at('published')), ...contents(at('published.private')) }).toEqual(whole);
    const other = await cli(`${PROTECT} --radius 4 --quiet`);
    expect(other.exitCode).toBe(3);
    expect(ownLines(other)).toEqual([expect.stringContaining('was begun with other images or options')]);
  });

  it('makes probes, hears what to ask, and tests answers once', async () => {
    const prepared = await cli(CHECK);
    expect(prepared.exitCode, prepared.stderr).toBe(0);
    expect(prepared.stdout).toContain('48 images to ask a suspect');
    expect(prepared.stdout).toContain('with the header elk,owl and a line for each image');
    writeFileSync(at('answers.csv'), answers(at('published.private/probes/list.csv'), ['elk', 'owl']));
    const tested = JSON.parse((await cli(`${CHECK} @answers.csv --json --quiet`)).stdout);
    expect(tested).toMatchObject({ state: 'tested', test: 'black-box', result: { test: 'black-box' } });
    const log10p = Number(tested.result.log10p);
    expect(log10p).toBeLessThanOrEqual(0);
    expect(log10p).toBeGreaterThanOrEqual(-2 * Math.log10(5) - 1e-9);
    expect(existsSync(tested.report)).toBe(true);
    expect(readFileSync(tested.report, 'utf8')).toContain('images');
    const known = await cli(`${CHECK} @answers.csv`);
    expect(known.stderr).toContain('tested before, and not again');
    expect(known.stdout).toContain('Verify:  radioactive verify --key');
    expect(looksIn('published.private/owner.key.register.jsonl')).toBe(1);

    // The command that is shown checks what can be checked: with the held-back images left out, the originals are the originals.
    const line = /^Verify: {2}radioactive (.*)$/m.exec(known.stdout)![1];
    const verified = await cli(`${line} --json --quiet`);
    const { checks } = JSON.parse(verified.stdout) as { checks: { check: string; state: string }[] };
    expect(checks.find(({ check }) => check === 'originals')).toMatchObject({ state: 'ok' });
    expect(checks.filter(({ state }) => state === 'failed')).toEqual([]);
  });
});

/** A run of the library that a test may kill. */
const device = useDevice();
const protect = (files: Partial<ProtectionFiles>, context?: RunContext): Promise<ProtectionReport> =>
  runProtection(
    {
      data: at('images'),
      output: at('out'),
      blackBox: { decoys: 2, perClass: 1 },
      fraction: 0.4,
      network: { patterns: 8 } as NonNullable<ProtectionFiles['network']>,
      recipe: { iterations: 1 },
      ...files,
    },
    context ?? quietContext(device()),
  );
const check = (files: Partial<CheckFiles> = {}) =>
  runCheck({ key: at('out.private/owner.key'), ...files }, quietContext(device()));

describe('killed at every change to a file', () => {
  it('protect goes on, with one key, and loses no image', async () => {
    const kills = await killEverywhere(
      () => protect({}),
      async () => {
        const { manifest } = (await protect({})).marked!;
        const key = await openKey(at('out.private/owner.key'));
        expect(manifest.keyCommitment).toBe(await commitment(key));
        expect([...filesIn(at('out')), ...filesIn(at('out.private/held-out'))].sort()).toEqual(filesIn(at('images')));
        expect(readdirSync(folder).filter((name) => /^out.*\.(partial|lock)$/.test(name))).toEqual([]);
        expect(readdirSync(at('out.private')).sort()).toEqual(KEPT);
        for (const name of ['out', 'out.private']) rmSync(at(name), { recursive: true });
      },
      // Marking is killed at every change in the tests of mark.
      () => (existsSync(at('out.partial')) ? 9 : 1),
    );
    expect(kills).toBeGreaterThan(30);
  });

  const KEPT = [
    'commitment.txt',
    'data.tsq',
    'held-out',
    'held-out.txt',
    'key.tsq',
    'manifest.json',
    'owner.key',
    'owner.key.register.jsonl',
    'patterns.safetensors',
    'protection.json',
  ];

  it('check goes on, and leaves a result for a test that is registered', async () => {
    await protect({ data: writeFolder(at('enough'), 12), blackBox: { decoys: 2, perClass: 4 } });
    await check();
    writeFileSync(at('said.csv'), answers(at('out.private/probes/list.csv'), CLASSES));
    cpSync(at('out.private'), at('kept'), { recursive: true });
    const suspect = { scores: at('said.csv') };
    const kills = await killEverywhere(
      () => check({ suspect }),
      async () => {
        const { result, evidence, report } = await check({ suspect });
        const looks = looksIn('out.private/owner.key.register.jsonl');
        // Killed between the entry and the result, the test was made twice, and counts so.
        expect(result!.register.looks).toBe(looks);
        expect([1, 2]).toContain(looks);
        expect(existsSync(join(evidence!, 'result.json'))).toBe(true);
        expect(existsSync(report!)).toBe(true);
        rmSync(at('out.private'), { recursive: true });
        cpSync(at('kept'), at('out.private'), { recursive: true });
      },
    );
    expect(kills).toBeGreaterThan(10);
    expect(life.left).toBe(Number.POSITIVE_INFINITY);
  });
});

describe('what is protected', () => {
  it('is IDX files as well, and of two runs the same images are held back', async () => {
    writeIdx(at('idx'), 20);
    const lists = [];
    for (const output of [at('one'), at('two')]) {
      const { marked } = await protect({ data: at('idx'), output, blackBox: { decoys: 2, perClass: 2 } });
      expect(marked!.manifest.source.count).toBe(16);
      lists.push(readFileSync(`${output}.private/held-out.txt`, 'utf8'));
      const heldOut = await openDataset(`${output}.private/held-out`);
      const all = await openDataset(at('idx'));
      const ids = Array.from({ length: 20 }, (_, i) => all.id(i));
      const held = lists[0].trim().split('\n');
      const images = await Promise.all(held.map((id) => all.image(ids.indexOf(id))));
      expect(await Promise.all(held.map((_, i) => heldOut.image(i)))).toEqual(images);
    }
    expect(lists[0].split('\n').length).toBe(5);
    expect(lists[1]).toBe(lists[0]);
  });

  it('is tested on images that were given, if some are, and with references that the key fixes', async () => {
    writeFolder(at('given'), 8, CLASSES, 1000);
    writeFolder(at('others'), 12, CLASSES, 2000);
    const output = at('with-given');
    const report = await protect({
      data: at('others'),
      output,
      heldOut: { path: at('given') },
      blackBox: { decoys: 2, perClass: 4 },
      references: 1,
      training: { epochs: 1, width: 4 },
    });
    expect(filesIn(output)).toEqual(filesIn(at('others')));
    expect(existsSync(`${output}.private/held-out`)).toBe(false);
    const told = JSON.parse(readFileSync(`${output}.private/references/reference-1.safetensors.json`, 'utf8'));
    expect(told).toMatchObject({ data: { count: 12 }, network: { width: 4 } });
    expect(report.key!.statistic).toMatchObject({ kind: 'black-box', references: [told.sha256] });
    const key = `${output}.private/owner.key`;
    cpSync(output, at('leaked'), { recursive: true });
    await expect(check({ key, data: at('leaked'), split: 'train' })).rejects.toThrow(/are copies of marked images/);
    const suspect = { model: writeModel(at('suspect.safetensors')) };
    const { result, references } = await check({ key, suspect });
    expect(result!.overlap).toMatchObject({ images: 8, copies: 0 });
    expect(references.length).toBe(1);
    expect(result!.deviations).toEqual([]);
    expect(result!.blackBox!.references.length).toBe(1);
  });

  it('has references that never saw what was held back', async () => {
    writeFolder(at('few'), 12, CLASSES, 3000);
    const output = at('few-out');
    await protect({ data: at('few'), output, blackBox: { decoys: 2, perClass: 2 } });
    const key = `${output}.private/owner.key`;
    const { references } = await check({ key, references: 1, training: { epochs: 1, width: 4 } });
    const { data } = JSON.parse(readFileSync(`${references[0]}.json`, 'utf8'));
    expect(data.count).toBe(8);
    await expect(check({ key, references: 2, original: output, training: { epochs: 1, width: 4 } })).rejects.toThrow(
      'is a marked data set',
    );

    // Four images cannot show that a suspect knows the classes.
    writeFileSync(at('few.csv'), answers(`${output}.private/probes/list.csv`, CLASSES));
    const asked = { key, suspect: { scores: at('few.csv') } };
    await expect(check(asked)).rejects.toThrow('right about 100.0 % of 4 images');
    expect(looksIn(`few-out.private/owner.key.register.jsonl`)).toBe(0);
    const { result } = await check({ ...asked, despite: ['classes'] });
    expect(result!.deviations.join()).toContain('right about 100.0 % of 4 images');
  });

  it.skipIf(opensslMissing)(
    `waits for its beacon${opensslMissing ? ' (skipped: openssl is missing)' : ''}`,
    async () => {
      const output = at('waiting');
      const files = { output, beacon: () => ({ kind: 'time-stamp' as const }) };
      expect((await protect(files)).state).toBe('waiting');
      expect((await protect(files)).state).toBe('waiting');
      expect(existsSync(output)).toBe(false);
      const authorities = new Authorities();
      try {
        authorities.certificate('ca');
        authorities.certificate('tsa', { by: 'ca' });
        cpSync(`${output}.private/key.tsq`, authorities.at('key.tsq'));
        const stamp = authorities.stamp('tsa', 'key.tsq');
        const key = await openKey(`${output}.private/owner.key`, { waiting: true });
        writeFileSync(`${output}.private/owner.key`, serializeKey(await completeKey(key, stamp, 'key.tsr')));
      } finally {
        authorities.remove();
      }
      const { state, marked, commitment: published } = await protect(files);
      expect(state).toBe('protected');
      expect(marked!.manifest.keyCommitment).toBe(published);
    },
  );
});

describe('what is refused before anything is written', () => {
  const plan = (data: string, files: Partial<ProtectionFiles> = {}) =>
    planProtection({ data: at(data), output: at('never'), ...files });

  it('splits for classes', async () => {
    for (const split of ['train', 'val']) writeFolder(at(`nested/${split}`), 4);
    await expect(plan('nested')).rejects.toThrow(
      /its class folders are train and val: these are splits.*give .*nested\/train/,
    );
  });

  it('one class, and a class with one image', async () => {
    writeFolder(at('single'), 3, ['ape']);
    await expect(plan('single')).rejects.toThrow('has one class, ape');
    writeFolder(at('poor'), 3);
    await expect(plan('poor')).rejects.toThrow('class bee has one image that can be read');
    await expect(plan('poor', { heldOut: { path: at('images') } })).resolves.toBeDefined();
  });

  it('what is marked', async () => {
    mkdirSync(at('marked-before'));
    await protect({ output: at('marked-before/out') });
    await expect(plan('marked-before/out')).rejects.toThrow(/is a marked data set, says .*manifest\.json/);
  });

  it('an output that is something else, or inside the images', async () => {
    mkdirSync(at('taken'));
    await expect(protect({ output: at('taken') })).rejects.toThrow('exists already');
    mkdirSync(at('free.private'));
    writeFileSync(at('free.private/mine.txt'), '');
    await expect(protect({ output: at('free') })).rejects.toThrow('not empty');
    await expect(protect({ output: at('images/ape/out') })).rejects.toThrow('inside it');
  });
});

describe('what is planned', () => {
  it('says where classes are so small that the test is weak', async () => {
    writeFolder(at('tail'), 40, ['ape', 'bee', 'bee', 'bee']);
    rmSync(at('tail/ape/000.png'));
    const { plan } = await planProtection({ data: at('tail'), output: at('never'), fraction: 0.1 });
    expect(plan.classes.map(({ images, heldBack, marked }) => [images, heldBack, marked])).toEqual([
      [9, 1, 1],
      [30, 1, 3],
    ]);
    expect(plan.warnings.join('\n')).toMatch(/1 of 2 classes have so few images that one is marked, "ape" \(9\)/);
    expect(plan.warnings.join('\n')).toMatch(/1 images of a class to test on are few/);
  });

  it('is the share that the measured curves give', async () => {
    const files = await measuredFiles();
    const plan = { classCount: 10, sets: 100, dimension: 48, marked: 'random' as const };
    const share = shareFor(files, plan, 1e-6);
    const median = (fraction: number): number =>
      outlookAt(files, plan, fraction).measured.find(({ setting }) => setting === 'scratch')!.expected.median;
    expect(median(share)).toBeLessThanOrEqual(-6);
    expect(median(share - 0.01)).toBeGreaterThan(-6);
    expect(shareFor(files, plan, 1e-100)).toBe(0.2);
    expect(shareFor([], plan, 1e-6)).toBe(0.2);
    // Twice the classes, each with its evidence, need fewer images.
    expect(shareFor(files, { ...plan, classCount: 40 }, 1e-6)).toBeLessThan(share);
    expect(outlookAt(files, { ...plan, sets: 2 }, share).floor).toBeCloseTo(-3.0103, 4);
    expect(Math.min(...outlookAt(files, { ...plan, sets: 2 }, share).measured.map((each) => each.expected.min))).toBe(
      -10 * Math.log10(2),
    );
  });

  it('extrapolates by the number of classes as quantiles add up', () => {
    // Upper tails of the normal law at 1, 2 and 3: 0.158655254, 0.022750132, 0.001349898.
    const log10 = [0.15865525393145707, 0.0227501319481792, 0.0013498980316301];
    expectClose([acrossClasses(Math.log10(log10[0]), 10, 40)], [Math.log10(log10[1])], 1e-9, 'four times');
    expectClose([acrossClasses(Math.log10(log10[2]), 9, 1)], [Math.log10(log10[0])], 1e-9, 'a ninth');
  });
});
