import { defineKernel } from '../../gpu/kernel.ts';
import type { Launch, LaunchContext } from '../../tensor/tape.ts';
import type { Tensor } from '../../tensor/tensor.ts';
import { expand } from '../expand/expand.ts';
import code from './sum_rows.wgsl?raw';

const kernel = defineKernel('sum_rows', code);

/** Sum over all dimensions but the last: x [..., C] → [C]. */
export function sumRows(x: Tensor): Tensor {
  const C = x.shape.at(-1)!;
  const rows = x.size / C;
  const [y] = x.tape.record({
    op: 'sum_rows',
    inputs: [x],
    outputs: [[C]],
    launches: (context, [y]) => sumRowsLaunches(context, x, y, rows, C),
    backward: (dy) => [expand(dy, x.shape)],
  });
  return y;
}

/** Sums x, seen as [rows, C], into y [C]: in one launch, or in two where a column is long. */
export function sumRowsLaunches(context: LaunchContext, x: Tensor, y: Tensor, rows: number, C: number): Launch[] {
  const launch = (from: Tensor, to: Tensor, rows: number, rowsPerSplit: number): Launch => {
    const splits = Math.ceil(rows / rowsPerSplit);
    return {
      kernel,
      params: { rows, C, rowsPerSplit, splits },
      bind: { x: from, y: to },
      workgroups: Math.ceil((splits * C) / 64),
      flops: rows * C,
    };
  };
  if (rows <= 256) return [launch(x, y, rows, rows)];
  const rowsPerSplit = Math.max(32, Math.ceil(Math.sqrt(rows)));
  const partial = context.scratch([Math.ceil(rows / rowsPerSplit), C]);
  return [launch(x, partial, rows, rowsPerSplit), launch(partial, y, partial.shape[0], partial.shape[0])];
}
