import { fork, spawn, spawnSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { inFull } from './works.mjs';

/** Nothing here takes so long, not even compiling: what is still running then hangs. */
const TIMEOUT_MS = 15 * 60_000;

/** The process cannot do what it was asked. `unsupported`: it never could. `exitCode`: as the project's own errors have it. */
export class Refusal extends Error {
  constructor(message, { unsupported = false, exitCode = undefined } = {}) {
    super(message);
    this.unsupported = unsupported;
    this.exitCode = exitCode;
  }
}

/**
 * A process of its own for each implementation: their runtimes do not share one, and what one leaks or leaves running must not
 * slow another. It does one thing at a time and nothing in between.
 *
 *   open {} → { version, adapter? }                     starts the library
 *   prepare { id, work, dtype? } → { adapter? }         lays out the data on the device
 *   calm {} → {}                                        before the first run that counts
 *   run { id, repeats } → { ms, loss? }                 runs to the end, so often; the mean
 *   values { id, samples } → { values }                 elements of the last result, in PyTorch's layout
 *   release { id } → {}
 *
 * An answer may also be { error, exitCode? } or { unsupported }.
 */
export class Child {
  #process;
  #waiting;
  #stderr = '';
  #calm = false;
  version;
  adapter;

  /** `implementation` has `title` and `file`, an .mjs or a .py with its `args`. */
  constructor(implementation, threads) {
    this.implementation = implementation;
    const { file, args = [] } = implementation;
    // A software adapter has as many workers as the others have threads.
    const env = { ...process.env, LP_NUM_THREADS: String(threads), OMP_NUM_THREADS: String(threads) };
    if (file.endsWith('.py')) {
      this.#process = spawn(python(), [file, String(threads), ...args], { env, stdio: 'pipe' });
      let buffer = '';
      this.#process.stdout.setEncoding('utf8').on('data', (text) => {
        buffer += text;
        for (let end = buffer.indexOf('\n'); end >= 0; end = buffer.indexOf('\n')) {
          this.#answer(JSON.parse(buffer.slice(0, end)));
          buffer = buffer.slice(end + 1);
        }
      });
      this.#process.stdin.on('error', () => {}); // Its end is noticed below.
    } else {
      const child = fileURLToPath(new URL('child.mjs', import.meta.url));
      this.#process = fork(child, [file, String(threads), ...args], { env, stdio: ['ignore', 'pipe', 'pipe', 'ipc'] });
      this.#process.on('message', (message) => this.#answer(message));
      this.#process.stdout.resume();
    }
    this.#process.stderr.setEncoding('utf8').on('data', (text) => {
      this.#stderr = (this.#stderr + text).slice(-4000);
    });
    this.#process.on('error', (error) => this.#fail(error.message));
    this.#process.on('exit', (code, signal) => {
      this.exited = true;
      const lines = this.#stderr.trim().split('\n');
      const last = lines.findLast((line) => !line.startsWith('Warning:'));
      this.#fail(`its process ended (${signal ?? code})${last ? `: ${last}` : ''}`);
    });
  }

  get pid() {
    return this.#process.pid;
  }

  async open() {
    const { version, adapter } = await this.request('open');
    this.version = version;
    this.adapter = adapter;
  }

  async prepare(id, work, dtype) {
    const { adapter } = await this.request('prepare', { id, work: inFull(work), dtype });
    this.adapter ??= adapter;
  }

  async calm() {
    if (!this.#calm) await this.request('calm');
    this.#calm = true;
  }

  run(id, repeats) {
    return this.request('run', { id, repeats });
  }

  async values(id, samples) {
    return (await this.request('values', { id, samples })).values;
  }

  release(id) {
    return this.request('release', { id });
  }

  /** Sends a command and waits for the answer. Throws Refusal; the process has ended then where `exited` says so. */
  request(command, message = {}) {
    if (this.exited) return Promise.reject(new Refusal('its process has ended'));
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => {
        this.#fail(`no answer to ${command} within ${TIMEOUT_MS / 60_000} minutes`);
        this.close();
      }, TIMEOUT_MS);
      this.#waiting = { resolve, reject, timer };
      const request = { command, ...message };
      if (this.#process.send) this.#process.send(request);
      else this.#process.stdin.write(`${JSON.stringify(request)}\n`);
    });
  }

  close() {
    this.#process.kill('SIGKILL');
  }

  #settle() {
    const waiting = this.#waiting;
    this.#waiting = undefined;
    clearTimeout(waiting?.timer);
    return waiting;
  }

  #answer(message) {
    const waiting = this.#settle();
    if (message.unsupported) waiting?.reject(new Refusal(message.unsupported, { unsupported: true }));
    else if (message.error) waiting?.reject(new Refusal(message.error, message));
    else waiting?.resolve(message);
  }

  #fail(message) {
    this.#settle()?.reject(new Refusal(message));
  }
}

/** PYTHON, else the first that has PyTorch: Debian's is in its own Python, which another may precede in the path. */
function python() {
  if (process.env.PYTHON) return process.env.PYTHON;
  const look = 'import importlib.util, sys; sys.exit(importlib.util.find_spec("torch") is None)';
  const found = ['python3', '/usr/bin/python3'].find((name) => spawnSync(name, ['-c', look]).status === 0);
  return found ?? 'python3';
}
