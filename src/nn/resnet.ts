import { globalAveragePool } from '../shaders/global_average_pool/global_average_pool.ts';
import { maxPool2d } from '../shaders/max_pool2d/max_pool2d.ts';
import type { Tensor } from '../tensor/tensor.ts';
import type { Network, NetworkConfig } from './networks.ts';
import type { Recorder } from './recorder.ts';

/**
 * ResNet-18 (He et al. 2015, as torchvision builds it) at any width. Stems: `imagenet` 7×7/2 and max pooling, `cifar` 3×3/1,
 * `small` 3×3/2. Features: the global average of the last stage, 8·width numbers.
 */
export const resnet18: Network = {
  name: 'resnet18',
  head: 'fc',
  stems: ['imagenet', 'cifar', 'small'],
  features: (net, x, config) => features(net, x, config, [2, 2, 2, 2]),
};

function features(net: Recorder, x: Tensor, { width, stem }: NetworkConfig, blocks: readonly number[]): Tensor {
  const stems = {
    imagenet: { kernel: 7, stride: 2, padding: 3 },
    cifar: { kernel: 3, stride: 1, padding: 1 },
    small: { kernel: 3, stride: 2, padding: 1 },
  };
  let y = net.convolution('conv1', x, { out: width, norm: 'bn1', relu: true, ...stems[stem] });
  if (stem === 'imagenet') y = maxPool2d(y, { kernel: 3, stride: 2, padding: 1 });
  blocks.forEach((count, stage) => {
    for (let block = 0; block < count; block++) {
      y = basicBlock(net, `layer${stage + 1}.${block}`, y, width << stage, stage > 0 && block === 0 ? 2 : 1);
    }
  });
  return globalAveragePool(y);
}

/** Two 3×3 convolutions beside an identity, or beside a 1×1 convolution where the shape changes. */
function basicBlock(net: Recorder, name: string, x: Tensor, out: number, stride: number): Tensor {
  const identity =
    stride === 1 && x.shape[3] === out
      ? x
      : net.convolution(`${name}.downsample.0`, x, { out, kernel: 1, stride, norm: `${name}.downsample.1` });
  const y = net.convolution(`${name}.conv1`, x, {
    out,
    kernel: 3,
    stride,
    padding: 1,
    norm: `${name}.bn1`,
    relu: true,
  });
  return net.convolution(`${name}.conv2`, y, {
    out,
    kernel: 3,
    padding: 1,
    norm: `${name}.bn2`,
    residual: identity,
    relu: true,
  });
}
