import * as v from 'valibot';
import { InputError } from '../src/errors.ts';
import type { Device } from '../src/gpu/device.ts';
import type { Prepared } from '../src/profiling/prepared.ts';
import { backward } from '../src/shaders/backward.ts';
import type { KernelCase } from '../src/shaders/cases.ts';
import { conv2d } from '../src/shaders/conv2d/conv2d.ts';
import { linear } from '../src/shaders/linear/linear.ts';
import { Program } from '../src/tensor/program.ts';
import { Tape } from '../src/tensor/tape.ts';
import { sizeOf, type Tensor } from '../src/tensor/tensor.ts';
import { Variable } from '../src/tensor/variable.ts';

export interface BenchCase {
  readonly name: string;
  /** Floating-point operations the task takes, where that is not what its kernels say they do. */
  readonly flops?: number;
  /** `undefined`: there is nothing to measure. */
  build(device: Device): Promise<Prepared | undefined>;
}

const positive = v.pipe(v.number(), v.integer(), v.minValue(1));
const conv2dShape = v.object({
  op: v.literal('conv2d'),
  n: positive,
  c: positive,
  h: positive,
  w: positive,
  oc: positive,
  k: positive,
  stride: positive,
  pad: v.pipe(v.number(), v.integer(), v.minValue(0)),
});
const matmulShape = v.object({ op: v.literal('matmul'), m: positive, k: positive, n: positive });
const shapesSchema = v.pipe(v.array(v.variant('op', [conv2dShape, matmulShape])), v.minLength(1));

type Shape = v.InferOutput<typeof shapesSchema>[number];
type Conv2dShape = v.InferOutput<typeof conv2dShape>;

/**
 * The cases of a shapes file, given its text; a convolution also as gradients where `gradients` says so.
 * Throws InputError, naming the file and the entry, where one makes no sense.
 */
export function shapeCases(file: string, text: string, gradients: boolean): BenchCase[] {
  let json: unknown;
  try {
    json = JSON.parse(text);
  } catch (error) {
    throw new InputError(`${file}: not JSON: ${(error as Error).message}`);
  }
  const parsed = v.safeParse(shapesSchema, json);
  if (!parsed.success) {
    const issue = parsed.issues[0];
    const [entry, field] = issue.path ?? [];
    const where = entry ? `entry ${Number(entry.key) + 1}${field ? `, ${String(field.key)}` : ''}: ` : '';
    throw new InputError(`${file}: ${where}${issue.message}`);
  }
  return parsed.output.flatMap((shape, index) => {
    try {
      return shape.op === 'matmul' ? [matmulCase(shape)] : conv2dCases(shape, gradients);
    } catch (error) {
      throw new InputError(`${file}: entry ${index + 1}: ${(error as Error).message}`);
    }
  });
}

function matmulCase({ m, k, n }: Extract<Shape, { op: 'matmul' }>): BenchCase {
  return {
    name: `matmul ${m}x${k}x${n}`,
    flops: 2 * m * k * n,
    build: (device) =>
      prepare(device, 'matmul', async (tape) => {
        const b = await randomVariable(device, 'b', [k, n]);
        return { outputs: [linear(tape.input('a', [m, k]), tape.variable(b))], variables: [b] };
      }),
  };
}

/** Forward, and with `gradients` dx and dweight: each a program of its own. The weight is a variable, as in a model. */
function conv2dCases(s: Conv2dShape, gradients: boolean): BenchCase[] {
  const weightShape = [s.k, s.k, s.c, s.oc];
  const record = (tape: Tape, weight: Tensor): { x: Tensor; y: Tensor } => {
    const x = tape.input('x', [s.n, s.h, s.w, s.c]);
    return { x, y: conv2d(x, weight, { stride: s.stride, padding: s.pad }) };
  };
  // Recorded here once, so that a shape that is impossible is refused before anything runs.
  const trial = new Tape(undefined, { precision: 'f32' });
  const pixels = sizeOf(record(trial, trial.input('weight', weightShape)).y.shape) / s.oc;
  const wanted = gradients ? (['', ' dx', ' dweight'] as const) : ([''] as const);
  return wanted.map((which) => ({
    name: `conv2d ${s.n}x${s.c}x${s.h}x${s.w} to ${s.oc} k${s.k} s${s.stride} p${s.pad}${which}`,
    flops: 2 * pixels * s.oc * s.c * s.k * s.k,
    build: (device) =>
      prepare(device, `conv2d${which}`, async (tape) => {
        const variable = await randomVariable(device, 'weight', weightShape);
        const weight = tape.variable(variable);
        const { x, y } = record(tape, weight);
        const outputs = which === '' ? [y] : backward(y, [which === ' dx' ? x : weight], tape.input('dy', y.shape));
        return { outputs, variables: [variable] };
      }),
  }));
}

const kernelCases = import.meta.glob<{ cases: readonly KernelCase[] }>('../src/shaders/*/*.cases.ts', { eager: true });

/** The operators' own cases, as the tests run them; those without floating-point operations have nothing to measure. */
export const operatorCases: readonly BenchCase[] = Object.values(kernelCases).flatMap(({ cases }) =>
  cases.map((kernelCase) => ({
    name: `case ${kernelCase.name}`,
    build: async (device) => {
      const prepared = await prepareKernelCase(device, kernelCase);
      if (prepared.program.flops > 0) return prepared;
      prepared.release();
      return undefined;
    },
  })),
);

function prepareKernelCase(device: Device, kernelCase: KernelCase): Promise<Prepared> {
  return prepare(
    device,
    kernelCase.name,
    async (tape) => {
      const variables: Variable[] = [];
      const tensors: Record<string, Tensor> = {};
      for (const [name, { shape, dtype }] of Object.entries(kernelCase.inputs)) {
        if (kernelCase.variables?.includes(name)) {
          const variable = await Variable.create(device, name, shape, undefined, dtype);
          variables.push(variable);
          tensors[name] = tape.variable(variable);
        } else tensors[name] = tape.input(name, shape, dtype);
      }
      return { outputs: Object.values(kernelCase.record(tape, tensors)), variables };
    },
    (name, index) => kernelCase.inputs[name]?.value?.(random(), index) ?? 2 * random() - 1,
  );
}

/** Records, builds and fills a program's inputs: values that are all alike would let some adapters run faster. */
async function prepare(
  device: Device,
  name: string,
  record: (tape: Tape) => Promise<{ outputs: readonly Tensor[]; variables: readonly Variable[] }>,
  value: (input: string, index: number) => number = () => 2 * random() - 1,
): Promise<Prepared> {
  const tape = new Tape(device, { precision: device.precision });
  const { outputs, variables } = await record(tape);
  const program = await Program.build(device, tape, { name, outputs });
  for (const input of tape.inputs) {
    const data = input.dtype === 'u32' ? new Uint32Array(input.size) : new Float32Array(input.size);
    program.write(
      input,
      data.map((_, index) => value(input.name, index)),
    );
  }
  await program.run();
  const release = (): void => {
    program.destroy();
    for (const variable of variables) variable.destroy();
  };
  return { program, release };
}

const random = Math.random;

function randomVariable(device: Device, name: string, shape: readonly number[]): Promise<Variable> {
  return Variable.create(
    device,
    name,
    shape,
    Float32Array.from({ length: sizeOf(shape) }, () => 2 * random() - 1),
  );
}
