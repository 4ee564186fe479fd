import type { Capabilities } from '../../gpu/device.ts';
import { type Constants, defineKernel, type Kernel } from '../../gpu/kernel.ts';
import type { Launch, LaunchContext, Precision, Tape } from '../../tensor/tape.ts';
import { shapeError, type Tensor } from '../../tensor/tensor.ts';
import { channelsOf } from '../channels.ts';
import { halfScale } from '../half_scale/half_scale.ts';
import { reluBackward } from '../relu/relu.ts';
import { sumRows, sumRowsLaunches } from '../sum_rows/sum_rows.ts';
import { swapLastTwo } from '../transpose/transpose.ts';
import dweightMatrixCode from './conv2d_dweight_matrix.wgsl?raw';
import dweightSubgroupCode from './conv2d_dweight_subgroup.wgsl?raw';
import dweightSubgroupScalarCode from './conv2d_dweight_subgroup_scalar.wgsl?raw';
import dweightTiledCode from './conv2d_dweight_tiled.wgsl?raw';
import dweightTiledScalarCode from './conv2d_dweight_tiled_scalar.wgsl?raw';
import matrixCode from './conv2d_matrix.wgsl?raw';
import splitsCode from './conv2d_splits.wgsl?raw';
import subgroupCode from './conv2d_subgroup.wgsl?raw';
import subgroupScalarCode from './conv2d_subgroup_scalar.wgsl?raw';
import tiledCode from './conv2d_tiled.wgsl?raw';
import tiledScalarCode from './conv2d_tiled_scalar.wgsl?raw';
import { type Epilogue, epilogueBindings, epilogueBits } from './epilogue.ts';
import { foldColumns, resizeRows } from './few_channels.ts';
import { tilingOf, winogradDweight, winogradDy, winogradInput, winogradOutput, winogradWeight } from './winograd.ts';

/** A kernel, what one of its workgroups computes, and the constants that make it do so. */
interface Tile {
  readonly kernel: Kernel;
  readonly rows: number;
  readonly channels: number;
  readonly constants: Constants;
  /** The kernel rounds its factors to float16 and has a binding for the scale of a gradient. */
  readonly half?: boolean;
}

/** A tile of the gather. */
interface GatherTile extends Tile {
  /** Output channels in one value of the weight. */
  readonly width: number;
  /** Where the sum can be cut into splits: what it adds a turn. */
  readonly turn?: number;
}

/** What a product or convolution is as a matrix product: [pixels, inner] by [inner, O], `batches` of them. */
interface GatherShape {
  readonly pixels: number;
  readonly inner: number;
  readonly C: number;
  readonly O: number;
  readonly batches: number;
  readonly taps: { readonly MANY_TAPS: boolean; readonly PADDED: boolean };
  /** A matrix product as it is: images of one pixel, kernels of one tap. */
  readonly product: boolean;
}

/** Likewise of the gradient with respect to the weight: [rows, pixels] by [pixels, O]. */
interface DweightShape {
  readonly rows: number;
  readonly pixels: number;
  readonly C: number;
  readonly O: number;
  readonly batches: number;
}

/** A way to compute a convolution, by what the adapter is and what is asked for. */
interface Variant {
  readonly when: (capabilities: Capabilities, precision: Precision) => boolean;
  gather(shape: GatherShape, capabilities: Capabilities): GatherTile;
  dweight(shape: DweightShape, capabilities: Capabilities): Tile;
  /** Whether the kernels that take input channels in fours are so much faster that other numbers are filled up with zeros. */
  readonly fours: boolean;
  /**
   * What loading or storing a value costs, in multiply-adds of the matrix product (measured): 3×3 convolutions go through Winograd's
   * algorithm where that saves clearly more products than it moves values.
   */
  readonly accessCost: number;
}

