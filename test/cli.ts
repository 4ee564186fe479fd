import { execFileSync, spawn } from 'node:child_process';
import { fileURLToPath } from 'node:url';

const root = fileURLToPath(new URL('..', import.meta.url));

/** Builds the package into dist/, or the benches into bench/dist/, as `npm run build` and `npm run bench` do. For `beforeAll`. */
export function build(mode: 'production' | 'bench' = 'production'): void {
  const vite = 'node_modules/vite/bin/vite.js';
  execFileSync(process.execPath, [vite, 'build', '--mode', mode, '--logLevel', 'warn'], { cwd: root });
}

const PROGRAMS = { cli: 'dist/cli.js', bench: 'bench/dist/main.js' };

export interface Finished {
  readonly exitCode: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

export interface RunOptions {
  readonly env?: NodeJS.ProcessEnv;
  /** Sends SIGKILL after so many milliseconds. */
  readonly killAfterMs?: number;
  /** Closes its end of stderr at once, as `2>&1 | head` does sooner or later: the run writes to nobody. */
  readonly closeStderr?: boolean;
  /** Called with all of stderr so far whenever there is more. */
  readonly onStderr?: (stderr: string, kill: (signal: NodeJS.Signals) => void) => void;
}

/** Runs a built program from the project's root, neither of its outputs being a terminal. */
export function run(
  program: keyof typeof PROGRAMS,
  args: readonly string[],
  { env, killAfterMs, onStderr, closeStderr = false }: RunOptions = {},
): Promise<Finished> {
  const child = spawn(process.execPath, [PROGRAMS[program], ...args], {
    cwd: root,
    env: { ...process.env, ...env },
    stdio: ['ignore', 'pipe', 'pipe'],
    ...(killAfterMs !== undefined && { timeout: killAfterMs, killSignal: 'SIGKILL' }),
  });
  let stdout = '';
  let stderr = '';
  child.stdout.setEncoding('utf8').on('data', (text: string) => {
    stdout += text;
  });
  child.stderr.setEncoding('utf8').on('data', (text: string) => {
    stderr += text;
    onStderr?.(stderr, (signal) => child.kill(signal));
  });
  if (closeStderr) child.stderr.destroy();
  return new Promise((resolve, reject) => {
    child.on('error', reject);
    child.on('close', (exitCode) => resolve({ exitCode, stdout, stderr }));
  });
}

/** What a run has written to stderr, line by line, without what Dawn writes there by itself. */
export function ownLines({ stderr }: Finished): string[] {
  return stderr.split('\n').filter((line) => line !== '' && !/^(Warning: | {4}at )/.test(line));
}
