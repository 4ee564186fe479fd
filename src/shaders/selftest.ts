import { AdapterError } from '../errors.ts';
import { Device, type DeviceOptions, type Precision } from '../gpu/device.ts';
import { Program } from '../tensor/program.ts';
import { Tape } from '../tensor/tape.ts';
import { type Shape, sizeOf } from '../tensor/tensor.ts';
import { conv2d } from './conv2d/conv2d.ts';
import { halfScaleOf } from './half_scale/half_scale.ts';
import { linear } from './linear/linear.ts';
import { productsOverRows } from './linear/products.ts';

/** One computation of the self-test, compared with what it must give. */
export interface SelfTest {
  /** What was computed. */
  readonly name: string;
  /** Largest error against the CPU in float64, relative to the largest value of the result. */
  readonly error: number;
  readonly tolerance: number;
  /** Whether the error is within the tolerance. */
  readonly passed: boolean;
}

/** Float32 rounds at 6e-8; sums of a few hundred products lose a little more. Wrong kernels and drivers are off by far more. */
const TOLERANCE = 2e-5;

/** Gradients are this small, smaller than what float16 holds. A power of two: float16 then holds their multiples exactly. */
const GRADIENT = 2 ** -30;

/**
 * Computes a matrix product, a convolution and a product over rows on the device and compares them with the CPU. With precision `f16`
 * all values are such that rounding them loses nothing, and the tolerance is the same. Throws DeviceError if the device fails.
 */
export async function selfTest(device: Device, precision: Precision = 'f32'): Promise<SelfTest[]> {
  const tape = new Tape(device, { precision });
  // Kernels for matrix units take channels in fours; float32 has kernels for any number, in fours those of the product over rows.
  const [inner, columns, C, O] = precision === 'f16' ? [152, 44, 20, 36] : [150, 41, 19, 37];
  const a = tape.input('a', [67, inner]);
  const b = tape.input('b', [inner, columns]);
  const product = linear(a, b);
  const x = tape.input('x', [2, 13, 10, C]);
  const weight = tape.input('weight', [3, 3, C, O]);
  const convolution = conv2d(x, weight, { stride: 2, padding: 1 });
  const rows = tape.input('rows', [1, 300, 40]);
  const gradient = tape.input('gradient', [1, 300, 48]);
  const overRows = productsOverRows(rows, gradient, halfScaleOf(gradient));

  const outputs = [product, convolution, overRows];
  const program = await Program.build(device, tape, { name: 'self-test', outputs });
  try {
    const values = new Map(tape.inputs.map((input, index) => [input, sample(input.shape, index + 1, precision)]));
    values.set(
      gradient,
      values.get(gradient)!.map((value) => value * GRADIENT),
    );
    for (const [input, data] of values) program.write(input, data);
    await program.run();
    const compare = (name: string, actual: Float32Array, expected: Float64Array): SelfTest => {
      const error = relativeError(actual, expected);
      return { name, error, tolerance: TOLERANCE, passed: error <= TOLERANCE };
    };
    return [
      compare(
        `matrix product 67x${inner} by ${inner}x${columns}`,
        await program.read(product),
        expectedProduct(values.get(a)!, values.get(b)!, a.shape, b.shape),
      ),
      compare(
        `convolution 2x13x10x${C} 3x3/2 to ${O}`,
        await program.read(convolution),
        expectedConvolution(values.get(x)!, values.get(weight)!, x.shape, weight.shape, convolution.shape, 2, 1),
      ),
      compare(
        'product over rows 300x40 by 300x48',
        await program.read(overRows),
        expectedProduct(transposed(values.get(rows)!, 300, 40), values.get(gradient)!, [40, 300], [300, 48]),
      ),
    ];
  } finally {
    program.destroy();
  }
}

