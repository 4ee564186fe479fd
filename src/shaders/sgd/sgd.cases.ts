import type { ErrorCase, KernelCase } from '../cases.ts';
import { type SgdOptions, sgd } from './sgd.ts';

function stepCase(shape: readonly number[], options: SgdOptions, first = false, factor?: number): KernelCase {
  const { momentum: mass = 0, weightDecay = 0, nesterov = false } = options;
  return {
    name: `sgd ${shape.join('x')} momentum ${mass} decay ${weightDecay}${nesterov ? ' nesterov' : ''}${first ? ' first step' : ''}${factor === undefined ? '' : ` gradient times ${factor}`}`,
    inputs: {
      parameter: { shape },
      gradient: { shape },
      momentum: { shape, ...(first && { value: () => 0 }) },
      learningRate: { shape: [1], value: () => 0.3 },
      ...(factor !== undefined && { gradientScale: { shape: [1], value: () => factor } }),
    },
    variables: ['parameter', 'momentum'],
    record: (_, { parameter, gradient, momentum, learningRate, gradientScale }) => {
      sgd({ parameter, gradient, momentum, learningRate, gradientScale }, options);
      return {};
    },
    reference: ({ parameter, gradient, momentum, learningRate, gradientScale }) => {
      const decayed = gradient.map((g, i) => g * (gradientScale?.[0] ?? 1) + weightDecay * parameter[i]);
      const moved = first ? decayed : decayed.map((g, i) => mass * momentum[i] + g);
      const step = nesterov ? decayed.map((g, i) => g + mass * moved[i]) : moved;
      return { parameter: parameter.map((v, i) => v - learningRate[0] * step[i]), momentum: moved };
    },
  };
}

export const cases: readonly KernelCase[] = [
  stepCase([1], {}),
  stepCase([3, 3, 5, 7], { momentum: 0.9, weightDecay: 1e-2 }),
  stepCase([3, 3, 5, 7], { momentum: 0.9, weightDecay: 1e-2 }, true),
  stepCase([255], { momentum: 0.8, nesterov: true }),
  stepCase([65, 4], { momentum: 0.9, weightDecay: 0.05, nesterov: true }, true),
  stepCase([65, 3], { momentum: 0.9, weightDecay: 0.05 }, false, 0.25),
];

export const errors: readonly ErrorCase[] = [
  {
    name: 'a parameter that cannot be updated',
    record: (tape) => {
      const [parameter, gradient, momentum] = ['parameter', 'gradient', 'momentum'].map((name) =>
        tape.input(name, [4]),
      );
      sgd({
        parameter: parameter,
        gradient: gradient,
        momentum: momentum,
        learningRate: tape.input('learningRate', [1]),
      });
    },
    message: 'sgd: parameter is not a variable; parameter [4], gradient [4], momentum [4], learningRate [1]',
  },
];
