import type { Device } from '../src/gpu/device.ts';
import type { Context } from '../src/node/cli/command.ts';
import { median, type Prepared, replaysToTime, wallClockMs } from '../src/profiling/prepared.ts';
import type { Program } from '../src/tensor/program.ts';
import type { BenchCase } from './cases.ts';
import { encodeMs } from './encode.ts';

export interface Measurement {
  readonly case: string;
  readonly adapter: string;
  /** Of one replay, over the rounds. */
  readonly ms: { readonly min: number; readonly median: number; readonly max: number };
  /** At the median. */
  readonly gflops: number;
  /** At the median, counting what every operator must read and write, once. */
  readonly gbps: number;
  readonly imagesPerSecond?: number;
  /** From recording to the end of the first replay; compiling what no case before it has compiled. */
  readonly firstReplayMs: number;
  /** For whole steps: CPU time of the host's thread to encode and submit one replay, the median of a few. */
  readonly encodeMs?: number;
  readonly plannedBytes: number;
  /** The most bytes alive at once: no plan takes less. */
  readonly lowerBoundBytes: number;
  readonly planMs: number;
}

/** Replays whose encoding is timed. */
const ENCODINGS = 5;

interface Candidate {
  readonly benchCase: BenchCase;
  readonly prepared: Prepared;
  readonly firstReplayMs: number;
  readonly encodeMs?: number;
  readonly replays: number;
  readonly timesMs: number[];
}

/**
 * Measures all cases by wall clock. They are prepared and warmed up first, then timed in turn, round after round, so that whatever
 * else the machine does meets them all alike.
 */
export async function measure(
  device: Device,
  cases: readonly BenchCase[],
  rounds: number,
  { signal, progress }: Pick<Context<unknown>, 'signal' | 'progress'>,
): Promise<Measurement[]> {
  const candidates: Candidate[] = [];
  try {
    const preparing = progress('prepare', cases.length, 'cases');
    for (const [index, benchCase] of cases.entries()) {
      preparing.update(index);
      signal.throwIfAborted();
      const start = performance.now();
      const prepared = await benchCase.build(device);
      if (!prepared) continue;
      await device.idle();
      const firstReplayMs = performance.now() - start;
      const replays = await replaysToTime(device, prepared.program);
      const candidate = { benchCase, prepared, firstReplayMs, replays, timesMs: [] };
      candidates.push(
        prepared.images === undefined
          ? candidate
          : { ...candidate, encodeMs: await encodeMs(prepared.program, ENCODINGS) },
      );
    }
    preparing.update(cases.length);
    preparing.done();
    const measuring = progress(`measure ${candidates.length} cases`, rounds, 'rounds');
    for (let round = 0; round < rounds; round++) {
      for (const { prepared, replays, timesMs } of candidates) {
        signal.throwIfAborted();
        timesMs.push(await wallClockMs(device, prepared.program, replays));
      }
      measuring.update(round + 1);
    }
    measuring.done();
    return candidates.map((candidate) => summarise(device, candidate));
  } finally {
    for (const { prepared } of candidates) prepared.release();
  }
}

function summarise(device: Device, candidate: Candidate): Measurement {
  const { benchCase, prepared, firstReplayMs, encodeMs, timesMs } = candidate;
  const { program, images } = prepared;
  const ms = { min: Math.min(...timesMs), median: median(timesMs), max: Math.max(...timesMs) };
  return {
    case: benchCase.name,
    adapter: device.name,
    ms,
    gflops: (benchCase.flops ?? program.flops) / ms.median / 1e6,
    gbps: trafficBytes(program) / ms.median / 1e6,
    ...(images !== undefined && { imagesPerSecond: (images * 1000) / ms.median }),
    firstReplayMs,
    ...(encodeMs !== undefined && { encodeMs }),
    plannedBytes: program.plan.bytes,
    lowerBoundBytes: program.plan.lowerBoundBytes,
    planMs: program.buildMs.plan,
  };
}

/** What the operators of one replay must read and write at least: each of an operator's tensors once. */
function trafficBytes(program: Program): number {
  let bytes = 0;
  for (const { inputs, results, updates = [] } of program.plan.steps)
    for (const tensor of new Set([...inputs, ...results, ...updates])) bytes += (tensor?.size ?? 0) * 4;
  return bytes;
}
