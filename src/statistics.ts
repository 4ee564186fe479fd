/**
 * The statistics of detection, in log space, and random numbers that are the same on every machine.
 *
 * @module statistics
 */

// Statistics, in log space.

export { log10PCosine } from './maths/cosine.ts';
export { fisherLog10P } from './maths/fisher.ts';
export {
  DEFAULT_RCOND,
  type Elements,
  type LeastSquares,
  type LeastSquaresOptions,
  leastSquares,
} from './maths/linalg.ts';
export { stratifiedSumLog10P } from './maths/permutation.ts';
export {
  type CarrierLaw,
  type Expectation,
  expectedEvidence,
  meanCosineNeeded,
  meanCosineOfShift,
} from './maths/power.ts';
export { clopperPearson, type Uniformity, uniformity } from './maths/uniformity.ts';

// Seeded random numbers, the same on every machine.

export { derive, Random } from './random.ts';
