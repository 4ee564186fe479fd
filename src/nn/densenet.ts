import { avgPool2d } from '../shaders/avg_pool2d/avg_pool2d.ts';
import { concat } from '../shaders/concat/concat.ts';
import { globalAveragePool } from '../shaders/global_average_pool/global_average_pool.ts';
import { maxPool2d } from '../shaders/max_pool2d/max_pool2d.ts';
import type { Tensor } from '../tensor/tensor.ts';
import { defineNetwork } from './network.ts';
import type { Recorder } from './recorder.ts';

/** Layers of each block. */
const BLOCKS = [6, 12, 24, 16];
/** The 1×1 convolution of a layer gives so many times the channels that the layer adds. */
const BOTTLENECK = 4;

/**
 * DenseNet-121 (Huang et al. 2016, as torchvision builds it): every layer sees the channels of all layers before it in its block.
 * Batch norms come before convolutions. Features: the global average after the last batch norm and ReLU, 1024 at torchvision's
 * width and growth.
 */
export const densenet121 = defineNetwork({
  name: 'densenet121',
  first: 'features.conv0',
  head: 'classifier',
  options: {
    width: {
      type: 'count',
      default: 64,
      description: 'channels of the first stage',
      infer: (shapeOf) => shapeOf('features.conv0.weight')?.[0],
    },
    growth: {
      type: 'count',
      default: 32,
      description: 'channels that each layer adds',
      infer: (shapeOf) => shapeOf('features.denseblock1.denselayer1.conv2.weight')?.[0],
    },
  },
  // torchvision's published file still has `denselayer1.norm.1`.
  aliases: [{ project: "torchvision's first files", pattern: /(denselayer\d+\.(?:norm|conv))\.([12]\.)/, to: '$1$2' }],
  features(net, x, { width, growth }) {
    let y = net.convolution('features.conv0', x, {
      out: width,
      kernel: 7,
      stride: 2,
      padding: 3,
      norm: 'features.norm0',
      relu: true,
    });
    y = maxPool2d(y, { kernel: 3, stride: 2, padding: 1 });
    BLOCKS.forEach((layers, block) => {
      for (let layer = 1; layer <= layers; layer++)
        y = denseLayer(net, `features.denseblock${block + 1}.denselayer${layer}`, y, growth);
      if (block < BLOCKS.length - 1) y = transition(net, `features.transition${block + 1}`, y);
    });
    return globalAveragePool(net.norm('features.norm5', y, { relu: true }));
  },
  initial: ({ kind, fanIn }) => {
    if (kind === 'convolution') return { gaussian: Math.sqrt(2 / fanIn) };
    return kind === 'linear' ? { uniform: 1 / Math.sqrt(fanIn) } : { constant: 0 };
  },
});

/** x with `growth` channels more, that a 1×1 and a 3×3 convolution make of it. */
function denseLayer(net: Recorder, name: string, x: Tensor, growth: number): Tensor {
  let y = net.norm(`${name}.norm1`, x, { relu: true });
  y = net.convolution(`${name}.conv1`, y, { out: BOTTLENECK * growth, kernel: 1, norm: `${name}.norm2`, relu: true });
  return concat([x, net.convolution(`${name}.conv2`, y, { out: growth, kernel: 3, padding: 1 })]);
}

/** Half the channels and a quarter of the pixels. */
function transition(net: Recorder, name: string, x: Tensor): Tensor {
  const y = net.norm(`${name}.norm`, x, { relu: true });
  return avgPool2d(net.convolution(`${name}.conv`, y, { out: x.shape[3] >> 1, kernel: 1 }), { kernel: 2 });
}
