import type { Capabilities } from '../../gpu/device.ts';
import { defineKernel, type Kernel } from '../../gpu/kernel.ts';
import type { Launch, LaunchContext } from '../../tensor/tape.ts';
import { shapeError, type Tensor } from '../../tensor/tensor.ts';
import { reluBackward } from '../relu/relu.ts';
import { sumRows, sumRowsLaunches } from '../sum_rows/sum_rows.ts';
import { swapLastTwo } from '../transpose/transpose.ts';
import dweightSubgroupCode from './conv2d_dweight_subgroup.wgsl?raw';
import dweightTiledCode from './conv2d_dweight_tiled.wgsl?raw';
import subgroupCode from './conv2d_subgroup.wgsl?raw';
import subgroupVec4Code from './conv2d_subgroup_vec4.wgsl?raw';
import tiledCode from './conv2d_tiled.wgsl?raw';

/** A kernel, what one of its workgroups computes, and the constants that make it do so. */
interface Tile {
  readonly kernel: Kernel;
  readonly rows: number;
  readonly channels: number;
  readonly constants: Readonly<Record<string, number>>;
}

/** A way to compute a convolution, by what the adapter is. C and O are the kernel's input and output channels. */
interface Variant {
  readonly when: (capabilities: Capabilities) => boolean;
  gather(C: number, O: number): Tile;
  dweight(O: number): Tile;
}

/** Output channels a lane: more lanes would have none where there are few. */
const channelsALane = (O: number): number => (O <= 8 ? 1 : O <= 16 ? 2 : 4);

const gatherSubgroup = defineKernel('conv2d_subgroup', subgroupCode);
const gatherSubgroupVec4 = defineKernel('conv2d_subgroup_vec4', subgroupVec4Code);
const gatherTiled = defineKernel('conv2d_tiled', tiledCode);
const dweightSubgroup = defineKernel('conv2d_dweight_subgroup', dweightSubgroupCode);
const dweightTiled = defineKernel('conv2d_dweight_tiled', dweightTiledCode);

/** The first that fits is taken. */
const variants: readonly Variant[] = [
  {
    when: ({ software, subgroupSize }) => software && subgroupSize === 8,
    gather: (C, O) => {
      if (C % 4 === 0 && O % 4 === 0 && O >= 32) {
        return { kernel: gatherSubgroupVec4, rows: 64, channels: 32, constants: { TM: 16, TN: 1 } };
      }
      const TN = channelsALane(O);
      const TM = TN === 4 ? 16 : 32;
      const constants = { TM, TN, UNROLL: C % 4 === 0 ? 4 : 1 };
      return { kernel: gatherSubgroup, rows: 4 * TM, channels: 8 * TN, constants };
    },
    dweight: (O) => {
      const TN = channelsALane(O);
      return { kernel: dweightSubgroup, rows: 64, channels: 8 * TN, constants: { TN } };
    },
  },
  {
    when: () => true,
    gather: () => ({ kernel: gatherTiled, rows: 64, channels: 64, constants: {} }),
    dweight: () => ({ kernel: dweightTiled, rows: 64, channels: 64, constants: {} }),
  },
];
const variantFor = (capabilities: Capabilities): Variant => variants.find(({ when }) => when(capabilities))!;

export interface Conv2dOptions {
  readonly stride?: number;
  readonly padding?: number;
  /** [O], added to every pixel. */
  readonly bias?: Tensor;
  /** Same shape as the result, added before the ReLU. */
  readonly residual?: Tensor;
  readonly relu?: boolean;
}

/**
 * 2-D convolution (cross-correlation, as `torch.nn.functional.conv2d`) of x [N, H, W, C] with weight [KH, KW, C, O], zero
 * padding, with bias, residual and ReLU in the same pass. Returns [N, floor((H + 2·padding − KH)/stride) + 1, …, O].
 * Throws ShapeError where shapes do not go together.
 */
