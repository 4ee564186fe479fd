import { describe, expect, it } from 'vitest';
import type { Device, Precision } from '../src/gpu/device.ts';
import { type NodeDeviceOptions, openDevice } from '../src/node/device.ts';
import { backward } from '../src/shaders/backward.ts';
import type { CaseInput, ErrorCase, KernelCase, Values } from '../src/shaders/cases.ts';
import { Program } from '../src/tensor/program.ts';
import { Tape } from '../src/tensor/tape.ts';
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

/** Central differences of each case's reference by input, for each precision that values are drawn for: the device has no part in them. */
const differences = { f32: new Map<KernelCase, Gradients>(), f16: new Map<KernelCase, Gradients>() };
type Gradients = Readonly<Record<string, readonly number[]>>;

/** Cases in which NaN reached a result. */
const reached = new Set<string>();

/** The gradient of Σ seed · result by some values of an input, from a case's reference. */
function centralDifferences(
  { reference }: KernelCase,
  values: Values,
  {
    input: name,
    places,
    result,
    seed,
  }: { input: string; places: readonly number[]; result: string; seed: Float64Array },
): number[] {
  const h = 1e-5;
  const loss = (at: number, delta: number): number => {
    const moved = { ...values, [name]: values[name].map((value, i) => (i === at ? value + delta : value)) };
    return reference(moved)[result].reduce((sum, y, i) => sum + y * seed[i], 0);
  };
  return places.map((at) => (loss(at, h) - loss(at, -h)) / (2 * h));
}

async function runCase(device: Device, kernelCase: KernelCase, precision: Precision): Promise<void> {
  const baseline = device.liveBytes;
  const next = random(seedOf(kernelCase.name));
  // What float16 holds exactly loses nothing when it is rounded to it: the tolerance stays as it is.
  const drawn = (input: CaseInput): Float64Array =>
    precision === 'f16' ? sample(input, next).map((value) => Math.floor(value * 1024) / 1024) : sample(input, next);
  const values = Object.fromEntries(Object.entries(kernelCase.inputs).map(([name, input]) => [name, drawn(input)]));
  const isFloat = (name: string): boolean => kernelCase.inputs[name].dtype !== 'u32';
  const typed = (name: string, values: Float64Array): Float32Array | Uint32Array =>
    isFloat(name) ? Float32Array.from(values) : Uint32Array.from(values);

  const tape = new Tape(device, { precision });
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
    const replay = async (values: Values): Promise<Map<string, Float32Array>> => {
      for (const name of Object.keys(kernelCase.inputs)) {
        const variable = variables.get(name);
        const data = typed(name, values[name]);
        if (variable) variable.write(data);
        else program.write(tensors[name], data);
      }
      if (seed) program.write(seed, Float32Array.from(seedValues!));
      await program.run();
      const read = new Map<string, Float32Array>();
      for (const [name, tensor] of Object.entries(results)) read.set(name, await program.read(tensor));
      for (const [name, variable] of variables) read.set(name, await variable.read());
      for (const [index, name] of wrt.entries()) read.set(`d${name}`, await program.read(gradients[index]));
      return read;
    };
    const actual = await replay(values);
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
    const places = Object.fromEntries(
      wrt.map((name) => {
        const { length } = values[name];
        return [name, Array.from({ length: Math.min(length, 48) }, () => Math.floor(next() * length))];
      }),
    );
    const known = differences[precision].get(kernelCase);
    const numerics =
      known ??
      Object.fromEntries(
        wrt.map((input) => [
          input,
          centralDifferences(kernelCase, values, { input, places: places[input], result: first, seed: seedValues! }),
        ]),
      );
    differences[precision].set(kernelCase, numerics);
    for (const name of wrt) {
      const indices = places[name];
      const numeric = numerics[name];
      const gradient = actual.get(`d${name}`)!;
      expect(gradient.every(Number.isFinite), `d${name} is finite`).toBe(true);
      expectClose(
        indices.map((index) => gradient[index]),
        numeric,
        kernelCase.tolerance ?? 5e-5,
        `d${name}`,
      );
    }

    const again = await replay(values);
    for (const [name, array] of actual) {
      const bits = (values: Float32Array): Buffer => Buffer.from(values.buffer, values.byteOffset, values.byteLength);
      expect(bits(again.get(name)!).equals(bits(array)), `${name}: the same bits twice`).toBe(true);
    }

    // One NaN in each float input in turn. What comes out is NaN, or what the reference has: NaN may spread, it may not get lost. Kernels
    // that choose by comparison can lose it.
    for (const name of Object.keys(values).filter(isFloat)) {
      const place = Math.floor(next() * values[name].length);
      const broken = { ...values, [name]: values[name].map((value, index) => (index === place ? Number.NaN : value)) };
      const read = await replay(broken);
      for (const [result, reference] of Object.entries(kernelCase.reference(broken))) {
        const got = read.get(result)!;
        const scale = reference.reduce((most, value) => Math.max(most, Math.abs(value) || 0), 0);
        const lost = Array.from(reference.keys()).filter(
          (at) => !Number.isNaN(got[at]) && !(Math.abs(got[at] - reference[at]) <= tolerance * scale),
        );
        const [at] = lost;
        expect(lost.length, `${result}[${at}] = ${got[at]}, not ${reference[at]}, with NaN at ${name}[${place}]`).toBe(
          0,
        );
        if (reference.some(Number.isNaN)) reached.add(kernelCase.name);
      }
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
  /^(linear: |conv2d: conv2d (1|2x7))/,
);

// Matrix units: where there are none, the kernels are at least compiled, in test/shaders.test.ts.
const lacking = await openDevice({ precision: 'f16' }).then(
  (device) => device.destroy(),
  (error: Error) => error.message,
);
if (lacking) it.skip(`kernels with precision f16: ${lacking}`);
// Not those of two convolutions: what lies between them is rounded.
else
  describeKernels('kernels with precision f16', { precision: 'f16' }, /^(conv2d: (?!conv2d block)|linear|half_scale)/);

it('NaN reached a result of every operator that computes with its inputs', () => {
  const without = kernels.filter(({ cases }) => !cases.some(({ name }) => reached.has(name)));
  expect(without.map(({ kernel }) => kernel).sort()).toEqual(['constant', 'fill', 'half_scale']);
});

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
          record(new Tape(undefined, { precision: 'f32' }));
        } catch (error) {
          thrown = (error as Error).message;
        }
        expect(thrown).toBe(message);
      });
});
