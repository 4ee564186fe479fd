import { busySeconds, cpuSeconds } from './machine.mjs';
import { Refusal } from './processes.mjs';
import { compare, operatorReference, samplesOf } from './reference.mjs';

/** A timing shorter than this is mostly the clock: a turn then takes the mean of several runs, each waited for. */
const LEAST_MS = 20;
const MOST_REPEATS = 50;

/**
 * Measures one work by all `entries` ({ key, child, work }, the own one first): each is prepared, run and checked, then they take
 * turns, one timed run each, in an order that moves on with every round. Only one process computes at any moment. An entry that
 * fails or gives a wrong result is not timed and says so. With `warmMs`, as long as that it first runs untimed in every turn: a GPU
 * that was idle needs a while to raise its clocks again.
 *
 * Takes `rounds` rounds, fewer (but `leastRounds`) where `budgetMs` is used up. `referenceChild` computes networks in float64;
 * `references` (a Map) keeps what was computed for the works to come.
 * Returns the entries' times, see `compareEntries`, and what else used the CPU meanwhile.
 */
export async function measureWork(
  entries,
  { rounds, leastRounds, budgetMs, warmMs = 0, references, referenceChild, onProgress },
) {
  const results = new Map(entries.map(({ key }) => [key, { key }]));
  const running = [];
  for (const entry of entries) {
    onProgress(`prepare ${entry.key}`);
    try {
      running.push({ ...entry, ...(await prepare(entry, references, referenceChild, results.get(entry.key))) });
    } catch (error) {
      refuse(results.get(entry.key), error);
    }
  }

  onProgress('wait until all are idle');
  await settle(running);

  const times = new Map(running.map(({ key }) => [key, []]));
  const usage = new Usage(entries.map(({ child }) => child.pid));
  const start = performance.now();
  let round = 0;
  for (; round < rounds && running.length > 0; round++) {
    if (round >= leastRounds && performance.now() - start > budgetMs) break;
    for (let turn = 0; turn < running.length; turn++) {
      const { key, child, repeats } = running[(turn + round) % running.length];
      if (results.get(key).error) continue;
      onProgress(`round ${round + 1} of ${rounds}, ${key}`);
      try {
        if (warmMs) await child.run(key, Math.ceil((repeats * warmMs) / LEAST_MS));
        const { ms } = await usage.during(child.pid, () => child.run(key, repeats));
        times.get(key).push(ms);
      } catch (error) {
        refuse(results.get(key), error);
      }
    }
  }
  const machine = usage.summary();

  for (const { key, child, work, samples, reference, repeats } of running) {
    const result = results.get(key);
    try {
      // What an operator gives does not change: the last result is held against the reference too.
      if (!work.network && !result.error)
        compare(work, samples, { values: await child.values(key, samples) }, reference);
      if (!child.exited) await child.release(key);
      if (!result.error) Object.assign(result, { timesMs: times.get(key), repeats });
    } catch (error) {
      refuse(result, error);
    }
  }
  return { entries: [...results.values()], rounds: round, ...machine };
}

async function prepare({ key, child, work }, references, referenceChild, result) {
  const samples = samplesOf(work);
  const start = performance.now();
  await child.prepare(key, work);
  const first = await child.run(key, 1);
  result.firstRunMs = performance.now() - start;
  try {
    const values = await child.values(key, samples);
    const second = await child.run(key, 1);
    const actual = { values, ...(first.loss !== undefined && { losses: [first.loss, second.loss] }) };
    if (!references.has(work.name)) references.set(work.name, await referenceFor(work, samples, referenceChild));
    const reference = references.get(work.name) ?? { source: key, ...actual };
    references.set(work.name, reference);
    const { toleranceFactor } = child.implementation;
    result.check =
      reference.source === key ? { against: null } : compare(work, samples, actual, reference, toleranceFactor);
    return { samples, reference, repeats: Math.min(MOST_REPEATS, Math.max(1, Math.ceil(LEAST_MS / second.ms))) };
  } catch (error) {
    if (!child.exited) await child.release(key);
    throw error;
  }
}

/** Most to wait for until no process computes. */
const SETTLE_MS = 300_000;

/** Waits until no process computes: after its first runs V8 goes on compiling onnxruntime's WebAssembly for most of a minute. */
async function settle(running) {
  for (const { child } of running) await child.calm();
  const total = () => running.reduce((sum, { child }) => sum + cpuSeconds(child.pid), 0);
  const start = performance.now();
  let used;
  do {
    const before = total();
    await new Promise((resolve) => setTimeout(resolve, 500));
    used = total() - before;
  } while (used > 0.02 && performance.now() - start < SETTLE_MS);
}

/** What to hold results against before any is there; undefined: the first result. */
async function referenceFor(work, samples, child) {
  if (!work.network) return operatorReference(work, samples);
  if (!child || child.exited) return undefined;
  const id = 'reference';
  await child.prepare(id, work, 'float64');
  const first = await child.run(id, 1);
  const values = await child.values(id, samples);
  const losses = first.loss === undefined ? undefined : [first.loss, (await child.run(id, 1)).loss];
  await child.release(id);
  return { source: `${child.implementation.title} in float64`, values, losses };
}

function refuse(result, error) {
  if (!(error instanceof Error)) throw error;
  if (error instanceof Refusal && error.unsupported) result.unsupported = error.message;
  else result.error = error.message;
}

/** What uses the CPU while somebody has a turn: the idle ones of the children, and everybody else. */
class Usage {
  #pids;
  #wall = 0;
  #idle = 0;
  #others = 0;

  constructor(pids) {
    this.#pids = [...new Set(pids)];
  }

  async during(active, turn) {
    const before = this.#read();
    const result = await turn();
    const after = this.#read();
    const used = (pid) => after.children.get(pid) - before.children.get(pid);
    const idle = this.#pids.filter((pid) => pid !== active).reduce((sum, pid) => sum + used(pid), 0);
    this.#wall += (after.at - before.at) / 1000;
    this.#idle += idle;
    this.#others += after.busy - before.busy - idle - used(active) - (after.own - before.own);
    return result;
  }

  /** CPUs in use on average, by those who should be idle and by what has nothing to do with this. */
  summary() {
    const share = (seconds) => Number(Math.max(0, seconds / this.#wall).toFixed(3));
    return Number.isFinite(this.#others) && this.#wall > 0
      ? { idleCpus: share(this.#idle), othersCpus: share(this.#others) }
      : {};
  }

  #read() {
    return {
      at: performance.now(),
      busy: busySeconds(),
      own: cpuSeconds(process.pid),
      children: new Map(this.#pids.map((pid) => [pid, cpuSeconds(pid)])),
    };
  }
}
