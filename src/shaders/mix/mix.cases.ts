import type { ErrorCase, KernelCase, Values } from '../cases.ts';
import { mix } from './mix.ts';

type Box = readonly [top: number, left: number, bottom: number, right: number];

function reference(shape: readonly number[], [top, left, bottom, right]: Box, { x, lambda }: Values): Values {
  const [N, H, W, C] = shape as [number, number, number, number];
  const y = new Float64Array(x.length);
  for (let n = 0; n < N; n++)
    for (let row = 0; row < H; row++)
      for (let column = 0; column < W; column++)
        for (let c = 0; c < C; c++) {
          const at = (image: number): number => ((image * H + row) * W + column) * C + c;
          const other = x[at((n + N - 1) % N)];
          const inside = row >= top && row < bottom && column >= left && column < right;
          y[at(n)] = inside ? other : lambda[0] * x[at(n)] + (1 - lambda[0]) * other;
        }
  return { y };
}

function mixCase(shape: readonly number[], lambda: number, box: Box): KernelCase {
  return {
    name: `mix ${shape.join('x')} lambda ${lambda} box ${box.join(' ')}`,
    inputs: {
      x: { shape },
      lambda: { shape: [1], value: () => lambda },
      box: { shape: [4], dtype: 'u32', value: (_, i) => box[i] },
    },
    record: (_, { x, lambda, box }) => ({ y: mix(x, lambda, box) }),
    reference: (values) => reference(shape, box, values),
    gradients: ['x'],
  };
}

export const cases: readonly KernelCase[] = [
  mixCase([1, 1, 1, 1], 0.3, [0, 0, 0, 0]),
  mixCase([3, 5, 7, 3], 0.3, [0, 0, 0, 0]),
  mixCase([4, 6, 5, 1], 1, [2, 1, 5, 4]),
  mixCase([2, 9, 11, 5], 0.75, [0, 3, 9, 11]),
];

export const errors: readonly ErrorCase[] = [
  {
    name: 'no images',
    record: (tape) => mix(tape.input('x', [2, 3]), tape.input('lambda', [1]), tape.input('box', [4], 'u32')),
    message: 'mix: x must be images [N, H, W, C]; x [2,3], lambda [1], box [4]',
  },
  {
    name: 'a lambda for each image',
    record: (tape) => mix(tape.input('x', [2, 3, 3, 1]), tape.input('lambda', [2]), tape.input('box', [4], 'u32')),
    message: 'mix: lambda must be [1] of f32; x [2,3,3,1], lambda [2], box [4]',
  },
  {
    name: 'a box of floating point',
    record: (tape) => mix(tape.input('x', [2, 3, 3, 1]), tape.input('lambda', [1]), tape.input('box', [4])),
    message: 'mix: box must be [4] of u32; x [2,3,3,1], lambda [1], box [4]',
  },
];