const gatherSubgroup = defineKernel('conv2d_subgroup', subgroupCode);
const gatherSubgroupScalar = defineKernel('conv2d_subgroup_scalar', subgroupScalarCode);
const gatherTiled = defineKernel('conv2d_tiled', tiledCode);
const dweightSubgroup = defineKernel('conv2d_dweight_subgroup', dweightSubgroupCode);
const dweightSubgroupScalar = defineKernel('conv2d_dweight_subgroup_scalar', dweightSubgroupScalarCode);
const gatherTiledScalar = defineKernel('conv2d_tiled_scalar', tiledScalarCode);
const dweightTiled = defineKernel('conv2d_dweight_tiled', dweightTiledCode);
const dweightTiledScalar = defineKernel('conv2d_dweight_tiled_scalar', dweightTiledScalarCode);
const gatherMatrix = defineKernel('conv2d_matrix', matrixCode);
const dweightMatrix = defineKernel('conv2d_dweight_matrix', dweightMatrixCode);
const addSplits = defineKernel('conv2d_splits', splitsCode);

/** Output channels a lane, as one value: with more, lanes would have none where there are few. */
function channelsALane(O: number): { Channels: string; CHANNELS: number } {
  if (O % 4 === 0 && O >= 32) return { Channels: 'vec4f', CHANNELS: 4 };
  return O % 2 === 0 && O >= 16 ? { Channels: 'vec2f', CHANNELS: 2 } : { Channels: 'f32', CHANNELS: 1 };
}

/**
 * Tiles of the kernels that keep theirs in workgroup memory, the best first where it fits and fills the GPU: invocations along both
 * extents, and how many fours of results each computes along them.
 */
const TILES = [
  { LANES_M: 16, LANES_N: 8, TALL: 2, WIDE: 2 }, // 128 × 64
  { LANES_M: 16, LANES_N: 8, TALL: 1, WIDE: 2 }, // 64 × 64
  { LANES_M: 16, LANES_N: 4, TALL: 1, WIDE: 1 }, // 64 × 16
  { LANES_M: 8, LANES_N: 8, TALL: 1, WIDE: 1 }, // 32 × 32
].map((constants) => ({
  constants,
  rows: constants.LANES_M * 4 * constants.TALL,
  channels: constants.LANES_N * 4 * constants.WIDE,
}));

/** What the tiled kernels add a turn; they keep two turns of both factors. */
const TURN = 16;
const workgroupBytes = ({ rows, channels }: { rows: number; channels: number }): number =>
  2 * TURN * (rows + channels) * 4;

/**
 * The tile for `batches` results M × N of a sum that can be cut into up to `splits`: of those that compute little beyond the edges,
 * the first of which there are enough, else the one of which there are most.
 */
function tileFor(
  capabilities: Capabilities,
  { M, N, batches, splits }: Record<'M' | 'N' | 'batches' | 'splits', number>,
): (typeof TILES)[number] {
  const candidates = TILES.filter((tile) => workgroupBytes(tile) <= capabilities.workgroupBytes).map((tile) => {
    const count = Math.ceil(M / tile.rows) * Math.ceil(N / tile.channels);
    return { tile, count, area: count * tile.rows * tile.channels };
  });
  const least = Math.min(...candidates.map(({ area }) => area));
  const lean = candidates.filter(({ area }) => area <= 1.5 * least);
  const most = lean.reduce((a, b) => (b.count > a.count ? b : a));
  return (lean.find(({ count }) => count * batches * splits >= capabilities.workgroupsAtOnce) ?? most).tile;
}

const anyAdapter: Variant = {
  when: () => true,
  gather: ({ C, O, pixels, inner, batches, product }, capabilities) => {
    if (C % 4 !== 0 || O % 4 !== 0)
      return { kernel: gatherTiledScalar, rows: 64, channels: 64, width: 1, turn: TURN, constants: {} };
    const tile = tileFor(capabilities, { M: pixels, N: O, batches, splits: mostSplits(inner) });
    const constants = { ...tile.constants, PRODUCT: product };
    return { ...tile, kernel: gatherTiled, width: 4, turn: TURN, constants };
  },
  dweight: ({ C, O, rows, pixels, batches }, capabilities) => {
    if (C % 4 !== 0 || O % 4 !== 0) return { kernel: dweightTiledScalar, rows: 64, channels: 64, constants: {} };
    const splits = mostDweightSplits(pixels);
    return { ...tileFor(capabilities, { M: rows, N: O, batches, splits }), kernel: dweightTiled };
  },
  fours: true,
  accessCost: 16,
};

