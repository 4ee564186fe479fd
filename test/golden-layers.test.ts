import { describe, expect, it } from 'vitest';
import { toInt64Numbers } from '../src/formats/safetensors.ts';
import { adam } from '../src/shaders/adam/adam.ts';
import { avgPool2d } from '../src/shaders/avg_pool2d/avg_pool2d.ts';
import { backward } from '../src/shaders/backward.ts';
import { conv2d } from '../src/shaders/conv2d/conv2d.ts';
import { linear } from '../src/shaders/linear/linear.ts';
import { maxPool2d } from '../src/shaders/max_pool2d/max_pool2d.ts';
import { sgd } from '../src/shaders/sgd/sgd.ts';
import { softmaxCrossEntropy } from '../src/shaders/softmax_cross_entropy/softmax_cross_entropy.ts';
import { Program } from '../src/tensor/program.ts';
import { Tape } from '../src/tensor/tape.ts';
import type { Tensor } from '../src/tensor/tensor.ts';
import { Variable } from '../src/tensor/variable.ts';
import { useDevice } from './device.ts';
import { golden } from './golden.ts';
import { hwioToOihw, nchwToNhwc, nhwcToNchw, oihwToHwio } from './layout.ts';
import { expectClose } from './tolerance.ts';

const TOLERANCE = 2e-5;
const device = useDevice();

/** Runs a tape once and reads its outputs, by the names given. */
async function compute(
  tape: Tape,
  inputs: ReadonlyMap<Tensor, Float32Array | Uint32Array>,
  outputs: Readonly<Record<string, Tensor>>,
): Promise<Record<string, Float32Array>> {
  const program = await Program.build(device(), tape, { name: 'golden', outputs: Object.values(outputs), guard: true });
  try {
    for (const [input, data] of inputs) program.write(input, data);
    await program.run();
    await program.checkGuards();
    const results: Record<string, Float32Array> = {};
    for (const [name, output] of Object.entries(outputs)) results[name] = await program.read(output);
    return results;
  } finally {
    program.destroy();
  }
}

/** An image of a file, [N, C, H, W], as an input of the tape. */
function imageInput(tape: Tape, file: ReturnType<typeof golden>, name: string): { tensor: Tensor; data: Float32Array } {
  const shape = file.shape(name);
  const [N, C, H, W] = shape as [number, number, number, number];
  return { tensor: tape.input(name, [N, H, W, C]), data: nchwToNhwc(file.float32(name), shape) };
}

/** [in, out] ↔ [out, in]. */
function transpose(data: Float32Array, [rows, columns]: readonly number[]): Float32Array {
  return Float32Array.from(data, (_, i) => data[(i % rows) * columns + Math.floor(i / rows)]);
}

describe('convolution agrees with PyTorch', () => {
  const file = golden('conv2d');
  for (const [name, json] of Object.entries(file.metadata)) {
    it(`${name} ${json}`, async () => {
      const { stride, padding } = JSON.parse(json) as { stride: number; padding: number };
      const [O, I, KH, KW] = file.shape(`${name}/weight`) as [number, number, number, number];
      const tape = new Tape(device(), { precision: 'f32' });
      const x = imageInput(tape, file, `${name}/x`);
      const dy = imageInput(tape, file, `${name}/dy`);
      const weight = tape.input('weight', [KH, KW, I, O]);
      const inputs = new Map([
        [x.tensor, x.data],
        [dy.tensor, dy.data],
        [weight, oihwToHwio(file.float32(`${name}/weight`), [O, I, KH, KW])],
      ]);
      const bias = file.tensors.has(`${name}/bias`) ? tape.input('bias', [O]) : undefined;
      if (bias) inputs.set(bias, file.float32(`${name}/bias`));
      const y = conv2d(x.tensor, weight, { stride, padding, ...(bias && { bias }) });
      const [dx, dweight, dbias] = backward(y, [x.tensor, weight, ...(bias ? [bias] : [])], dy.tensor);
      const got = await compute(tape, inputs, { y, dx: dx, dweight: dweight, ...(dbias && { dbias }) });
      expectClose(nhwcToNchw(got.y, y.shape), file.float32(`${name}/y`), TOLERANCE, 'y');
      expectClose(nhwcToNchw(got.dx, dx.shape), file.float32(`${name}/dx`), TOLERANCE, 'dx');
      expectClose(hwioToOihw(got.dweight, dweight.shape), file.float32(`${name}/dweight`), TOLERANCE, 'dweight');
      if (dbias) expectClose(got.dbias, file.float32(`${name}/dbias`), TOLERANCE, 'dbias');
    });
  }
});

