import type { ErrorCase, KernelCase, Values } from '../cases.ts';
import { halfScaleOf } from '../half_scale/half_scale.ts';
import { reluBackward } from '../relu/relu.ts';
import { conv2d } from './conv2d.ts';
import { conv2dDx } from './gradients.ts';

interface ConvShape {
  n: number;
  h: number;
  w: number;
  c: number;
  o: number;
  kh: number;
  kw?: number;
  stride?: number;
  padding?: number;
  bias?: boolean;
  residual?: boolean;
  relu?: boolean;
}

const outputExtent = (extent: number, k: number, stride: number, padding: number): number =>
  Math.floor((extent + 2 * padding - k) / stride) + 1;

function reference(s: Required<ConvShape>, { x, weight, bias, residual }: Values): Values {
  const oh = outputExtent(s.h, s.kh, s.stride, s.padding);
  const ow = outputExtent(s.w, s.kw, s.stride, s.padding);
  const y = new Float64Array(s.n * oh * ow * s.o);
  for (let n = 0; n < s.n; n++)
    for (let gy = 0; gy < oh; gy++)
      for (let gx = 0; gx < ow; gx++) {
        const at = ((n * oh + gy) * ow + gx) * s.o;
        for (let ky = 0; ky < s.kh; ky++)
          for (let kx = 0; kx < s.kw; kx++) {
            const iy = gy * s.stride - s.padding + ky;
            const ix = gx * s.stride - s.padding + kx;
            if (iy < 0 || iy >= s.h || ix < 0 || ix >= s.w) continue;
            for (let c = 0; c < s.c; c++) {
              const from = x[((n * s.h + iy) * s.w + ix) * s.c + c];
              const row = ((ky * s.kw + kx) * s.c + c) * s.o;
              for (let o = 0; o < s.o; o++) y[at + o] += from * weight[row + o];
            }
          }
        for (let o = 0; o < s.o; o++) {
          if (bias) y[at + o] += bias[o];
          if (residual) y[at + o] += residual[at + o];
          if (s.relu) y[at + o] = Math.max(y[at + o], 0);
        }
      }
  return { y };
}

function convCase(shape: ConvShape): KernelCase {
  const s: Required<ConvShape> = {
    kw: shape.kh,
    stride: 1,
    padding: 0,
    bias: false,
    residual: false,
    relu: false,
    ...shape,
  };
  const oh = outputExtent(s.h, s.kh, s.stride, s.padding);
  const ow = outputExtent(s.w, s.kw, s.stride, s.padding);
  const extras = [s.bias && 'bias', s.residual && 'residual', s.relu && 'relu'].filter(Boolean).join('+');
  return {
    name: `conv2d ${s.n}x${s.h}x${s.w}x${s.c} ${s.kh}x${s.kw}/${s.stride} pad ${s.padding} to ${s.o} ${extras}`.trim(),
    inputs: {
      x: { shape: [s.n, s.h, s.w, s.c] },
      weight: { shape: [s.kh, s.kw, s.c, s.o] },
      ...(s.bias && { bias: { shape: [s.o] } }),
      ...(s.residual && { residual: { shape: [s.n, oh, ow, s.o] } }),
    },
    record: (_, { x, weight, bias, residual }) => ({
      y: conv2d(x, weight, {
        stride: s.stride,
        padding: s.padding,
        relu: s.relu,
        ...(bias && { bias }),
        ...(residual && { residual }),
      }),
    }),
    reference: (values) => reference(s, values),
    gradients: ['x', 'weight', ...(s.bias ? ['bias'] : []), ...(s.residual ? ['residual'] : [])],
  };
}

/** The gradient of a ReLU in the pass of a convolution's gradient, which writes what it is applied to. */
function gateCase(n: number, size: number, c: number, o: number): KernelCase {
  return {
    name: `conv2d gate ${n}x${size}x${size}x${c} to ${o}`,
    inputs: {
      dy: { shape: [n, size, size, o] },
      weight: { shape: [1, 1, c, o] },
      y: { shape: [n, size, size, c] },
    },
    record: (_, { dy, weight, y }) => ({
      dx: reluBackward(conv2dDx(dy, weight, { H: size, W: size, stride: 1, padding: 0, scale: halfScaleOf(dy) }), y),
    }),
    reference: ({ dy, weight, y }) => ({
      dx: y.map((value, at) => {
        let sum = 0;
        for (let k = 0; k < o; k++) sum += dy[Math.floor(at / c) * o + k] * weight[(at % c) * o + k];
        return value <= 0 ? 0 : sum;
      }),
    }),
  };
}

