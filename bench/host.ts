import { Bench } from 'tinybench';
import type { Context } from '../src/node/cli/command.ts';

/** Work of the host, without a device. */
export interface HostCase {
  readonly name: string;
  /** Makes what the work needs, outside what is timed. */
  prepare(): Promise<PreparedHostCase>;
}

export interface PreparedHostCase {
  /** What is timed. */
  run(): unknown;
  /** What it reads, where a rate says more than a time. */
  readonly bytes?: number;
  release?(): void;
}

export interface HostMeasurement {
  readonly case: string;
  /** Of one run. */
  readonly ms: { readonly min: number; readonly median: number; readonly max: number };
  /** Relative margin of error of the mean, in percent: half the width of its 95 % confidence interval. */
  readonly rmePercent: number;
  readonly samples: number;
  /** At the median, in 10^6 bytes. */
  readonly megabytesPerSecond?: number;
}

/** How long each case is measured at least, after as long a part of it as a quarter for warming up. */
export interface HostBudget {
  readonly timeMs: number;
  readonly iterations: number;
}

/** Measures cases one after another by tinybench: warmed up, then run for the time and at least as often as the budget says. */
export async function measureHost(
  cases: readonly HostCase[],
  { timeMs, iterations }: HostBudget,
  { signal, progress }: Pick<Context<unknown>, 'signal' | 'progress'>,
): Promise<HostMeasurement[]> {
  const measuring = progress('measure the host', cases.length, 'cases');
  const rows: HostMeasurement[] = [];
  for (const { name, prepare } of cases) {
    signal.throwIfAborted();
    const prepared = await prepare();
    try {
      rows.push(await measureCase(name, prepared, { timeMs, iterations }));
    } finally {
      prepared.release?.();
    }
    measuring.update(rows.length);
  }
  measuring.done();
  return rows;
}

async function measureCase(
  name: string,
  { run, bytes }: PreparedHostCase,
  { timeMs, iterations }: HostBudget,
): Promise<HostMeasurement> {
  const bench = new Bench({
    time: timeMs,
    iterations,
    warmupTime: timeMs / 4,
    warmupIterations: Math.ceil(iterations / 4),
    throws: true,
  });
  // What the work gives is no business of tinybench, but for when it is there.
  bench.add(name, () => {
    const result = run();
    return result instanceof Promise ? result.then(() => undefined) : undefined;
  });
  const [{ result }] = await bench.run();
  if (result.state !== 'completed') throw new Error(`${name}: ${result.state}`);
  const { min, p50: median, max, rme, samplesCount } = result.latency;
  return {
    case: name,
    ms: { min, median, max },
    rmePercent: rme,
    samples: samplesCount,
    ...(bytes !== undefined && { megabytesPerSecond: bytes / median / 1e3 }),
  };
}