/** The kernels for matrix units have one tile, for four subgroups, and take the channels in fours. */
const MATRIX_TILE = { rows: 128, channels: 64 };
const fitsMatrices = ({ C, O }: { C: number; O: number }): boolean => C % 4 === 0 && O % 4 === 0 && O >= 32;
const matrixTurn = ({ workgroupBytes }: Capabilities): number => (workgroupBytes >= 20 * 1024 ? 32 : 16);

/** The first that fits is taken. */
const variants: readonly Variant[] = [
  {
    when: ({ halfMatrices }, precision) => halfMatrices && precision === 'f16',
    gather: (shape, capabilities) => {
      if (!fitsMatrices(shape)) return anyAdapter.gather(shape, capabilities);
      const turn = matrixTurn(capabilities);
      return {
        ...MATRIX_TILE,
        kernel: gatherMatrix,
        width: 4,
        turn,
        constants: { TURN: turn, PRODUCT: shape.product },
        half: true,
      };
    },
    dweight: (shape, capabilities) =>
      fitsMatrices(shape)
        ? { ...MATRIX_TILE, kernel: dweightMatrix, constants: { TURN: matrixTurn(capabilities) }, half: true }
        : anyAdapter.dweight(shape, capabilities),
    fours: true,
    accessCost: 45,
  },
  {
    when: ({ software, subgroupSize }) => software && subgroupSize === 8,
    gather: ({ C, O, pixels, taps }) => {
      if (C % 4 !== 0) {
        const TN = O <= 8 ? 1 : O <= 16 ? 2 : 4;
        const TM = TN === 4 ? 16 : 32;
        return { kernel: gatherSubgroupScalar, rows: 4 * TM, channels: 8 * TN, width: 1, constants: { TM, TN } };
      }
      const lane = channelsALane(O);
      const SLOTS = pixels <= 16 ? 2 : 4;
      return {
        kernel: gatherSubgroup,
        rows: 8 * SLOTS,
        channels: 8 * lane.CHANNELS,
        width: lane.CHANNELS,
        constants: { SLOTS, ...taps, ...lane },
      };
    },
    dweight: ({ C, O }) => {
      if (C % 4 !== 0) {
        const TN = O <= 8 ? 1 : O <= 16 ? 2 : 4;
        return { kernel: dweightSubgroupScalar, rows: 64, channels: 8 * TN, constants: { TN } };
      }
      const lane = channelsALane(O);
      return { kernel: dweightSubgroup, rows: 32, channels: 8 * lane.CHANNELS, constants: lane };
    },
    fours: true,
    accessCost: 10,
  },
  anyAdapter,
];
const variantFor = ({ capabilities, precision }: { capabilities: Capabilities; precision: Precision }): Variant =>
  variants.find(({ when }) => when(capabilities, precision))!;
const variantOf = ({ capabilities, precision }: Tape): Variant | undefined =>
  capabilities && variantFor({ capabilities, precision });

/** What kernels that round to float16 multiply a gradient by; undefined where all are float32. */
export const scaleOf = (gradient: Tensor): Tensor | undefined =>
  gradient.tape.precision === 'f16' && gradient.size % 4 === 0 ? halfScale(gradient) : undefined;

