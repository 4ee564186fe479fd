import { defineKernel } from '../../gpu/kernel.ts';
import type { Launch, LaunchContext } from '../../tensor/tape.ts';
import type { Tensor } from '../../tensor/tensor.ts';
import { channelsOf } from '../channels.ts';
import splitsCode from './conv2d_splits.wgsl?raw';
import { type Epilogue, epilogueBindings, epilogueBits } from './epilogue.ts';
import epilogueCode from './epilogue.wgsl?raw';
import gatherCode from './gather.wgsl?raw';
import { CHOICE_IMAGES, type GatherTile, mostSplits, variantFor } from './variants.ts';

const addSplits = defineKernel('conv2d_splits', splitsCode, gatherCode, epilogueCode);

/** A gather convolution (see gather.wgsl), or several products of equal shape beside each other. */
export function gather(
  context: LaunchContext,
  launch: {
    bind: Record<'x' | 'weight' | 'y', Tensor | undefined>;
    /** Of x, where it is a gradient. */
    scale?: Tensor | undefined;
    epilogue: Epilogue;
    input: { N: number; H: number; W: number; C: number };
    grid: { GH: number; GW: number; O: number };
    output: { YH: number; YW: number; outStride: number; phaseY: number; phaseX: number };
    taps: Record<
      'inStride' | 'originY' | 'originX' | 'tapStep' | 'tapsY' | 'tapsX' | 'KW' | 'firstKy' | 'firstKx' | 'kernelStep',
      number
    >;
    batches?: number;
    /** That the pixels of a batch are of; default: those of `input`. */
    images?: number;
  },
): Launch[] {
  const { capabilities } = context;
  const { epilogue, input, grid, output, taps, batches = 1 } = launch;
  const { N, ...image } = input;
  const { images = N } = launch;
  const pixels = (N / batches) * grid.GH * grid.GW;
  const inner = taps.tapsY * taps.tapsX * image.C;
  const leaves = (origin: number, count: number, points: number, extent: number): boolean => {
    if (inner === 0) return false;
    const step = (count - 1) * taps.tapStep;
    const first = origin + Math.min(0, step);
    const last = origin + (points - 1) * taps.inStride + Math.max(0, step);
    return first < 0 || last >= extent;
  };
  const padded =
    leaves(taps.originY, taps.tapsY, grid.GH, image.H) || leaves(taps.originX, taps.tapsX, grid.GW, image.W);
  const product = [image.H, image.W, grid.GH, grid.GW, taps.tapsY, taps.tapsX].every((extent) => extent === 1);
  const taken = { MANY_TAPS: taps.tapsY * taps.tapsX > 1, PADDED: padded };
  const shape = { inner, C: image.C, O: grid.O, batches, taps: taken, product };
  const variant = variantFor(context);
  const tilesOf = (pixels: number, { rows, channels }: GatherTile): number =>
    batches * Math.ceil(pixels / rows) * Math.ceil(grid.O / channels);
  const tile = variant.gather({ ...shape, pixels }, capabilities);
  const { kernel, constants, width, turn, half } = tile;
  const tiles = tilesOf(pixels, tile);
  const flops = 2 * batches * pixels * grid.O * inner;
  const params = {
    ...image,
    ...grid,
    ...output,
    ...taps,
    pixels,
    batches,
    weightStride: (image.C * grid.O) / width,
    scaled: Number(half === true && launch.scale !== undefined),
  };
  const bind = { ...launch.bind, ...(half && { scale: launch.scale }) };
  const finished = { ...bind, ...epilogueBindings(epilogue) };
  if (turn === undefined) {
    return [
      {
        kernel,
        constants,
        params: { ...params, epilogue: epilogueBits(epilogue), splits: 1, turnsPerSplit: 0 },
        bind: finished,
        workgroups: tiles,
        flops,
      },
    ];
  }

  const turns = Math.ceil(inner / turn);
  const chosenFor = (pixels / images) * CHOICE_IMAGES;
  const most = tilesOf(chosenFor, variant.gather({ ...shape, pixels: chosenFor }, capabilities));
  const wanted = Math.min(mostSplits(inner), Math.ceil(capabilities.workgroupsAtOnce / most));
  const turnsPerSplit = Math.max(1, Math.ceil(turns / wanted));
  const splits = Math.max(1, Math.ceil(turns / turnsPerSplit));
  const partial = splits > 1 ? context.scratch([splits, batches * pixels, grid.O]) : undefined;
  const sums: Launch = {
    kernel,
    constants,
    params: { ...params, epilogue: partial ? 0 : epilogueBits(epilogue), splits, turnsPerSplit },
    bind: partial ? { ...bind, ...epilogueBindings({}), y: partial } : finished,
    workgroups: tiles * splits,
    flops,
  };
  if (!partial) return [sums];
  const size = batches * pixels * grid.O;
  const value = channelsOf(grid.O);
  return [
    sums,
    {
      kernel: addSplits,
      constants: { Channels: value.constants.Channels, CHANNELS: value.width },
      params: { ...params, epilogue: epilogueBits(epilogue), splits, turnsPerSplit },
      bind: { partial_: partial, ...epilogueBindings(epilogue), y: bind.y },
      workgroups: Math.ceil(size / value.width / 64),
      flops: splits * size,
    },
  ];
}
