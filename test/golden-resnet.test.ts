import { expect, it } from 'vitest';
import type { SafetensorsTensor } from '../src/formats/safetensors.ts';
import { backward } from '../src/nn/backward.ts';
import { permute } from '../src/nn/layout.ts';
import { Model, parameterSpecs } from '../src/nn/model.ts';
import type { NetworkConfig } from '../src/nn/networks.ts';
import { sgd } from '../src/shaders/sgd/sgd.ts';
import { softmaxCrossEntropy } from '../src/shaders/softmax_cross_entropy/softmax_cross_entropy.ts';
import { Program } from '../src/tensor/program.ts';
import { Tape } from '../src/tensor/tape.ts';
import { Variable } from '../src/tensor/variable.ts';
import { useDevice } from './device.ts';
import { golden } from './golden.ts';
import { expectClose } from './tolerance.ts';

const device = useDevice();

const config: NetworkConfig = {
  architecture: 'resnet18',
  width: 8,
  stem: 'imagenet',
  numClasses: 12,
  inputSize: 64,
  channels: 3,
  mean: [0.485, 0.456, 0.406],
  std: [0.229, 0.224, 0.225],
};

const nhwc = (data: Float32Array, shape: readonly number[]): Float32Array => permute(data, shape, [0, 2, 3, 1]);

/** The tensors under a prefix, as a state dict. */
function stateDict(file: ReturnType<typeof golden>, prefix: string): Map<string, SafetensorsTensor> {
  return new Map(
    [...file.tensors]
      .filter(([name]) => name.startsWith(prefix))
      .map(([name, tensor]) => [name.slice(prefix.length), tensor]),
  );
}

it('computes the features, logits and image gradient that PyTorch does', async () => {
  const baseline = device().liveBytes;
  const state = golden('resnet18_state');
  const io = golden('resnet18_io');
  const model = await Model.load(device(), config, state.tensors, 'resnet18_state');
  const [N, C, H, W] = io.shape('x');
  const tape = new Tape();
  const x = tape.input('x', [N, H, W, C]);
  const dfeatures = tape.input('dfeatures', io.shape('dfeatures'));
  const features = model.features(x);
  const logits = model.logits(features);
  const [dx] = backward(features, [x], dfeatures);
  const program = await Program.build(device(), tape, {
    name: 'resnet18',
    outputs: [features, logits, dx],
    guard: true,
  });
  program.write(x, nhwc(io.float32('x'), io.shape('x')));
  program.write(dfeatures, io.float32('dfeatures'));
  await program.run();
  await program.checkGuards();
  expectClose(await program.read(features), io.float32('features'), 1e-4, 'features');
  expectClose(await program.read(logits), io.float32('logits'), 1e-4, 'logits');
  expectClose(await program.read(dx), nhwc(io.float32('dx'), io.shape('dx')), 1e-4, 'dx');
  program.destroy();
  model.destroy();
  expect(device().liveBytes).toBe(baseline);
});

it('trains as PyTorch does: ten losses and the final weights', async () => {
  const baseline = device().liveBytes;
  const file = golden('resnet18_train');
  const recipe = JSON.parse(file.metadata.train) as {
    lr: number;
    momentum: number;
    weight_decay: number;
    steps: number;
  };
  const model = await Model.load(device(), config, stateDict(file, 'init/'), 'resnet18_train');
  const [, N, C, H, W] = file.shape('x');
  const images = file.float32('x');
  const targets = new BigInt64Array(file.tensors.get('target')!.data.slice().buffer);
  const tape = new Tape();
  const x = tape.input('x', [N, H, W, C]);
  const labels = tape.input('labels', [N], 'u32');
  const learningRate = tape.input('learning rate', [1]);
  const loss = softmaxCrossEntropy(model.logits(model.features(x, { training: true })), labels);
  const parameters = model.trainable();
  const weights = parameters.map(({ variable }) => tape.variable(variable));
  const gradients = backward(loss, weights);
  const momenta: Variable[] = [];
  for (const [index, { spec, variable }] of parameters.entries()) {
    momenta.push(await Variable.create(device(), `${spec.name} momentum`, variable.shape));
    sgd(
      { parameter: weights[index], gradient: gradients[index], momentum: tape.variable(momenta[index]), learningRate },
      { momentum: recipe.momentum, weightDecay: recipe.weight_decay, nesterov: false },
    );
  }
  const program = await Program.build(device(), tape, { name: 'training', outputs: [loss], guard: true });
  program.write(learningRate, Float32Array.of(recipe.lr));
  const losses: number[] = [];
  for (let step = 0; step < recipe.steps; step++) {
    program.write(x, nhwc(images.slice(step * N * C * H * W, (step + 1) * N * C * H * W), [N, C, H, W]));
    program.write(labels, Uint32Array.from(targets.subarray(step * N, (step + 1) * N), Number));
    await program.run();
    losses.push((await program.read(loss))[0]);
  }
  await program.checkGuards();
  const expected = file.float32('loss');
  losses.forEach((value, step) => {
    expect(Math.abs(value - expected[step]), `loss ${step}: ${value} against ${expected[step]}`).toBeLessThanOrEqual(
      1e-3 * Math.abs(expected[step]),
    );
  });
  for (const [name, tensor] of await model.stateDict()) {
    if (tensor.dtype === 'F32') expectClose(tensor.data as Float32Array, file.float32(`final/${name}`), 5e-3, name);
  }
  program.destroy();
  model.destroy();
  for (const variable of momenta) variable.destroy();
  expect(device().liveBytes).toBe(baseline);
});

