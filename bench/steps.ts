import { Model } from '../src/nn/model.ts';
import type { NetworkConfig } from '../src/nn/networks.ts';
import { prepareStep, stepNames } from '../src/profiling/steps.ts';
import type { BenchCase } from './cases.ts';

const network = (
  width: number,
  stem: NonNullable<NetworkConfig['stem']>,
  inputSize: number,
  channels: number,
  numClasses = 10,
): NetworkConfig => ({
  architecture: 'resnet18',
  width,
  stem,
  numClasses,
  inputSize,
  channels,
  mean: new Array<number>(channels).fill(0.5),
  std: new Array<number>(channels).fill(0.25),
});

const setting = (config: NetworkConfig, batch: number) => {
  const { width, stem, inputSize, channels } = config;
  return { name: `resnet18 width ${width} ${stem} ${batch}x${channels}x${inputSize}x${inputSize}`, config, batch };
};

/** The networks that whole steps are measured on, with the batch of each. */
export const settings = [
  setting(network(16, 'small', 28, 1), 128),
  setting(network(16, 'cifar', 28, 1), 32),
  setting(network(64, 'cifar', 32, 3), 8),
  setting(network(64, 'imagenet', 224, 3, 1000), 4),
];

/** Whole steps of the product. */
export const steps: readonly BenchCase[] = settings.flatMap(({ name, config, batch }) =>
  stepNames.map((step) => ({
    name: `${step} ${name}`,
    build: async (device) => {
      const model = await Model.create(device, config, 0);
      const prepared = await prepareStep(model, step, batch);
      const release = (): void => {
        prepared.release();
        model.destroy();
      };
      return { ...prepared, release };
    },
  })),
);
