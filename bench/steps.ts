import { wholeImage } from '../src/images/crop.ts';
import { defaultMarkingRecipe, Marker } from '../src/marking/marker.ts';
import { networkInput } from '../src/nn/inference.ts';
import { Model } from '../src/nn/model.ts';
import type { NetworkConfig } from '../src/nn/networks.ts';
import { packCrops } from '../src/shaders/crop_resize/crop_resize.ts';
import { Program } from '../src/tensor/program.ts';
import { Tape } from '../src/tensor/tape.ts';
import { createMomenta, recordDescent } from '../src/training/train.ts';
import type { BenchCase, Prepared } from './cases.ts';

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

/** Whole steps of the product: features of the frozen network, a marking step, a training step. */
export const steps: readonly BenchCase[] = settings.flatMap(({ config, batch }) => [
  {
    name: `forward ${describe(config, batch)}`,
    build: async (device) => {
      const model = await Model.create(device, config, 0);
      const tape = new Tape();
      const { levels, crops } = images(tape, config, batch);
      const logits = model.logits(model.features(networkInput(model, levels, crops)));
      return finish(
        model,
        await Program.build(device, tape, { name: 'forward', outputs: [logits] }),
        { levels, crops },
        batch,
        [],
      );
    },
  },
  {
    name: `mark ${describe(config, batch)}`,
    build: async (device) => {
      const model = await Model.create(device, config, 0);
      const canvas = { height: config.inputSize, width: config.inputSize, channels: config.channels };
      const marker = await Marker.create(model, canvas, batch, {
        ...defaultMarkingRecipe(config.inputSize),
        iterations: 1,
      });
      const size = config.inputSize ** 2 * config.channels;
      const direction = new Float32Array(model.featureDimension).fill(model.featureDimension ** -0.5);
      const image = { height: config.inputSize, width: config.inputSize, channels: config.channels as 1 | 3 };
      await marker.mark(
        Array.from({ length: batch }, (_, index) => ({
          id: String(index),
          image: { ...image, data: Uint8Array.from({ length: size }, (_, i) => (i * 31 + index * 17) % 256) },
          direction,
        })),
      );
      return { program: marker.program, images: batch, release: () => (marker.destroy(), model.destroy()) };
    },
  },
  {
    name: `train ${describe(config, batch)}`,
    build: async (device) => {
      const model = await Model.create(device, config, 0);
      const momenta = await createMomenta(model, false);
      const tape = new Tape();
      const { levels, crops } = images(tape, config, batch);
      const labels = tape.input('labels', [batch], 'u32');
      const learningRate = tape.input('learning rate', [1]);
      const logits = model.logits(model.features(networkInput(model, levels, crops), { training: true }));
      const recipe = { momentum: 0.9, weightDecay: 1e-4, nesterov: false };
      const loss = recordDescent(model, { logits, labels, learningRate }, momenta, recipe);
      const program = await Program.build(device, tape, { name: 'training', outputs: [loss] });
      program.write(
        labels,
        Uint32Array.from({ length: batch }, (_, index) => index % config.numClasses),
      );
      program.write(learningRate, Float32Array.of(0.01));
      return finish(model, program, { levels, crops }, batch, [...momenta.values()]);
    },
  },
]);

function images(tape: Tape, { inputSize, channels }: NetworkConfig, batch: number) {
  const levels = tape.input('levels', [batch, inputSize, inputSize, channels]);
  const crops = tape.input('crops', [batch, 5], 'u32');
  return { levels, crops };
}

function finish(
  model: Model,
  program: Program,
  { levels, crops }: ReturnType<typeof images>,
  batch: number,
  variables: readonly { destroy(): void }[],
): Prepared {
  const [, H, W] = levels.shape;
  program.write(
    levels,
    Float32Array.from({ length: levels.size }, (_, i) => (i * 31) % 256),
  );
  program.write(crops, packCrops(new Array(batch).fill(wholeImage(H, W)), H, W));
  const release = (): void => {
    program.destroy();
    model.destroy();
    for (const variable of variables) variable.destroy();
  };
  return { program, images: batch, release };
}
