import type { Device } from '../src/gpu/device.ts';
import { defineKernel } from '../src/gpu/kernel.ts';
import { Program } from '../src/tensor/program.ts';
import { Tape } from '../src/tensor/tape.ts';
import type { BenchCase, Prepared } from './cases.ts';
import code from './ceilings.wgsl?raw';

const kernel = defineKernel('ceilings', code);

/** As in the WGSL: vec4f values of a workgroup, its invocations, and the operations of one iteration of one invocation. */
const WORKGROUP_VALUES = 1024;
const INVOCATIONS = 64;
const FLOPS_AN_ITERATION = 12 * 8 * 2;

/** Copies between two large buffers: the most bytes a second. */
export const copyCeiling: BenchCase = {
  name: 'ceiling: copy',
  build: (device) => {
    const bytes = Math.min(device.capabilities.software ? 2 ** 26 : 2 ** 28, device.maxTensorBytes);
    return prepare(device, 'copy', Math.floor(bytes / 16 / WORKGROUP_VALUES), 0);
  },
};

/** Multiply-adds in registers: the most floating-point operations a second. */
export const fmaCeiling: BenchCase = {
  name: 'ceiling: multiply-add',
  build: (device) => {
    const { software } = device.capabilities;
    return prepare(device, 'multiply-add', software ? 256 : 8192, software ? 512 : 2048);
  },
};

/** A copy where there are no iterations. */
async function prepare(device: Device, name: string, workgroups: number, iterations: number): Promise<Prepared> {
  const tape = new Tape();
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
  const program = await Program.build(device, tape, { name, outputs: [y!] });
  return { program, release: () => program.destroy() };
}
