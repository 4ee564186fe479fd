import { provideGpu } from '../dawn.mjs';
import { OnnxGraph } from '../onnx.mjs';
import { Unsupported } from '../unsupported.mjs';
import { folded, operatorInputs, resnet18, shapesOf, stateDict, stepInputs } from '../works.mjs';

// onnxruntime-web with its WebGPU execution provider: models written here, inputs and operators' results kept on the device.

const gpu = await provideGpu();
// By its file: what Node gets by the package's name is a build without WebGPU.
const dist = new URL('./', import.meta.resolve('onnxruntime-web')).href;
const ort = await import(`${dist}ort.webgpu.min.mjs`);

export function open({ threads }) {
  ort.env.wasm.wasmPaths = dist;
  ort.env.wasm.numThreads = threads;
  ort.env.logLevel = 'error';
  const prepare = { matmul, conv2d, forward, train: notTraining };
  return {
    version: ort.env.versions.web,
    get adapter() {
      return gpu.state.adapter;
    },
    check: gpu.check,
    prepare: (work) => prepare[work.kind](work),
  };
}

function notTraining() {
  throw new Unsupported('onnxruntime-web computes no gradients');
}

async function session(graph, output, shape, location) {
  const created = await ort.InferenceSession.create(graph.model(output, shape), {
    executionProviders: ['webgpu'],
    preferredOutputLocation: location,
    graphOptimizationLevel: 'all',
  });
  return { created, output, device: await ort.env.webgpu.device };
}

function upload(device, data, dims) {
  const usage = GPUBufferUsage.STORAGE | GPUBufferUsage.COPY_DST | GPUBufferUsage.COPY_SRC;
  const buffer = device.createBuffer({ size: data.byteLength, usage });
  device.queue.writeBuffer(buffer, 0, data);
  return ort.Tensor.fromGpuBuffer(buffer, { dataType: 'float32', dims, dispose: () => buffer.destroy() });
}

async function operator(graph, node, work, inputs) {
  const { inputs: shapes, output: shape } = shapesOf(work);
  const { created, output, device } = await session(graph, node, shape, 'gpu-buffer');
  const data = operatorInputs(work);
  const feeds = Object.fromEntries(inputs.map((name) => [name, upload(device, data[name], shapes[name])]));
  let last;
  return {
    async run() {
      last?.dispose();
      last = (await created.run(feeds))[output];
      await device.queue.onSubmittedWorkDone();
    },
    // A copy: reading the tensor itself would move it off the device.
    values: async () => ({ output: await readBack(device, last.gpuBuffer, shape) }),
    async release() {
      for (const tensor of [last, ...Object.values(feeds)]) tensor.dispose();
      await created.release();
    },
  };
}

async function readBack(device, buffer, shape) {
  const size = 4 * shape.reduce((product, extent) => product * extent, 1);
  const staging = device.createBuffer({ size, usage: GPUBufferUsage.MAP_READ | GPUBufferUsage.COPY_DST });
  const encoder = device.createCommandEncoder();
  encoder.copyBufferToBuffer(buffer, 0, staging, 0, size);
  device.queue.submit([encoder.finish()]);
  await staging.mapAsync(GPUMapMode.READ);
  const values = new Float32Array(staging.getMappedRange().slice(0));
  staging.destroy();
  return values;
}

function matmul(work) {
  const graph = new OnnxGraph();
  const { inputs } = shapesOf(work);
  const names = Object.entries(inputs).map(([name, shape]) => graph.input(name, shape));
  return operator(graph, graph.node('MatMul', names), work, names);
}

function conv2d(work) {
  const { pass, k, stride, pad, h, oh } = work;
  if (pass === 'dweight') throw new Unsupported('ONNX has no gradient of a convolution to its weight');
  const graph = new OnnxGraph();
  const { inputs } = shapesOf(work);
  const weight = graph.initializer('weight', inputs.weight, operatorInputs(work).weight);
  const attributes = { kernel_shape: [k, k], strides: [stride, stride], pads: [pad, pad, pad, pad] };
  if (pass === 'forward') {
    const x = graph.input('x', inputs.x);
    return operator(graph, graph.node('Conv', [x, weight], attributes), work, ['x']);
  }
  // dx is the transposed convolution of dy; where the stride passes over last rows, they are added.
  const missing = h - ((oh - 1) * stride - 2 * pad + k);
  const dy = graph.input('dy', inputs.dy);
  const node = graph.node('ConvTranspose', [dy, weight], { ...attributes, output_padding: [missing, missing] });
  return operator(graph, node, work, ['dy']);
}

async function forward(work) {
  const { batch, network } = work;
  const state = stateDict(network);
  const net = resnet18(network);
  const graph = new OnnxGraph();
  const imageShape = [batch, network.channels, network.size, network.size];
  const convolution = (input, layer, relu) => {
    const { k, stride, pad, name, oc } = layer;
    const { weight, shape, bias } = folded(state, layer);
    const y = graph.node(
      'Conv',
      [input, graph.initializer(`${name}.weight`, shape, weight), graph.initializer(`${name}.bias`, [oc], bias)],
      { kernel_shape: [k, k], strides: [stride, stride], pads: [pad, pad, pad, pad] },
    );
    return relu ? graph.node('Relu', [y]) : y;
  };
  let h = convolution(graph.input('x', imageShape), net.first, true);
  if (net.maxPool) h = graph.node('MaxPool', [h], { kernel_shape: [3, 3], strides: [2, 2], pads: [1, 1, 1, 1] });
  for (const { conv1, conv2, downsample } of net.blocks) {
    const y = convolution(convolution(h, conv1, true), conv2, false);
    h = graph.node('Relu', [graph.node('Add', [y, downsample ? convolution(h, downsample, false) : h])]);
  }
  const [weight, bias] = ['fc.weight', 'fc.bias'].map((name) =>
    graph.initializer(name, state.get(name).shape, state.get(name).data),
  );
  const features = graph.node('Flatten', [graph.node('GlobalAveragePool', [h])]);
  const logits = graph.node('Gemm', [features, weight, bias], { transB: 1 });
  const { created, output, device } = await session(graph, logits, [batch, network.classes], 'cpu');
  const x = upload(device, stepInputs(work).x, imageShape);
  let last;
  return {
    async run() {
      last = (await created.run({ x }))[output].data;
    },
    values: () => ({ logits: last }),
    async release() {
      x.dispose();
      await created.release();
    },
  };
}
