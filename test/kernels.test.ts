import { describe, expect, it } from 'vitest';
import type { Device } from '../src/gpu/device.ts';
import { backward } from '../src/nn/backward.ts';
import { type NodeDeviceOptions, openDevice } from '../src/node/device.ts';
import type { CaseInput, ErrorCase, KernelCase } from '../src/shaders/cases.ts';
import { Program } from '../src/tensor/program.ts';
import { type Precision, Tape } from '../src/tensor/tape.ts';
import { sizeOf, type Tensor } from '../src/tensor/tensor.ts';
import { Variable } from '../src/tensor/variable.ts';
import { useDevice } from './device.ts';
import { expectClose } from './tolerance.ts';

const modules = import.meta.glob<{ cases: readonly KernelCase[]; errors?: readonly ErrorCase[] }>(
  '../src/shaders/*/*.cases.ts',
  { eager: true },
);

/** mulberry32: seeded, so that a failure can be had again. */
function random(seed: number): () => number {
  let state = seed | 0;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
  };
}

const seedOf = (name: string): number =>
  [...name].reduce((hash, character) => Math.imul(hash, 31) + character.charCodeAt(0), 7);

function sample({ shape, value = (t) => 2 * t - 1 }: CaseInput, next: () => number): Float64Array {
  return Float64Array.from({ length: sizeOf(shape) }, (_, index) => Math.fround(value(next(), index)));
}

/** Kernel and constants of every launch so far. */
const launched = new Set<string>();

async function runCase(device: Device, kernelCase: KernelCase, precision: Precision): Promise<void> {
  const baseline = device.liveBytes;
  const next = random(seedOf(kernelCase.name));
  // What float16 holds exactly loses nothing when it is rounded to it: the tolerance stays as it is.
  const drawn = (input: CaseInput): Float64Array =>
    precision === 'f16' ? sample(input, next).map((value) => Math.floor(value * 1024) / 1024) : sample(input, next);
  const values = Object.fromEntries(Object.entries(kernelCase.inputs).map(([name, input]) => [name, drawn(input)]));
  const typed = (name: string): Float32Array | Uint32Array =>
    kernelCase.inputs[name].dtype === 'u32' ? Uint32Array.from(values[name]) : Float32Array.from(values[name]);

  const tape = new Tape(device.capabilities, precision);
  const variables = new Map<string, Variable>();
  const tensors: Record<string, Tensor> = {};
  for (const [name, input] of Object.entries(kernelCase.inputs)) {
    if (kernelCase.variables?.includes(name)) {
      variables.set(name, await Variable.create(device, name, input.shape, undefined, input.dtype));
      tensors[name] = tape.variable(variables.get(name)!);
    } else {
      tensors[name] = tape.input(name, input.shape, input.dtype);
    }
  }
  const results = kernelCase.record(tape, tensors);
  const first = Object.keys(results)[0];
  const wrt = kernelCase.gradients ?? [];
  const seed = wrt.length > 0 ? tape.input('seed', results[first].shape) : undefined;
  const gradients = seed
    ? backward(
        results[first],
        wrt.map((name) => tensors[name]),
        seed,
      )
    : [];
  const outputs = [...Object.values(results), ...gradients];
  const program = await Program.build(device, tape, { name: kernelCase.name, outputs, guard: true });
  for (const { kernel, constants = {} } of [...program.plan.launches.values()].flat())
    launched.add([kernel.name, ...Object.entries(constants).map(([name, value]) => `${name}=${value}`)].join(' '));
  try {
    const seedValues = seed && drawn({ shape: seed.shape });
    const replay = async (): Promise<Map<string, Float32Array>> => {
      for (const name of Object.keys(kernelCase.inputs)) {
        const variable = variables.get(name);
        if (variable) variable.write(typed(name));
        else program.write(tensors[name], typed(name));
      }
      if (seed) program.write(seed, Float32Array.from(seedValues!));
      await program.run();
      const read = new Map<string, Float32Array>();
      for (const [name, tensor] of Object.entries(results)) read.set(name, await program.read(tensor));
      for (const [name, variable] of variables) read.set(name, await variable.read());
      for (const [index, name] of wrt.entries()) read.set(`d${name}`, await program.read(gradients[index]));
      return read;
    };
    const actual = await replay();
    await program.checkGuards();

    const expected = kernelCase.reference(values);
    expect(Object.keys(expected).length, 'the reference returns something').toBeGreaterThan(0);
    const tolerance = kernelCase.tolerance ?? 2e-5;
    for (const [name, reference] of Object.entries(expected)) {
      const got = actual.get(name);
      if (!got) throw new Error(`the reference returns ${name}, the case does not`);
      expectClose(got, reference, tolerance, name);
    }

    // Central differences of the float64 reference, never of the GPU's float32.
    for (const name of wrt) {
      const input = values[name];
      const indices = Array.from({ length: Math.min(input.length, 48) }, () => Math.floor(next() * input.length));
      const h = 1e-5;
      const loss = (index: number, delta: number): number => {
        const moved = { ...values, [name]: input.map((v, i) => (i === index ? v + delta : v)) };
        return kernelCase.reference(moved)[first].reduce((sum, y, i) => sum + y * seedValues![i], 0);
      };
      const numeric = indices.map((index) => (loss(index, h) - loss(index, -h)) / (2 * h));
      const gradient = actual.get(`d${name}`)!;
      expect(gradient.every(Number.isFinite), `d${name} is finite`).toBe(true);
      expectClose(
        indices.map((index) => gradient[index]),
        numeric,
        kernelCase.tolerance ?? 5e-5,
        `d${name}`,
      );
    }

    const again = await replay();
    for (const [name, array] of actual) {
      const bits = (values: Float32Array): Buffer => Buffer.from(values.buffer, values.byteOffset, values.byteLength);
      expect(bits(again.get(name)!).equals(bits(array)), `${name}: the same bits twice`).toBe(true);
    }
  } finally {
    program.destroy();
    for (const variable of variables.values()) variable.destroy();
  }
  expect(device.liveBytes, 'live bytes back at the baseline').toBe(baseline);
}