export function conv2d(x: Tensor, weight: Tensor, options: Conv2dOptions = {}): Tensor {
  const { stride = 1, padding = 0, bias, residual, relu = false } = options;
  const fail = (problem: string): never => shapeError('conv2d', problem, { x, weight, bias, residual });
  if (x.shape.length !== 4) fail('x must be [N, H, W, C]');
  if (weight.shape.length !== 4) fail('weight must be [KH, KW, C, O]');
  const [N, H, W, C] = x.shape as [number, number, number, number];
  const [KH, KW, WC, O] = weight.shape as [number, number, number, number];
  if (WC !== C) fail(`weight has ${WC} input channels, x has ${C}`);
  if (!(Number.isInteger(stride) && stride >= 1)) fail(`stride ${stride} is not a positive integer`);
  if (!(Number.isInteger(padding) && padding >= 0)) fail(`padding ${padding} is not a non-negative integer`);
  const OH = Math.floor((H + 2 * padding - KH) / stride) + 1;
  const OW = Math.floor((W + 2 * padding - KW) / stride) + 1;
  if (OH < 1 || OW < 1) fail(`the ${KH}x${KW} kernel does not fit into ${H}x${W} with padding ${padding}`);
  if (bias && (bias.shape.length !== 1 || bias.shape[0] !== O)) fail(`bias must be [${O}]`);
  if (residual && residual.shape.join() !== [N, OH, OW, O].join()) fail(`residual must be [${N},${OH},${OW},${O}]`);

  const [y] = x.tape.record({
    op: 'conv2d',
    inputs: [x, weight, bias, residual],
    outputs: [[N, OH, OW, O]],
    launches: ({ capabilities }, [y]) => [
      gather(capabilities, {
        bind: { x, weight, bias, residual, y },
        epilogue: { HAS_BIAS: bias !== undefined, HAS_RESIDUAL: residual !== undefined, RELU: relu },
        input: { N, H, W, C },
        grid: { GH: OH, GW: OW, O },
        output: { YH: OH, YW: OW, outStride: 1, phaseY: 0, phaseX: 0 },
        taps: {
          inStride: stride,
          originY: -padding,
          originX: -padding,
          tapStep: 1,
          tapsY: KH,
          tapsX: KW,
          KW,
          firstKy: 0,
          firstKx: 0,
          kernelStep: 1,
        },
      }),
    ],
    backward: (dy, wanted) => {
      const g = relu ? reluBackward(dy, y!) : dy;
      return [
        wanted(0) ? conv2dDx(g, weight, { H, W, stride, padding }) : undefined,
        wanted(1) ? conv2dDweight(x, g, { KH, KW, stride, padding }) : undefined,
        wanted(2) ? sumRows(g) : undefined,
        wanted(3) ? g : undefined,
      ];
    },
  });
  return y!;
}

/**
 * Matrix product of x [N, I] and weight [I, O], plus bias [O]: the 1×1 convolution of 1×1 images.
 * The weight is the transpose of `torch.nn.Linear`'s.
 */
export function linear(x: Tensor, weight: Tensor, bias?: Tensor): Tensor {
  const fail = (problem: string): never => shapeError('linear', problem, { x, weight, bias });
  if (x.shape.length !== 2 || weight.shape.length !== 2) fail('x must be [N, I] and weight [I, O]');
  const [N, I] = x.shape as [number, number];
  const [WI, O] = weight.shape as [number, number];
  if (WI !== I) fail(`weight has ${WI} inputs, x has ${I}`);
  if (bias && bias.shape.join() !== `${O}`) fail(`bias must be [${O}]`);
  const [y] = x.tape.record({
    op: 'linear',
    inputs: [x, weight, bias],
    outputs: [[N, O]],
    launches: ({ capabilities }, [y]) => [matrixProduct(capabilities, { x, weight, bias, y: y! }, N, I, O)],
    backward: (dy, wanted) => [
      wanted(0) ? linear(dy, swapLastTwo(weight)) : undefined,
      wanted(1) ? productOverRows(x, dy) : undefined,
      wanted(2) ? sumRows(dy) : undefined,
    ],
  });
  return y!;
}

