import type { ErrorCase, KernelCase } from '../cases.ts';
import { type AdamOptions, adam } from './adam.ts';

function stepCase(shape: readonly number[], step: number, options: AdamOptions): KernelCase {
  const { beta1 = 0.9, beta2 = 0.999, eps = 1e-8, weightDecay = 0, decoupled = false } = options;
  const start = step === 1 && { value: () => 0 };
  return {
    name: `adam ${shape.join('x')} step ${step} betas ${beta1} ${beta2} eps ${eps} decay ${weightDecay}${decoupled ? ' decoupled' : ''}`,
    inputs: {
      parameter: { shape },
      gradient: { shape },
      firstMoment: { shape, ...start },
      secondMoment: { shape, value: (t) => t, ...start },
      step: { shape: [1], value: () => step },
      learningRate: { shape: [1], value: () => 0.3 },
    },
    variables: ['parameter', 'firstMoment', 'secondMoment'],
    record: (_, { parameter, gradient, firstMoment, secondMoment, step, learningRate }) => {
      adam(
        {
          parameter: parameter,
          gradient: gradient,
          firstMoment: firstMoment,
          secondMoment: secondMoment,
          step: step,
          learningRate: learningRate,
        },
        options,
      );
      return {};
    },
    reference: ({ parameter, gradient, firstMoment, secondMoment, learningRate }) => {
      const lr = learningRate[0];
      const decayed = gradient.map((g, i) => (decoupled ? g : g + weightDecay * parameter[i]));
      const first = decayed.map((g, i) => beta1 * firstMoment[i] + (1 - beta1) * g);
      const second = decayed.map((g, i) => beta2 * secondMoment[i] + (1 - beta2) * g * g);
      return {
        parameter: parameter.map((v, i) => {
          const mean = first[i] / (1 - beta1 ** step);
          const root = Math.sqrt(second[i] / (1 - beta2 ** step));
          return v * (decoupled ? 1 - lr * weightDecay : 1) - (lr * mean) / (root + eps);
        }),
        firstMoment: first,
        secondMoment: second,
      };
    },
    // Tight enough to see the digits that 1 − beta^step loses where it is computed as a difference.
    tolerance: 2e-6,
  };
}

export const cases: readonly KernelCase[] = [
  stepCase([1], 1, {}),
  stepCase([3, 3, 5, 7], 1, { weightDecay: 0.05 }),
  stepCase([255], 2, { weightDecay: 0.05, decoupled: true }),
  stepCase([65, 4], 600, { beta1: 0.5, beta2: 0.9999, eps: 1e-3 }),
  stepCase([257], 100_000, { beta1: 0, weightDecay: 0.01, decoupled: true }),
];

export const errors: readonly ErrorCase[] = [
  {
    name: 'a parameter that cannot be updated',
    record: (tape) => {
      const t = (name: string, size: number) => tape.input(name, [size]);
      adam({
        parameter: t('parameter', 4),
        gradient: t('gradient', 4),
        firstMoment: t('firstMoment', 4),
        secondMoment: t('secondMoment', 4),
        step: t('step', 1),
        learningRate: t('learningRate', 1),
      });
    },
    message:
      'adam: parameter is not a variable; parameter [4], gradient [4], firstMoment [4], secondMoment [4], step [1], learningRate [1]',
  },
];
