import type { Device } from '../gpu/device.ts';
import type { Program } from '../tensor/program.ts';

/** A program to measure: its inputs are written and it has run once. */
export interface Prepared {
  readonly program: Program;
  /** Images that one replay works on, for whole steps. */
  readonly images?: number;
  /** Gives back everything that was made for it on the device. */
  release(): void;
}

/** A timing shorter than this is mostly the clock and the submission: replays are repeated to reach it. */
const LEAST_MS = 20;
const MOST_REPLAYS = 1000;

/** How many replays one timing takes. */
export async function replaysToTime(device: Device, program: Program): Promise<number> {
  await device.idle();
  const warmMs = await wallClockMs(device, program, 1);
  return Math.min(MOST_REPLAYS, Math.max(1, Math.ceil(LEAST_MS / warmMs)));
}

/** Wall clock of one replay, the mean of so many one after another. The device must be idle before. */
export async function wallClockMs(device: Device, program: Program, replays: number): Promise<number> {
  const start = performance.now();
  for (let replay = 0; replay < replays; replay++) await program.run();
  await device.idle();
  return (performance.now() - start) / replays;
}

/** One of the values: the middle one, the larger where there are two. */
export function median(values: readonly number[]): number {
  return values.toSorted((a, b) => a - b)[Math.floor(values.length / 2)];
}
