import type { ErrorCase, KernelCase } from '../cases.ts';
import { adaptiveAvgPool2d } from './adaptive_avg_pool2d.ts';

function poolCase([N, H, W, C]: readonly [number, number, number, number], OH: number, OW: number): KernelCase {
  return {
    name: `adaptive_avg_pool2d ${N}x${H}x${W}x${C} to ${OH}x${OW}`,
    inputs: { x: { shape: [N, H, W, C] } },
    record: (_, { x }) => ({ y: adaptiveAvgPool2d(x, OH, OW) }),
    reference: ({ x }) => {
      const y = new Float64Array(N * OH * OW * C);
      for (let n = 0; n < N; n++)
        for (let oy = 0; oy < OH; oy++)
          for (let ox = 0; ox < OW; ox++) {
            const [top, bottom] = [Math.floor((oy * H) / OH), Math.ceil(((oy + 1) * H) / OH)];
            const [left, right] = [Math.floor((ox * W) / OW), Math.ceil(((ox + 1) * W) / OW)];
            const pixels = (bottom - top) * (right - left);
            for (let iy = top; iy < bottom; iy++)
              for (let ix = left; ix < right; ix++)
                for (let c = 0; c < C; c++)
                  y[((n * OH + oy) * OW + ox) * C + c] += x[((n * H + iy) * W + ix) * C + c] / pixels;
          }
      return { y };
    },
    gradients: ['x'],
  };
}

export const cases: readonly KernelCase[] = [
  poolCase([1, 1, 1, 1], 7, 7),
  poolCase([2, 3, 5, 9], 7, 7),
  poolCase([1, 15, 10, 4], 7, 7),
  poolCase([2, 14, 9, 3], 7, 3),
  poolCase([1, 4, 16, 65], 2, 5),
  poolCase([3, 5, 4, 2], 1, 1),
];

export const errors: readonly ErrorCase[] = [
  {
    name: 'not an image',
    record: (tape) => adaptiveAvgPool2d(tape.input('x', [8, 64]), 7, 7),
    message: 'adaptive_avg_pool2d: x must be [N, H, W, C]; x [8,64]',
  },
  {
    name: 'no size',
    record: (tape) => adaptiveAvgPool2d(tape.input('x', [1, 8, 8, 3]), 7, 0),
    message: 'adaptive_avg_pool2d: 7x0 is no size to pool to; x [1,8,8,3]',
  },
];
