import { beforeAll, describe, expect, it, vi } from 'vitest';
import { settings } from '../bench/steps.ts';
import { Device } from '../src/gpu/device.ts';
import { defineKernel, type Kernel } from '../src/gpu/kernel.ts';
import { Model, parameterSpecs } from '../src/nn/model.ts';
import { openGpu } from '../src/node/device.ts';
import { prepareStep, stepNames } from '../src/profiling/steps.ts';
import { derive } from '../src/random.ts';
import { add } from '../src/shaders/add/add.ts';
import { backward } from '../src/shaders/backward.ts';
import { conv2d } from '../src/shaders/conv2d/conv2d.ts';
import { linear } from '../src/shaders/linear/linear.ts';
import { relu } from '../src/shaders/relu/relu.ts';
import { scale } from '../src/shaders/scale/scale.ts';
import { sgd } from '../src/shaders/sgd/sgd.ts';
import { sumRows } from '../src/shaders/sum_rows/sum_rows.ts';
import { type Plan, planMemory } from '../src/tensor/plan.ts';
import { foldWorkgroups, Program } from '../src/tensor/program.ts';
import { type Launch, type Node, Tape } from '../src/tensor/tape.ts';
import { type Shape, sizeOf, type Tensor } from '../src/tensor/tensor.ts';
import { Variable } from '../src/tensor/variable.ts';
import { useDevice } from './device.ts';

const target = {
  capabilities: {
    software: true,
    subgroupSize: 8,
    timestamps: false,
    halfMatrices: false,
    workgroupBytes: 16384,
    tensorBytes: 2 ** 27,
    workgroupsAtOnce: 16,
  },
  alignmentBytes: 256,
  maxBufferBytes: 2 ** 28,
};

describe('planning', () => {
  it('lets tensors with disjoint lifetimes share memory, never those one launch reads and writes', () => {
    const tape = new Tape(undefined, { precision: 'f32' });
    let x = tape.input('x', [1024]);
    for (let i = 0; i < 10; i++) x = relu(x);
    const plan = planMemory(tape, [x], target);
    // Each result dies when the next is there: two buffers, and the output in one of them.
    expect(plan.buffers).toEqual([4096, 4096]);
    expect(plan.bytes).toBe(3 * 4096);
    expect(plan.lowerBoundBytes).toBe(3 * 4096);
  });

  it('puts several tensors where a larger one was', () => {
    const tape = new Tape(undefined, { precision: 'f32' });
    const large = relu(tape.input('x', [3, 1024]));
    const row = sumRows(large);
    // Both live to the end, and no launch reads one of them and writes the other or the large one.
    const [a, b] = [scale(row, 2), scale(row, 3)];
    const plan = planMemory(tape, [a, b], target);
    expect(plan.buffers).toEqual([3 * 4096, 4096]);
    expect([a, b].map((tensor) => plan.places.get(tensor))).toEqual([
      { buffer: 0, offset: 0 },
      { buffer: 0, offset: 4096 },
    ]);
    expect(planMemory(tape, [a, b], { ...target, maxBufferBytes: 0 }).buffers).toEqual([3 * 4096, 4096, 4096, 4096]);
  });

  it('updates as soon as the gradient is there', () => {
    const tape = new Tape(undefined, { precision: 'f32' });
    const x = tape.input('x', [8]);
    const [parameter, momentum] = ['parameter', 'momentum'].map((name) => tape.variable(stand(name, [8])));
    const learningRate = tape.input('learning rate', [1]);
    const gradient = scale(x, 2);
    const before = add(x, parameter);
    const after = relu(before);
    sgd({ parameter, momentum, gradient, learningRate });
    const plan = planMemory(tape, [after], target);
    // After the last that reads the parameter as it was.
    expect(plan.steps.map(({ op }) => op)).toEqual(['scale', 'add', 'sgd', 'relu']);
  });

  it('drops what nothing depends on, and computes no gradient that was not asked for', () => {
    const tape = new Tape(undefined, { precision: 'f32' });
    const x = tape.input('x', [1, 6, 6, 2]);
    const weight = tape.input('weight', [3, 3, 2, 4]);
    relu(relu(x));
    const y = conv2d(x, weight, { padding: 1 });
    const [dx] = backward(y, [x]);
    const plan = planMemory(tape, [dx], target);
    expect(plan.steps.map(({ op }) => op)).toEqual(['transpose', 'conv2d_dx']);
    expect(tape.nodes.some(({ op }) => op === 'conv2d_dweight')).toBe(false);
  });

  it('finishes gradients in the pass that writes them, where nothing else needs them unfinished', () => {
    const tape = new Tape(undefined, { precision: 'f32' });
    const x = tape.input('x', [1, 6, 6, 8]);
    const weights = ['first', 'second'].map((name) => tape.variable(stand(name, [3, 3, 8, 8])));
    const h = conv2d(x, weights[0], { padding: 1, relu: true });
    const y = conv2d(h, weights[1], { padding: 1, residual: h });
    const dy = tape.input('dy', y.shape);
    const [dx, dh] = backward(y, [x, h], dy);
    const opsOf = (outputs: Tensor[]): string[] => planMemory(tape, outputs, target).steps.map(({ op }) => op);
    expect(opsOf([dx])).toEqual(['conv2d', 'conv2d_dx', 'conv2d_dx']);
    const [, first] = planMemory(tape, [dx], target).steps;
    expect(first.finishing).toEqual({ residual: dy, gate: h });
    // dh is asked for: its sum goes into the pass, the ReLU's gradient stays.
    expect(opsOf([dx, dh])).toEqual(['conv2d', 'conv2d_dx', 'relu_backward', 'conv2d_dx']);
    // What it is computed from changes before the sum is due: it may not wait.
    const late = new Tape(undefined, { precision: 'f32' });
    const z = late.input('z', [1, 6, 6, 8]);
    const [seed, momentum] = ['seed', 'momentum'].map((name) => late.variable(stand(name, z.shape)));
    const [dz] = backward(conv2d(z, late.input('weight', [3, 3, 8, 8]), { padding: 1 }), [z], seed);
    sgd({ parameter: seed, momentum, gradient: z, learningRate: late.input('learning rate', [1]) });
    expect(planMemory(late, [add(dz, z)], target).steps.map(({ op }) => op)).toEqual([
      'transpose',
      'conv2d_dx',
      'sgd',
      'add',
    ]);
  });

  it('refuses gradients of what has no influence', () => {
    const tape = new Tape(undefined, { precision: 'f32' });
    const x = tape.input('x', [4]);
    expect(() => backward(relu(x), [tape.input('z', [4])])).toThrow('z does not influence relu');
  });
});

