import type { Capabilities, Precision } from '../../gpu/device.ts';
import { type Constants, defineKernel, type Kernel } from '../../gpu/kernel.ts';
import type { Tape } from '../../tensor/tape.ts';
import dweightMatrixCode from './conv2d_dweight_matrix.wgsl?raw';
import dweightSubgroupCode from './conv2d_dweight_subgroup.wgsl?raw';
import dweightSubgroupScalarCode from './conv2d_dweight_subgroup_scalar.wgsl?raw';
import dweightTiledCode from './conv2d_dweight_tiled.wgsl?raw';
import dweightTiledScalarCode from './conv2d_dweight_tiled_scalar.wgsl?raw';
import matrixCode from './conv2d_matrix.wgsl?raw';
import subgroupCode from './conv2d_subgroup.wgsl?raw';
import subgroupScalarCode from './conv2d_subgroup_scalar.wgsl?raw';
import tiledCode from './conv2d_tiled.wgsl?raw';
import tiledScalarCode from './conv2d_tiled_scalar.wgsl?raw';
import dweightCode from './dweight.wgsl?raw';
import epilogueCode from './epilogue.wgsl?raw';
import gatherCode from './gather.wgsl?raw';
import gatherQuadsCode from './gather_quads.wgsl?raw';
import matricesCode from './matrices.wgsl?raw';

/*
 * Which kernel, with which tile, computes a convolution, a matrix product or their gradients: the table `variants`.
 */

/** A kernel, what one of its workgroups computes, and the constants that make it do so. */
export interface Tile {
  readonly kernel: Kernel;
  readonly rows: number;
  readonly channels: number;
  readonly constants: Constants;
  /** The kernel rounds its factors to float16 and has a binding for the scale of a gradient. */
  readonly half?: boolean;
}

/** A tile of the gather. */
export interface GatherTile extends Tile {
  /** Output channels in one value of the weight. */
  readonly width: number;
  /** Where the sum can be cut into splits: what it adds a turn. */
  readonly turn?: number;
}

/** What a product or convolution is as a matrix product: [pixels, inner] by [inner, O], `batches` of them. */
export interface GatherShape {
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
export interface DweightShape {
  readonly rows: number;
  readonly pixels: number;
  readonly C: number;
  readonly O: number;
  readonly batches: number;
}

/** A way to compute a convolution, by what the adapter is and what is asked for. */
export interface Variant {
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

const gatherSubgroup = defineKernel('conv2d_subgroup', subgroupCode, gatherCode, epilogueCode);
const gatherSubgroupScalar = defineKernel('conv2d_subgroup_scalar', subgroupScalarCode, gatherCode, epilogueCode);
const gatherTiled = defineKernel('conv2d_tiled', tiledCode, gatherCode, gatherQuadsCode, epilogueCode);
const gatherTiledScalar = defineKernel('conv2d_tiled_scalar', tiledScalarCode, gatherCode, epilogueCode);
const gatherMatrix = defineKernel('conv2d_matrix', matrixCode, matricesCode, gatherCode, gatherQuadsCode, epilogueCode);
const dweightSubgroup = defineKernel('conv2d_dweight_subgroup', dweightSubgroupCode, dweightCode);
const dweightSubgroupScalar = defineKernel('conv2d_dweight_subgroup_scalar', dweightSubgroupScalarCode, dweightCode);
const dweightTiled = defineKernel('conv2d_dweight_tiled', dweightTiledCode, dweightCode);
const dweightTiledScalar = defineKernel('conv2d_dweight_tiled_scalar', dweightTiledScalarCode, dweightCode);
const dweightMatrix = defineKernel('conv2d_dweight_matrix', dweightMatrixCode, matricesCode, dweightCode);

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
export const variants: readonly Variant[] = [
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
/** What `variants` say for an adapter and a precision. */
export const variantFor = ({
  capabilities,
  precision,
}: {
  capabilities: Capabilities;
  precision: Precision;
}): Variant => variants.find(({ when }) => when(capabilities, precision))!;
/** Likewise for a tape; undefined where it is recorded for no adapter in particular. */
export const variantOf = ({ capabilities, precision }: Tape): Variant | undefined =>
  capabilities && variantFor({ capabilities, precision });

/**
 * In which order a sum is taken is chosen as if for so many images, however many a batch has: the same image has the same features and
 * the same mark to the last bit in batches of any size. Gradients with respect to weights are sums over the batch anyway.
 */
export const CHOICE_IMAGES = 64;

/** Into how many splits a sum of the inner extent is cut at most: a shorter one costs more than it brings. */
export const mostSplits = (inner: number): number => Math.min(16, Math.max(1, Math.floor(inner / 128)));
/** Likewise of a sum over pixels. */
export const mostDweightSplits = (pixels: number): number => Math.min(256, Math.ceil(pixels / 64));
