import { wholeImage } from '../images/crop.ts';
import { Marker } from '../marking/marker.ts';
import { defaultMarkingRecipe } from '../marking/recipe.ts';
import { networkInput } from '../nn/inference.ts';
import type { Model } from '../nn/model.ts';
import { packCrops } from '../shaders/crop_resize/crop_resize.ts';
import { Program } from '../tensor/program.ts';
import { Tape } from '../tensor/tape.ts';
import type { Tensor } from '../tensor/tensor.ts';
import { createMomenta, recordDescent } from '../training/train.ts';
import type { Prepared } from './prepared.ts';

/** The steps that the product repeats: logits of the frozen network, a training step, a marking step. */
export const stepNames = ['forward', 'train', 'mark'] as const;
export type StepName = (typeof stepNames)[number];

/**
 * Prepares a step of `model` on `batch` made-up images of its size, as the product records it. The model stays the caller's;
 * training changes its weights. Throws DeviceError where the batch does not fit.
 */
export function prepareStep(model: Model, step: StepName, batch: number): Promise<Prepared> {
  const prepare = { forward: prepareForward, train: prepareTraining, mark: prepareMarking }[step];
  return prepare(model, batch);
}

async function prepareForward(model: Model, batch: number): Promise<Prepared> {
  const tape = new Tape(model.device, { precision: model.device.precision });
  const images = recordImages(tape, model, batch);
  const logits = model.logits(model.features(networkInput(model, images.levels, images.crops)));
  const program = await Program.build(model.device, tape, { name: 'forward', outputs: [logits] });
  writeImages(program, images);
  await program.run();
  return { program, images: batch, release: () => program.destroy() };
}

async function prepareTraining(model: Model, batch: number): Promise<Prepared> {
  const momenta = await createMomenta(model, false);
  let program: Program | undefined;
  const release = (): void => {
    program?.destroy();
    for (const momentum of momenta.values()) momentum.destroy();
  };
  try {
    const tape = new Tape(model.device, { precision: model.device.precision });
    const images = recordImages(tape, model, batch);
    const labels = tape.input('labels', [batch], 'u32');
    const learningRate = tape.input('learning rate', [1]);
    const seed = tape.input('dropout seed', [2], 'u32');
    const input = networkInput(model, images.levels, images.crops);
    const logits = model.logits(model.features(input, { training: true, seed }));
    const recipe = { momentum: 0.9, weightDecay: 1e-4, nesterov: false };
    const loss = recordDescent(model, { logits, labels, learningRate }, momenta, recipe);
    program = await Program.build(model.device, tape, { name: 'training', outputs: [loss] });
    writeImages(program, images);
    program.write(
      labels,
      Uint32Array.from({ length: batch }, (_, index) => index % model.config.numClasses),
    );
    program.write(learningRate, Float32Array.of(0.01));
    program.write(seed, Uint32Array.of(1, 2));
    await program.run();
    return { program, images: batch, release };
  } catch (error) {
    release();
    throw error;
  }
}

async function prepareMarking(model: Model, batch: number): Promise<Prepared> {
  const { inputSize, channels } = model.config;
  const shape = { height: inputSize, width: inputSize, channels: channels as 1 | 3 };
  const marker = await Marker.create(model, batch * inputSize ** 2, batch, {
    ...defaultMarkingRecipe(inputSize),
    iterations: 1,
  });
  const release = (): void => marker.destroy();
  try {
    const size = inputSize ** 2 * channels;
    const direction = new Float32Array(model.featureDimension).fill(model.featureDimension ** -0.5);
    await marker.mark(
      Array.from({ length: batch }, (_, index) => ({
        id: String(index),
        image: { ...shape, data: Uint8Array.from({ length: size }, (_, i) => levelAt(index * size + i)) },
        direction,
      })),
    );
    return { program: marker.program, images: batch, release };
  } catch (error) {
    release();
    throw error;
  }
}

/** Images in 8-bit levels, and their crops. */
type Images = Readonly<Record<'levels' | 'crops', Tensor>>;

function recordImages(tape: Tape, { config: { inputSize, channels } }: Model, batch: number): Images {
  const levels = tape.input('levels', [batch, inputSize, inputSize, channels]);
  const crops = tape.input('crops', [batch, 5], 'u32');
  return { levels, crops };
}

function writeImages(program: Program, { levels, crops }: Images): void {
  const [batch, H, W] = levels.shape;
  program.write(
    levels,
    Float32Array.from({ length: levels.size }, (_, i) => levelAt(i)),
  );
  program.write(
    crops,
    packCrops(new Array(batch).fill(wholeImage(H, W)), new Array(batch).fill({ height: H, width: W })),
  );
}

/** Some picture: values that are all alike would let some adapters run faster. */
const levelAt = (i: number): number => (i * 31) % 256;
