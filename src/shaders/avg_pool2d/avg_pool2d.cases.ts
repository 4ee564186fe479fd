import type { ErrorCase, KernelCase } from '../cases.ts';
import type { Pool2dOptions } from '../pool2d.ts';
import { avgPool2d } from './avg_pool2d.ts';

function poolCase([N, H, W, C]: readonly [number, number, number, number], options: Pool2dOptions): KernelCase {
  const { kernel, stride = kernel, padding = 0 } = options;
  const OH = Math.floor((H + 2 * padding - kernel) / stride) + 1;
  const OW = Math.floor((W + 2 * padding - kernel) / stride) + 1;
  return {
    name: `avg_pool2d ${N}x${H}x${W}x${C} ${kernel}x${kernel}/${stride} pad ${padding}`,
    inputs: { x: { shape: [N, H, W, C] } },
    record: (_, { x }) => ({ y: avgPool2d(x, options) }),
    reference: ({ x }) => {
      const y = new Float64Array(N * OH * OW * C);
      for (let n = 0; n < N; n++)
        for (let oy = 0; oy < OH; oy++)
          for (let ox = 0; ox < OW; ox++)
            for (let ky = 0; ky < kernel; ky++)
              for (let kx = 0; kx < kernel; kx++) {
                const iy = oy * stride - padding + ky;
                const ix = ox * stride - padding + kx;
                if (iy < 0 || iy >= H || ix < 0 || ix >= W) continue;
                for (let c = 0; c < C; c++)
                  y[((n * OH + oy) * OW + ox) * C + c] += x[((n * H + iy) * W + ix) * C + c] / kernel ** 2;
              }
      return { y };
    },
    gradients: ['x'],
  };
}

export const cases: readonly KernelCase[] = [
  poolCase([1, 1, 1, 1], { kernel: 1 }),
  poolCase([2, 15, 12, 4], { kernel: 2 }),
  poolCase([1, 8, 8, 65], { kernel: 3, stride: 2, padding: 1 }),
  poolCase([2, 7, 10, 3], { kernel: 2, stride: 3 }),
  poolCase([3, 5, 9, 7], { kernel: 4, stride: 1, padding: 2 }),
];

export const errors: readonly ErrorCase[] = [
  {
    name: 'window larger than the image',
    record: (tape) => avgPool2d(tape.input('x', [1, 8, 2, 4]), { kernel: 5, padding: 1 }),
    message: 'avg_pool2d: the 5x5 window does not fit into 8x2 with padding 1; x [1,8,2,4]',
  },
  {
    name: 'stride that is no integer',
    record: (tape) => avgPool2d(tape.input('x', [1, 8, 8, 4]), { kernel: 2, stride: 1.5 }),
    message: 'avg_pool2d: stride 1.5 is not a positive integer; x [1,8,8,4]',
  },
];
