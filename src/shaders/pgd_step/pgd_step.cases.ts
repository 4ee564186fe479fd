import type { ErrorCase, KernelCase } from '../cases.ts';
import { greyGradient, pgdStep, type StepFactors, stepFactors } from './pgd_step.ts';

/** Rounds to the nearest integer, ties to even. */
function roundHalfEven(v: number): number {
  const below = Math.floor(v);
  const rest = v - below;
  return rest < 0.5 || (rest === 0.5 && below % 2 === 0) ? below : below + 1;
}

function stepCase(
  shape: readonly number[],
  {
    radius,
    rounding,
    factors,
    gradient = (t) => 2 * t - 1,
  }: { radius: number; rounding: 0 | 1; factors: StepFactors; gradient?: (t: number, index: number) => number },
): KernelCase {
  const C = shape.at(-1)!;
  // Originals at both ends of the range too, and images anywhere in the ball, on halves to meet the ties.
  const level = (i: number): number => (i % 5 === 0 ? 0 : i % 7 === 0 ? 255 : (i * 37) % 256);
  return {
    name: `pgd_step ${shape.join('x')} radius ${radius} rounding ${rounding} step ${factors.step[0]}`,
    inputs: {
      image: { shape, value: (t, i) => level(i) + Math.round((2 * t - 1) * radius * 2) / 2 },
      original: { shape, value: (_, i) => level(i) },
      gradient: { shape, value: gradient },
      rounding: { shape: [1], dtype: 'u32', value: () => rounding },
    },
    variables: ['image'],
    record: (_, { image, original, gradient, rounding }) => {
      pgdStep(image, {
        original: original,
        gradient: gradient,
        rounding: rounding,
        radiusLevels: radius,
        ...factors,
      });
      return {};
    },
    reference: ({ image, original, gradient }) => ({
      image: image.map((before, i) => {
        const x = original[i];
        const { step, shrink } = factors;
        const v = before - step[i % C] * gradient[i] - shrink[i % C] * (before - x);
        if (!rounding) return Math.min(Math.max(v, x - radius), x + radius);
        const low = Math.ceil(Math.max(x - radius, 0));
        const high = Math.floor(Math.min(x + radius, 255));
        return Math.min(Math.max(roundHalfEven(v), low), high);
      }),
    }),
  };
}

function greyCase(shape: readonly number[], grey: number, step: readonly number[]): KernelCase {
  return {
    name: `grey_gradient ${shape.join('x')}, ${grey} grey, step ${step[0]}`,
    inputs: { x: { shape }, grey: { shape: [1], dtype: 'u32', value: () => grey } },
    record: (_, { x, grey }) => ({ y: greyGradient(x, step, grey) }),
    reference: ({ x }) => ({
      y: x.map((value, i) => {
        const pixel = Math.floor(i / 3);
        if (pixel >= grey) return value;
        const moved = step.reduce((sum, each, c) => sum + (each * x[3 * pixel + c]) / 3, 0);
        return step[i % 3] === 0 ? 0 : moved / step[i % 3];
      }),
    }),
  };
}

const still = (C: number): StepFactors => ({ step: new Array(C).fill(0), shrink: new Array(C).fill(0) });
const published = (learningRate: number, std: readonly number[]): StepFactors =>
  stepFactors(std.length, { learningRate, lambdaImage: 0.0005, std });

export const cases: readonly KernelCase[] = [
  stepCase([1, 1, 1, 1], { radius: 10, rounding: 0, factors: published(1, [0.3]), gradient: (t) => t / 1000 }),
  stepCase([2, 5, 7, 3], {
    radius: 10,
    rounding: 0,
    factors: published(1, [0.229, 0.224, 0.225]),
    gradient: (t) => (2 * t - 1) / 500,
  }),
  stepCase([2, 5, 7, 3], { radius: 10, rounding: 1, factors: { step: [64, 0.5, 7], shrink: [0.25, 0, 0.5] } }),
  stepCase([3, 9, 11, 1], { radius: 2.5, rounding: 1, factors: still(1) }),
  stepCase([1, 13, 5, 5], { radius: 8, rounding: 1, factors: still(5) }),
  stepCase([1, 13, 5, 5], {
    radius: 4,
    rounding: 0,
    factors: stepFactors(5, { learningRate: 3, lambdaImage: 0.05 }),
  }),
  greyCase([70, 3], 41, [13, 5, 0.5]),
  greyCase([5, 3], 0, [1, 2, 3]),
  greyCase([129, 3], 129, [0, 0, 0]),
  stepCase([1, 16, 16, 1], { radius: 0, rounding: 1, factors: stepFactors(1, { learningRate: 99, lambdaImage: 0 }) }),
];

const options = {
  radiusLevels: 10,
  ...stepFactors(3, { learningRate: 1, lambdaImage: 0 }),
};

export const errors: readonly ErrorCase[] = [
  {
    name: 'an image that cannot be updated',
    record: (tape) => {
      const [image, original, gradient] = ['image', 'original', 'gradient'].map((name) =>
        tape.input(name, [1, 4, 4, 3]),
      );
      pgdStep(image, {
        original: original,
        gradient: gradient,
        rounding: tape.input('rounding', [1], 'u32'),
        ...options,
      });
    },
    message: 'pgd_step: image is not a variable; image [1,4,4,3], original [1,4,4,3], gradient [1,4,4,3], rounding [1]',
  },
  {
    name: 'factors for another number of channels',
    record: () => stepFactors(1, { learningRate: 1, lambdaImage: 0, std: [0.2, 0.2, 0.2] }),
    message: 'std has 3 values for 1 channels',
  },
];
