import type { ErrorCase, KernelCase, Values } from '../cases.ts';
import { conv2d } from '../conv2d/conv2d.ts';
import { type BatchNormTensors, batchNorm, foldBatchNorm } from './batch_norm.ts';

const EPS = Math.fround(1e-5);
const MOMENTUM = Math.fround(0.1);

function reference(shape: readonly number[], training: boolean, relu: boolean, values: Values): Values {
  const { x, gamma, beta, runningMean, runningVar, residual } = values;
  const C = shape.at(-1)!;
  const rows = x.length / C;
  const mean = new Float64Array(C);
  const variance = new Float64Array(C);
  for (let i = 0; i < x.length; i++) mean[i % C] += x[i] / rows;
  for (let i = 0; i < x.length; i++) variance[i % C] += (x[i] - mean[i % C]) ** 2 / rows;
  const used = training ? { mean, variance } : { mean: runningMean, variance: runningVar };
  const y = x.map((v, i) => {
    const c = i % C;
    const normalised =
      ((v - used.mean[c]) / Math.sqrt(used.variance[c] + EPS)) * gamma[c] + beta[c] + (residual?.[i] ?? 0);
    return relu ? Math.max(normalised, 0) : normalised;
  });
  if (!training) return { y };
  return {
    y,
    runningMean: runningMean.map((v, c) => (1 - MOMENTUM) * v + MOMENTUM * mean[c]),
    runningVar: runningVar.map((v, c) => (1 - MOMENTUM) * v + (MOMENTUM * variance[c] * rows) / (rows - 1)),
  };
}

function bnCase(
  shape: readonly number[],
  {
    training,
    relu = false,
    residual = false,
    offset = 0,
  }: { training: boolean; relu?: boolean; residual?: boolean; offset?: number },
): KernelCase {
  const C = shape.at(-1)!;
  const extras = [training ? 'training' : 'frozen', residual && 'residual', relu && 'relu', offset && `mean ${offset}`]
    .filter(Boolean)
    .join(' ');
  return {
    name: `batch_norm ${shape.join('x')} ${extras}`,
    inputs: {
      x: { shape, value: (t, i) => offset + (2 * t - 1) * (1 + (i % C)) + ((i % C) - 2) },
      gamma: { shape: [C], value: (t) => 0.5 + t },
      beta: { shape: [C] },
      runningMean: { shape: [C] },
      runningVar: { shape: [C], value: (t) => 0.5 + t },
      ...(residual && { residual: { shape } }),
    },
    ...(training && { variables: ['runningMean', 'runningVar'] }),
    record: (_, { x, residual, ...bn }) => ({
      y: batchNorm(x, bn as unknown as BatchNormTensors, { training, relu, ...(residual && { residual }) }),
    }),
    reference: (values) => reference(shape, training, relu, values),
    gradients: ['x', 'gamma', 'beta', ...(residual ? ['residual'] : [])],
  };
}

/** A convolution followed by a frozen batch norm must be what the folded convolution computes. */
function foldCase(kh: number, c: number, o: number, withBias: boolean): KernelCase {
  return {
    name: `fold_batch_norm ${kh}x1x${c}x${o}${withBias ? ' bias' : ''}`,
    inputs: {
      x: { shape: [1, kh, 1, c] },
      weight: { shape: [kh, 1, c, o] },
      ...(withBias && { bias: { shape: [o] } }),
      gamma: { shape: [o] },
      beta: { shape: [o] },
      runningMean: { shape: [o] },
      runningVar: { shape: [o], value: (t) => 0.5 + t },
    },
    record: (_, { x, weight, bias, ...bn }) => {
      const folded = foldBatchNorm(weight, bias, bn as unknown as BatchNormTensors);
      return { y: conv2d(x, folded.weight, { bias: folded.bias }) };
    },
    reference: ({ x, weight, bias, gamma, beta, runningMean, runningVar }) => ({
      y: Float64Array.from({ length: o }, (_, j) => {
        let sum = bias?.[j] ?? 0;
        for (let k = 0; k < kh * c; k++) sum += x[k] * weight[k * o + j];
        return ((sum - runningMean[j]) / Math.sqrt(runningVar[j] + EPS)) * gamma[j] + beta[j];
      }),
    }),
  };
}

export const cases: readonly KernelCase[] = [
  bnCase([5, 1], { training: true }),
  bnCase([3, 5, 4, 7], { training: true }),
  bnCase([2, 9, 11, 16], { training: true, relu: true, residual: true }),
  bnCase([5, 13, 12, 3], { training: true, relu: true }),
  bnCase([4, 8, 8, 5], { training: true, offset: 200 }),
  bnCase([3, 4, 5, 65], { training: false }),
  bnCase([1, 1, 1, 1], { training: false }),
  bnCase([2, 3, 3, 6], { training: false, relu: true, residual: true }),
  foldCase(1, 1, 1, false),
  foldCase(3, 5, 33, false),
  foldCase(2, 4, 6, true),
];

export const errors: readonly ErrorCase[] = [
  {
    name: 'one row',
    record: (tape) => {
      const [gamma, beta, runningMean, runningVar] = ['gamma', 'beta', 'runningMean', 'runningVar'].map((name) =>
        tape.input(name, [4]),
      );
      batchNorm(
        tape.input('x', [1, 4]),
        { gamma: gamma, beta: beta, runningMean: runningMean, runningVar: runningVar },
        { training: true },
      );
    },
    message: 'batch_norm: training needs more than one value a channel; x [1,4]',
  },
  {
    name: 'channels differ',
    record: (tape) => {
      const [gamma, beta, runningMean, runningVar] = ['gamma', 'beta', 'runningMean', 'runningVar'].map((name) =>
        tape.input(name, [4]),
      );
      batchNorm(
        tape.input('x', [2, 5]),
        { gamma: gamma, beta: beta, runningMean: runningMean, runningVar: runningVar },
        { training: false },
      );
    },
    message: 'batch_norm: gamma must be [5]; x [2,5], gamma [4]',
  },
];
