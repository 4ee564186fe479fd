import { integers, sizeOf, uniform } from './inputs.mjs';

/**
 * What is measured. Shapes and layouts are PyTorch's ([N, C, H, W], [O, I, KH, KW]); an implementation lays its data out as it
 * likes, outside the time. Names are those of the project's own bench.
 *
 * A work: `name`, `kind`, its shape, `flops` (multiply and add are two), `quick` where `--quick` has it, `gradients` where only
 * `--gradients` has it. Kinds: `matmul`; `conv2d` with a `pass` (forward, dx, dweight); of a `network` with a `batch`:
 * `forward` (logits of the frozen network), `train` (forward, cross-entropy, gradients, SGD), `mark` (forward, gradient to the
 * pixels, projected step).
 */

const matmul = (size, options) => ({
  name: `matmul ${size}x${size}x${size}`,
  kind: 'matmul',
  m: size,
  k: size,
  n: size,
  flops: 2 * size ** 3,
  ...options,
});

/** Forward, dx and dweight of one convolution. */
function conv2d(n, c, size, oc, k, stride, options = { gradients: true }) {
  const pad = k >> 1;
  const out = Math.floor((size + 2 * pad - k) / stride) + 1;
  const shape = { n, c, h: size, w: size, oc, k, stride, pad, oh: out, ow: out };
  const { gradients, ...rest } = options;
  return ['forward', 'dx', 'dweight'].map((pass) => ({
    name: `conv2d ${n}x${c}x${size}x${size} to ${oc} k${k} s${stride} p${pad}${pass === 'forward' ? '' : ` ${pass}`}`,
    kind: 'conv2d',
    pass,
    ...shape,
    flops: 2 * n * out * out * oc * c * k * k,
    ...rest,
    ...(gradients && pass !== 'forward' && { gradients }),
  }));
}

/** One step of a ResNet-18. A training step takes three times the forward pass, a marking step twice or, with crops, three times. */
export function step(kind, network, batch, options) {
  const { width, stem, channels, size } = network;
  const passes = kind === 'forward' ? 1 : kind === 'train' ? 3 : size > 64 ? 3 : 2;
  return {
    name: `${kind} resnet18 width ${width} ${stem} ${batch}x${channels}x${size}x${size}`,
    kind,
    network,
    batch,
    flops: passes * batch * networkFlops(network),
    ...options,
  };
}

export const imagenet = { width: 64, stem: 'imagenet', channels: 3, size: 224, classes: 1000 };
export const cifar = { width: 64, stem: 'cifar', channels: 3, size: 32, classes: 10 };
export const small = { width: 16, stem: 'small', channels: 1, size: 28, classes: 10 };

export const works = [
  matmul(1024),
  matmul(512, { quick: true }),
  ...conv2d(8, 64, 56, 64, 3, 1, { quick: true }),
  // ResNet-18's other convolutions at 224: the stem, where the shape changes, beside that.
  ...conv2d(4, 3, 224, 64, 7, 2),
  ...[
    [64, 56],
    [128, 28],
    [256, 14],
  ].flatMap(([c, size]) => [...conv2d(4, c, size, 2 * c, 3, 2), ...conv2d(4, c, size, 2 * c, 1, 2)]),
  step('forward', imagenet, 1),
  step('forward', imagenet, 4),
  step('train', small, 32, { quick: true }),
  step('mark', small, 32, { quick: true }),
  step('train', cifar, 8),
  step('mark', cifar, 8),
];

/** The shapes of an operator's inputs and of its result. */
export function shapesOf(work) {
  if (work.kind === 'matmul') {
    const { m, k, n } = work;
    return { inputs: { a: [m, k], b: [k, n] }, output: [m, n] };
  }
  const { n, c, h, w, oc, k, oh, ow, pass } = work;
  const all = { x: [n, c, h, w], weight: [oc, c, k, k], dy: [n, oc, oh, ow] };
  return {
    forward: { inputs: { x: all.x, weight: all.weight }, output: all.dy },
    dx: { inputs: { weight: all.weight, dy: all.dy }, output: all.x },
    dweight: { inputs: { x: all.x, dy: all.dy }, output: all.weight },
  }[pass];
}

/** An operator's inputs by name. */
export function operatorInputs(work) {
  const { inputs } = shapesOf(work);
  return Object.fromEntries(Object.entries(inputs).map(([name, shape]) => [name, uniform(name, sizeOf(shape))]));
}

/** Learning rate of the training step, plain SGD. */
export const LEARNING_RATE = 0.05;

/** The marking step: no rounding, so that results can be compared; the rest as the product has it by default. */
export const marking = { learningRate: 1, lambdaFeatures: 0.01, lambdaImage: 0.0005, radiusLevels: 10 };
/** Of pixels scaled to 0–1, every channel. */
export const MEAN = 0.5;
export const STD = 0.25;