describe('layers agree with PyTorch', () => {
  const file = golden('layers');
  for (const [name, json] of Object.entries(file.metadata)) {
    it(`${name} ${json}`, async () => {
      const tape = new Tape(device(), { precision: 'f32' });
      const x = imageInput(tape, file, `${name}/x`);
      const dy = imageInput(tape, file, `${name}/dy`);
      const y = (name.startsWith('max') ? maxPool2d : avgPool2d)(x.tensor, JSON.parse(json));
      const [dx] = backward(y, [x.tensor], dy.tensor);
      const got = await compute(
        tape,
        new Map([
          [x.tensor, x.data],
          [dy.tensor, dy.data],
        ]),
        { y, dx: dx },
      );
      expectClose(nhwcToNchw(got.y, y.shape), file.float32(`${name}/y`), TOLERANCE, 'y');
      expectClose(nhwcToNchw(got.dx, dx.shape), file.float32(`${name}/dx`), TOLERANCE, 'dx');
    });
  }

  for (const name of ['linear_ce0', 'linear_ce1']) {
    it(name, async () => {
      const read = (role: string): Float32Array => file.float32(`${name}/${role}`);
      const [N, I] = file.shape(`${name}/x`) as [number, number];
      const O = file.shape(`${name}/bias`)[0];
      const tape = new Tape(device(), { precision: 'f32' });
      const x = tape.input('x', [N, I]);
      const weight = tape.input('weight', [I, O]);
      const bias = tape.input('bias', [O]);
      const labels = tape.input('labels', [N], 'u32');
      const logits = linear(x, weight, bias);
      const loss = softmaxCrossEntropy(logits, labels);
      const [dlogits, dx, dweight, dbias] = backward(loss, [logits, x, weight, bias]);
      const got = await compute(
        tape,
        new Map<Tensor, Float32Array | Uint32Array>([
          [x, read('x')],
          [weight, transpose(read('weight'), [O, I])],
          [bias, read('bias')],
          [labels, Uint32Array.from(toInt64Numbers(file.tensors.get(`${name}/target`)!))],
        ]),
        { logits, loss, dlogits: dlogits, dx: dx, dweight: dweight, dbias: dbias },
      );
      got.dweight = transpose(got.dweight, [I, O]);
      for (const [role, values] of Object.entries(got)) expectClose(values, read(role), TOLERANCE, role);
    });
  }
});

describe('optimisers agree with PyTorch over five steps', () => {
  const file = golden('optimizers');
  for (const [name, json] of Object.entries(file.metadata)) {
    it(`${name} ${json}`, async () => {
      const attributes = JSON.parse(json);
      const shape = file.shape(`${name}/p0`);
      const variable = (what: string, data?: Float32Array) => Variable.create(device(), what, shape, data);
      const variables = [
        await variable('parameter', file.float32(`${name}/p0`)),
        await variable('first state'),
        await variable('second state'),
      ];
      const tape = new Tape(device(), { precision: 'f32' });
      const [parameter, firstState, secondState] = variables.map((v) => tape.variable(v)) as [Tensor, Tensor, Tensor];
      const gradient = tape.input('gradient', shape);
      const learningRate = tape.input('learning rate', [1]);
      const step = tape.input('step', [1]);
      if (name.startsWith('sgd')) {
        sgd(
          { parameter, gradient, momentum: firstState, learningRate },
          { momentum: attributes.momentum, weightDecay: attributes.weight_decay, nesterov: attributes.nesterov },
        );
      } else {
        const [beta1, beta2] = attributes.betas;
        adam(
          { parameter, gradient, firstMoment: firstState, secondMoment: secondState, step, learningRate },
          { beta1, beta2, eps: attributes.eps, weightDecay: attributes.weight_decay, decoupled: name === 'adamw' },
        );
      }
      const program = await Program.build(device(), tape, { name, guard: true });
      try {
        program.write(learningRate, Float32Array.of(attributes.lr));
        for (let i = 0; i < 5; i++) {
          program.write(gradient, file.float32(`${name}/g${i}`));
          program.write(step, Float32Array.of(i + 1));
          await program.run();
          const expected = file.float32(`${name}/p${i + 1}`);
          expectClose(await variables[0].read(), expected, TOLERANCE, `parameter after step ${i + 1}`);
        }
        await program.checkGuards();
      } finally {
        program.destroy();
        for (const v of variables) v.destroy();
      }
    });
  }
});

