import type { ErrorCase, KernelCase } from '../cases.ts';
import { movingAverage } from './moving_average.ts';

const averageCase = (shape: readonly number[], decay: number): KernelCase => ({
  name: `moving_average ${shape.join('x')} decay ${decay}`,
  inputs: { average: { shape }, value: { shape }, decay: { shape: [1], value: () => decay } },
  variables: ['average'],
  record: (_, { average, value, decay }) => {
    movingAverage(average, value, decay);
    return {};
  },
  reference: ({ average, value, decay: [d] }) => ({ average: average.map((v, i) => d * v + (1 - d) * value[i]) }),
});

export const cases: readonly KernelCase[] = [
  averageCase([1], 0.5),
  averageCase([3, 3, 5, 7], 0.999),
  averageCase([65, 4], 0),
];

export const errors: readonly ErrorCase[] = [
  {
    name: 'an average that cannot be updated',
    record: (tape) => movingAverage(tape.input('average', [4]), tape.input('value', [4]), tape.input('decay', [1])),
    message: 'moving_average: average is not a variable; average [4], value [4], decay [1]',
  },
];