/** Two convolutions with a shortcut around the second: sum and ReLU of the gradient go into the pass that writes it. */
function blockCase(n: number, size: number, c: number): KernelCase {
  const shape = { n, h: size, w: size, c, o: c, kh: 3, kw: 3, stride: 1, padding: 1, bias: false };
  return {
    name: `conv2d block ${n}x${size}x${size}x${c}`,
    inputs: { x: { shape: [n, size, size, c] }, weight: { shape: [3, 3, c, c] } },
    record: (_, { x, weight }) => {
      const h = conv2d(x, weight, { padding: 1, relu: true });
      return { y: conv2d(h, weight, { padding: 1, residual: h }) };
    },
    reference: ({ x, weight }) => {
      const h = reference({ ...shape, residual: false, relu: true }, { x: x, weight: weight }).y;
      return reference({ ...shape, residual: true, relu: false }, { x: h, weight: weight, residual: h });
    },
    gradients: ['x'],
  };
}

export const cases: readonly KernelCase[] = [
  convCase({ n: 1, h: 1, w: 1, c: 1, o: 1, kh: 1 }),
  convCase({ n: 2, h: 8, w: 5, c: 4, o: 6, kh: 3, padding: 1 }),
  convCase({ n: 3, h: 7, w: 9, c: 3, o: 16, kh: 7, stride: 2, padding: 3 }),
  convCase({ n: 2, h: 9, w: 6, c: 16, o: 33, kh: 3, stride: 2, padding: 1, bias: true, residual: true, relu: true }),
  convCase({ n: 2, h: 7, w: 7, c: 17, o: 9, kh: 1, stride: 2 }),
  convCase({ n: 1, h: 6, w: 5, c: 2, o: 3, kh: 2, kw: 3, stride: 3, padding: 2, bias: true }),
  convCase({ n: 1, h: 11, w: 11, c: 8, o: 65, kh: 3, padding: 1, relu: true }),
  convCase({ n: 9, h: 13, w: 12, c: 5, o: 7, kh: 3, padding: 1, bias: true }),
  convCase({ n: 1, h: 4, w: 4, c: 3, o: 4, kh: 5, padding: 2 }),
  convCase({ n: 2, h: 7, w: 5, c: 8, o: 36, kh: 3, stride: 2, padding: 1, bias: true, residual: true, relu: true }),
  convCase({ n: 1, h: 9, w: 9, c: 64, o: 32, kh: 3, padding: 1 }),
  // Large enough for Winograd's algorithm, in all three directions, where the adapter's variant has it.
  convCase({ n: 2, h: 13, w: 10, c: 36, o: 40, kh: 3, padding: 1, bias: true, residual: true, relu: true }),
  convCase({ n: 1, h: 16, w: 19, c: 64, o: 32, kh: 3 }),
  convCase({ n: 1, h: 11, w: 12, c: 32, o: 48, kh: 3, padding: 2, relu: true }),
  convCase({ n: 3, h: 17, w: 15, c: 32, o: 32, kh: 3, padding: 1 }),
  // Three channels, filled up to four and gathered from columns, where the adapter's variant does so.
  convCase({ n: 2, h: 11, w: 14, c: 3, o: 16, kh: 7, stride: 2, padding: 3, bias: true, relu: true }),
  gateCase(2, 5, 8, 12),
  gateCase(2, 5, 7, 3),
  blockCase(2, 7, 3),
  blockCase(1, 9, 8),
  blockCase(1, 16, 32),
];

export const errors: readonly ErrorCase[] = [
  {
    name: 'input channels differ',
    record: (tape) => conv2d(tape.input('x', [8, 32, 32, 4]), tape.input('weight', [3, 3, 3, 16])),
    message: 'conv2d: weight has 3 input channels, x has 4; x [8,32,32,4], weight [3,3,3,16]',
  },
  {
    name: 'kernel larger than the image',
    record: (tape) => conv2d(tape.input('x', [1, 2, 2, 1]), tape.input('weight', [3, 3, 1, 1])),
    message: 'conv2d: the 3x3 kernel does not fit into 2x2 with padding 0; x [1,2,2,1], weight [3,3,1,1]',
  },
  {
    name: 'residual of another shape',
    record: (tape) =>
      conv2d(tape.input('x', [1, 4, 4, 2]), tape.input('weight', [3, 3, 2, 5]), {
        padding: 1,
        residual: tape.input('residual', [1, 4, 4, 2]),
      }),
    message: 'conv2d: residual must be [1,4,4,5]; x [1,4,4,2], weight [3,3,2,5], residual [1,4,4,2]',
  },
];
