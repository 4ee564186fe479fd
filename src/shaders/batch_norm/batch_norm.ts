import { defineKernel } from '../../gpu/kernel.ts';
import type { Launch, LaunchContext } from '../../tensor/tape.ts';
import { shapeError, type Tensor } from '../../tensor/tensor.ts';
import { channelsOf } from '../channels.ts';
import { reluBackward } from '../relu/relu.ts';
import { sumRowsLaunches } from '../sum_rows/sum_rows.ts';
import applyCode from './batch_norm_apply.wgsl?raw';
import dxCode from './batch_norm_dx.wgsl?raw';
import foldCode from './batch_norm_fold.wgsl?raw';
import frozenCode from './batch_norm_frozen.wgsl?raw';
import mergeCode from './batch_norm_merge.wgsl?raw';
import reduceCode from './batch_norm_reduce.wgsl?raw';
import statsCode from './batch_norm_stats.wgsl?raw';

const statsKernel = defineKernel('batch_norm_stats', statsCode);
const mergeKernel = defineKernel('batch_norm_merge', mergeCode);
const frozenKernel = defineKernel('batch_norm_frozen', frozenCode);
const applyKernel = defineKernel('batch_norm_apply', applyCode);
const reduceKernel = defineKernel('batch_norm_reduce', reduceCode);
const dxKernel = defineKernel('batch_norm_dx', dxCode);
const foldKernel = defineKernel('batch_norm_fold', foldCode);

/** The parameters and statistics of one batch norm, all [C]. Training writes the running ones, which are variables, in place. */
export interface BatchNormTensors {
  readonly gamma: Tensor;
  readonly beta: Tensor;
  readonly runningMean: Tensor;
  readonly runningVar: Tensor;
}

/** Options of {@link batchNorm}. */
export interface BatchNormOptions {
  /** Normalise by the batch's statistics and update the running ones; otherwise use the running ones. */
  readonly training: boolean;
  /** Weight of the new batch in the running statistics. Default 0.1, as in PyTorch. */
  readonly momentum?: number;
  /** Added to the variance, default 1e-5. */
  readonly eps?: number;
  /** Added after normalising, same shape as x. */
  readonly residual?: Tensor;
  /** Ends in max(0, ·), after the residual. */
  readonly relu?: boolean;
}

const DEFAULT_EPS = 1e-5;

/**
 * Batch norm of x [..., C] over all but the last dimension (`torch.nn.functional.batch_norm`), with residual and ReLU in the same
 * pass. Running statistics take the unbiased variance. Throws ShapeError where shapes differ, and when training on one row,
 * whose variance is not defined.
 */
export function batchNorm(x: Tensor, bn: BatchNormTensors, options: BatchNormOptions): Tensor {
  const { training, momentum = 0.1, eps = DEFAULT_EPS, residual, relu = false } = options;
  const C = x.shape.at(-1)!;
  const rows = x.size / C;
  for (const [name, tensor] of Object.entries(bn)) {
    if (tensor.shape.join() !== `${C}`) shapeError('batch_norm', `${name} must be [${C}]`, { x, [name]: tensor });
  }
  if (residual && residual.shape.join() !== x.shape.join())
    shapeError('batch_norm', 'residual must have the shape of x', { x, residual });
  if (training && rows < 2) shapeError('batch_norm', 'training needs more than one value a channel', { x });
  const { gamma, beta, runningMean, runningVar } = bn;

  const [y, saved] = x.tape.record({
    op: 'batch_norm',
    inputs: [x, gamma, beta, residual, ...(training ? [] : [runningMean, runningVar])],
    outputs: [x.shape, [2, C]],
    ...(training && { updates: [runningMean, runningVar] }),
    launches: (context, [y, saved]) => {
      const scale = context.scratch([C]);
      const shift = context.scratch([C]);
      const statistics = training
        ? trainingStatistics(context, x, { ...bn, saved: saved, scale, shift }, { rows, C, eps, momentum })
        : [frozenStatistics(bn, { saved: saved, scale, shift }, C, eps)];
      const { width, constants } = channelsOf(C);
      return [
        ...statistics,
        {
          kernel: applyKernel,
          constants: { Channels: constants.Channels, HAS_RESIDUAL: residual !== undefined, RELU: relu },
          params: { rows, C: C / width },
          bind: { x, scale, shift, residual, y },
          workgroups: Math.ceil((Math.ceil(rows / 4) * (C / width)) / 64),
          flops: 2 * x.size,
        },
      ];
    },
    backward: (dy, wanted) => {
      const g = relu ? reluBackward(dy, y) : dy;
      const [dgamma, dbeta] = reduce(x, g, saved);
      return [
        wanted(0) ? batchNormDx({ x, dy: g, saved: saved, gamma, dgamma, dbeta }, training) : undefined,
        dgamma,
        dbeta,
        wanted(3) ? g : undefined,
      ];
    },
  });
  return y;
}

/**
 * Folds a frozen batch norm into the convolution (or linear layer) before it: returns weight [..., O] and bias [O] that do both.
 * Depends on variables only, so a program computes it once.
 */