/** Options of {@link conv2d}. */
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

  const differentiates = [x, weight, bias, residual];
  const backward = (y: Tensor, dy: Tensor, wanted: (input: number) => boolean): (Tensor | undefined)[] => {
    const g = relu ? reluBackward(dy, y) : dy;
    const scale = scaleOf(g);
    return [
      wanted(0) ? conv2dDx(g, weight, { H, W, stride, padding, scale }) : undefined,
      wanted(1) ? conv2dDweight(x, g, { KH, KW, stride, padding, scale }) : undefined,
      wanted(2) ? sumRows(g) : undefined,
      wanted(3) ? g : undefined,
    ];
  };
  if (winogradPays(x.tape, { N, GH: OH, GW: OW, C, O, KH, KW, stride, padding }, weight)) {
    const tiling = tilingOf(N, OH, OW);
    const m = products(winogradInput(x, tiling, padding), winogradWeight(weight), { images: N });
    return winogradOutput(m, N, tiling, { bias, residual, relu, differentiates, backward });
  }
  const filled = filledChannels(x.tape, C);
  const image = filled === C ? x : resizeRows(x, C, filled, [N, H, W, filled]);
  const kernel = filled === C ? weight : resizeRows(weight, C * O, filled * O, [KH, KW, filled, O]);
  const [y] = x.tape.record({
    op: 'conv2d',
    inputs: [image, kernel, bias, residual],
    outputs: [[N, OH, OW, O]],
    launches: (context, [y]) =>
      gather(context, {
        bind: { x: image, weight: kernel, y },
        epilogue: { bias, residual, relu },
        input: { N, H, W, C: filled },
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
    differentiates,
    backward: (dy, wanted) => backward(y, dy, wanted),
  });
  return y;
}

/**
 * In which order a sum is taken is chosen as if for so many images, however many a batch has: the same image has the same features and
 * the same mark to the last bit in batches of any size. Gradients with respect to weights are sums over the batch anyway.
 */
const CHOICE_IMAGES = 64;

/**
 * Whether a convolution of N images to GH × GW results, or its gradient, should go through Winograd's algorithm: where
 * the products it saves are worth clearly more than loading and storing the transformed tensors, and these can be bound. The
 * transformed weight of a frozen network is computed once and costs nothing. Without a weight: the gradient with respect to it.
 * But for what can be bound, results do not depend on how many images are computed together (see `CHOICE_IMAGES`).
 */
function winogradPays(
  tape: Tape,
  shape: Record<'N' | 'GH' | 'GW' | 'C' | 'O' | 'KH' | 'KW' | 'stride' | 'padding', number>,
  weight?: Tensor,
): boolean {
  const { N, GH, GW, C, O, KH, KW, stride, padding } = shape;
  const { capabilities, precision } = tape;
  if (!capabilities) return false;
  const { accessCost } = variantFor({ capabilities, precision });
  if (KH !== 3 || KW !== 3 || stride !== 1 || padding > 2 || C % 4 !== 0 || O % 4 !== 0) return false;
  if (36 * tilingOf(N, GH, GW).tiles * Math.max(C, O) * 4 > capabilities.tensorBytes) return false;
  const images = weight ? CHOICE_IMAGES : N;
  const { tiles } = tilingOf(images, GH, GW);
  const transforms = tiles * (C * (36 + 36) + O * (36 + 16));
  let winograd: number;
  let direct: number;
  if (weight) {
    winograd =
      36 * Math.ceil(tiles / 32) * 32 * C * O +
      accessCost * (transforms + (tape.variables.has(weight) ? (9 + 36) * C * O : 0));
    direct = 9 * images * GH * GW * C * O;
  } else {
    winograd = 36 * tiles * C * O + accessCost * (transforms + (36 + 36 + 9) * C * O);
    direct = 9 * N * GH * GW * C * O + accessCost * 9 * C * O;
  }
  return winograd < 0.85 * direct;
}

/** Input channels after filling up with zeros, where the adapter's kernels take them in fours and that costs less than half. */
function filledChannels(tape: Tape, C: number): number {
  const fours = Math.ceil(C / 4) * 4;
  return variantOf(tape)?.fours && fours <= 1.5 * C ? fours : C;
}

/**
 * x [B, P, I] and weight [B, I, O] → [B, P, O]: B matrix products beside each other. Options: of how many images the rows P are; the
 * extents, where the shapes are others; the scale of a gradient (see `halfScale`).
 */
export function products(
  x: Tensor,
  weight: Tensor,
  {
    images,
    extents = [...x.shape, weight.shape[2]],
    scale,
  }: { images?: number; extents?: readonly number[]; scale?: Tensor | undefined } = {},
): Tensor {
  const [B, P, I, O] = extents;
  const [y] = x.tape.record({
    op: 'products',
    inputs: [x, weight, scale],
    outputs: [[B, P, O]],
    launches: (context, [y]) =>
      matrixProduct(context, { x, weight, scale, y: y }, P, I, O, { batches: B, images: images ?? P }),
  });
  return y;
}

/** x [B, P, I] and dy [B, P, O] → [B, I, O], each xᵀ·dy. */
export function productsOverRows(x: Tensor, dy: Tensor, scale?: Tensor): Tensor {
  const [B, P, I] = x.shape as [number, number, number];
  const O = dy.shape[2];
  const [dweight] = x.tape.record({
    op: 'products_dweight',
    inputs: [x, dy, scale],
    outputs: [[B, I, O]],
    launches: (context, [dweight]) => productOverRowsLaunches(context, { x, dy, scale, dweight: dweight }, P, I, O, B),
  });
  return dweight;
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
    launches: (context, [y]) => matrixProduct(context, { x, weight, bias, y: y }, N, I, O),
    backward: (dy, wanted) => {
      const scale = scaleOf(dy);
      return [
        wanted(0) ? linearDx(dy, swapLastTwo(weight), scale) : undefined,
        wanted(1) ? productOverRows(x, dy, scale) : undefined,
        wanted(2) ? sumRows(dy) : undefined,
      ];
    },
  });
  return y;
}