/** Stands for a variable where nothing runs. */
const stand = (name: string, shape: Shape): Variable => ({ name, shape, dtype: 'f32' }) as unknown as Variable;

describe('a random plan', () => {
  /** A kernel that reads and writes so many tensors; nothing runs it. */
  const kernel = (reads: number, writes: number): Kernel =>
    defineKernel(
      `${reads} to ${writes}`,
      Array.from({ length: reads + writes }, (_, i) =>
        i < reads
          ? `@group(0) @binding(${i}) var<storage, read> r${i}: array<f32>;`
          : `@group(0) @binding(${i}) var<storage, read_write> w${i - reads}: array<f32>;`,
      ).join('\n'),
    );
  const launch = (reads: readonly Tensor[], writes: readonly Tensor[]): Launch => ({
    kernel: kernel(reads.length, writes.length),
    bind: Object.fromEntries([
      ...reads.map((tensor, i) => [`r${i}`, tensor]),
      ...writes.map((tensor, i) => [`w${i}`, tensor]),
    ]),
    workgroups: 1,
  });
  const readsOf = ({ kernel, bind }: Launch): Tensor[] =>
    kernel.bindings.filter(({ writable }) => !writable).map(({ name }) => bind[name]!);
  const writesOf = ({ kernel, bind }: Launch): Tensor[] =>
    kernel.bindings.filter(({ writable }) => writable).map(({ name }) => bind[name]!);

  /** Nodes of one to three launches, with scratch, several results, values nobody needs, constants, and variables updated in place. */
  function randomTape(seed: number): { tape: Tape; outputs: Tensor[] } {
    const random = derive(seed, 'tape');
    const below = (n: number): number => Math.floor(random.uniform() * n);
    const shape = (): Shape => [1 + below(random.uniform() < 0.3 ? 4000 : 100)];
    const tape = new Tape(undefined, { precision: 'f32' });
    const variables = Array.from({ length: 4 }, (_, i) => tape.variable(stand(`v${i}`, [16])));
    const tensors = [tape.input('a', shape()), tape.input('b', shape()), ...variables];
    for (let i = 0; i < 40; i++) {
      // The newest are read most, as in a network, and some from far back, as in its gradient.
      const pick = (): Tensor =>
        tensors[
          random.uniform() < 0.6 ? tensors.length - 1 - below(Math.min(4, tensors.length)) : below(tensors.length)
        ];
      const inputs = [...new Set(Array.from({ length: 1 + below(3) }, pick))];
      const kind = random.uniform();
      const updates = kind < 0.2 ? [variables[below(2)]] : [];
      const outputs = kind < 0.1 ? [] : Array.from({ length: 1 + below(2) }, shape);
      const scratchShape = random.uniform() < 0.4 ? shape() : undefined;
      tensors.push(
        ...tape.record({
          op: `node ${i}`,
          inputs: [...new Set([...inputs, ...updates])],
          outputs,
          updates,
          launches: ({ scratch }, results) => {
            const written = [...results, ...updates];
            const read = inputs.filter((input) => !updates.includes(input));
            const partial = scratchShape && scratch(scratchShape);
            if (partial) return [launch(read, [partial]), launch([partial], written)];
            // Each writes a part of the results.
            return random.uniform() < 0.2 ? [launch(read, written), launch(read, written)] : [launch(read, written)];
          },
        }),
      );
    }
    const made = tape.nodes.flatMap(({ results }) => results);
    return { tape, outputs: [made.at(-1)!, made[below(made.length)], variables[0]] };
  }

  /**
   * Runs launches on numbers that stand for values: what a launch writes follows from all it reads and what it wrote to before.
   * `memory` is where values are kept.
   */
  function execute(
    launches: readonly Launch[],
    memory: { get(tensor: Tensor): number | undefined; set(tensor: Tensor, value: number): void },
    started: Set<Tensor>,
  ): void {
    for (const launch of launches) {
      let hash = 17;
      const mix = (tensor: Tensor): void => {
        const value = memory.get(tensor);
        if (value === undefined) throw new Error(`${tensor.name} is not there`);
        hash = (Math.imul(hash ^ value, 0x9e3779b1) >>> 0) ^ (hash >>> 15);
      };
      readsOf(launch).forEach(mix);
      const writes = writesOf(launch);
      for (const tensor of writes) if (started.has(tensor)) mix(tensor);
      writes.forEach((tensor, index) => {
        memory.set(tensor, Math.imul(hash + index, 0x85ebca6b) >>> 0);
        started.add(tensor);
      });
    }
  }

  it.each(Array.from({ length: 60 }, (_, seed) => seed))('computes what its tape says: %i', (seed) => {
    const { tape, outputs } = randomTape(seed);
    const limits = { ...target, maxBufferBytes: seed % 4 === 0 ? 2 ** 14 : 2 ** 28 };
    const plan = planMemory(tape, outputs, limits);
    const outside = [...tape.inputs, ...tape.variables.keys()];
    const launchesIn = (nodes: readonly Node[]): Launch[] => nodes.flatMap((node) => plan.launches.get(node) ?? []);

    // In the tape's order, every tensor in a place of its own.
    const plain = new Map<Tensor, number>(outside.map((tensor, index) => [tensor, index]));
    // In the plan's order and its memory, where a write ends all that it overlaps.
    const variables = new Map(plain);
    let inMemory: { tensor: Tensor; buffer: number; from: number; to: number; value: number }[] = [];
    const planned = {
      get: (tensor: Tensor) => variables.get(tensor) ?? inMemory.find((entry) => entry.tensor === tensor)?.value,
      set: (tensor: Tensor, value: number) => {
        if (variables.has(tensor)) {
          variables.set(tensor, value);
          return;
        }
        const { buffer, offset } = plan.places.get(tensor)!;
        const [from, to] = [offset, offset + tensor.bytes];
        expect(offset % limits.alignmentBytes).toBe(0);
        expect(to).toBeLessThanOrEqual(plan.buffers[buffer]);
        inMemory = inMemory.filter((other) => other.buffer !== buffer || other.to <= from || to <= other.from);
        inMemory.push({ tensor, buffer, from, to, value });
      },
    };
    for (let replay = 0; replay < 3; replay++) {
      execute(launchesIn(tape.nodes), plain, new Set(tape.variables.keys()));
      if (replay === 0) execute(launchesIn(plan.prologue), planned, new Set());
      execute(launchesIn(plan.steps), planned, new Set(tape.variables.keys()));
      for (const tensor of [...outputs, ...tape.variables.keys()]) expect(planned.get(tensor)).toBe(plain.get(tensor));
    }

    for (const launch of launchesIn([...plan.prologue, ...plan.steps])) {
      const buffersOf = (tensors: readonly Tensor[]): number[] =>
        tensors.flatMap((tensor) => plan.places.get(tensor)?.buffer ?? []);
      const read = buffersOf(readsOf(launch));
      for (const buffer of buffersOf(writesOf(launch))) expect(read).not.toContain(buffer);
    }
    // What is alive at a launch: what it touches, and what was touched before and is touched or read by the host later.
    const touched = launchesIn([...plan.prologue, ...plan.steps]).map((launch) => new Set(Object.values(launch.bind)));
    const prologueLength = launchesIn(plan.prologue).length;
    const alive = touched.map((_, time) => {
      const before = new Set(touched.slice(0, time + 1).flatMap((tensors) => [...tensors]));
      const after = new Set(touched.slice(time).flatMap((tensors) => [...tensors]));
      const constant = new Set(touched.slice(0, prologueLength).flatMap((tensors) => [...tensors]));
      const inSteps = new Set(touched.slice(prologueLength).flatMap((tensors) => [...tensors]));
      const kept = (tensor: Tensor): boolean =>
        outputs.includes(tensor) || (constant.has(tensor) && inSteps.has(tensor));
      return [...plan.places.keys()].filter((tensor) => before.has(tensor) && (after.has(tensor) || kept(tensor)));
    });
    const bytesOfAll = (tensors: readonly Tensor[]): number => tensors.reduce((sum, { bytes }) => sum + bytes, 0);
    expect(plan.lowerBoundBytes).toBe(bytesOfAll(tape.inputs) + Math.max(...alive.map(bytesOfAll)));
    expect(plan.bytes).toBeGreaterThanOrEqual(plan.lowerBoundBytes);
    const largest = Math.max(...[...plan.places.keys()].map(({ bytes }) => bytes));
    for (const bytes of plan.buffers) expect(bytes).toBeLessThanOrEqual(Math.max(largest, limits.maxBufferBytes));
  });
});