/**
 * Opens a device on `adapter`, as `Device.open` does, and tests it: the way in, in every runtime, for whatever is more than an
 * experiment. Drivers and runtimes have computed wrongly without a word. Tested is float32, which features and scores are computed with,
 * and the precision asked for.
 *
 * @example
 * const adapter = await navigator.gpu.requestAdapter();
 * const device = await openCheckedDevice(adapter!);
 *
 * @throws AdapterError where the adapter refuses a device, lacks what the options ask for, or fails the test.
 */
export async function openCheckedDevice(adapter: GPUAdapter, options: DeviceOptions = {}): Promise<Device> {
  const device = await Device.open(adapter, options);
  try {
    for (const precision of new Set<Precision>(['f32', device.precision])) await requireSelfTest(device, precision);
  } catch (error) {
    device.destroy();
    throw error;
  }
  return device;
}

/**
 * Tests an opened device.
 *
 * @throws AdapterError where it fails the self-test of `precision`.
 */
export async function requireSelfTest(device: Device, precision: Precision): Promise<void> {
  const failed = (await selfTest(device, precision)).find(({ passed }) => !passed);
  if (!failed) return;
  const cure = precision === 'f32' ? 'update its driver, or choose another adapter' : 'use f32';
  throw new AdapterError(
    `${device.name} computes wrongly with precision ${precision} (${failed.name}: relative error ${failed.error.toExponential(1)}, allowed ${failed.tolerance}); ${cure}`,
  );
}

/**
 * Values in [−1, 1) that do not repeat along any extent: multiples of the golden ratio, modulo 2; for f16 in steps of 2⁻¹⁰, which
 * float16 holds.
 */
function sample(shape: Shape, seed: number, precision: Precision): Float32Array {
  const value = (index: number): number => (index * 1.2360679774997896 + seed) % 2;
  const held = (value: number): number => (precision === 'f16' ? Math.floor(value * 1024) / 1024 : value);
  return Float32Array.from({ length: sizeOf(shape) }, (_, index) => held(value(index)) - 1);
}

function transposed(a: Float32Array, rows: number, columns: number): Float32Array {
  return a.map((_, index) => a[(index % rows) * columns + Math.floor(index / rows)]);
}

/** NaN where any value is: no tolerance then holds. */
function relativeError(actual: Float32Array, expected: Float64Array): number {
  let scale = 0;
  let worst = 0;
  expected.forEach((value, index) => {
    scale = Math.max(scale, Math.abs(value));
    worst = Math.max(worst, Math.abs(actual[index] - value));
  });
  return worst / scale;
}

function expectedProduct(a: Float32Array, b: Float32Array, aShape: Shape, bShape: Shape): Float64Array {
  const [rows, inner, columns] = [aShape[0], aShape[1], bShape[1]];
  const y = new Float64Array(rows * columns);
  for (let r = 0; r < rows; r++)
    for (let c = 0; c < columns; c++)
      for (let i = 0; i < inner; i++) y[r * columns + c] += a[r * inner + i] * b[i * columns + c];
  return y;
}

function expectedConvolution(
  x: Float32Array,
  weight: Float32Array,
  xShape: Shape,
  weightShape: Shape,
  yShape: Shape,
  stride: number,
  padding: number,
): Float64Array {
  const [, H, W, C] = xShape as [number, number, number, number];
  const [KH, KW] = weightShape as [number, number];
  const [N, OH, OW, O] = yShape as [number, number, number, number];
  const y = new Float64Array(N * OH * OW * O);
  for (let n = 0; n < N; n++)
    for (let oy = 0; oy < OH; oy++)
      for (let ox = 0; ox < OW; ox++)
        for (let ky = 0; ky < KH; ky++)
          for (let kx = 0; kx < KW; kx++) {
            const iy = oy * stride - padding + ky;
            const ix = ox * stride - padding + kx;
            if (iy < 0 || iy >= H || ix < 0 || ix >= W) continue;
            for (let c = 0; c < C; c++)
              for (let o = 0; o < O; o++)
                y[((n * OH + oy) * OW + ox) * O + o] +=
                  x[((n * H + iy) * W + ix) * C + c] * weight[((ky * KW + kx) * C + c) * O + o];
          }
  return y;
}
