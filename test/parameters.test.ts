import { describe, expect, it } from 'vitest';
import type { Device } from '../src/gpu/device.ts';
import { permute } from '../src/nn/layout.ts';
import { initialStateDict, Model } from '../src/nn/model.ts';
import type { NetworkConfig } from '../src/nn/networks.ts';
import { derive } from '../src/random.ts';
import { backward } from '../src/shaders/backward.ts';
import { Program } from '../src/tensor/program.ts';
import { Tape } from '../src/tensor/tape.ts';
import { createMomenta, recordDescent } from '../src/training/train.ts';
import { useDevice } from './device.ts';
import { expectClose } from './tolerance.ts';

/** Its first fully connected layer has 1 605 632 bytes, nothing else that is ever bound more than 600 000. */
const config: NetworkConfig = {
  architecture: 'vgg16',
  width: 4,
  hidden: 256,
  dropout: 0.5,
  numClasses: 3,
  inputSize: 32,
  channels: 3,
  mean: [0.5, 0.5, 0.5],
  std: [0.25, 0.25, 0.25],
};
const LIMIT = 640 * 1024;

const whole = useDevice();
const limited = useDevice({ capabilities: { tensorBytes: LIMIT } });

const uniform = (name: string, count: number): Float32Array => {
  const random = derive(0, name);
  return Float32Array.from({ length: count }, () => 2 * random.uniform() - 1);
};

/** A network of larger weights than it begins with, so that the features are not all nearly 0. */
async function open(device: Device): Promise<Model> {
  const fresh = initialStateDict(config, 1);
  for (const [name, { data }] of fresh) {
    const values = new Float32Array(data.buffer);
    if (name.endsWith('.weight')) for (let i = 0; i < values.length; i++) values[i] *= name.startsWith('c') ? 20 : 1.2;
    else values.set(uniform(name, values.length));
  }
  return await Model.load(device, config, fresh, 'fresh weights');
}

describe('a weight larger than the device binds', () => {
  it('lies in parts of which the state dict shows nothing', async () => {
    const model = await open(limited());
    const [weight] = model.trainable().filter(({ spec }) => spec.name === 'classifier.0.weight');
    expect(weight.parts.length).toBe(3);
    for (const part of weight.parts) expect(part.buffer.size).toBeLessThanOrEqual(LIMIT);
    const reference = await open(whole());
    expect(reference.trainable().every(({ parts }) => parts.length === 1)).toBe(true);
    const expected = await reference.stateDict();
    for (const [index, [name, { shape, data }]] of (await model.stateDict()).entries()) {
      expect([name, shape]).toEqual([expected[index][0], expected[index][1].shape]);
      expectClose(data as Float32Array, expected[index][1].data as Float32Array, 0, name);
    }
    model.destroy();
    reference.destroy();
  });

  /** Features, logits and image gradient of the frozen network; losses, weights and momenta of two steps. */
  async function results(device: Device): Promise<Map<string, Float32Array>> {
    const model = await open(device);
    const results = new Map<string, Float32Array>();
    const images = uniform('images', 4 * 32 * 32 * 3);
    {
      const tape = new Tape(device, { precision: 'f32' });
      const x = tape.input('x', [4, 32, 32, 3]);
      const features = model.features(x);
      const logits = model.logits(features);
      const [dx] = backward(logits, [x]);
      const program = await Program.build(device, tape, { name: 'vgg', outputs: [features, logits, dx], guard: true });
      program.write(x, images);
      await program.run();
      await program.checkGuards();
      for (const [name, tensor] of Object.entries({ features, logits, dx: dx }))
        results.set(name, await program.read(tensor));
      program.destroy();
    }
    const momenta = await createMomenta(model, false);
    const tape = new Tape(device, { precision: 'f32' });
    const x = tape.input('x', [4, 32, 32, 3]);
    const labels = tape.input('labels', [4], 'u32');
    const learningRate = tape.input('learning rate', [1]);
    const seed = tape.input('seed', [2], 'u32');
    const logits = model.logits(model.features(x, { training: true, seed }));
    const recipe = { momentum: 0.9, weightDecay: 1e-3, nesterov: false };
    const loss = recordDescent(model, { logits, labels, learningRate }, momenta, recipe);
    const program = await Program.build(device, tape, { name: 'training', outputs: [loss], guard: true });
    program.write(x, images);
    program.write(labels, Uint32Array.of(0, 1, 2, 1));
    program.write(learningRate, Float32Array.of(1e-3));
    for (let step = 0; step < 2; step++) {
      program.write(seed, Uint32Array.of(7, step));
      await program.run();
      results.set(`loss ${step}`, await program.read(loss));
    }
    await program.checkGuards();
    for (const parameter of model.trainable()) results.set(parameter.spec.name, await parameter.read());
    for (const [name, momentum] of momenta) results.set(`momentum of ${name}`, await momentum.read());
    program.destroy();
    for (const momentum of momenta.values()) momentum.destroy();
    model.destroy();
    return results;
  }

  it('gives the same features, gradients and training steps', async () => {
    const expected = await results(whole());
    for (const [name, values] of await results(limited())) {
      expect(
        expected.get(name)!.some((value) => value !== 0),
        `${name} is not all 0`,
      ).toBe(true);
      expectClose(values, expected.get(name)!, 1e-5, name);
    }
  });

  it('is refused where it is no linear layer', async () => {
    const device = limited();
    const wide: NetworkConfig = { ...config, width: 32 };
    await expect(Model.load(device, wide, initialStateDict(wide, 0), 'a file')).rejects.toThrow(
      /^features\.17\.weight \[256,128,3,3\] needs 1179648 bytes, .* binds at most 655360: use another device, or a smaller network$/,
    );
    expect(device.liveBytes).toBe(0);
  });
});

