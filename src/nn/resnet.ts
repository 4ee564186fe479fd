import { globalAveragePool } from '../shaders/global_average_pool/global_average_pool.ts';
import { maxPool2d } from '../shaders/max_pool2d/max_pool2d.ts';
import type { Tensor } from '../tensor/tensor.ts';
import { type Alias, defineNetwork, type NetworkOptions } from './network.ts';
import type { Recorder } from './recorder.ts';

const options = {
  width: {
    type: 'count',
    default: 64,
    description: 'channels of the first stage',
    infer: (shapeOf) => shapeOf('conv1.weight')?.[0],
  },
  stem: {
    type: 'choice',
    choices: ['imagenet', 'cifar', 'small', 'cifar-pool'],
    default: (inputSize) => (inputSize > 64 ? 'imagenet' : 'small'),
    description: 'first layers: 7x7/2 and pooling, 3x3, 3x3/2, or 3x3 and pooling',
    infer: (shapeOf) => (shapeOf('conv1.weight')?.[2] === 7 ? 'imagenet' : undefined),
  },
} as const satisfies NetworkOptions;

const STEMS = {
  imagenet: { convolution: { kernel: 7, stride: 2, padding: 3 }, pooled: true },
  cifar: { convolution: { kernel: 3, stride: 1, padding: 1 }, pooled: false },
  small: { convolution: { kernel: 3, stride: 2, padding: 1 }, pooled: false },
  'cifar-pool': { convolution: { kernel: 3, stride: 1, padding: 1 }, pooled: true },
} as const;

/** How other projects call the layers of the same networks. */
const ALIASES: readonly Alias[] = [
  ...[
    [/^embedder\.embedder\.convolution\./, 'conv1.'],
    [/^embedder\.embedder\.normalization\./, 'bn1.'],
    [/^encoder\.stages\.0\.layers\./, 'layer1.'],
    [/^encoder\.stages\.1\.layers\./, 'layer2.'],
    [/^encoder\.stages\.2\.layers\./, 'layer3.'],
    [/^encoder\.stages\.3\.layers\./, 'layer4.'],
    [/^(layer\d\.\d+)\.shortcut\.convolution\./, '$1.downsample.0.'],
    [/^(layer\d\.\d+)\.shortcut\.normalization\./, '$1.downsample.1.'],
    [/^(layer\d\.\d+)\.layer\.0\.convolution\./, '$1.conv1.'],
    [/^(layer\d\.\d+)\.layer\.1\.convolution\./, '$1.conv2.'],
    [/^(layer\d\.\d+)\.layer\.2\.convolution\./, '$1.conv3.'],
    [/^(layer\d\.\d+)\.layer\.0\.normalization\./, '$1.bn1.'],
    [/^(layer\d\.\d+)\.layer\.1\.normalization\./, '$1.bn2.'],
    [/^(layer\d\.\d+)\.layer\.2\.normalization\./, '$1.bn3.'],
  ].map(([pattern, to]) => ({ project: 'Hugging Face', pattern: pattern as RegExp, to: to as string })),
  { project: 'kuangliu/pytorch-cifar', pattern: /^(layer\d\.\d+)\.shortcut\.([01])\./, to: '$1.downsample.$2.' },
  // nn.Sequential(*resnet.children()): the ReLU is 2, the pooling 3.
  ...[
    [/^0\.(?=weight$)/, 'conv1.'],
    [/^1\.(?=(?:weight|bias|running_mean|running_var|num_batches_tracked)$)/, 'bn1.'],
    [/^4\.(?=\d+\.)/, 'layer1.'],
    [/^5\.(?=\d+\.)/, 'layer2.'],
    [/^6\.(?=\d+\.)/, 'layer3.'],
    [/^7\.(?=\d+\.)/, 'layer4.'],
  ].map(([pattern, to]) => ({ project: 'nn.Sequential', pattern: pattern as RegExp, to: to as string })),
];

/** A residual block of x with `width` channels inside; strides once where it changes the size. */
type Block = (net: Recorder, name: string, x: Tensor, width: number, stride: number) => Tensor;

/**
 * ResNets (He et al. 2015, as torchvision builds them) at any width. Stems: `imagenet` 7×7/2 and max pooling, `cifar` 3×3/1,
 * `small` 3×3/2, `cifar-pool` 3×3/1 and max pooling. Features: the global average of the last stage.
 */
const resnet = (name: string, block: Block, blocks: readonly number[]) =>
  defineNetwork({
    name,
    first: 'conv1',
    head: 'fc',
    options,
    aliases: ALIASES,
    features(net, x, { width, stem }) {
      let y = net.convolution('conv1', x, { out: width, norm: 'bn1', relu: true, ...STEMS[stem].convolution });
      if (STEMS[stem].pooled) y = maxPool2d(y, { kernel: 3, stride: 2, padding: 1 });
      blocks.forEach((count, stage) => {
        for (let index = 0; index < count; index++)
          y = block(net, `layer${stage + 1}.${index}`, y, width << stage, stage > 0 && index === 0 ? 2 : 1);
      });
      return globalAveragePool(y);
    },
    initial: ({ kind, fanIn, fanOut }) =>
      kind === 'convolution' ? { gaussian: Math.sqrt(2 / fanOut) } : { uniform: 1 / Math.sqrt(fanIn) },
  });

/** 8·width features. */
export const resnet18 = resnet('resnet18', basicBlock, [2, 2, 2, 2]);
export const resnet34 = resnet('resnet34', basicBlock, [3, 4, 6, 3]);
/** 32·width features. */
export const resnet50 = resnet('resnet50', bottleneck, [3, 4, 6, 3]);

/** Two 3×3 convolutions. */
function basicBlock(net: Recorder, name: string, x: Tensor, width: number, stride: number): Tensor {
  const residual = shortcut(net, name, x, width, stride);
  const y = net.convolution(`${name}.conv1`, x, {
    out: width,
    kernel: 3,
    stride,
    padding: 1,
    norm: `${name}.bn1`,
    relu: true,
  });
  return net.convolution(`${name}.conv2`, y, {
    out: width,
    kernel: 3,
    padding: 1,
    norm: `${name}.bn2`,
    residual,
    relu: true,
  });
}

/** A 1×1, a 3×3 that strides (torchvision's "v1.5"; the paper strides in the first), and a 1×1 to four times the channels. */
function bottleneck(net: Recorder, name: string, x: Tensor, width: number, stride: number): Tensor {
  const residual = shortcut(net, name, x, 4 * width, stride);
  let y = net.convolution(`${name}.conv1`, x, { out: width, kernel: 1, norm: `${name}.bn1`, relu: true });
  y = net.convolution(`${name}.conv2`, y, {
    out: width,
    kernel: 3,
    stride,
    padding: 1,
    norm: `${name}.bn2`,
    relu: true,
  });
  return net.convolution(`${name}.conv3`, y, { out: 4 * width, kernel: 1, norm: `${name}.bn3`, residual, relu: true });
}

/** What a block is added to: its input, or a 1×1 convolution of it where the block changes the shape. */
function shortcut(net: Recorder, name: string, x: Tensor, out: number, stride: number): Tensor {
  if (stride === 1 && x.shape[3] === out) return x;
  return net.convolution(`${name}.downsample.0`, x, { out, kernel: 1, stride, norm: `${name}.downsample.1` });
}