/** The generator of the golden networks' weights and image: FNV-1a of the name, then a linear congruence, in float64. */
function* stream(name: string): Generator<number> {
  let x = 0x811c9dc5;
  for (const byte of new TextEncoder().encode(name)) x = Math.imul(x ^ byte, 0x01000193) >>> 0;
  for (;;) {
    x = (Math.imul(x, 1664525) + 1013904223) >>> 0;
    yield x / 2 ** 32;
  }
}

function formula(name: string, size: number, value: (t: number) => number): Float32Array {
  const next = stream(name);
  return Float32Array.from({ length: size }, () => value(next.next().value as number));
}

it("agrees with torchvision's full-width ResNet-18", async () => {
  const file = golden('network_resnet18');
  const attributes = JSON.parse(file.metadata.golden) as {
    image_name: string;
    shape: [number, number, number, number];
    image_scale: number;
  };
  const full: NetworkConfig = { ...config, width: 64, numClasses: 1000, inputSize: 224 };
  const tensors = new Map<string, SafetensorsTensor>();
  for (const { name, shape } of parameterSpecs(full)) {
    const size = shape.reduce((a, b) => a * b, 1);
    const bound = Math.sqrt(6 / (size / shape[0]));
    const value = (t: number): number => {
      if (shape.length > 1) return (2 * t - 1) * bound;
      if (name.endsWith('bias') || name.endsWith('running_mean')) return (2 * t - 1) * 0.1;
      return 0.5 + t;
    };
    const data = formula(name, size, value);
    tensors.set(name, { file: 'formula', name, dtype: 'F32', shape, data: new Uint8Array(data.buffer) });
  }
  const model = await Model.load(device(), full, tensors, 'formula');
  const [N, C, H, W] = attributes.shape;
  const image = formula(attributes.image_name, N * C * H * W, (t) => (2 * t - 1) * attributes.image_scale);
  const tape = new Tape();
  const x = tape.input('x', [N, H, W, C]);
  const seed = tape.input('seed', [N, model.featureDimension]);
  const features = model.features(x);
  const logits = model.logits(features);
  const [dx] = backward(features, [x], seed);
  const program = await Program.build(device(), tape, { name: 'resnet18', outputs: [features, logits, dx] });
  program.write(x, nhwc(image, attributes.shape));
  program.write(seed, new Float32Array(N * model.featureDimension).fill(1 / model.featureDimension));
  await program.run();
  expectClose(await program.read(features), file.float32('features'), 2e-4, 'features');
  expectClose(await program.read(logits), file.float32('logits'), 2e-4, 'logits');
  const gradient = permute(await program.read(dx), [N, H, W, C], [0, 3, 1, 2]);
  const index = [...new BigInt64Array(file.tensors.get('dx_index')!.data.slice().buffer)].map(Number);
  expectClose(
    index.map((i) => gradient[i]),
    file.float32('dx_value'),
    2e-4,
    'dx',
  );
  program.destroy();
  model.destroy();
});
