import { spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, openSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, expectTypeOf, it } from 'vitest';
import packageJson from '../package.json';
import { DeviceError, IntegrityError } from '../src/errors.ts';
import {
  commandHelp,
  commonOptions,
  defineCommand,
  type Options,
  parseOptions,
  suggest,
  type Values,
} from '../src/node/cli/command.ts';
import { describeFailure } from '../src/node/cli/output.ts';
import { type ProgressStyle, Reporter } from '../src/node/cli/progress.ts';
import { ShapeError } from '../src/tensor/tensor.ts';
import { build, run } from './cli.ts';
import { writeModel } from './small_data.ts';

const table = {
  key: { type: 'string', value: 'FILE', required: true, description: 'the key' },
  out: { type: 'string', short: 'o', value: 'DIR', description: 'where to' },
  arch: { type: 'string', value: 'NAME', choices: ['resnet18', 'vgg16'], default: 'resnet18', description: 'network' },
  batchSize: { type: 'integer', value: 'N', minimum: 1, default: 32, description: 'images a step' },
  lr: { type: 'number', value: 'RATE', minimum: 0, maximum: 1, description: 'step size' },
  blackBox: { type: 'flag', description: 'scores only' },
} as const satisfies Options;

describe('options', () => {
  it('are typed by their table', () => {
    expectTypeOf<Values<typeof table>>().toEqualTypeOf<{
      readonly key: string;
      readonly out: string | undefined;
      readonly arch: 'resnet18' | 'vgg16';
      readonly batchSize: number;
      readonly lr: number | undefined;
      readonly blackBox: boolean;
    }>();
  });

  it.each<[string, Partial<Values<typeof table>>]>([
    ['--key k', {}],
    ['--key=k -o out', { out: 'out' }],
    ['--key k --out out --batch-size 8 --lr=0.5 --black-box', { out: 'out', batchSize: 8, lr: 0.5, blackBox: true }],
    ['--key k --arch vgg16 --arch resnet18', {}],
    ['--key k --out=-strange', { out: '-strange' }],
  ])('%s', (line, expected) => {
    expect(parseOptions(table, line.split(' '))).toEqual({
      key: 'k',
      out: undefined,
      arch: 'resnet18',
      batchSize: 32,
      lr: undefined,
      blackBox: false,
      ...expected,
    });
  });

  it.each([
    ['', '--key FILE is missing'],
    ['--key', '--key needs a value: --key FILE'],
    ['--key --black-box', '--key needs a value: --key FILE'],
    ['--key=', '--key needs a value: --key FILE'],
    ['--key k --black-box=yes', '--black-box takes no value'],
    ['--key k --batchsize 3', 'unknown option --batchsize; did you mean --batch-size?'],
    ['--key k --batch 3', 'unknown option --batch; did you mean --batch-size?'],
    ['--key k --wholly-different', 'unknown option --wholly-different'],
    ['--key k -x', 'unknown option -x'],
    ['--key k --batch-size 1.5', '--batch-size 1.5: must be an integer'],
    ['--key k --batch-size 0', '--batch-size 0: must be at least 1'],
    ['--key k --lr fast', '--lr fast: must be a number'],
    ['--key k --lr -1', '--lr -1: must be between 0 and 1'],
    ['--key k --arch resnet', '--arch resnet: must be one of resnet18, vgg16'],
    ['--key k stray', 'unexpected argument stray'],
  ])('refuse %j', (line, message) => {
    const refused = expect(() => parseOptions(table, line.split(' ').filter(Boolean)));
    refused.toThrow(expect.objectContaining({ message, exitCode: 2 }));
  });

  it('may have one without its name, anywhere on the line', () => {
    const positional = {
      evidence: { type: 'string', value: 'EVIDENCE', required: true, positional: true, description: 'what' },
      out: { type: 'string', short: 'o', value: 'DIR', description: 'where to' },
    } as const satisfies Options;
    expectTypeOf<Values<typeof positional>>().toEqualTypeOf<{
      readonly evidence: string;
      readonly out: string | undefined;
    }>();
    for (const line of ['folder -o out', '-o out folder', '-o out -- folder'])
      expect(parseOptions(positional, line.split(' '))).toEqual({ evidence: 'folder', out: 'out' });
    const refuse = (args: string[], message: string) =>
      expect(() => parseOptions(positional, args)).toThrow(expect.objectContaining({ message, exitCode: 2 }));
    refuse(['-o', 'out'], 'EVIDENCE is missing');
    refuse(['one', 'two'], 'unexpected argument two');
    refuse(['--evidence', 'one'], 'unknown option --evidence');
    const command = defineCommand({
      name: 'report',
      summary: 'Reports',
      options: positional,
      examples: ['folder'],
      run: async () => ({ json: {}, text: '' }),
    });
    expect(commandHelp('radioactive report', command).split('\n').slice(0, 7)).toEqual([
      'Usage: radioactive report EVIDENCE [options]',
      '',
      'Reports.',
      '',
      'Options:',
      '  EVIDENCE       what (required)',
      '  -o, --out DIR  where to',
    ]);
  });

  it.each([
    ['1', 1],
    ['536870912B', 536870912],
    ['512MiB', 536870912],
    ['512mb', 512e6],
    ['1.5GiB', 1610612736],
    ['8kB', 8000],
  ])('--memory %s', (text, bytes) => {
    expect(parseOptions(commonOptions, ['--memory', text]).memory).toBe(bytes);
  });

  it.each(['0', '-1', '1e3', '0.5', '1Mi', 'lots', '9007199254740993', '12iB'])('refuse --memory %s', (text) => {
    expect(() => parseOptions(commonOptions, [`--memory=${text}`])).toThrow(
      `--memory ${text}: must be a number of bytes, like 536870912 or 512MiB`,
    );
  });

  it('are explained with defaults and examples', () => {
    const command = defineCommand({
      name: 'mark',
      summary: 'Marks',
      options: table,
      examples: ['--key my.key'],
      run: async () => ({ json: {}, text: '' }),
    });
    expect(commandHelp('radioactive mark', command).split('\n')).toEqual([
      'Usage: radioactive mark --key FILE [options]',
      '',
      'Marks.',
      '',
      'Options:',
      '  --key FILE      the key (required)',
      '  -o, --out DIR   where to',
      '  --arch NAME     network (resnet18 | vgg16; default resnet18)',
      '  --batch-size N  images a step (default 32)',
      '  --lr RATE       step size',
      '  --black-box     scores only',
      '',
      'Options of every command:',
      "  --device NAME   part of the adapter's name, as doctor lists them; also RADIOACTIVE_DEVICE",
      '  --memory BYTES  most memory to use on the device, like 512MiB; batches are halved until they fit',
      '  --json          print one JSON document, numbers without end as "-Infinity", and progress as JSON lines on stderr',
      '  --quiet         no progress and no remarks on stderr',
      '  -h, --help      show this help',
      '',
      'Example:',
      '  radioactive mark --key my.key',
    ]);
  });

  it('suggest what is near', () => {
    expect(suggest('detct', ['detect', 'extract'])).toBe('; did you mean detect?');
    expect(suggest('banana', ['detect', 'extract'])).toBe('');
  });
});

