import { Child, Refusal } from './processes.mjs';

/** Ends the program with one line, and the exit code that the project's command line would have. */
export class Stop extends Error {
  constructor(message, exitCode) {
    super(message);
    this.exitCode = exitCode;
  }
}

const ERASE_LINE = process.stderr.isTTY ? '\r\x1b[K' : '';
/** Least time between two lines where no terminal overwrites the last. */
const INTERVAL_MS = 2000;
let shownAt = Number.NEGATIVE_INFINITY;

/** What is going on: on a terminal one line that changes, else a line now and then. */
export function progress(line) {
  if (!process.stderr.isTTY && performance.now() - shownAt < INTERVAL_MS) return;
  shownAt = performance.now();
  process.stderr.write(process.stderr.isTTY ? `${ERASE_LINE}${line}` : `${line}\n`);
}

/** A line that stays. */
export const log = (line) => process.stderr.write(`${ERASE_LINE}${line}\n`);

/** The processes of `implementations` (key → { title, file, args? }), started when first asked for. */
export class Session {
  #implementations;
  #threads;
  #children = new Map();

  constructor(implementations, threads) {
    this.#implementations = implementations;
    this.#threads = threads;
    process.on('exit', () => this.close());
    process.on('SIGINT', () => process.exit(130));
    process.on('SIGTERM', () => process.exit(143));
  }

  /** The implementation's process, a new one where the last has ended. */
  async child(key) {
    const known = this.#children.get(key);
    if (known && !known.exited) return known;
    const child = new Child(this.#implementations[key], this.#threads);
    this.#children.set(key, child);
    await child.open();
    return child;
  }

  /**
   * Starts everything once, so that what is missing shows before anything is measured. Returns the keys that are there; throws
   * Stop where one is not that is not in `optional`.
   */
  async start(keys, optional = []) {
    const there = [];
    for (const key of keys) {
      progress(`start ${key}`);
      try {
        await this.child(key);
        there.push(key);
      } catch (error) {
        if (!optional.includes(key)) throw new Stop(`${key}: ${error.message}`, error.exitCode ?? 3);
        log(`without ${this.#implementations[key].title}: ${error.message}`);
      }
    }
    return there;
  }

  versions(keys) {
    return Object.fromEntries(keys.map((key) => [key, this.#children.get(key).version]));
  }

  /** The one adapter that all have run on: nothing could be compared else. Throws Stop where there are two. */
  adapter(keys) {
    const found = new Map();
    for (const key of keys) {
      const adapter = this.#children.get(key).adapter;
      if (adapter) found.set(JSON.stringify(adapter), [...(found.get(JSON.stringify(adapter)) ?? []), key]);
    }
    if (found.size > 1)
      throw new Stop(`not the same adapter: ${[...found].map(([name, who]) => `${who}: ${name}`).join('; ')}`, 4);
    const [adapter] = found.keys();
    return adapter && JSON.parse(adapter);
  }

  close() {
    for (const child of this.#children.values()) child.close();
  }
}

/** Runs `main`, prints what it returns, and turns what a user can do something about into one line and an exit code. */
export async function run(name, main) {
  try {
    const text = await main();
    process.stderr.write(ERASE_LINE);
    process.stdout.write(`${text}\n`);
  } catch (error) {
    if (!(error instanceof Stop || error instanceof Refusal)) throw error;
    log(`${name}: ${error.message}`);
    process.exitCode = error.exitCode ?? 1;
  }
}

/** Machine, load and versions as lines above the table; `titles` by key. */
export function circumstances({ adapter, machine, load, versions }, titles) {
  const pinned = machine.pinnedTo ? `pinned to CPU ${machine.pinnedTo}` : 'not pinned';
  const named = Object.entries(versions).map(([key, version]) => `${titles[key].title} ${version}`);
  return [
    `adapter   ${adapter.description || adapter.device}`,
    `machine   ${machine.cpu}, ${machine.cpus} CPUs, ${pinned}, ${machine.threads} threads; ${machine.system}, Node ${machine.node}`,
    `load      ${load.before.join(' ')} before, ${load.after.join(' ')} after`,
    `versions  ${named.join(', ')}`,
  ];
}

/** Lines about works with results that nothing could be held against, or during which something else was going on. */
export function remarks(rows) {
  const alone = rows.filter(({ implementations }) =>
    Object.values(implementations).every(({ check }) => !check?.against),
  );
  return [
    ...(alone.length > 0 ? [`unchecked: ${alone.length} works had nothing to be compared with`] : []),
    ...disturbances(rows),
  ];
}

function disturbances(rows) {
  const disturbed = rows.filter(({ idleCpus, othersCpus }) => idleCpus > 0.05 || othersCpus > 0.05);
  if (disturbed.length === 0) return [];
  const most = (field) => Math.max(...disturbed.map((row) => row[field]));
  return [
    `disturbed: during ${disturbed.length} of ${rows.length} works other programs used up to ${most('othersCpus')} CPUs, processes that should be idle ${most('idleCpus')}; --json has each`,
  ];
}