function matrixProduct(
  capabilities: Capabilities,
  { x, weight, bias, y }: { x: Tensor; weight: Tensor; bias: Tensor | undefined; y: Tensor },
  N: number,
  I: number,
  O: number,
): Launch {
  return gather(capabilities, {
    bind: { x, weight, bias, residual: undefined, y },
    epilogue: { HAS_BIAS: bias !== undefined, HAS_RESIDUAL: false, RELU: false },
    input: { N, H: 1, W: 1, C: I },
    grid: { GH: 1, GW: 1, O },
    output: { YH: 1, YW: 1, outStride: 1, phaseY: 0, phaseX: 0 },
    taps: {
      inStride: 1,
      originY: 0,
      originX: 0,
      tapStep: 1,
      tapsY: 1,
      tapsX: 1,
      KW: 1,
      firstKy: 0,
      firstKx: 0,
      kernelStep: 1,
    },
  });
}

/** x [N, I], dy [N, O] → xᵀ·dy [I, O]. */
function productOverRows(x: Tensor, dy: Tensor): Tensor {
  const [N, I] = x.shape as [number, number];
  const O = dy.shape[1]!;
  const [dweight] = x.tape.record({
    op: 'linear_dweight',
    inputs: [x, dy],
    outputs: [[I, O]],
    launches: (context, [dweight]) =>
      dweightLaunches(
        context,
        { x, dy, dweight: dweight! },
        { N, H: 1, W: 1, C: I, GH: 1, GW: 1, O, rows: I, KW: 1, stride: 1, pad: 0 },
      ),
  });
  return dweight!;
}

/** The gradient with respect to x [N, H, W, C] of a convolution, from dy [N, OH, OW, O] and weight [KH, KW, C, O]. */
export function conv2dDx(
  dy: Tensor,
  weight: Tensor,
  { H, W, stride, padding }: { H: number; W: number; stride: number; padding: number },
): Tensor {
  const [N, OH, OW, O] = dy.shape as [number, number, number, number];
  const [KH, KW, C] = weight.shape as [number, number, number, number];
  const transposed = swapLastTwo(weight);
  const [dx] = dy.tape.record({
    op: 'conv2d_dx',
    inputs: [dy, transposed],
    outputs: [[N, H, W, C]],
    launches: ({ capabilities }, [dx]) => {
      // Output pixels of one phase (their coordinates modulo the stride) meet the same taps: each phase is a dense gather.
      const launches: Launch[] = [];
      for (let phaseY = 0; phaseY < Math.min(stride, H); phaseY++) {
        for (let phaseX = 0; phaseX < Math.min(stride, W); phaseX++) {
          const firstKy = (phaseY + padding) % stride;
          const firstKx = (phaseX + padding) % stride;
          launches.push(
            gather(capabilities, {
              bind: { x: dy, weight: transposed, bias: undefined, residual: undefined, y: dx },
              epilogue: { HAS_BIAS: false, HAS_RESIDUAL: false, RELU: false },
              input: { N, H: OH, W: OW, C: O },
              grid: { GH: Math.ceil((H - phaseY) / stride), GW: Math.ceil((W - phaseX) / stride), O: C },
              output: { YH: H, YW: W, outStride: stride, phaseY, phaseX },
              taps: {
                inStride: 1,
                originY: (phaseY + padding - firstKy) / stride,
                originX: (phaseX + padding - firstKx) / stride,
                tapStep: -1,
                tapsY: Math.max(0, Math.ceil((KH - firstKy) / stride)),
                tapsX: Math.max(0, Math.ceil((KW - firstKx) / stride)),
                KW,
                firstKy,
                firstKx,
                kernelStep: stride,
              },
            }),
          );
        }
      }
      return launches;
    },
  });
  return dx!;
}