describe('failures', () => {
  const systemError = (code: string, errno: number, path?: string): Error =>
    Object.assign(new Error(`${code}: raw`), { code, errno, syscall: 'open', path });
  it.each<[string, unknown, string, number]>([
    ['of this project', new IntegrityError('key: other\nmodel'), 'key: other\\u000amodel', 6],
    ['of the device', new DeviceError('lost'), 'lost', 5],
    ['a missing file', systemError('ENOENT', -2, 'a/b'), 'a/b: no such file or directory', 3],
    ['a forbidden file', systemError('EACCES', -13, 'a/b'), 'a/b: permission denied', 3],
    ['a full disk', systemError('ENOSPC', -28), 'no space left on device', 5],
    ['a shape', new ShapeError('conv2d: no'), 'conv2d: no (RADIOACTIVE_DEBUG=1 shows where)', 1],
    ['anything', 'text', 'text (RADIOACTIVE_DEBUG=1 shows where)', 1],
    ['an abort', AbortSignal.abort().reason, 'interrupted', 130],
  ])('%s', (_, error, message, exitCode) => {
    expect(describeFailure(error)).toEqual({ message, exitCode });
  });
});

describe('progress', () => {
  /** 60 images, one every half second, the last ten four times as fast; a remark in between. */
  function show(style: ProgressStyle): string {
    let text = '';
    let now = 0;
    const reporter = new Reporter({ write: (chunk) => (text += chunk), columns: 80 }, style, () => now);
    const progress = reporter.progress('mark', 60, 'images');
    for (let done = 1; done <= 60; done++) {
      now += done > 50 ? 125 : 500;
      progress.update(done);
      if (done === 20) reporter.log('a remark');
    }
    progress.done();
    return text;
  }

  it('is plain lines where stderr is no terminal', () => {
    expect(show('lines').split('\n')).toEqual([
      'mark: 0/60 images',
      'mark: 10/60 images, 2.00 images/s, 25 s left',
      'mark: 20/60 images, 2.00 images/s, 20 s left',
      'a remark',
      'mark: 30/60 images, 2.00 images/s, 15 s left',
      'mark: 40/60 images, 2.00 images/s, 10 s left',
      'mark: 50/60 images, 2.00 images/s, 5.0 s left',
      'mark: 60/60 images in 26 s',
      '',
    ]);
  });

  it('is one line that overwrites itself on a terminal', () => {
    const frames = show('bar').split('\r\x1b[K');
    expect(frames[0]).toBe('');
    expect(frames[1]).toBe('.................... mark: 0/60 images');
    expect(frames[32]).toBe('##########.......... mark: 30/60 images, 2.00 images/s, 15 s left');
    expect(frames).toContain(`a remark\n${frames[21]}`);
    // The rate is that of the last ten seconds: 27 images in 10.125 s.
    expect(frames.at(-2)).toBe('#################### mark: 59/60 images, 2.67 images/s, 0.4 s left');
    expect(frames.at(-1)).toBe('mark: 60/60 images in 26 s\n');
    expect(show('bar').split('\n').length, 'one remark, one end').toBe(3);
  });

  it('is JSON lines with --json', () => {
    const lines = show('json').trimEnd().split('\n');
    expect(lines).toContain('a remark');
    const rows = lines.filter((line) => line.startsWith('{')).map((line) => JSON.parse(line));
    expect(rows[0]).toEqual({ progress: { title: 'mark', done: 0, total: 60, rate: null, etaSeconds: null } });
    expect(rows[1]).toEqual({ progress: { title: 'mark', done: 2, total: 60, rate: 2, etaSeconds: 29 } });
    expect(rows.at(-1)).toMatchObject({ progress: { title: 'mark', done: 60, total: 60, etaSeconds: 0 } });
  });

  it('is nothing with --quiet', () => {
    expect(show('silent')).toBe('');
  });
});

