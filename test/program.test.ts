import { describe, expect, it } from 'vitest';
import { backward } from '../src/nn/backward.ts';
import { add } from '../src/shaders/add/add.ts';
import { conv2d, linear } from '../src/shaders/conv2d/conv2d.ts';
import { relu } from '../src/shaders/relu/relu.ts';
import { scale } from '../src/shaders/scale/scale.ts';
import { planMemory } from '../src/tensor/plan.ts';
import { foldWorkgroups, Program } from '../src/tensor/program.ts';
import { Tape } from '../src/tensor/tape.ts';
import { Variable } from '../src/tensor/variable.ts';
import { useDevice } from './device.ts';

const noScratch = () => [];

describe('planning', () => {
  it('gives tensors with disjoint lifetimes the same buffer', () => {
    const tape = new Tape();
    let x = tape.input('x', [1024]);
    for (let i = 0; i < 10; i++) x = relu(x);
    const plan = planMemory(tape, [x], noScratch);
    // Each result dies when the next is there: two buffers, and the output in one of them.
    expect(plan.slots).toEqual([4096, 4096]);
    expect(plan.bytes).toBe(3 * 4096);
    expect(plan.lowerBoundBytes).toBe(3 * 4096);
  });

  it('never gives two living tensors the same buffer', () => {
    const tape = new Tape();
    const x = tape.input('x', [64]);
    const kept = relu(x);
    let y = kept;
    for (let i = 0; i < 5; i++) y = scale(y, 2);
    const plan = planMemory(tape, [add(kept, y)], noScratch);
    const slot = plan.placement.get(kept);
    const last = plan.steps.length - 1;
    plan.steps.forEach((node, position) => {
      for (const result of node.results)
        if (result !== kept && position <= last) expect(plan.placement.get(result)).not.toBe(slot);
    });
  });

  it('drops what nothing depends on, and computes no gradient that was not asked for', () => {
    const tape = new Tape();
    const x = tape.input('x', [1, 6, 6, 2]);
    const weight = tape.input('weight', [3, 3, 2, 4]);
    relu(relu(x));
    const y = conv2d(x, weight, { padding: 1 });
    const [dx] = backward(y, [x]);
    const plan = planMemory(tape, [dx], noScratch);
    expect(plan.steps.map(({ op }) => op)).toEqual(['transpose', 'conv2d_dx']);
    expect(tape.nodes.some(({ op }) => op === 'conv2d_dweight')).toBe(false);
  });

  it('refuses gradients of what has no influence', () => {
    const tape = new Tape();
    const x = tape.input('x', [4]);
    expect(() => backward(relu(x), [tape.input('z', [4])])).toThrow('z does not influence relu');
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
    const tape = new Tape();
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
    const tape = new Tape();
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
    const tape = new Tape();
    const side = 2 ** 14;
    const y = relu(tape.input('images', [side, side]));
    const bytes = 4 * side * side;
    expect(device().maxTensorBytes).toBeLessThan(bytes);
    await expect(Program.build(device(), tape, { name: 'large', outputs: [y] })).rejects.toThrow(
      `needs ${bytes} bytes`,
    );
    expect(device().created.buffers).toBe(before);
  });

  it('refuses wrong sizes of inputs and variables', async () => {
    const tape = new Tape();
    const x = tape.input('x', [3]);
    const y = relu(x);
    const program = await Program.build(device(), tape, { name: 'sizes', outputs: [y] });
    expect(() => program.write(x, new Float32Array(4))).toThrow('sizes: 4 values for input x [3]');
    await expect(program.read(x)).rejects.toThrow('x was not named as an output');
    await expect(Variable.create(device(), 'v', [2], new Float32Array(3))).rejects.toThrow('v: 3 values for shape [2]');
    program.destroy();
  });

  it('gives timestamps of every launch', async () => {
    const tape = new Tape();
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
  const device = useDevice({ memoryLimitBytes: 100_000 });

  it('is kept before anything is allocated', async () => {
    const before = device().created.buffers;
    const tape = new Tape();
    const y = relu(tape.input('x', [30_000]));
    await expect(Program.build(device(), tape, { name: 'limited', outputs: [y] })).rejects.toThrow(
      'limited needs 240000 bytes beside 0 in use; the limit is 100000: use a smaller batch',
    );
    expect(device().created.buffers).toBe(before);
  });
});