/** dy [N, O] and the transposed weight [O, I] → [N, I]. */
function linearDx(dy: Tensor, transposed: Tensor, scale: Tensor | undefined): Tensor {
  const [N, O] = dy.shape as [number, number];
  const I = transposed.shape[1];
  const [dx] = dy.tape.record({
    op: 'linear_dx',
    inputs: [dy, transposed, scale],
    outputs: [[N, I]],
    launches: (context, [dx]) => matrixProduct(context, { x: dy, weight: transposed, scale, y: dx }, N, O, I),
  });
  return dx;
}

function matrixProduct(
  context: LaunchContext,
  {
    x,
    weight,
    bias,
    scale,
    y,
  }: Record<'x' | 'weight' | 'y', Tensor> & { bias?: Tensor | undefined; scale?: Tensor | undefined },
  N: number,
  I: number,
  O: number,
  { batches = 1, images = N }: { batches?: number; images?: number } = {},
): Launch[] {
  return gather(context, {
    bind: { x, weight, y },
    scale,
    epilogue: { bias },
    batches,
    images,
    input: { N: N * batches, H: 1, W: 1, C: I },
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
function productOverRows(x: Tensor, dy: Tensor, scale?: Tensor): Tensor {
  const [N, I] = x.shape as [number, number];
  const O = dy.shape[1];
  const [dweight] = x.tape.record({
    op: 'linear_dweight',
    inputs: [x, dy, scale],
    outputs: [[I, O]],
    launches: (context, [dweight]) => productOverRowsLaunches(context, { x, dy, scale, dweight: dweight }, N, I, O),
  });
  return dweight;
}

const productOverRowsLaunches = (
  context: LaunchContext,
  bind: DweightTensors,
  pixels: number,
  I: number,
  O: number,
  batches = 1,
): Launch[] =>
  dweightLaunches(
    context,
    bind,
    { pixels, H: 1, W: 1, C: I, GH: 1, GW: 1, O, rows: I, KW: 1, stride: 1, pad: 0 },
    batches,
  );

/** The gradient with respect to x [N, H, W, C] of a convolution, from dy [N, OH, OW, O] and weight [KH, KW, C, O]. */
function conv2dDx(
  dy: Tensor,
  weight: Tensor,
  { H, W, stride, padding, scale }: Record<'H' | 'W' | 'stride' | 'padding', number> & { scale: Tensor | undefined },
): Tensor {
  const [N, OH, OW, O] = dy.shape as [number, number, number, number];
  const [KH, KW, C] = weight.shape as [number, number, number, number];
  if (winogradPays(dy.tape, { N, GH: H, GW: W, C: O, O: C, KH, KW, stride, padding }, weight)) {
    const tiling = tilingOf(N, H, W);
    const transposed = winogradWeight(swapLastTwo(weight), { turned: true });
    const m = products(winogradInput(dy, tiling, 2 - padding), transposed, { images: N, scale });
    return winogradOutput(m, N, tiling, { finishes: true });
  }
  if (variantOf(dy.tape)?.fours && C <= 4 && O % 4 === 0) {
    // Few channels would leave most lanes idle: a matrix product to all taps of every result, gathered afterwards.
    const J = Math.ceil((KH * KW * C) / 4) * 4;
    const toTaps = swapLastTwo(resizeRows(weight, weight.size, J * O, [J, O]));
    const columns = products(dy, toTaps, { images: N, extents: [1, N * OH * OW, O, J], scale });
    return foldColumns(columns, [N, H, W, C], { GH: OH, GW: OW, KH, KW, stride, pad: padding });
  }
  const transposed = swapLastTwo(weight);
  const [dx] = dy.tape.record({
    op: 'conv2d_dx',
    inputs: [dy, transposed, scale],
    outputs: [[N, H, W, C]],
    finishes: true,
    launches: (context, [dx]) => {
      // Output pixels of one phase (their coordinates modulo the stride) meet the same taps: each phase is a dense gather.
      const launches: Launch[] = [];
      for (let phaseY = 0; phaseY < Math.min(stride, H); phaseY++) {
        for (let phaseX = 0; phaseX < Math.min(stride, W); phaseX++) {
          const firstKy = (phaseY + padding) % stride;
          const firstKx = (phaseX + padding) % stride;
          launches.push(
            ...gather(context, {
              bind: { x: dy, weight: transposed, y: dx },
              scale,
              epilogue: context.finish,
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
  return dx;
}

/** The gradient with respect to the weight [KH, KW, C, O] of a convolution, from x [N, H, W, C] and dy [N, OH, OW, O]. */
function conv2dDweight(
  x: Tensor,
  dy: Tensor,
  {
    KH,
    KW,
    stride,
    padding,
    scale,
  }: Record<'KH' | 'KW' | 'stride' | 'padding', number> & { scale: Tensor | undefined },
): Tensor {
  const [N, H, W, C] = x.shape as [number, number, number, number];
  const [, GH, GW, O] = dy.shape as [number, number, number, number];
  if (winogradPays(x.tape, { N, GH, GW, C, O, KH, KW, stride, padding })) {
    const tiling = tilingOf(N, GH, GW);
    return winogradDweight(productsOverRows(winogradInput(x, tiling, padding), winogradDy(dy, tiling), scale));
  }
  const filled = filledChannels(x.tape, C);
  if (filled !== C) {
    const image = resizeRows(x, C, filled, [N, H, W, filled]);
    const dweight = conv2dDweight(image, dy, { KH, KW, stride, padding, scale });
    return resizeRows(dweight, filled * O, C * O, [KH, KW, C, O]);
  }
  const [dweight] = x.tape.record({
    op: 'conv2d_dweight',
    inputs: [x, dy, scale],
    outputs: [[KH, KW, C, O]],
    launches: (context, [dweight]) =>
      dweightLaunches(
        context,
        { x, dy, scale, dweight: dweight },
        { pixels: N * GH * GW, H, W, C, GH, GW, O, rows: KH * KW * C, KW, stride, pad: padding },
      ),
  });
  return dweight;
}

/** A split shorter than this costs more than it brings. */
const mostSplits = (inner: number): number => Math.min(16, Math.max(1, Math.floor(inner / 128)));
const mostDweightSplits = (pixels: number): number => Math.min(256, Math.ceil(pixels / 64));

/** A gather convolution (see conv2d_subgroup.wgsl), or several products of equal shape beside each other. */
function gather(
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
    ...(half && { scaled: Number(launch.scale !== undefined) }),
  };
  const bind = { ...launch.bind, ...(half && { scale: launch.scale }) };
  const finished = { ...bind, ...epilogueBindings(epilogue) };
  if (turn === undefined) {
    return [
      {
        kernel,
        constants,
        params: { ...params, epilogue: epilogueBits(epilogue) },
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
  const { GH, GW, O } = grid;
  return [
    sums,
    {
      kernel: addSplits,
      constants: { Channels: value.constants.Channels },
      params: {
        epilogue: epilogueBits(epilogue),
        size: size / value.width,
        splits,
        O: O / value.width,
        GH,
        GW,
        ...output,
      },
      bind: { partial_: partial, ...epilogueBindings(epilogue), y: bind.y },
      workgroups: Math.ceil(size / value.width / 64),
      flops: splits * size,
    },
  ];
}

type DweightTensors = Record<'x' | 'dy' | 'dweight', Tensor> & { scale?: Tensor | undefined };

function dweightLaunches(
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
    params: { ...shape, batches, pixelsPerSplit, splits, ...(tile.half && { scaled: Number(scale !== undefined) }) },
    bind: { x, dy, dweight: partial, ...(tile.half && { scale }) },
    workgroups: tiles * splits,
    flops: 2 * batches * pixels * rows * O,
  };
  return splits === 1 ? [launch] : [launch, ...sumRowsLaunches(context, partial, dweight, splits, batches * rows * O)];
}
