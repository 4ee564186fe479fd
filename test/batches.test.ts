import { describe, expect, it } from 'vitest';
import { Model } from '../src/nn/model.ts';
import type { NetworkConfig } from '../src/nn/networks.ts';
import { derive } from '../src/random.ts';
import { backward } from '../src/shaders/backward.ts';
import { Program } from '../src/tensor/program.ts';
import { Tape } from '../src/tensor/tape.ts';
import { useDevice } from './device.ts';

/** A network whose convolutions would be computed one way for one image and another way for many, if it were for speed alone. */
const config: NetworkConfig = {
  architecture: 'resnet18',
  width: 16,
  stem: 'cifar',
  numClasses: 10,
  inputSize: 28,
  channels: 1,
  mean: [0.5],
  std: [0.25],
};
const pixels = config.inputSize ** 2;

describe.each([
  ['as this adapter computes', {}],
  ['as a GPU computes', { software: false, subgroupSize: 0 }],
])('%s', (_, capabilities) => {
  const device = useDevice({ capabilities });

  it('an image has the same features and gradient, bit by bit, in batches of any size', async () => {
    const model = await Model.create(device(), config, 3);
    const random = derive(1, 'images');
    const images = Float32Array.from({ length: 33 * pixels }, () => 2 * random.uniform() - 1);
    const first = async (count: number): Promise<Buffer[]> => {
      const tape = new Tape(device(), { precision: 'f32' });
      const x = tape.input('x', [count, config.inputSize, config.inputSize, 1]);
      const features = model.features(x);
      const seed = tape.input('seed', features.shape);
      const [dx] = backward(features, [x], seed);
      const program = await Program.build(device(), tape, { name: `${count} images`, outputs: [features, dx] });
      program.write(x, images.subarray(0, count * pixels));
      program.write(seed, new Float32Array(seed.size).fill(0.5));
      await program.run();
      const results = [
        (await program.read(features)).slice(0, model.featureDimension),
        (await program.read(dx)).slice(0, pixels),
      ];
      program.destroy();
      return results.map(({ buffer }) => Buffer.from(buffer));
    };
    const alone = await first(1);
    for (const count of [2, 5, 33]) {
      const [features, gradient] = await first(count);
      expect(features.equals(alone[0]), `features in a batch of ${count}`).toBe(true);
      expect(gradient.equals(alone[1]), `gradient in a batch of ${count}`).toBe(true);
    }
    model.destroy();
  });
});