export function foldBatchNorm(
  weight: Tensor,
  bias: Tensor | undefined,
  bn: BatchNormTensors,
  eps = DEFAULT_EPS,
): { weight: Tensor; bias: Tensor } {
  const O = weight.shape.at(-1)!;
  for (const [name, tensor] of Object.entries({ ...bn, ...(bias && { bias }) })) {
    if (tensor.shape.join() !== `${O}`)
      shapeError('fold_batch_norm', `${name} must be [${O}]`, { weight, [name]: tensor });
  }
  const [foldedWeight, foldedBias] = weight.tape.record({
    op: 'fold_batch_norm',
    inputs: [weight, bias, bn.gamma, bn.beta, bn.runningMean, bn.runningVar],
    outputs: [weight.shape, [O]],
    launches: (context, [foldedWeight, foldedBias]) => {
      const scale = context.scratch([O]);
      const shift = bias ? context.scratch([O]) : foldedBias;
      const fold = (from: Tensor, to: Tensor, addShift: boolean): Launch => ({
        kernel: foldKernel,
        constants: { ADD_SHIFT: addShift },
        params: { size: from.size, O },
        bind: { weight: from, scale, shift: addShift ? shift : undefined, folded: to },
        workgroups: Math.ceil(from.size / 64),
      });
      return [
        frozenStatistics(bn, { saved: context.scratch([2, O]), scale, shift }, O, eps),
        fold(weight, foldedWeight, false),
        ...(bias ? [fold(bias, foldedBias, true)] : []),
      ];
    },
  });
  return { weight: foldedWeight, bias: foldedBias };
}

/** Rows a split: few enough splits to merge quickly, enough invocations to fill the device. */
function split({ capabilities }: LaunchContext, rows: number, C: number): { rowsPerSplit: number; splits: number } {
  const invocations = capabilities.software ? 512 : 65536;
  const rowsPerSplit = Math.max(16, Math.ceil((rows * C) / invocations), Math.ceil(rows / 256));
  return { rowsPerSplit, splits: Math.ceil(rows / rowsPerSplit) };
}

function trainingStatistics(
  context: LaunchContext,
  x: Tensor,
  bind: BatchNormTensors & { saved: Tensor; scale: Tensor; shift: Tensor },
  { rows, C, eps, momentum }: { rows: number; C: number; eps: number; momentum: number },
): Launch[] {
  const { rowsPerSplit, splits } = split(context, rows, C);
  const partial = context.scratch([splits, C, 2]);
  return [
    {
      kernel: statsKernel,
      params: { rows, C, rowsPerSplit, splits },
      bind: { x, partial_: partial },
      workgroups: Math.ceil((splits * C) / 64),
      flops: 4 * x.size,
    },
    {
      kernel: mergeKernel,
      params: { rows, C, rowsPerSplit, splits, eps, momentum },
      bind: { partial_: partial, ...bind },
      workgroups: Math.ceil(C / 64),
    },
  ];
}

function frozenStatistics(
  bn: BatchNormTensors,
  out: { saved: Tensor; scale: Tensor; shift: Tensor },
  C: number,
  eps: number,
): Launch {
  return { kernel: frozenKernel, params: { C, eps }, bind: { ...bn, ...out }, workgroups: Math.ceil(C / 64) };
}

function reduce(x: Tensor, dy: Tensor, saved: Tensor): [Tensor, Tensor] {
  const C = x.shape.at(-1)!;
  const rows = x.size / C;
  const [dgamma, dbeta] = x.tape.record({
    op: 'batch_norm_reduce',
    inputs: [x, dy, saved],
    outputs: [[C], [C]],
    launches: (context, [dgamma, dbeta]) => {
      const { rowsPerSplit, splits } = split(context, rows, C);
      const parts = splits === 1 ? [dgamma, dbeta] : [context.scratch([splits, C]), context.scratch([splits, C])];
      return [
        {
          kernel: reduceKernel,
          params: { rows, C, rowsPerSplit, splits },
          bind: { x, dy, saved, dgamma: parts[0], dbeta: parts[1] },
          workgroups: Math.ceil((splits * C) / 64),
          flops: 4 * x.size,
        },
        ...(splits === 1
          ? []
          : [
              ...sumRowsLaunches(context, parts[0], dgamma, splits, C),
              ...sumRowsLaunches(context, parts[1], dbeta, splits, C),
            ]),
      ];
    },
  });
  return [dgamma, dbeta];
}

function batchNormDx(
  bind: Record<'x' | 'dy' | 'saved' | 'gamma' | 'dgamma' | 'dbeta', Tensor>,
  training: boolean,
): Tensor {
  const { x, dy, saved, gamma, dgamma, dbeta } = bind;
  const C = x.shape.at(-1)!;
  const rows = x.size / C;
  const { width, constants } = channelsOf(C);
  const [dx] = x.tape.record({
    op: 'batch_norm_dx',
    inputs: training ? [x, dy, saved, gamma, dgamma, dbeta] : [dy, saved, gamma],
    outputs: [x.shape],
    launches: (_, [dx]) => [
      {
        kernel: dxKernel,
        constants: { Channels: constants.Channels, TRAINING: training },
        params: { rows, C: C / width },
        bind: training ? { ...bind, dx } : { x: undefined, dgamma: undefined, dbeta: undefined, dy, saved, gamma, dx },
        workgroups: Math.ceil((Math.ceil(rows / 4) * (C / width)) / 64),
        flops: (training ? 8 : 2) * x.size,
      },
    ],
  });
  return dx;
}
