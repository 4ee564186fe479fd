/** Weights under the names of other projects: recognised, and what PyTorch computes with them. */

import { readFileSync } from 'node:fs';
import { expect, it } from 'vitest';
import { serializeSafetensors, type TensorData } from '../src/formats/safetensors.ts';
import { Model } from '../src/nn/model.ts';
import { parseModelFile } from '../src/nn/model_file.ts';
import { Program } from '../src/tensor/program.ts';
import { Tape } from '../src/tensor/tape.ts';
import { useDevice } from './device.ts';
import { formula } from './formula.ts';
import { nchwToNhwc } from './layout.ts';
import { expectClose } from './tolerance.ts';

const device = useDevice();

interface Case {
  readonly name: string;
  readonly architecture?: string;
  readonly stem?: string;
  readonly normalised?: boolean;
  /** The state dict; with the name whose values it has where that is another's. */
  readonly tensors: readonly (readonly [name: string, dtype: 'F32' | 'I64', shape: readonly number[], as?: string])[];
  readonly features: readonly number[];
  readonly logits: readonly number[];
}

const cases = JSON.parse(readFileSync('test/golden/names/names.json', 'utf8')) as readonly Case[];
const [SIDE, COUNT] = [32, 2];
/** Of CIFAR-10, as MadryLab/robustness has them. */
const MEAN = [0.4914, 0.4822, 0.4465];
const STD = [0.2023, 0.1994, 0.201];

function tensorOf(name: string, dtype: 'F32' | 'I64', shape: readonly number[]): TensorData {
  const size = shape.reduce((a, b) => a * b, 1);
  if (dtype === 'I64') return { dtype, shape, data: new BigInt64Array(size).fill(7n) };
  if (name.endsWith('mean') && /normalizer?\./.test(name)) return { dtype, shape, data: Float32Array.from(MEAN) };
  if (name.endsWith('std') && /normalizer?\./.test(name)) return { dtype, shape, data: Float32Array.from(STD) };
  const bound = Math.sqrt(6 / (size / shape[0]));
  const data = formula(name, size, (t) => {
    if (shape.length > 1) return (2 * t - 1) * bound;
    return /(?:bias|running_mean)$/.test(name) ? (2 * t - 1) * 0.1 : 0.5 + t;
  });
  return { dtype, shape, data };
}

/** What is said of the names, beside what every file without metadata needs. */
const SAID: Readonly<Record<string, readonly string[]>> = {
  DataParallel: ['names without module.'],
  "torch.compile of Lightning's _forward_module": ['names without _forward_module., _orig_mod.'],
  'net.': ['names without net.'],
  'encoder.': ['names without encoder.'],
  AveragedModel: ['names without module.', 'without n_averaged'],
  FSDP: ['names without _fsdp_wrapped_module.'],
  'Lightning with a weighted loss and a metric': ['names without model.', 'without criterion.pos_weight, train_acc.tp'],
  'backbone. and classifier': ['names without backbone.', 'last layer classifier'],
  mmpretrain: ['names without backbone.', 'last layer head.fc'],
  'MadryLab/robustness': [
    'names without module.',
    'names without model.',
    'the same weights under attacker.model. left out',
  ],
  'kuangliu/pytorch-cifar': ['names of kuangliu/pytorch-cifar', 'last layer linear'],
  'huyvnphan/PyTorch_CIFAR10': [],
  'Hugging Face, ResNet-18': ['names without resnet.', 'names of Hugging Face', 'last layer classifier.1'],
  'Hugging Face, ResNet-50': ['names without resnet.', 'names of Hugging Face', 'last layer classifier.1'],
  'nn.Sequential(*children)': ['names of nn.Sequential', 'last layer 10'],
  'nn.Sequential of nn.Sequential(*children)': ['names without 0.', 'names of nn.Sequential', 'last layer 3'],
  'fc as dropout and linear': ['last layer fc.1'],
  'a last layer without bias': ['no bias in the last layer'],
  'a convolution as last layer': ['names without backbone.', 'last layer classifier'],
  'timm, VGG-16': ['names of timm'],
};

it('has something to say of each', () => {
  expect(cases.map(({ name }) => name)).toEqual(Object.keys(SAID));
});

it.each(cases)('$name', async ({ name, architecture = 'resnet18', stem, normalised, tensors, features, logits }) => {
  const bytes = serializeSafetensors(
    tensors.map(([stored, dtype, shape, as]) => [stored, tensorOf(as ?? stored, dtype, shape)] as const),
  );
  const flags = { inputSize: SIDE, ...(stem !== 'imagenet' && stem && { stem: stem as 'cifar' }) };
  const standard = { mean: [0, 0, 0], std: [1, 1, 1] };
  const file = await parseModelFile(bytes, 'a file', { ...flags, ...(!normalised && standard) });
  const channels = file.inferred.indexOf('channels 3');
  const at = file.inferred.indexOf(`architecture ${architecture}`);
  expect(at, file.inferred.join('; ')).toBe(channels - 1);
  expect(file.inferred.slice(0, at)).toEqual(SAID[name]);
  const normaliser = [
    'mean 0.4914,0.4822,0.4465 of normalizer.new_mean',
    'std 0.2023,0.1994,0.201 of normalizer.new_std',
  ];
  expect(file.inferred.filter((said) => said.includes(' of normalizer'))).toEqual(normalised ? normaliser : []);

  const model = await Model.load(device(), file.config, file.tensors, 'a file');
  try {
    const tape = new Tape(device(), { precision: 'f32' });
    const x = tape.input('x', [COUNT, SIDE, SIDE, 3]);
    const y = model.features(x);
    const z = model.logits(y);
    const program = await Program.build(device(), tape, { name, outputs: [y, z] });
    const shape = [COUNT, 3, SIDE, SIDE] as const;
    const { mean, std } = file.config;
    const image = formula('image', COUNT * 3 * SIDE * SIDE, (t) => (normalised ? t : 2 * t - 1));
    const seen = image.map((value, i) => {
      const c = Math.floor(i / (SIDE * SIDE)) % 3;
      return (value - mean[c]) / std[c];
    });
    program.write(x, nchwToNhwc(seen, shape));
    await program.run();
    expectClose(await program.read(y), features, 1e-4, 'features');
    expectClose(await program.read(z), logits, 1e-4, 'logits');
    program.destroy();
  } finally {
    model.destroy();
  }
});