describe('the plan of a ResNet-18', () => {
  // Dawn's null backend: plans are made for it, nothing runs. The device lives as long as the object it was opened by.
  let gpu: GPU;
  beforeAll(async () => {
    gpu = await openGpu(['backend=null']);
  });
  const hardware = {
    ...target.capabilities,
    software: false,
    subgroupSize: 32,
    tensorBytes: 2 ** 31,
    workgroupsAtOnce: 384,
  };
  const onGpu = [
    { ...settings.at(-1)!, batch: 64 },
    { ...settings.at(-2)!, batch: 256 },
  ];

  it.each([
    ...settings.map((setting) => ({ ...setting, ...target, on: 'a CPU' })),
    ...onGpu.map((setting) => ({
      ...setting,
      ...target,
      capabilities: hardware,
      maxBufferBytes: 2 ** 40,
      on: 'a GPU',
    })),
  ])('takes little more than is alive at once: $name, batch $batch, on $on', async ({ config, batch, ...target }) => {
    const device = await Device.open((await gpu.requestAdapter())!, { capabilities: target.capabilities });
    const weights = parameterSpecs(config).map(
      ({ name, shape }) =>
        [name, { file: '', name, dtype: 'F32', shape, data: new Uint8Array(4 * sizeOf(shape)) }] as const,
    );
    const model = await Model.load(device, config, new Map(weights), 'zeros');
    // Planned and no more: the null backend has less memory than some of them take.
    const plans: Plan[] = [];
    const build = vi.spyOn(Program, 'build').mockImplementation(async (_, tape, { outputs = [] }) => {
      plans.push(planMemory(tape, outputs, target));
      throw new Error('planned');
    });
    try {
      for (const step of stepNames) await expect(prepareStep(model, step, batch)).rejects.toThrow('planned');
    } finally {
      build.mockRestore();
      model.destroy();
      device.destroy();
    }
    expect(plans).toHaveLength(stepNames.length);
    plans.forEach(({ bytes, lowerBoundBytes }, index) => {
      expect(bytes, stepNames[index]).toBeGreaterThanOrEqual(lowerBoundBytes);
      expect(bytes / lowerBoundBytes, stepNames[index]).toBeLessThanOrEqual(1.15);
    });
  });
});