describe('dropout', () => {
  it('drops half of the hidden units in training, as the seed says, and none otherwise', async () => {
    const device = whole();
    const model = await open(device);
    const run = async (training: boolean, seeds: readonly [number, number]): Promise<Float32Array> => {
      const tape = new Tape(device, { precision: 'f32' });
      const x = tape.input('x', [4, 32, 32, 3]);
      const seed = tape.input('seed', [2], 'u32');
      const features = model.features(x, { training, seed });
      const program = await Program.build(device, tape, { name: 'dropout', outputs: [features] });
      program.write(x, uniform('images', x.size));
      program.write(seed, Uint32Array.from(seeds));
      await program.run();
      const values = await program.read(features);
      program.destroy();
      return values;
    };
    const zeros = (values: Float32Array): number => values.filter((value) => value === 0).length;
    const [frozen, first, again, other] = [
      await run(false, [1, 2]),
      await run(true, [1, 2]),
      await run(true, [1, 2]),
      await run(true, [1, 3]),
    ];
    expect(first).toEqual(again);
    expect(first).not.toEqual(other);
    expect(await run(false, [3, 4])).toEqual(frozen);
    // Of 1024 units the ReLU leaves some; dropout takes about half of the rest.
    const left = frozen.length - zeros(frozen);
    expect(left).toBeGreaterThan(200);
    expect(zeros(first) - zeros(frozen)).toBeGreaterThan(0.2 * left);
    expect(first.length - zeros(first)).toBeGreaterThan(0.2 * left);
    model.destroy();
  });

  it('is trained with a seed, or not at all', async () => {
    const model = await open(whole());
    expect(() =>
      model.features(new Tape(undefined, { precision: 'f32' }).input('x', [2, 32, 32, 3]), { training: true }),
    ).toThrow('a network with dropout is trained with a seed');
    model.destroy();
  });
});

describe('dimensions are reordered', () => {
  it.each([
    [[7], [0]],
    [
      [3, 5],
      [1, 0],
    ],
    [
      [40, 35],
      [1, 0],
    ],
    [
      [33, 3, 2, 5],
      [2, 3, 1, 0],
    ],
    [
      [2, 5, 3, 33],
      [3, 2, 0, 1],
    ],
    [
      [2, 3, 4, 5],
      [1, 0, 2, 3],
    ],
    [
      [2, 3, 4, 5],
      [0, 2, 3, 1],
    ],
    [
      [4, 0, 2],
      [2, 1, 0],
    ],
  ])('%j by %j', (shape, order) => {
    const size = shape.reduce((product, extent) => product * extent, 1);
    const indexOf = (extents: readonly number[], position: number): number[] =>
      extents.map((extent, axis) => {
        const stride = extents.slice(axis + 1).reduce((product, n) => product * n, 1);
        return Math.floor(position / stride) % extent;
      });
    const result = permute(
      Float32Array.from({ length: size }, (_, i) => i),
      shape,
      order,
    );
    expect(result).toHaveLength(size);
    result.forEach((value, position) => {
      const index = indexOf(
        order.map((axis) => shape[axis]),
        position,
      );
      expect(indexOf(shape, value)).toEqual(shape.map((_, axis) => index[order.indexOf(axis)]));
    });
  });
});
