import { adaptiveAvgPool2d } from '../shaders/adaptive_avg_pool2d/adaptive_avg_pool2d.ts';
import { maxPool2d } from '../shaders/max_pool2d/max_pool2d.ts';
import { relu } from '../shaders/relu/relu.ts';
import { type Alias, defineNetwork, type NetworkOptions } from './network.ts';

const options = {
  width: {
    type: 'count',
    default: 64,
    description: 'channels of the first stage',
    infer: (shapeOf) => shapeOf('features.0.weight')?.[0],
  },
  hidden: {
    type: 'count',
    default: 4096,
    description: 'units of the fully connected layers',
    infer: (shapeOf) => shapeOf('classifier.0.weight')?.[0],
  },
  dropout: { type: 'share', default: 0.5, description: 'share of hidden units dropped in training' },
} as const satisfies NetworkOptions;

/** Channels of each convolution as multiples of the width, stage by stage; a 2×2 pooling ends a stage. */
const STAGES = [
  [1, 1],
  [2, 2],
  [4, 4, 4],
  [8, 8, 8],
  [8, 8, 8],
];

/** timm's names of the fully connected layers; the first two are convolutions there, of the same values in the same order. */
const TIMM: readonly Alias[] = [
  { project: 'timm', pattern: /^pre_logits\.fc1\./, to: 'classifier.0.' },
  { project: 'timm', pattern: /^pre_logits\.fc2\./, to: 'classifier.3.' },
  { project: 'timm', pattern: /^head\.fc\./, to: 'classifier.6.' },
];

/** Height and width of what the fully connected layers see. */
const POOLED = 7;

/**
 * VGG-16 (Simonyan and Zisserman 2014, as torchvision builds it). Features: the second fully connected layer after its ReLU,
 * `hidden` numbers. Names count the layers of a stage with their ReLUs, batch norms and poolings, as torchvision's do.
 */
const vgg = (name: string, batchNorm: boolean) =>
  defineNetwork({
    name,
    first: 'features.0',
    head: 'classifier.6',
    options,
    aliases: TIMM,
    features(net, x, { width, hidden, dropout }) {
      let y = x;
      let index = 0;
      for (const stage of STAGES) {
        for (const multiple of stage) {
          y = net.convolution(`features.${index}`, y, {
            out: multiple * width,
            kernel: 3,
            padding: 1,
            bias: true,
            ...(batchNorm && { norm: `features.${index + 1}` }),
            relu: true,
          });
          index += batchNorm ? 3 : 2;
        }
        y = maxPool2d(y, { kernel: 2 });
        index++;
      }
      y = adaptiveAvgPool2d(y, POOLED, POOLED);
      y = net.dropout(relu(net.linear('classifier.0', y, hidden)), dropout);
      return net.dropout(relu(net.linear('classifier.3', y, hidden)), dropout);
    },
    initial: ({ kind, fanOut }) => {
      if (kind === 'convolution') return { gaussian: Math.sqrt(2 / fanOut) };
      return kind === 'linear' ? { gaussian: 0.01 } : { constant: 0 };
    },
  });

export const vgg16 = vgg('vgg16', false);
export const vgg16Bn = vgg('vgg16_bn', true);
