import { Model } from '../src/nn/model.ts';
import type { NetworkConfig } from '../src/nn/networks.ts';
import { prepareStep, stepNames } from '../src/profiling/steps.ts';
import type { BenchCase } from './cases.ts';

const network = (
  width: number,
  stem: NetworkConfig['stem'],
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

/** The networks that whole steps are measured on, with the batch of each. */
const settings = [
  { config: network(16, 'small', 28, 1), batch: 128 },
  { config: network(16, 'cifar', 28, 1), batch: 32 },
  { config: network(64, 'cifar', 32, 3), batch: 8 },
  { config: network(64, 'imagenet', 224, 3, 1000), batch: 4 },
] as const;

const describe = ({ width, stem, inputSize, channels }: NetworkConfig, batch: number): string =>
  `resnet18 width ${width} ${stem} ${batch}x${channels}x${inputSize}x${inputSize}`;

/** Whole steps of the product. */
export const steps: readonly BenchCase[] = settings.flatMap(({ config, batch }) =>
  stepNames.map((step) => ({
    name: `${step} ${describe(config, batch)}`,
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