describe('the built program', () => {
  const folder = mkdtempSync(join(tmpdir(), 'radioactive-cli-'));
  afterAll(() => rmSync(folder, { recursive: true }));
  beforeAll(() => {
    build();
    build('bench');
  });

  const file = (name: string, text: string): string => {
    const path = join(folder, name);
    writeFileSync(path, text);
    return path;
  };

  it('prints its version and its help on stdout', async () => {
    expect(await run('cli', ['--version'])).toEqual({ exitCode: 0, stdout: `${packageJson.version}\n`, stderr: '' });
    expect(JSON.parse((await run('cli', ['--version', '--json'])).stdout)).toEqual({ version: packageJson.version });
    const help = await run('cli', ['--help']);
    expect(help).toMatchObject({ exitCode: 0, stderr: '' });
    expect(help.stdout).toMatch(/^Usage: radioactive <command>.*doctor {2}/s);
    expect((await run('cli', ['calibrate', '--help'])).stdout).toMatch(/claim to be\?\n/);
  });

  it('explains every command it lists', async () => {
    const { stdout } = await run('cli', ['--help']);
    const names = [.../Commands:\n(.*?)\n\n/s.exec(stdout)![1].matchAll(/^ {2}(\S+)/gm)].map((match) => match[1]);
    expect(names).toContain('doctor');
    for (const name of names) {
      const help = await run('cli', [name, '--help']);
      expect(help, name).toMatchObject({ exitCode: 0, stderr: '' });
      expect(help.stdout).toMatch(new RegExp(`^Usage: radioactive ${name} .*Examples?:\n {2}radioactive ${name}`, 's'));
    }
  });

  it('refuses what it does not know, with exit code 2', async () => {
    const none = await run('cli', []);
    expect(none).toEqual({ exitCode: 2, stdout: '', stderr: 'error: no command is given; see radioactive --help\n' });
    const command = await run('cli', ['docter']);
    expect(command).toEqual({
      exitCode: 2,
      stdout: '',
      stderr: 'error: unknown command docter; did you mean doctor?\n',
    });
    const option = await run('cli', ['doctor', '--jsn']);
    expect(option).toEqual({
      exitCode: 2,
      stdout: '',
      stderr: 'error: unknown option --jsn; did you mean --json?; see radioactive doctor --help\n',
    });
  });

  it('prints errors as one JSON document with --json', async () => {
    const { exitCode, stdout } = await run('cli', ['doctor', '--json', '--divice', 'x']);
    expect(exitCode).toBe(2);
    const message = 'unknown option --divice; did you mean --device?; see radioactive doctor --help';
    expect(JSON.parse(stdout)).toEqual({ error: { message, exitCode: 2 } });
  });

  it('doctor tests the adapter', async () => {
    const { exitCode, stdout } = await run('cli', ['doctor', '--json']);
    expect(exitCode).toBe(0);
    const report = JSON.parse(stdout);
    expect(report).toMatchObject({ node: process.versions.node, passed: true });
    expect(report.adapters.filter((adapter: { used: boolean }) => adapter.used)).toHaveLength(1);
    expect(report.adapters[0].maxBindingBytes).toBeGreaterThanOrEqual(2 ** 27);
    expect(report.selfTest).toHaveLength(3);
    for (const { error, tolerance } of report.selfTest) {
      expect(error).toBeGreaterThan(0);
      expect(error).toBeLessThanOrEqual(tolerance);
    }
    const text = await run('cli', ['doctor']);
    expect(text.exitCode).toBe(0);
    expect(text.stdout).toContain(report.adapters[0].name);
  });

  it('--precision f16 computes with matrix units or is refused, exit code 4', async () => {
    const { exitCode, stdout } = await run('cli', [
      'profile',
      '--width',
      '8',
      '--batch',
      '1',
      '--precision',
      'f16',
      '--json',
    ]);
    const report = JSON.parse(stdout);
    if (exitCode === 0) expect(report.precision).toBe('f16');
    else {
      expect(exitCode).toBe(4);
      expect(report.error.message).toContain('cannot compute with precision f16');
    }
  });

  it('--device and RADIOACTIVE_DEVICE pick an adapter', async () => {
    const byOption = await run('cli', ['--device', 'no such adapter', 'doctor', '--json']);
    expect(byOption.exitCode).toBe(2);
    const byVariable = await run('cli', ['doctor', '--json'], { env: { RADIOACTIVE_DEVICE: 'no such adapter' } });
    expect(JSON.parse(byVariable.stdout)).toEqual(JSON.parse(byOption.stdout));
    const name = JSON.parse((await run('cli', ['doctor', '--json'])).stdout).adapters[0].name;
    expect((await run('cli', ['doctor', '--device', name])).exitCode).toBe(0);
  });

  it.runIf(process.platform === 'linux')('doctor without an adapter says what to install, exit code 4', async () => {
    const env = { VK_ICD_FILENAMES: '/nonexistent', VK_DRIVER_FILES: '/nonexistent' };
    const { exitCode, stdout } = await run('cli', ['doctor', '--json'], { env });
    expect(exitCode).toBe(4);
    expect(JSON.parse(stdout).error).toEqual({ message: expect.stringContaining('install'), exitCode: 4 });
  });

  it('bench measures the shapes of a file', async () => {
    const shapes = file(
      'shapes.json',
      JSON.stringify([
        { op: 'matmul', m: 33, k: 17, n: 9 },
        { op: 'conv2d', n: 1, c: 3, h: 9, w: 8, oc: 5, k: 3, stride: 2, pad: 1 },
      ]),
    );
    const { exitCode, stdout, stderr } = await run('bench', ['--json', '--quick', '--backward', '--shapes', shapes]);
    expect(exitCode, stderr).toBe(0);
    const rows = JSON.parse(stdout);
    expect(rows.map((row: { case: string }) => row.case)).toEqual([
      'matmul 33x17x9',
      'conv2d 1x3x9x8 to 5 k3 s2 p1',
      'conv2d 1x3x9x8 to 5 k3 s2 p1 dx',
      'conv2d 1x3x9x8 to 5 k3 s2 p1 dweight',
    ]);
    for (const { adapter, ms, gflops, gbps, plannedBytes, lowerBoundBytes } of rows) {
      expect(adapter).toEqual(expect.any(String));
      expect(ms.min).toBeGreaterThan(0);
      expect(ms.median).toBeGreaterThanOrEqual(ms.min);
      expect(ms.max).toBeGreaterThanOrEqual(ms.median);
      expect(gflops).toBeGreaterThan(0);
      expect(gbps).toBeGreaterThan(0);
      expect(plannedBytes).toBeGreaterThanOrEqual(lowerBoundBytes);
    }
  });

  it('bench does one thing at a time', async () => {
    const { exitCode, stderr } = await run('bench', ['--soak', '--first-step']);
    expect(exitCode).toBe(2);
    expect(stderr).toContain('error: --soak, --first-step and --host are runs of their own; give one');
  });

  it('bench measures operators and prints a table', async () => {
    const { exitCode, stdout, stderr } = await run('bench', ['--quick', '--filter', 'case linear 5x130']);
    expect(exitCode, stderr).toBe(0);
    expect(stdout).toMatch(/^case .*\ncase linear 5x130 to 33 bias /);
    expect(stderr).toContain('ceilings: ');
  });

  it.each([
    ['[{"op":"matmul"', 'not JSON'],
    ['[]', 'Invalid length'],
    ['[{"op":"pool"}]', 'entry 1, op: '],
    ['[{"op":"matmul","m":1,"k":1,"n":0}]', 'entry 1, n: '],
    [
      '[{"op":"conv2d","n":1,"c":1,"h":2,"w":2,"oc":1,"k":5,"stride":1,"pad":0}]',
      'entry 1: conv2d: the 5x5 kernel does not fit',
    ],
  ])('bench refuses the shapes %s', async (text, problem) => {
    const shapes = file('bad.json', text);
    const { exitCode, stdout, stderr } = await run('bench', ['--shapes', shapes]);
    expect({ exitCode, stdout }).toEqual({ exitCode: 3, stdout: '' });
    expect(stderr.startsWith(`error: ${shapes}: ${problem}`), stderr).toBe(true);
    expect(stderr.trimEnd()).not.toContain('\n');
  });

  it('bench names the shapes file that is missing', async () => {
    const missing = join(folder, 'missing.json');
    const stderr = `error: ${missing}: no such file or directory\n`;
    expect(await run('bench', ['--shapes', missing])).toEqual({ exitCode: 3, stdout: '', stderr });
  });

  it('does its work whether anybody reads stderr or not', async () => {
    writeModel(join(folder, 'marker.safetensors'));
    const classes = file('classes.txt', 'ape\nbee\n');
    const key = join(folder, 'owner.key');
    const args = ['keygen', '--classes', classes, '--model', join(folder, 'marker.safetensors')];
    const made = await run('cli', [...args, '--carriers', 'uniform', '-o', key], { closeStderr: true });
    expect(made).toEqual({ exitCode: 0, stdout: expect.stringMatching(/^commitment [0-9a-f]{64}\n/), stderr: '' });
    expect(existsSync(key)).toBe(true);
    const { exitCode } = await run('cli', ['docter'], { closeStderr: true });
    expect(exitCode).toBe(2);
  });

  it.skipIf(!existsSync('/dev/full'))('names standard output where it is full', () => {
    const stdio = ['ignore' as const, openSync('/dev/full', 'w'), 'pipe' as const];
    const { status, stderr } = spawnSync(process.execPath, ['dist/cli.js', '--version'], { stdio, encoding: 'utf8' });
    expect([status, stderr]).toEqual([5, 'error: standard output: no space left on device\n']);
  });

  it('ends at Ctrl-C with exit code 130', async () => {
    let sent = false;
    const { exitCode, stdout } = await run('bench', ['--json', '--filter', 'matmul'], {
      onStderr: (stderr, kill) => {
        if (sent || !stderr.includes('"progress"')) return;
        sent = true;
        kill('SIGINT');
      },
    });
    expect(exitCode).toBe(130);
    expect(JSON.parse(stdout)).toEqual({ error: { message: 'interrupted', exitCode: 130 } });
  });
});
