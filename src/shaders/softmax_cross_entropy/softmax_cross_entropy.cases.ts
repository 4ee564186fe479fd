import type { CaseInput, ErrorCase, KernelCase } from '../cases.ts';
import { softmaxCrossEntropy } from './softmax_cross_entropy.ts';

function lossCase(N: number, K: number, targets: 'labels' | 'soft', logit = (t: number) => 8 * t - 4): KernelCase {
  const labels: CaseInput = { shape: [N], dtype: 'u32', value: (t) => Math.floor(t * K) };
  const soft: CaseInput = { shape: [N, K], value: (t) => (2 * t) / K };
  return {
    name: `softmax_cross_entropy ${N}x${K} ${targets} logits up to ${logit(1)}`,
    inputs: { logits: { shape: [N, K], value: logit }, targets: targets === 'soft' ? soft : labels },
    record: (_, { logits, targets }) => ({ loss: softmaxCrossEntropy(logits, targets) }),
    reference: ({ logits, targets: t }) => {
      let loss = 0;
      for (let n = 0; n < N; n++) {
        const row = logits.subarray(n * K, (n + 1) * K);
        const maximum = row.reduce((a, b) => Math.max(a, b));
        const logSum = maximum + Math.log(row.reduce((sum, v) => sum + Math.exp(v - maximum), 0));
        for (let k = 0; k < K; k++) {
          const weight = targets === 'soft' ? t[n * K + k] : Number(t[n] === k);
          loss += (weight * (logSum - row[k])) / N;
        }
      }
      return { loss: Float64Array.of(loss) };
    },
    gradients: ['logits'],
  };
}

export const cases: readonly KernelCase[] = [
  lossCase(1, 1, 'soft'),
  lossCase(1, 2, 'labels'),
  lossCase(7, 10, 'labels'),
  lossCase(5, 63, 'soft'),
  lossCase(3, 65, 'labels'),
  lossCase(2, 1000, 'labels'),
  // exp of these is infinite: only differences to the maximum may be exponentiated.
  lossCase(4, 33, 'labels', (t) => 512 * t - 128),
  lossCase(17, 2, 'labels'),
];

export const errors: readonly ErrorCase[] = [
  {
    name: 'a label too few',
    record: (tape) => softmaxCrossEntropy(tape.input('logits', [8, 10]), tape.input('labels', [7], 'u32')),
    message: 'softmax_cross_entropy: targets of u32 must be [8]; logits [8,10], targets [7]',
  },
  {
    name: 'labels that are no integers',
    record: (tape) => softmaxCrossEntropy(tape.input('logits', [8, 10]), tape.input('labels', [8])),
    message: 'softmax_cross_entropy: targets of f32 must be [8,10]; logits [8,10], targets [8]',
  },
  {
    name: 'logits of pixels',
    record: (tape) => softmaxCrossEntropy(tape.input('logits', [8, 10, 2]), tape.input('labels', [8], 'u32')),
    message: 'softmax_cross_entropy: logits must be [N, K]; logits [8,10,2], targets [8]',
  },
];
