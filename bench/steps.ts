import type { BenchCase } from './cases.ts';

/**
 * Whole steps of the product, with the images each one works on. One entry a step:
 *
 *     { name: 'mark resnet18 8x224x224', build: async (device) => ({ program, images: 8, variables }) }
 *
 * `build` records and prepares the step and writes its inputs; one replay of `program` is one step.
 */
export const steps: readonly BenchCase[] = [];
