import { readFileSync } from 'node:fs';
import { median } from '../src/profiling/prepared.ts';
import type { Program } from '../src/tensor/program.ts';

const cell = new Int32Array(new SharedArrayBuffer(4));

/** CPU time of this thread in milliseconds where Linux tells it, else the wall clock. */
function threadMs(): number {
  // The count is brought up to date when a thread sleeps.
  Atomics.wait(cell, 0, 0, 0.1);
  try {
    return Number(readFileSync('/proc/thread-self/schedstat', 'utf8').split(' ')[0]) / 1e6;
  } catch {
    return performance.now();
  }
}

/**
 * CPU time that one replay takes of the host's thread, from the beginning of `run` to the return of its last submit, without
 * what a software adapter computes on other threads: the median of so many, each on an idle device.
 */
export async function encodeMs(program: Program, replays: number): Promise<number> {
  const times: number[] = [];
  for (let replay = 0; replay < replays; replay++) {
    await program.device.idle();
    const start = threadMs();
    const running = program.run();
    // `run` has submitted everything when it returns its promise.
    times.push(threadMs() - start);
    await running;
  }
  await program.device.idle();
  return median(times);
}
