import type { ErrorCase, KernelCase, Values } from '../cases.ts';
import { markingLoss } from './marking_loss.ts';

function reference(B: number, d: number, lambda: number, { features, vanilla, carriers }: Values): Values {
  const loss = new Float64Array(B);
  const gain = new Float64Array(B);
  const distance = new Float64Array(B);
  for (let b = 0; b < B; b++) {
    let square = 0;
    for (let i = b * d; i < (b + 1) * d; i++) {
      const delta = features[i] - vanilla[i];
      gain[b] += delta * carriers[i];
      square += delta ** 2;
    }
    distance[b] = Math.sqrt(square);
    loss[b] = lambda * distance[b] - gain[b];
  }
  return { loss, gain, distance };
}

/** Images whose number divides by three are not marked yet: their features are the vanilla ones, exactly. */
function lossCase(B: number, d: number, lambda: number): KernelCase {
  const shared = (t: number, i: number): number => (Math.floor(i / d) % 3 === 0 ? Math.sin(i) : 2 * t - 1);
  return {
    name: `marking_loss ${B}x${d} lambda ${lambda}`,
    inputs: {
      features: { shape: [B, d], value: shared },
      vanilla: { shape: [B, d], value: shared },
      carriers: { shape: [B, d] },
    },
    record: (_, { features, vanilla, carriers }) => ({
      ...markingLoss(features, vanilla, carriers, { lambdaFeatures: lambda }),
    }),
    reference: (values) => reference(B, d, Math.fround(lambda), values),
    gradients: ['features'],
  };
}

export const cases: readonly KernelCase[] = [
  lossCase(1, 1, 0.01),
  lossCase(2, 63, 3),
  lossCase(5, 65, 0.5),
  lossCase(4, 512, 0.01),
  lossCase(3, 200, 0),
  lossCase(17, 2, 0.7),
];

export const errors: readonly ErrorCase[] = [
  {
    name: 'a carrier too few',
    record: (tape) =>
      markingLoss(tape.input('features', [3, 64]), tape.input('vanilla', [3, 64]), tape.input('carriers', [1, 64]), {
        lambdaFeatures: 0.01,
      }),
    message: 'marking_loss: carriers must have the shape of features; features [3,64], vanilla [3,64], carriers [1,64]',
  },
  {
    name: 'features before pooling',
    record: (tape) => {
      const [features, vanilla, carriers] = ['features', 'vanilla', 'carriers'].map((name) =>
        tape.input(name, [3, 2, 2, 64]),
      );
      markingLoss(features, vanilla, carriers, { lambdaFeatures: 0.01 });
    },
    message: 'marking_loss: features must be [B, d]; features [3,2,2,64], vanilla [3,2,2,64], carriers [3,2,2,64]',
  },
];
