import { provideGpu } from '../dawn.mjs';
import { hwioToOihw, nchwToNhwc, nhwcToNchw, oihwToHwio, swap } from '../inputs.mjs';
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

// TensorFlow.js with its WebGPU backend, eager: channels last, batch norm folded where the network is frozen.

const gpu = await provideGpu();
const tf = await import('@tensorflow/tfjs');
await import('@tensorflow/tfjs-backend-webgpu');

export async function open() {
  if (!(await tf.setBackend('webgpu'))) throw new Error('the WebGPU backend does not start');
  await tf.ready();
  const prepare = { matmul, conv2d, forward, train };
  return {
    version: tf.version_core,
    adapter: gpu.state.adapter,
    check: gpu.check,
    prepare: (work) => prepare[work.kind](work),
  };
}

/** All that was recorded is submitted and done. */
async function idle() {
  const backend = tf.backend();
  backend.endComputePassEncoder();
  backend.submitQueue();
  await backend.device.queue.onSubmittedWorkDone();
}

function operator(inputs, compute, canonical) {
  let last;
  return {
    async run() {
      last?.dispose();
      last = compute();
      await idle();
    },
    values: async () => ({ output: canonical(await last.data(), last.shape) }),
    release: () => tf.dispose([last, inputs]),
  };
}

function matmul(work) {
  const { inputs: shapes } = shapesOf(work);
  const data = operatorInputs(work);
  const [a, b] = [tf.tensor(data.a, shapes.a), tf.tensor(data.b, shapes.b)];
  return operator(
    [a, b],
    () => tf.matMul(a, b),
    (values) => values,
  );
}

function conv2d(work) {
  const { pass, stride, pad } = work;
  const { inputs: shapes, output } = shapesOf(work);
  const data = operatorInputs(work);
  const x = shapes.x && image(data.x, shapes.x);
  const dy = shapes.dy && image(data.dy, shapes.dy);
  const filter = shapes.weight && weight(data.weight, shapes.weight);
  const attributes = { strides: [stride, stride], pad, dataFormat: 'NHWC' };
  const kernel = (name, inputs, more) => () => tf.engine().runKernel(name, inputs, { ...attributes, ...more });
  const [n, c, h, w] = output;
  const compute = {
    forward: () => tf.conv2d(x, filter, stride, pad),
    dx: kernel('Conv2DBackpropInput', { dy, filter }, { inputShape: [n, h, w, c] }),
    dweight: kernel('Conv2DBackpropFilter', { x, dy }, { filterShape: [h, w, c, n] }),
  }[pass];
  return operator(
    [x, dy, filter].filter((tensor) => tensor),
    compute,
    pass === 'dweight' ? hwioToOihw : nhwcToNchw,
  );
}

function forward(work) {
  const state = stateDict(work.network);
  const net = resnet18(work.network);
  const layers = new Map(
    net.convolutions.map((layer) => {
      const f = folded(state, layer);
      return [layer, { filter: weight(f.weight, f.shape), bias: tf.tensor(f.bias) }];
    }),
  );
  const head = linearHead(state);
  const x = image(stepInputs(work).x, imageShape(work));
  const convolution = (input, layer, relu) =>
    tf.fused.conv2d({
      x: input,
      ...layers.get(layer),
      strides: layer.stride,
      pad: layer.pad,
      activation: relu ? 'relu' : 'linear',
    });
  let last;
  return {
    async run() {
      const logits = tf.tidy(() => network(net, x, convolution, head));
      last = await logits.data();
      logits.dispose();
    },
    values: () => ({ logits: last }),
    release: () => tf.dispose([x, head, ...[...layers.values()].map((layer) => Object.values(layer))]),
  };
}

function train(work) {
  const state = stateDict(work.network);
  const net = resnet18(work.network);
  const variables = new Map(
    [...state]
      .filter(([, { trainable }]) => trainable)
      .map(([name, { shape, data }]) => [name, tf.tidy(() => tf.variable(parameter(data, shape)))]),
  );
  const data = stepInputs(work);
  const x = image(data.x, imageShape(work));
  const labels = tf.tidy(() => tf.oneHot(tf.tensor1d(data.labels, 'int32'), work.network.classes).toFloat());
  const head = { weight: variables.get('fc.weight'), bias: variables.get('fc.bias') };
  const convolution = (input, layer, relu) => {
    const y = tf.conv2d(input, variables.get(`${layer.name}.weight`), layer.stride, layer.pad);
    const { mean, variance } = tf.moments(y, [0, 1, 2]);
    const [gamma, beta] = ['weight', 'bias'].map((part) => variables.get(`${layer.norm}.${part}`));
    const normalised = tf.batchNorm(y, mean, variance, beta, gamma, EPSILON);
    return relu ? tf.relu(normalised) : normalised;
  };
  const optimizer = tf.train.sgd(LEARNING_RATE);
  const loss = () => tf.losses.softmaxCrossEntropy(labels, network(net, x, convolution, head));
  return {
    async run() {
      const value = optimizer.minimize(loss, true);
      const [number] = await value.data();
      value.dispose();
      return number;
    },
    async values() {
      const values = {};
      for (const [name, variable] of variables) values[name] = parameterBack(await variable.data(), variable.shape);
      return values;
    },
    release: () => {
      tf.dispose([x, labels, ...variables.values()]);
      optimizer.dispose();
    },
  };
}

/** ResNet-18's logits; `convolution` takes its batch norm along. */
function network(net, x, convolution, head) {
  let h = convolution(x, net.first, true);
  if (net.maxPool) h = tf.maxPool(h, 3, 2, 1);
  for (const { conv1, conv2, downsample } of net.blocks) {
    const y = convolution(convolution(h, conv1, true), conv2, false);
    h = tf.relu(tf.add(y, downsample ? convolution(h, downsample, false) : h));
  }
  return tf.add(tf.matMul(tf.mean(h, [1, 2]), head.weight), head.bias);
}

const linearHead = (state) => ({
  weight: parameter(state.get('fc.weight').data, state.get('fc.weight').shape),
  bias: tf.tensor(state.get('fc.bias').data),
});

const imageShape = ({ batch, network: { channels, size } }) => [batch, channels, size, size];
const image = (data, [n, c, h, w]) => tf.tensor(nchwToNhwc(data, [n, c, h, w]), [n, h, w, c]);
const weight = (data, [o, i, h, w]) => tf.tensor(oihwToHwio(data, [o, i, h, w]), [h, w, i, o]);

function parameter(data, shape) {
  if (shape.length === 4) return weight(data, shape);
  return shape.length === 2 ? tf.tensor(swap(data, shape), shape.toReversed()) : tf.tensor(data, shape);
}

function parameterBack(data, shape) {
  if (shape.length === 4) return hwioToOihw(data, shape);
  return shape.length === 2 ? swap(data, shape) : data;
}
