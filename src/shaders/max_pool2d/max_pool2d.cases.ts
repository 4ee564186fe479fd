import type { ErrorCase, KernelCase } from '../cases.ts';
import type { Pool2dOptions } from '../pool2d.ts';
import { maxPool2d } from './max_pool2d.ts';

function poolCase([N, H, W, C]: readonly [number, number, number, number], options: Pool2dOptions): KernelCase {
  const { kernel, stride = kernel, padding = 0 } = options;
  const OH = Math.floor((H + 2 * padding - kernel) / stride) + 1;
  const OW = Math.floor((W + 2 * padding - kernel) / stride) + 1;
  return {
    name: `max_pool2d ${N}x${H}x${W}x${C} ${kernel}x${kernel}/${stride} pad ${padding}`,
    // Below 0 too: padding must not win.
    inputs: { x: { shape: [N, H, W, C], value: (t) => t - 1.25 } },
    record: (_, { x }) => ({ y: maxPool2d(x, options) }),
    reference: ({ x }) => {
      const y = new Float64Array(N * OH * OW * C).fill(Number.NEGATIVE_INFINITY);
      for (let n = 0; n < N; n++)
        for (let oy = 0; oy < OH; oy++)
          for (let ox = 0; ox < OW; ox++)
            for (let ky = 0; ky < kernel; ky++)
              for (let kx = 0; kx < kernel; kx++) {
                const iy = oy * stride - padding + ky;
                const ix = ox * stride - padding + kx;
                if (iy < 0 || iy >= H || ix < 0 || ix >= W) continue;
                for (let c = 0; c < C; c++) {
                  const at = ((n * OH + oy) * OW + ox) * C + c;
                  y[at] = Math.max(y[at], x[((n * H + iy) * W + ix) * C + c]);
                }
              }
      return { y };
    },
    gradients: ['x'],
  };
}

export const cases: readonly KernelCase[] = [
  poolCase([1, 1, 1, 1], { kernel: 1 }),
  poolCase([2, 15, 12, 4], { kernel: 3, stride: 2, padding: 1 }),
  poolCase([1, 8, 8, 65], { kernel: 2 }),
  poolCase([2, 7, 10, 3], { kernel: 2, stride: 3 }),
  poolCase([3, 5, 9, 7], { kernel: 4, stride: 1, padding: 2 }),
  poolCase([1, 2, 1, 5], { kernel: 3, stride: 2, padding: 1 }),
];

export const errors: readonly ErrorCase[] = [
  {
    name: 'not an image',
    record: (tape) => maxPool2d(tape.input('x', [8, 64]), { kernel: 2 }),
    message: 'max_pool2d: x must be [N, H, W, C]; x [8,64]',
  },
  {
    name: 'window larger than the image',
    record: (tape) => maxPool2d(tape.input('x', [1, 2, 8, 4]), { kernel: 3 }),
    message: 'max_pool2d: the 3x3 window does not fit into 2x8 with padding 0; x [1,2,8,4]',
  },
  {
    name: 'padding larger than half the window',
    record: (tape) => maxPool2d(tape.input('x', [1, 8, 8, 4]), { kernel: 3, padding: 2 }),
    message: 'max_pool2d: padding 2 is not an integer from 0 to half the kernel, 3; x [1,8,8,4]',
  },
  {
    name: 'kernel of no size',
    record: (tape) => maxPool2d(tape.input('x', [1, 8, 8, 4]), { kernel: 0 }),
    message: 'max_pool2d: kernel 0 is not a positive integer; x [1,8,8,4]',
  },
];
