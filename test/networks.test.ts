import { describe, expect, it } from 'vitest';
import { serializeSafetensors, type TensorData } from '../src/formats/safetensors.ts';
import { initialStateDict, parameterSpecs } from '../src/nn/model.ts';
import { parseModelFile } from '../src/nn/model_file.ts';
import { type NetworkConfig, networks } from '../src/nn/networks.ts';

const common = {
  numClasses: 7,
  inputSize: 224,
  channels: 3,
  mean: [0.485, 0.456, 0.406],
  std: [0.229, 0.224, 0.225],
} as const;

/** Small ones of every architecture. */
const small: Readonly<Record<string, Partial<NetworkConfig>>> = {
  resnet18: { width: 4 },
  resnet34: { width: 4 },
  resnet50: { width: 4 },
  vgg16: { width: 4, hidden: 32 },
  vgg16_bn: { width: 4, hidden: 32 },
  densenet121: { width: 4, growth: 2 },
};

const published = (config: NetworkConfig, metadata: Readonly<Record<string, string>> = {}): Uint8Array =>
  serializeSafetensors(initialStateDict(config, 0), metadata);

it('has a small one of every network that others publish', () => {
  // `frequencies` is made here and nowhere else: see frequencies.test.ts.
  expect([...Object.keys(small), 'frequencies']).toEqual(Object.keys(networks));
});

describe.each(Object.keys(small))('%s', (architecture) => {
  const config: NetworkConfig = { architecture, ...common, ...small[architecture] };

  it('is recognised by its tensors, without metadata', async () => {
    const file = await parseModelFile(published(config, { format: 'pt' }), 'a file');
    expect(file.config).toMatchObject(config);
    expect(file.inferred).toContain(`architecture ${architecture}`);
  });

  it('is not taken for it with a tensor too many, too few or of another shape', async () => {
    const fresh = initialStateDict(config, 0);
    // Of a layer that nothing is concluded from.
    const [name, first] = [...fresh].findLast(([, { shape }]) => shape.length === 4 && shape[0] !== shape[1])!;
    // The last layer's bias alone may be missing.
    const needed = [...fresh.keys()].at(-3)!;
    const misshapen = { ...first, shape: [...first.shape].reverse() };
    const changes: [tensors: Iterable<readonly [string, TensorData]>, problem: string][] = [
      [[...fresh, ['extra', first]], 'extra is unknown'],
      [[...fresh].filter(([other]) => other !== needed), `${needed} is missing`],
      [new Map(fresh).set(name, misshapen), `${name} is `],
    ];
    for (const [tensors, problem] of changes)
      await expect(parseModelFile(serializeSafetensors(tensors), 'a file')).rejects.toThrow(
        expect.objectContaining({
          exitCode: 3,
          message: expect.stringMatching(
            new RegExp(`^a file: the weights do not fit any network known here, nearest ${architecture}: .*${problem}`),
          ),
        }),
      );
  });

  it('begins with weights of the deviation that torchvision gives them', () => {
    const fresh = initialStateDict(config, 0);
    for (const spec of parameterSpecs(config)) {
      const initial = networks[architecture].initial(spec);
      const values = new Float32Array(fresh.get(spec.name)!.data.buffer);
      if (values.length < 1000 || 'constant' in initial || 'values' in initial) continue;
      const deviation = Math.sqrt(values.reduce((sum, value) => sum + value ** 2, 0) / values.length);
      const expected = 'gaussian' in initial ? initial.gaussian : initial.uniform / Math.sqrt(3);
      expect(Math.abs(deviation / expected - 1), spec.name).toBeLessThan(0.1);
    }
  });
});

describe('options', () => {
  const config: NetworkConfig = { architecture: 'resnet18', ...common };

  it("have torchvision's values at 224 pixels", () => {
    const specs = parameterSpecs(config);
    expect(specs.find(({ name }) => name === 'conv1.weight')?.shape).toEqual([64, 3, 7, 7]);
  });

  it('are checked', () => {
    expect(() => parameterSpecs({ ...config, width: 0.5 })).toThrow(
      'resnet18: width is 0.5; it must be a whole number from 1 to 1000000',
    );
    expect(() => parameterSpecs({ ...config, stem: 'wide' as 'small' })).toThrow(
      'resnet18: stem is "wide"; it must be one of imagenet, cifar, small, cifar-pool',
    );
  });

  it('are asked for where shapes do not tell them', async () => {
    const bytes = published({ ...config, width: 4, stem: 'cifar' });
    await expect(parseModelFile(bytes, 'a file')).rejects.toThrow(
      'a file: the file does not tell its stem; give --stem (imagenet, cifar, small, cifar-pool)',
    );
    expect(
      await parseModelFile(bytes, 'a file', { stem: 'cifar', inputSize: 32, mean: [0, 0, 0], std: [1, 1, 1] }),
    ).toMatchObject({
      config: { architecture: 'resnet18', width: 4, stem: 'cifar', inputSize: 32 },
      inferred: ['architecture resnet18', 'channels 3', 'classes 7', 'width 4'],
    });
  });

  it('of metadata must be ones that the option can have', async () => {
    await expect(
      parseModelFile(published({ ...config, width: 4 }, { architecture: 'resnet18', stem: 'wide' }), 'a file'),
    ).rejects.toThrow('a file: stem is "wide"; it must be one of imagenet, cifar, small, cifar-pool');
  });
});