describe('workgroups', () => {
  it('fold over two dimensions beyond 65 535', () => {
    expect(foldWorkgroups(0)).toEqual([1, 1, 1]);
    expect(foldWorkgroups(65535)).toEqual([65535, 1, 1]);
    const [x, y, z] = foldWorkgroups(65536);
    expect(z).toBe(1);
    expect(x).toBeLessThanOrEqual(65535);
    expect(x * y).toBeGreaterThanOrEqual(65536);
    expect(() => foldWorkgroups([65536, 1, 1])).toThrow('65536x1x1 workgroups exceed 65535 a dimension');
  });
});

describe('replaying', () => {
  const device = useDevice();

  it('creates nothing after the first replay', async () => {
    const tape = new Tape(undefined, { precision: 'f32' });
    const x = tape.input('x', [4, 8]);
    const weight = await Variable.create(device(), 'weight', [8, 3], new Float32Array(24).fill(0.5));
    const y = linear(x, tape.variable(weight));
    const program = await Program.build(device(), tape, { name: 'replay', outputs: [y] });
    program.write(x, new Float32Array(32).fill(1));
    await program.run();
    await program.read(y);
    const before = { ...device().created, pipelines: device().pipelines.compiled };
    for (let i = 0; i < 20; i++) {
      await program.run();
      expect((await program.read(y))[0]).toBe(4);
    }
    expect({ ...device().created, pipelines: device().pipelines.compiled }).toEqual(before);
    program.destroy();
    weight.destroy();
  });

  it('computes what depends on variables alone once, and again when one was written', async () => {
    const tape = new Tape(undefined, { precision: 'f32' });
    const x = tape.input('x', [2]);
    const offset = await Variable.create(device(), 'offset', [2], Float32Array.of(1, 2));
    const doubled = scale(tape.variable(offset), 2);
    const y = add(x, doubled);
    const program = await Program.build(device(), tape, { name: 'prologue', outputs: [y] });
    expect(program.plan.prologue.map(({ op }) => op)).toEqual(['scale']);
    expect(program.launchCount).toBe(1);
    program.write(x, Float32Array.of(10, 20));
    await program.run();
    expect([...(await program.read(y))]).toEqual([12, 24]);
    offset.write(Float32Array.of(5, 6));
    await program.run();
    expect([...(await program.read(y))]).toEqual([20, 32]);
    program.destroy();
    offset.destroy();
  });

  it('refuses before running what exceeds the largest binding, with the bytes needed', async () => {
    const before = device().created.buffers;
    const tape = new Tape(undefined, { precision: 'f32' });
    const side = 2 ** 16;
    const y = relu(tape.input('images', [side, side]));
    const bytes = 4 * side * side;
    expect(device().capabilities.tensorBytes).toBeLessThan(bytes);
    await expect(Program.build(device(), tape, { name: 'large', outputs: [y] })).rejects.toThrow(
      `needs ${bytes} bytes`,
    );
    expect(device().created.buffers).toBe(before);
  });

  it('refuses wrong sizes of inputs and variables', async () => {
    const tape = new Tape(undefined, { precision: 'f32' });
    const x = tape.input('x', [3]);
    const y = relu(x);
    const program = await Program.build(device(), tape, { name: 'sizes', outputs: [y] });
    expect(() => program.write(x, new Float32Array(4))).toThrow('sizes: 4 values for input x [3]');
    await expect(program.read(x)).rejects.toThrow('x was not named as an output');
    await expect(Variable.create(device(), 'v', [2], new Float32Array(3))).rejects.toThrow('v: 3 values for shape [2]');
    program.destroy();
  });

  it('gives timestamps of every launch', async () => {
    const tape = new Tape(undefined, { precision: 'f32' });
    const y = relu(relu(tape.input('x', [5])));
    const program = await Program.build(device(), tape, { name: 'profile', outputs: [y] });
    const steps = await program.profile();
    expect(steps.map(({ kernel }) => kernel)).toEqual(['relu', 'relu']);
    for (const { timeMs, bytes } of steps) {
      expect(timeMs).toBeGreaterThanOrEqual(0);
      expect(bytes).toBe(40);
    }
    program.destroy();
  });
});

describe('memory limit', () => {
  const device = useDevice({ memoryLimitBytes: 400_000 });

  it('is kept before anything is allocated', async () => {
    const before = device().created.buffers;
    const tape = new Tape(undefined, { precision: 'f32' });
    const y = relu(tape.input('x', [60_000]));
    await expect(Program.build(device(), tape, { name: 'limited', outputs: [y] })).rejects.toThrow(
      'limited needs 480000 bytes beside 0 in use; the limit is 400000: use a smaller batch',
    );
    expect(device().created.buffers).toBe(before);
  });
});