/** The gradient with respect to the weight [KH, KW, C, O] of a convolution, from x [N, H, W, C] and dy [N, OH, OW, O]. */
export function conv2dDweight(
  x: Tensor,
  dy: Tensor,
  { KH, KW, stride, padding }: { KH: number; KW: number; stride: number; padding: number },
): Tensor {
  const [N, H, W, C] = x.shape as [number, number, number, number];
  const [, GH, GW, O] = dy.shape as [number, number, number, number];
  const [dweight] = x.tape.record({
    op: 'conv2d_dweight',
    inputs: [x, dy],
    outputs: [[KH, KW, C, O]],
    launches: (context, [dweight]) =>
      dweightLaunches(
        context,
        { x, dy, dweight: dweight! },
        { N, H, W, C, GH, GW, O, rows: KH * KW * C, KW, stride, pad: padding },
      ),
  });
  return dweight!;
}

function gather(
  capabilities: Capabilities,
  launch: {
    bind: Record<string, Tensor | undefined>;
    epilogue: { HAS_BIAS: boolean; HAS_RESIDUAL: boolean; RELU: boolean };
    input: { N: number; H: number; W: number; C: number };
    grid: { GH: number; GW: number; O: number };
    output: { YH: number; YW: number; outStride: number; phaseY: number; phaseX: number };
    taps: Record<
      'inStride' | 'originY' | 'originX' | 'tapStep' | 'tapsY' | 'tapsX' | 'KW' | 'firstKy' | 'firstKx' | 'kernelStep',
      number
    >;
  },
): Launch {
  const { input, grid, taps } = launch;
  const tile = variantFor(capabilities).gather(input.C, grid.O);
  const pixels = input.N * grid.GH * grid.GW;
  return {
    kernel: tile.kernel,
    constants: { ...tile.constants, ...launch.epilogue },
    params: { ...input, ...grid, ...launch.output, ...taps },
    bind: launch.bind,
    workgroups: Math.ceil(pixels / tile.rows) * Math.ceil(grid.O / tile.channels),
    flops: 2 * pixels * grid.O * input.C * taps.tapsY * taps.tapsX,
  };
}

/** Workgroups to keep busy: the sum over pixels is split until there are about so many. */
const WANTED_WORKGROUPS = { software: 16, hardware: 512 };

function dweightLaunches(
  context: LaunchContext,
  { x, dy, dweight }: { x: Tensor; dy: Tensor; dweight: Tensor },
  shape: Record<'N' | 'H' | 'W' | 'C' | 'GH' | 'GW' | 'O' | 'rows' | 'KW' | 'stride' | 'pad', number>,
): Launch[] {
  const { capabilities } = context;
  const tile = variantFor(capabilities).dweight(shape.O);
  const tiles = Math.ceil(shape.rows / tile.rows) * Math.ceil(shape.O / tile.channels);
  const pixels = shape.N * shape.GH * shape.GW;
  const wanted = Math.ceil((capabilities.software ? WANTED_WORKGROUPS.software : WANTED_WORKGROUPS.hardware) / tiles);
  const pixelsPerSplit = Math.max(64, Math.ceil(pixels / Math.min(wanted, 64)));
  const splits = Math.ceil(pixels / pixelsPerSplit);
  const partial = splits === 1 ? dweight : context.scratch([splits, shape.rows, shape.O]);
  const launch: Launch = {
    kernel: tile.kernel,
    constants: tile.constants,
    params: { ...shape, pixelsPerSplit, splits },
    bind: { x, dy, dweight: partial },
    workgroups: tiles * splits,
    flops: 2 * pixels * shape.rows * shape.O,
  };
  return splits === 1
    ? [launch]
    : [launch, ...sumRowsLaunches(context, partial, dweight, splits, shape.rows * shape.O)];
}
