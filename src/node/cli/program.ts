import { RadioactiveError, UsageError } from '../../errors.ts';
import { jsonDocument } from '../../formats/json.ts';
import type { Device, Precision } from '../../gpu/device.ts';
import { openDevice } from '../device.ts';
import {
  type Command,
  columns,
  commandHelp,
  commonOptions,
  parseOptions,
  type Result,
  sentence,
  suggest,
} from './command.ts';
import { describeFailure, INTERRUPTED, isAbort, stackOf } from './output.ts';
import { Reporter } from './progress.ts';
import { Terminal } from './terminal.ts';

/** Several commands under one name. */
export interface CommandLine {
  readonly name: string;
  readonly summary: string;
  readonly version: string;
  readonly commands: readonly Command[];
}

/** Runs the command that the arguments name, and sets the process's exit code. */
export async function runProgram(program: CommandLine, args: readonly string[]): Promise<void> {
  await runInProcess(args, async (reporter, signal) => {
    // The first argument that is no option and no value of an option is the command.
    const at = args.findIndex((arg, index) => !arg.startsWith('-') && !takesValue(args[index - 1]));
    if (at < 0) {
      const { version } = explained(program.name, () => parseOptions(programOptions, args));
      if (version) return { json: { version: program.version }, text: program.version };
      const help = programHelp(program);
      if (asksForHelp(args)) return { json: { help }, text: help };
      throw new UsageError(`no command is given; see ${program.name} --help`);
    }
    const name = args[at];
    const command = program.commands.find((candidate) => candidate.name === name);
    if (!command) {
      const names = program.commands.map((candidate) => candidate.name);
      throw new UsageError(`unknown command ${name}${suggest(name, names) || `; there are ${names.join(', ')}`}`);
    }
    return run(`${program.name} ${name}`, command, args.toSpliced(at, 1), reporter, signal);
  });
}

/** Runs a program that is a single command; `invocation` is what is typed to run it. */
export async function runCommand(invocation: string, command: Command, args: readonly string[]): Promise<void> {
  await runInProcess(args, (reporter, signal) => run(invocation, command, args, reporter, signal));
}

const programOptions = {
  ...commonOptions,
  version: { type: 'flag', description: 'print the version' },
} as const;

const takesValue = (arg: string | undefined): boolean => arg === '--device' || arg === '--memory';

const asksForHelp = (args: readonly string[]): boolean => args.includes('--help') || args.includes('-h');

/** Ends the message of a usage error with where usage is explained. */
function explained<T>(invocation: string, parse: () => T): T {
  try {
    return parse();
  } catch (error) {
    if (error instanceof UsageError) throw new UsageError(`${error.message}; see ${invocation} --help`);
    throw error;
  }
}

async function run(
  invocation: string,
  command: Command,
  args: readonly string[],
  reporter: Reporter,
  signal: AbortSignal,
): Promise<Result> {
  if (asksForHelp(args)) {
    const help = commandHelp(invocation, command);
    return { json: { help }, text: help };
  }
  const options = explained(invocation, () => parseOptions({ ...command.options, ...commonOptions }, args));
  let device: Promise<Device> | undefined;
  try {
    return await command.run({
      options,
      signal,
      progress: (title, total, unit) => reporter.progress(title, total, unit),
      log: (line) => reporter.log(line),
      openDevice: () => {
        device ??= openDevice({
          adapter: options.device ?? (process.env.RADIOACTIVE_DEVICE || undefined),
          ...(options.memory !== undefined && { memoryLimitBytes: options.memory }),
          ...precisionOf(options),
        });
        return device;
      },
    });
  } catch (error) {
    if (!isAbort(error) || !command.afterInterrupt) throw error;
    throw new RadioactiveError(`interrupted; ${command.afterInterrupt}`, INTERRUPTED, { cause: error });
  } finally {
    // A device that could not be opened has been reported by the command already.
    await device?.then(
      (opened) => opened.destroy(),
      () => undefined,
    );
  }
}

/** Of a command that has `precisionOption`. */
const precisionOf = (options: object): { precision?: Precision } =>
  'precision' in options && options.precision === 'f16' ? { precision: 'f16' } : {};

/** What surrounds every run: where output goes, Ctrl-C, and what becomes of errors. */
async function runInProcess(
  args: readonly string[],
  body: (reporter: Reporter, signal: AbortSignal) => Promise<Result>,
): Promise<void> {
  // Asked for before anything is parsed: a usage error is printed as JSON too.
  const json = args.includes('--json');
  const terminal = process.stderr.isTTY && process.env.TERM !== 'dumb';
  const style = args.includes('--quiet') ? 'silent' : json ? 'json' : terminal ? 'bar' : 'lines';
  const reporter = new Reporter(process.stderr, style);
  const output = new Terminal(process.stdout);

  const fail = (error: unknown): number => {
    const failure = describeFailure(error);
    reporter.close();
    reporter.error(stackOf(error) ?? `error: ${failure.message}`);
    if (json) output.print(jsonDocument({ error: failure }));
    return failure.exitCode;
  };
  process.on('uncaughtException', (error) => process.exit(fail(error)));
  // Whoever reads stdout may stop early (`| head`).
  process.stdout.on('error', (error: NodeJS.ErrnoException) =>
    process.exit(error.code === 'EPIPE' ? 0 : fail(Object.assign(error, { path: 'standard output' }))),
  );
  // Whether anybody reads progress and remarks changes nothing of the work.
  process.stderr.on('error', () => undefined);

  const interrupt = new AbortController();
  process.on('SIGINT', () => {
    if (interrupt.signal.aborted) process.exit(INTERRUPTED);
    reporter.log('stopping when what is under way is done; Ctrl-C again stops at once');
    interrupt.abort();
  });

  try {
    const result = await body(reporter, interrupt.signal);
    reporter.close();
    output.print(json ? jsonDocument(result.json) : result.text && `${result.text}\n`);
    process.exitCode = result.exitCode ?? 0;
  } catch (error) {
    process.exitCode = fail(error);
  }
}

function programHelp({ name, summary, commands }: CommandLine): string {
  return [
    `Usage: ${name} <command> [options]`,
    '',
    sentence(summary),
    '',
    'Commands:',
    ...columns(commands.map((command) => [command.name, command.summary] as const)),
    '',
    `Options: --version, and --help, --json, --quiet, --device NAME, --memory BYTES with every command; ${name} <command> --help explains.`,
    '',
    'Examples:',
    ...commands.map((command) => `  ${`${name} ${command.name} ${command.examples[0]}`.trimEnd()}`),
    '',
    'Exit codes: 0 done, 1 fault of this program, 2 wrong usage, 3 bad input, 4 no usable adapter,',
    '  5 device lost, out of memory or disk full (try again), 6 files that do not belong together,',
    '  7 verify: nothing failed, and not all was checked, 130 interrupted.',
  ].join('\n');
}