const kernels = Object.entries(modules).map(([path, module]) => ({ kernel: path.split('/').at(-2)!, ...module }));

function describeKernels(title: string, options: NodeDeviceOptions, only = /./): void {
  describe(title, () => {
    const device = useDevice(options);
    for (const { kernel, cases } of kernels)
      for (const c of cases)
        if (only.test(`${kernel}: ${c.name}`))
          it(`${kernel}: ${c.name}`, () => runCase(device(), c, options.precision ?? 'f32'));
  });
}

const hardware = { software: false, subgroupSize: 0 };
describeKernels('kernels as this adapter gets them', {});
describeKernels('kernels as a GPU without fixed subgroups gets them', { capabilities: hardware });
// Convolutions choose their tiles by how many it takes to fill the GPU.
describeKernels(
  'kernels as a GPU gets them that few workgroups fill',
  { capabilities: { ...hardware, workgroupsAtOnce: 1 } },
  /^conv2d: (linear|products|conv2d (1|2x7))/,
);

// Matrix units: where there are none, the kernels are at least compiled, in test/shaders.test.ts.
const lacking = await openDevice({ precision: 'f16' }).then(
  (device) => device.destroy(),
  (error: Error) => error.message,
);
if (lacking) it.skip(`kernels with precision f16: ${lacking}`);
// Not those of two convolutions: what lies between them is rounded.
else describeKernels('kernels with precision f16', { precision: 'f16' }, /^(conv2d: (?!conv2d block)|half_scale)/);

it('every tile of the convolution for GPUs was among them', () => {
  for (const kernel of ['conv2d_tiled', 'conv2d_dweight_tiled'])
    expect(
      [
        ...new Set(
          [...launched].filter((name) => name.startsWith(`${kernel} `)).map((name) => name.replace(/ PRODUCT=\w+/, '')),
        ),
      ].sort(),
    ).toEqual([
      `${kernel} LANES_M=16 LANES_N=4 TALL=1 WIDE=1`,
      `${kernel} LANES_M=16 LANES_N=8 TALL=1 WIDE=2`,
      `${kernel} LANES_M=16 LANES_N=8 TALL=2 WIDE=2`,
      `${kernel} LANES_M=8 LANES_N=8 TALL=1 WIDE=1`,
    ]);
});

describe('kernels refuse', () => {
  for (const { kernel, errors = [] } of kernels)
    for (const { name, record, message } of errors)
      it(`${kernel}: ${name}`, () => {
        let thrown = 'nothing was thrown';
        try {
          record(new Tape());
        } catch (error) {
          thrown = (error as Error).message;
        }
        expect(thrown).toBe(message);
      });
});
