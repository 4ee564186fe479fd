import { readFile } from 'node:fs/promises';
import { describeAdapter } from '../dawn.mjs';
import { hwioToOihw, nchwToNhwc, nhwcToNchw, oihwToHwio } from '../inputs.mjs';
import { LEARNING_RATE, MEAN, marking, operatorInputs, STD, shapesOf, stateDict, stepInputs } from '../works.mjs';

// This project, through its public library as `npm run build` left it.

const root = new URL('../../../', import.meta.url);
const load = (entry) =>
  import(new URL(`dist/${entry}.js`, root)).catch((error) => {
    throw new Error(`the built library cannot be loaded (${error.message}); run: npm run build`);
  });
const library = { ...(await load('index')), ...(await load('engine')), ...(await load('node')) };
const { backward, conv2d, linear, packCrops, Program, Tape, Variable } = library;

export async function open({ precision }) {
  const { version } = JSON.parse(await readFile(new URL('package.json', root), 'utf8'));
  const device = await library.openDevice({ precision });
  const prepare = { matmul: prepareMatmul, conv2d: prepareConv2d, forward, train, mark };
  return {
    version,
    adapter: describeAdapter(device.info),
    prepare: (work) => prepare[work.kind](device, work),
  };
}

async function prepareMatmul(device, work) {
  const { m, k, n } = work;
  const tape = new Tape(device, { precision: device.precision });
  const inputs = { a: tape.input('a', [m, k]), b: tape.input('b', [k, n]) };
  const y = linear(inputs.a, inputs.b);
  return await operator(device, tape, y, {
    inputs,
    data: operatorInputs(work),
    variables: [],
    canonical: (data) => data,
  });
}

async function prepareConv2d(device, work) {
  const { pass, stride, pad } = work;
  const shapes = shapesOf(work);
  const data = { ...operatorInputs(work) };
  for (const name of ['x', 'dy']) if (data[name]) data[name] = nchwToNhwc(data[name], shapes.inputs[name]);
  const [oc, c, kh, kw] = shapes.inputs.weight ?? shapes.output;
  const hwio = [kh, kw, c, oc];
  if (data.weight) data.weight = oihwToHwio(data.weight, shapes.inputs.weight);

  const tape = new Tape(device, { precision: device.precision });
  const inputs = {};
  const variables = [];
  // Frozen in a forward pass, as in a model; an input, which may change with every run, in the gradients.
  let weight;
  if (pass === 'forward') {
    variables.push(await Variable.create(device, 'weight', hwio, data.weight));
    weight = tape.variable(variables[0]);
  } else weight = inputs.weight = tape.input('weight', hwio);
  const x = tape.input('x', [work.n, work.h, work.w, work.c]);
  inputs.x = x;
  const y = conv2d(x, weight, { stride, padding: pad });
  let output = y;
  if (pass !== 'forward') {
    inputs.dy = tape.input('dy', y.shape);
    [output] = backward(y, [pass === 'dx' ? x : weight], inputs.dy);
  }
  const canonical = (values) =>
    pass === 'dweight' ? hwioToOihw(values, output.shape) : nhwcToNchw(values, output.shape);
  return await operator(device, tape, output, { inputs, data, variables, canonical });
}

async function operator(device, tape, output, { inputs, data, variables, canonical }) {
  const program = await Program.build(device, tape, { name: 'operator', outputs: [output] });
  for (const [name, tensor] of Object.entries(inputs)) if (data[name]) program.write(tensor, data[name]);
  return {
    async run() {
      await program.run();
      await device.idle();
    },
    values: async () => ({ output: canonical(await program.read(output)) }),
    release: () => destroy(program, ...variables),
  };
}

async function forward(device, work) {
  const model = await loadModel(device, work.network);
  const tape = new Tape(device, { precision: device.precision });
  const x = tape.input('x', imageShape(work));
  const logits = model.logits(model.features(x));
  const program = await Program.build(device, tape, { name: 'forward', outputs: [logits] });
  program.write(x, images(work, stepInputs(work).x));
  let last;
  return {
    async run() {
      await program.run();
      last = await program.read(logits);
    },
    values: () => ({ logits: last }),
    release: () => destroy(program, model),
  };
}

