import { readFile } from 'node:fs/promises';
import { provideGpu } from '../dawn.mjs';
import {
  EPSILON,
  folded,
  LEARNING_RATE,
  operatorInputs,
  resnet18,
  shapesOf,
  stateDict,
  stepInputs,
} from '../works.mjs';

// jax-js on its WebGPU backend, everything under jit: channels first, batch norm folded where the network is frozen. Its arrays
// are consumed by what uses them: `.ref` keeps one.

const gpu = await provideGpu();
const jax = await import('@jax-js/jax');
const { jit, lax, nn, numpy: np } = jax;

export async function open() {
  await jax.init('webgpu');
  jax.defaultDevice('webgpu');
  const prepare = { matmul, conv2d, forward, train };
  const package_ = new URL('../package.json', import.meta.resolve('@jax-js/jax'));
  return {
    version: JSON.parse(await readFile(package_, 'utf8')).version,
    adapter: gpu.state.adapter,
    check: gpu.check,
    prepare: (work) => prepare[work.kind](work),
  };
}

const array = (data, shape) => np.array(data.slice()).reshape(shape);

function operator(work, compute) {
  const { inputs: shapes } = shapesOf(work);
  const inputs = Object.entries(operatorInputs(work)).map(([name, data]) => array(data, shapes[name]));
  let last;
  return {
    async run() {
      last?.dispose();
      last = compute(...inputs.map((input) => input.ref));
      await jax.blockUntilReady(last);
    },
    values: async () => ({ output: await last.ref.data() }),
    release: () => {
      for (const value of [last, ...inputs]) value.dispose();
    },
  };
}

const matmul = (work) =>
  operator(
    work,
    jit((a, b) => np.matmul(a, b)),
  );

const convolve = (x, weight, { stride, pad }) =>
  lax.convGeneralDilated(
    x,
    weight,
    [stride, stride],
    [
      [pad, pad],
      [pad, pad],
    ],
  );

function conv2d(work) {
  const { pass } = work;
  const { output } = shapesOf(work);
  // The gradients are linear in dy: of what they would be taken at, nothing is computed.
  const gradient = (at, f, dy) => jax.grad((value) => f(value).mul(dy.ref).sum())(at);
  const compute = {
    forward: (x, weight) => convolve(x, weight, work),
    dx: (weight, dy) => gradient(np.zeros(output), (x) => convolve(x, weight.ref, work), dy),
    dweight: (x, dy) => gradient(np.zeros(output), (weight) => convolve(x.ref, weight, work), dy),
  }[pass];
  return operator(work, jit(compute));
}

function forward(work) {
  const state = stateDict(work.network);
  const net = resnet18(work.network);
  const parameters = Object.fromEntries(
    net.convolutions.map((layer) => {
      const { weight, shape, bias } = folded(state, layer);
      return [layer.name, { weight: array(weight, shape), bias: array(bias, [1, shape[0], 1, 1]) }];
    }),
  );
  parameters.fc = head(state);
  const x = array(stepInputs(work).x, imageShape(work));
  const compute = jit((P, x) => {
    const convolution = (input, layer) => convolve(input, P[layer.name].weight, layer).add(P[layer.name].bias);
    return network(net, x, convolution, P.fc);
  });
  let last;
  return {
    async run() {
      last = await compute(jax.tree.ref(parameters), x.ref).data();
    },
    values: () => ({ logits: last }),
    release: () => {
      jax.tree.dispose(parameters);
      x.dispose();
    },
  };
}

function train(work) {
  const net = resnet18(work.network);
  let parameters = Object.fromEntries(
    [...stateDict(work.network)]
      .filter(([, { trainable }]) => trainable)
      .map(([name, { shape, data }]) => [name, array(data, shape)]),
  );
  const { classes } = work.network;
  const data = stepInputs(work);
  const oneHot = new Float32Array(work.batch * classes);
  for (const [row, label] of data.labels.entries()) oneHot[row * classes + label] = 1;
  const x = array(data.x, imageShape(work));
  const labels = array(oneHot, [work.batch, classes]);
  const loss = (P, x, labels) => {
    const convolution = (input, layer) => {
      const y = convolve(input, P[`${layer.name}.weight`], layer);
      const shape = [1, y.shape[1], 1, 1];
      const mean = np.mean(y.ref, [0, 2, 3], { keepdims: true });
      const centred = y.sub(mean);
      const variance = np.mean(np.square(centred.ref), [0, 2, 3], { keepdims: true });
      const factor = P[`${layer.norm}.weight`].reshape(shape).div(np.sqrt(variance.add(EPSILON)));
      return centred.mul(factor).add(P[`${layer.norm}.bias`].reshape(shape));
    };
    const logits = network(net, x, convolution, { weight: P['fc.weight'], bias: P['fc.bias'] });
    return nn
      .logSoftmax(logits)
      .mul(labels)
      .sum()
      .mul(-1 / work.batch);
  };
  const compute = jit((P, x, labels) => {
    const [value, gradients] = jax.valueAndGrad(loss)(jax.tree.ref(P), x, labels);
    return [value, jax.tree.map((p, g) => p.sub(g.mul(LEARNING_RATE)), P, gradients)];
  });
  return {
    async run() {
      const [value, next] = compute(parameters, x.ref, labels.ref);
      parameters = next;
      const [number] = await value.data();
      await jax.blockUntilReady(parameters);
      return number;
    },
    async values() {
      const values = {};
      for (const [name, value] of Object.entries(parameters)) values[name] = await value.ref.data();
      return values;
    },
    release: () => {
      jax.tree.dispose(parameters);
      for (const value of [x, labels]) value.dispose();
    },
  };
}

/** ResNet-18's logits; `convolution` takes its batch norm along. */
function network(net, x, convolution, { weight, bias }) {
  let h = nn.relu(convolution(x, net.first));
  if (net.maxPool) {
    // After a ReLU padding with zeros is as good as with −∞.
    const padded = np.pad(h, [
      [0, 0],
      [0, 0],
      [1, 1],
      [1, 1],
    ]);
    h = lax.reduceWindow(padded, (window) => np.max(window), [3, 3], [2, 2]);
  }
  for (const { conv1, conv2, downsample } of net.blocks) {
    const identity = h.ref;
    const y = convolution(nn.relu(convolution(h, conv1)), conv2);
    h = nn.relu(y.add(downsample ? convolution(identity, downsample) : identity));
  }
  return np.matmul(np.mean(h, [2, 3]), np.transpose(weight)).add(bias);
}

function head(state) {
  const [weight, bias] = ['fc.weight', 'fc.bias'].map((name) => state.get(name));
  return { weight: array(weight.data, weight.shape), bias: array(bias.data, bias.shape) };
}

const imageShape = ({ batch, network: { channels, size } }) => [batch, channels, size, size];