/** A work with all that an implementation in another language would have to repeat from this file. */
export const inFull = (work) =>
  work.network
    ? {
        ...work,
        resnet18: resnet18(work.network),
        learningRate: LEARNING_RATE,
        marking: { ...marking, mean: MEAN, std: STD },
      }
    : work;

/** Images as the network takes them [N, C, H, W], and labels. For marking, levels 0–255 and a carrier an image. */
export function stepInputs({ kind, network, batch }) {
  const { channels, size, classes, width } = network;
  const pixels = batch * channels * size * size;
  if (kind === 'mark')
    return {
      levels: integers('levels', pixels, 256),
      carriers: uniform('carriers', batch * 8 * width).map((value) => value * Math.sqrt(3 / (8 * width))),
    };
  return { x: uniform('x', pixels, -1.75, 1.75), labels: integers('labels', batch, classes) };
}

/**
 * ResNet-18's convolutions in the order they run, each with the batch norm behind it; `blocks` refer to them. Torchvision's
 * names.
 */
export function resnet18({ width, stem, channels }) {
  const stems = { imagenet: [7, 2, 3], cifar: [3, 1, 1], small: [3, 2, 1] };
  const [k, stride, pad] = stems[stem];
  const first = { name: 'conv1', norm: 'bn1', c: channels, oc: width, k, stride, pad };
  const blocks = [];
  let c = width;
  for (let stage = 0; stage < 4; stage++)
    for (let index = 0; index < 2; index++) {
      const name = `layer${stage + 1}.${index}`;
      const oc = width << stage;
      const stride = stage > 0 && index === 0 ? 2 : 1;
      blocks.push({
        conv1: { name: `${name}.conv1`, norm: `${name}.bn1`, c, oc, k: 3, stride, pad: 1 },
        conv2: { name: `${name}.conv2`, norm: `${name}.bn2`, c: oc, oc, k: 3, stride: 1, pad: 1 },
        ...(stride === 2 && {
          downsample: { name: `${name}.downsample.0`, norm: `${name}.downsample.1`, c, oc, k: 1, stride, pad: 0 },
        }),
      });
      c = oc;
    }
  const convolutions = [first, ...blocks.flatMap((block) => Object.values(block))];
  return { first, maxPool: stem === 'imagenet', blocks, convolutions, features: c };
}

/** The state dict: name → shape and values. Batch norms have statistics as a trained network might. */
export function stateDict(network) {
  const { convolutions, features } = resnet18(network);
  const entries = new Map();
  const add = (name, shape, low, high) =>
    entries.set(name, { shape, data: uniform(name, sizeOf(shape), low, high), trainable: !name.includes('running') });
  for (const { name, norm, c, oc, k } of convolutions) {
    // He et al.'s deviation by fan-out, √(2/(O·K²)), as a uniform distribution.
    const bound = Math.sqrt(6 / (oc * k * k));
    add(`${name}.weight`, [oc, c, k, k], -bound, bound);
    add(`${norm}.weight`, [oc], 0.9, 1.1);
    add(`${norm}.bias`, [oc], -0.1, 0.1);
    add(`${norm}.running_mean`, [oc], -0.1, 0.1);
    add(`${norm}.running_var`, [oc], 0.9, 1.1);
  }
  const bound = 1 / Math.sqrt(features);
  add('fc.weight', [network.classes, features], -bound, bound);
  add('fc.bias', [network.classes], -bound, bound);
  return entries;
}

/** PyTorch's epsilon of batch norm. */
export const EPSILON = 1e-5;

/** A frozen convolution with its batch norm folded in: what a user would run. Weight OIHW and bias. */
export function folded(state, { name, norm }) {
  const [gamma, beta, mean, variance] = ['weight', 'bias', 'running_mean', 'running_var'].map(
    (part) => state.get(`${norm}.${part}`).data,
  );
  const { shape, data } = state.get(`${name}.weight`);
  const factor = gamma.map((value, o) => value / Math.sqrt(variance[o] + EPSILON));
  const size = data.length / shape[0];
  return {
    shape,
    weight: data.map((value, i) => value * factor[Math.floor(i / size)]),
    bias: beta.map((value, o) => value - mean[o] * factor[o]),
  };
}

function networkFlops(network) {
  const { first, blocks, maxPool, features } = resnet18(network);
  let size = network.size;
  let flops = 0;
  const run = ({ c, oc, k, stride, pad }, from) => {
    const out = Math.floor((from + 2 * pad - k) / stride) + 1;
    flops += 2 * out * out * oc * c * k * k;
    return out;
  };
  size = run(first, size);
  if (maxPool) size = Math.floor((size + 2 - 3) / 2) + 1;
  for (const { conv1, conv2, downsample } of blocks) {
    if (downsample) run(downsample, size);
    size = run(conv2, run(conv1, size));
  }
  return flops + 2 * features * network.classes;
}
