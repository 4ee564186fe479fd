import { expect } from 'vitest';
import { golden } from './golden.ts';
import { nchwToNhwc } from './layout.ts';
import type { NetworkOutputs } from './runtimes/programs/golden_network.ts';
import type { Trained } from './runtimes/programs/training.ts';
import { expectClose } from './tolerance.ts';

/**
 * Allowed difference of a loss, relative, and of a final weight, relative to its tensor's largest. Without chaos more can be asked
 * for than 1e-3 and 5e-3: half the weight decay changes the losses by 2.8e-5.
 */
export const LOSS_TOLERANCE = 2e-5;
const WEIGHT_TOLERANCE = 2e-3;

/** Fails unless features, logits and the image's gradient are PyTorch's. */
export function expectGoldenOutputs({ features, logits, imageGradient }: NetworkOutputs): void {
  const io = golden('resnet18_io');
  expectClose(features, io.float32('features'), 1e-4, 'features');
  expectClose(logits, io.float32('logits'), 1e-4, 'logits');
  expectClose(imageGradient, nchwToNhwc(io.float32('dx'), io.shape('dx')), 1e-4, 'gradient of the image');
}

/** Fails unless losses and final weights are PyTorch's. */
export function expectGoldenTraining({ losses, weights }: Trained): void {
  const file = golden('resnet18_train');
  const expected = file.float32('loss');
  expect(losses).toHaveLength(expected.length);
  losses.forEach((value, step) => {
    expectClose([value], [expected[step]], LOSS_TOLERANCE, `loss ${step}`);
  });
  const finals = [...file.tensors.keys()].filter(
    (name) => name.startsWith('final/') && file.tensors.get(name)!.dtype === 'F32',
  );
  expect(
    Object.keys(weights)
      .map((name) => `final/${name}`)
      .sort(),
  ).toEqual(finals.sort());
  for (const [name, values] of Object.entries(weights))
    expectClose(values, file.float32(`final/${name}`), WEIGHT_TOLERANCE, name);
}
