import type { Launch, LaunchContext } from '../../tensor/tape.ts';
import type { Tensor } from '../../tensor/tensor.ts';
import { sumRowsLaunches } from '../sum_rows/sum_rows.ts';
import { mostDweightSplits, variantFor } from './variants.ts';

export type DweightTensors = Record<'x' | 'dy' | 'dweight', Tensor> & { scale?: Tensor | undefined };

/** The gradient of a convolution with respect to its weight (see dweight.wgsl), or several products over rows beside each other. */
export function dweightLaunches(
  context: LaunchContext,
  { x, dy, scale, dweight }: DweightTensors,
  shape: Record<'pixels' | 'H' | 'W' | 'C' | 'GH' | 'GW' | 'O' | 'rows' | 'KW' | 'stride' | 'pad', number>,
  batches = 1,
): Launch[] {
  const { capabilities } = context;
  const { pixels, rows, O } = shape;
  const tile = variantFor(context).dweight({ ...shape, batches }, capabilities);
  const tiles = batches * Math.ceil(rows / tile.rows) * Math.ceil(O / tile.channels);
  const wanted = Math.ceil(capabilities.workgroupsAtOnce / tiles);
  const pixelsPerSplit = Math.max(64, Math.ceil(pixels / Math.min(wanted, mostDweightSplits(pixels))));
  const splits = Math.ceil(pixels / pixelsPerSplit);
  const partial = splits === 1 ? dweight : context.scratch([splits, batches * rows, O]);
  const launch: Launch = {
    kernel: tile.kernel,
    constants: tile.constants,
    params: { ...shape, batches, pixelsPerSplit, splits, scaled: Number(tile.half === true && scale !== undefined) },
    bind: { x, dy, dweight: partial, ...(tile.half && { scale }) },
    workgroups: tiles * splits,
    flops: 2 * batches * pixels * rows * O,
  };
  return splits === 1 ? [launch] : [launch, ...sumRowsLaunches(context, partial, dweight, splits, batches * rows * O)];
}
