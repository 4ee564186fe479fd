import { defineKernel } from '../../gpu/kernel.ts';
import type { Tape } from '../../tensor/tape.ts';
import type { Shape, Tensor } from '../../tensor/tensor.ts';
import { sizeOf } from '../../tensor/tensor.ts';
import foldColumnsCode from './fold_columns.wgsl?raw';
import resizeRowsCode from './resize_rows.wgsl?raw';
import { variantOf } from './variants.ts';

/*
 * A first convolution has three input channels, or one. Kernels that take channels in fours get them filled up with zeros; and
 * its gradient with respect to the image, which would leave most lanes idle, is a matrix product from each result to all its taps,
 * whose values are then gathered.
 */

const resizeRowsKernel = defineKernel('resize_rows', resizeRowsCode);
const foldColumnsKernel = defineKernel('fold_columns', foldColumnsCode);

/** Input channels after filling up with zeros, where the adapter's kernels take them in fours and that costs less than half. */
export function filledChannels(tape: Tape, C: number): number {
  const fours = Math.ceil(C / 4) * 4;
  return variantOf(tape)?.fours && fours <= 1.5 * C ? fours : C;
}

/** x, seen as rows of `from` values, with rows of `to` values, cut or filled with zeros; the result is called `shape`. */
export function resizeRows(x: Tensor, from: number, to: number, shape: Shape): Tensor {
  const size = sizeOf(shape);
  const [y] = x.tape.record({
    op: 'resize_rows',
    inputs: [x],
    outputs: [shape],
    launches: (_, [y]) => [
      {
        kernel: resizeRowsKernel,
        params: { size, I: from, J: to },
        bind: { x, y },
        workgroups: Math.ceil(size / 4 / 64),
      },
    ],
  });
  return y;
}

/** columns [..., J] of N images' results GH × GW → dx [N, H, W, C]. */
export function foldColumns(
  columns: Tensor,
  [N, H, W, C]: readonly [number, number, number, number],
  taps: Record<'GH' | 'GW' | 'KH' | 'KW' | 'stride' | 'pad', number>,
): Tensor {
  const size = N * H * W * C;
  const [dx] = columns.tape.record({
    op: 'fold_columns',
    inputs: [columns],
    outputs: [[N, H, W, C]],
    launches: (_, [dx]) => [
      {
        kernel: foldColumnsKernel,
        params: { size, H, W, C, J: columns.shape.at(-1)!, ...taps },
        bind: { columns, dx },
        workgroups: Math.ceil(size / 64),
        flops: columns.size,
      },
    ],
  });
  return dx;
}