async function train(device, work) {
  const model = await loadModel(device, work.network);
  const momenta = await library.createMomenta(model, false);
  const tape = new Tape(device, { precision: device.precision });
  const x = tape.input('x', imageShape(work));
  const labels = tape.input('labels', [work.batch], 'u32');
  const learningRate = tape.input('learning rate', [1]);
  const logits = model.logits(model.features(x, { training: true }));
  const plain = { momentum: 0, weightDecay: 0, nesterov: false };
  const loss = library.recordDescent(model, { logits, labels, learningRate }, momenta, plain);
  const program = await Program.build(device, tape, { name: 'training', outputs: [loss] });
  const data = stepInputs(work);
  program.write(x, images(work, data.x));
  program.write(labels, Uint32Array.from(data.labels));
  program.write(learningRate, Float32Array.of(LEARNING_RATE));
  return {
    async run() {
      await program.run();
      return (await program.read(loss))[0];
    },
    values: async () => Object.fromEntries((await model.stateDict()).map(([name, { data }]) => [name, data])),
    release: () => destroy(program, model, ...momenta.values()),
  };
}

async function mark(device, work) {
  const model = await loadModel(device, work.network);
  const { size } = work.network;
  const { levels, carriers } = stepInputs(work);
  const shape = imageShape(work);
  const pixels = images(work, levels);
  const image = await Variable.create(device, 'image', shape, pixels);
  const original = await Variable.create(device, 'original', shape, pixels);
  const whole = new Array(work.batch).fill({ top: 0, left: 0, height: size, width: size, flip: false });
  const crops = packCrops(whole, new Array(work.batch).fill({ height: size, width: size }));
  const fixedCrops = await Variable.create(device, 'crops', [work.batch, 5], crops, 'u32');
  const tape = new Tape(device, { precision: device.precision });
  // As `Marker` does: crops of photographs change with every iteration, those of small images never do.
  const drawn = size > 64 ? tape.input('crops', [work.batch, 5], 'u32') : undefined;
  const cropsTensor = drawn ?? tape.variable(fixedCrops);
  const tensors = {
    image: tape.variable(image),
    original: tape.variable(original),
    carriers: tape.input('carriers', [work.batch, model.featureDimension]),
    rounding: tape.input('rounding', [1], 'u32'),
    crops: cropsTensor,
    vanillaCrops: cropsTensor,
  };
  library.recordMarkingStep(model, tensors, marking);
  const program = await Program.build(device, tape, { name: 'marking' });
  program.write(tensors.carriers, carriers);
  program.write(tensors.rounding, Uint32Array.of(0));
  if (drawn) program.write(drawn, crops);
  return {
    async run() {
      await program.run();
      await device.idle();
    },
    values: async () => ({ image: nhwcToNchw(await image.read(), shape) }),
    release: () => destroy(program, model, image, original, fixedCrops),
  };
}

function loadModel(device, network) {
  const { width, stem, classes, size, channels } = network;
  const config = {
    architecture: 'resnet18',
    width,
    stem,
    numClasses: classes,
    inputSize: size,
    channels,
    mean: new Array(channels).fill(MEAN),
    std: new Array(channels).fill(STD),
  };
  const file = 'bench';
  const tensors = new Map(
    [...stateDict(network)].map(([name, { shape, data }]) => [
      name,
      { file, name, dtype: 'F32', shape, data: new Uint8Array(data.buffer) },
    ]),
  );
  return library.Model.load(device, config, tensors, file);
}

const imageShape = ({ batch, network: { size, channels } }) => [batch, size, size, channels];

const images = ({ batch, network: { size, channels } }, data) => nchwToNhwc(data, [batch, channels, size, size]);

function destroy(...objects) {
  for (const object of objects) object.destroy();
}
