import { AdapterError } from '../errors.ts';
import type { Device } from '../gpu/device.ts';
import { defineKernel } from '../gpu/kernel.ts';
import { Program } from '../tensor/program.ts';
import { Tape } from '../tensor/tape.ts';
import code from './ceilings.wgsl?raw';
import type { Prepared } from './prepared.ts';

const kernel = defineKernel('ceilings', code);

/** As in the WGSL: vec4f values of a workgroup, its invocations, and the operations of one iteration of one invocation. */
const WORKGROUP_VALUES = 1024;
const INVOCATIONS = 64;
const FLOPS_AN_ITERATION = 12 * 8 * 2;

/** The most an adapter does, as measured. */
export interface Ceilings {
  /** 10⁹ floating-point operations a second. */
  readonly gflops: number;
  /** 10⁹ bytes a second, read and written. */
  readonly gbps: number;
}

/** Replays of each ceiling, each after one without timestamps: enough for the clocks of a GPU to rise. */
const REPLAYS = 5;

/** Measures by GPU timestamps; the fastest replay counts. Throws AdapterError where the adapter takes none. */
export async function measureCeilings(device: Device): Promise<Ceilings> {
  requireTimestamps(device);
  const fastest = async (prepare: (device: Device) => Promise<Prepared>, work: 'flops' | 'bytes'): Promise<number> => {
    const { program, release } = await prepare(device);
    try {
      let most = 0;
      for (let replay = 0; replay < REPLAYS; replay++)
        for (const launch of await program.profile()) most = Math.max(most, launch[work] / launch.timeMs / 1e6);
      return most;
    } finally {
      release();
    }
  };
  return { gflops: await fastest(prepareMultiplyAdd, 'flops'), gbps: await fastest(prepareCopy, 'bytes') };
}

/** Throws AdapterError where the adapter takes no GPU timestamps. */
export function requireTimestamps(device: Device): void {
  if (!device.capabilities.timestamps)
    throw new AdapterError(
      `${device.name} takes no GPU timestamps: choose another adapter with --device, or measure by wall clock with npm run bench`,
    );
}

/** Copies between two large buffers: the most bytes a second. */
export function prepareCopy(device: Device): Promise<Prepared> {
  const bytes = Math.min(device.capabilities.software ? 2 ** 26 : 2 ** 28, device.capabilities.tensorBytes);
  return prepare(device, 'copy', Math.floor(bytes / 16 / WORKGROUP_VALUES), 0);
}

/** Multiply-adds in registers: the most floating-point operations a second. */
export function prepareMultiplyAdd(device: Device): Promise<Prepared> {
  const { software } = device.capabilities;
  return prepare(device, 'multiply-add', software ? 256 : 8192, software ? 512 : 2048);
}

/** A copy where there are no iterations. */
async function prepare(device: Device, name: string, workgroups: number, iterations: number): Promise<Prepared> {
  const tape = new Tape(device, { precision: 'f32' });
  const shape = [workgroups * WORKGROUP_VALUES, 4];
  const x = tape.input('x', shape);
  const [y] = tape.record({
    op: name,
    inputs: [x],
    outputs: [shape],
    launches: (_, [y]) => [
      {
        kernel,
        constants: { COPY: iterations === 0 },
        // Values that neither grow nor become denormal, which some adapters compute slowly.
        params: { iterations, a: 0.5, b: 0.5 },
        bind: { x, y },
        workgroups,
        flops: workgroups * INVOCATIONS * FLOPS_AN_ITERATION * iterations,
      },
    ],
  });
  const program = await Program.build(device, tape, { name, outputs: [y] });
  await program.run();
  return { program, release: () => program.destroy() };
}
