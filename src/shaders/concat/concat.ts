import { defineKernel } from '../../gpu/kernel.ts';
import type { Launch } from '../../tensor/tape.ts';
import { shapeError, type Tensor } from '../../tensor/tensor.ts';
import { fill } from '../fill/fill.ts';
import code from './copy_columns.wgsl?raw';

const kernel = defineKernel('copy_columns', code);

/**
 * Tensors side by side along their last dimension, [..., C₁] and [..., C₂] and … → [..., ΣC] (`torch.cat`, of channels since
 * these come last). At least one. Throws ShapeError where the other dimensions differ.
 */
export function concat(tensors: readonly Tensor[]): Tensor {
  const first = tensors[0];
  const leading = first.shape.slice(0, -1);
  for (const tensor of tensors)
    if (tensor.shape.slice(0, -1).join() !== leading.join())
      shapeError('concat', 'all but the last dimension must agree', { first, other: tensor });
  const columns = tensors.reduce((sum, { shape }) => sum + shape.at(-1)!, 0);
  let at = 0;
  const begins = tensors.map(({ shape }) => {
    at += shape.at(-1)!;
    return at - shape.at(-1)!;
  });
  const [y] = first.tape.record({
    op: 'concat',
    inputs: tensors,
    outputs: [[...leading, columns]],
    launches: (_, [y]) => tensors.map((x, i) => copyColumns(x, y, { yFirst: begins[i] })),
    backward: (dy, wanted) => tensors.map((x, i) => (wanted(i) ? slice(dy, begins[i], x.shape.at(-1)!) : undefined)),
  });
  return y;
}

/** `count` entries of the last dimension of x [..., C], from `first` on (`torch.narrow`). Throws ShapeError where x has not so many. */
export function slice(x: Tensor, first: number, count: number): Tensor {
  const columns = x.shape.at(-1)!;
  const leading = x.shape.slice(0, -1);
  if (!(Number.isInteger(first) && Number.isInteger(count) && first >= 0 && count >= 1 && first + count <= columns))
    shapeError('slice', `${count} from ${first} are not inside ${columns}`, { x });
  const [y] = x.tape.record({
    op: 'slice',
    inputs: [x],
    outputs: [[...leading, count]],
    launches: (_, [y]) => [copyColumns(x, y, { xFirst: first, count })],
    backward: (dy) => {
      const zeros = (count: number): Tensor[] => (count > 0 ? [fill(x.tape, [...leading, count], 0)] : []);
      const [before, after] = [zeros(first), zeros(columns - first - count)];
      return [concat([...before, dy, ...after])];
    },
  });
  return y;
}

/** Copies columns of x, seen as [rows, C], to columns of y, seen as [rows, D]; the shapes say how many rows, and all of x is copied, where that is left out. */
export function copyColumns(
  x: Tensor,
  y: Tensor,
  options: { rows?: number; xFirst?: number; yFirst?: number; count?: number },
): Launch {
  const { rows = x.size / x.shape.at(-1)!, xFirst = 0, yFirst = 0 } = options;
  const xColumns = x.size / rows;
  const yColumns = y.size / rows;
  const count = options.count ?? xColumns;
  const run = [xColumns, yColumns, xFirst, yFirst, count].every((number) => number % 4 === 0) ? 4 : 1;
  const runs = count / run;
  return {
    kernel,
    constants: { RUN: run },
    params: { size: rows * runs, runs, xColumns, xFirst, yColumns, yFirst },
    bind: { x, y },
    workgroups: Math.ceil((rows * runs) / 64),
  };
}