describe('where a tolerance says nothing', () => {
  it('max pooling: the first of equal maxima has the gradient, and a NaN comes through', async () => {
    const tape = new Tape(device(), { precision: 'f32' });
    const x = tape.input('x', [1, 4, 6, 1]);
    const y = maxPool2d(x, { kernel: 3, stride: 2, padding: 1 });
    const [dx] = backward(y, [x]);
    const values = new Float32Array(24);
    values[10] = Number.NaN;
    values[23] = -1;
    const got = await compute(tape, new Map([[x, values]]), { y, dx: dx });
    // Windows begin at rows −1, 1 and columns −1, 1, 3: all equal but for the NaN at row 1, column 4.
    expect([...got.y]).toEqual([0, 0, Number.NaN, 0, 0, Number.NaN]);
    const first = [0, 1, 10, 6, 7, 10];
    const expected = new Array(24).fill(0);
    for (const at of first) expected[at]++;
    expect([...got.dx]).toEqual(expected);
  });

  it('cross-entropy: a label that is no class gives NaN, in its own row of the gradient only', async () => {
    const tape = new Tape(device(), { precision: 'f32' });
    const logits = tape.input('logits', [2, 3]);
    const labels = tape.input('labels', [2], 'u32');
    const loss = softmaxCrossEntropy(logits, labels);
    const [dlogits] = backward(loss, [logits]);
    const got = await compute(
      tape,
      new Map<Tensor, Float32Array | Uint32Array>([
        [logits, new Float32Array(6)],
        [labels, Uint32Array.of(3, 1)],
      ]),
      { loss, dlogits: dlogits },
    );
    expect([...got.loss]).toEqual([Number.NaN]);
    expect([...got.dlogits.subarray(0, 3)]).toEqual([Number.NaN, Number.NaN, Number.NaN]);
    expectClose(got.dlogits.subarray(3), [1 / 6, -1 / 3, 1 / 6], TOLERANCE, 'the other row');
  });

  it('cross-entropy: a NaN among the logits gives NaN', async () => {
    const tape = new Tape(device(), { precision: 'f32' });
    const logits = tape.input('logits', [1, 5]);
    const labels = tape.input('labels', [1], 'u32');
    const values = Float32Array.of(1, 2, Number.NaN, 3, 0);
    const got = await compute(
      tape,
      new Map<Tensor, Float32Array | Uint32Array>([
        [logits, values],
        [labels, Uint32Array.of(0)],
      ]),
      { loss: softmaxCrossEntropy(logits, labels) },
    );
    expect([...got.loss]).toEqual([Number.NaN]);
  });

  it.each([
    ['max', maxPool2d],
    ['avg', avgPool2d],
  ] as const)(
    '%s pooling and its gradient reach the end of a grid of more than 65 535 workgroups',
    async (name, pool) => {
      const [H, W] = [4098, 1026];
      const tape = new Tape(device(), { precision: 'f32' });
      const x = tape.input('x', [1, H, W, 1]);
      const dy = tape.input('dy', [1, H - 1, W - 1, 1]);
      const y = pool(x, { kernel: 2, stride: 1 });
      expect(y.size).toBeGreaterThan(65535 * 64);
      const [dx] = backward(y, [x], dy);
      const inputs = new Map([
        [x, Float32Array.from({ length: x.size }, (_, i) => i)],
        [dy, new Float32Array(dy.size).fill(1)],
      ]);
      const got = await compute(tape, inputs, { y, dx: dx });
      // Values grow with their place: the maximum of a window is its last element, the mean lies in the middle.
      const wrongY = got.y.findIndex((v, i) => {
        const corner = Math.floor(i / (W - 1)) * W + (i % (W - 1));
        return v !== corner + (name === 'max' ? W + 1 : (W + 1) / 2);
      });
      const wrongDx = got.dx.findIndex((v, i) => {
        const [row, column] = [Math.floor(i / W), i % W];
        const edges = Number(row === 0 || row === H - 1) + Number(column === 0 || column === W - 1);
        return v !== (name === 'max' ? Number(row > 0 && column > 0) : 2 ** -edges);
      });
      expect([wrongY, wrongDx]).toEqual([-1, -1]);
    },
  );
});
