import { execFileSync } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import os from 'node:os';

// What a measurement was taken on and what else went on meanwhile. Linux tells; elsewhere the fields are left out.

/** Numbers of the CPUs this process may use. */
function allowedCpus() {
  try {
    const list = /Cpus_allowed_list:\s*(\S+)/.exec(readFileSync('/proc/self/status', 'utf8'))[1];
    return list.split(',').flatMap((part) => {
      const [first, last = first] = part.split('-').map(Number);
      return Array.from({ length: last - first + 1 }, (_, i) => first + i);
    });
  } catch {
    return undefined;
  }
}

const allowed = allowedCpus();

/** Threads for everything that computes on the CPU: LP_NUM_THREADS, else the CPUs this process may use. */
export const threads = Number(process.env.LP_NUM_THREADS) || os.availableParallelism();

export const loadAverage = () => os.loadavg().map((load) => Number(load.toFixed(2)));

export function machine() {
  return {
    cpu: os.cpus()[0]?.model.trim(),
    cpus: os.cpus().length,
    ...(allowed && allowed.length < os.cpus().length && { pinnedTo: allowed }),
    threads,
    memoryGiB: Math.round(os.totalmem() / 2 ** 30),
    system: `${os.type()} ${os.release()} ${os.arch()}`,
    node: process.version,
  };
}

/** The project's commit, marked where the files differ from it; outside a clone what bench/gpu/pack.sh noted, or undefined. */
export function commit() {
  const git = (...args) => execFileSync('git', args, { cwd: import.meta.dirname, stdio: ['ignore', 'pipe', 'ignore'] });
  try {
    return (
      `${git('rev-parse', '--short=12', 'HEAD')}`.trim() +
      (`${git('status', '--porcelain')}`.trim() ? ' and changes' : '')
    );
  } catch {
    const noted = new URL('../../.gpu/commit', import.meta.url);
    return existsSync(noted) ? readFileSync(noted, 'utf8').trim() : undefined;
  }
}

const TICKS_PER_SECOND = 100;

/** CPU seconds a process has used. */
export function cpuSeconds(pid) {
  try {
    const fields = readFileSync(`/proc/${pid}/stat`, 'utf8')
      .replace(/^.*\) /, '')
      .split(' ');
    return (Number(fields[11]) + Number(fields[12])) / TICKS_PER_SECOND;
  } catch {
    return 0;
  }
}

/** CPU seconds that all processes together have used on the CPUs this one may use; undefined where nothing tells. */
export function busySeconds() {
  try {
    let ticks = 0;
    for (const line of readFileSync('/proc/stat', 'utf8').split('\n')) {
      const match = /^cpu(\d+) (.*)/.exec(line);
      if (!match || (allowed && !allowed.includes(Number(match[1])))) continue;
      const [user, nice, system, , , irq, softirq, steal] = match[2].split(' ').map(Number);
      ticks += user + nice + system + irq + softirq + steal;
    }
    return ticks / TICKS_PER_SECOND;
  } catch {
    return undefined;
  }
}
