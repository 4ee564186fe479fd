import { defineKernel } from '../../gpu/kernel.ts';
import { shapeError, type Tensor } from '../../tensor/tensor.ts';
import code from './marking_loss.wgsl?raw';
import dfeaturesCode from './marking_loss_dfeatures.wgsl?raw';

const kernel = defineKernel('marking_loss', code);
const dfeaturesKernel = defineKernel('marking_loss_dfeatures', dfeaturesCode);

/** All [B], one value an image. */
export interface MarkingLoss {
  /** −gain + λ_ft·distance. */
  readonly loss: Tensor;
  /** (φ(x̃) − φ(x))·u: how far the features moved towards the carrier. */
  readonly gain: Tensor;
  /** ‖φ(x̃) − φ(x)‖: how far they moved. */
  readonly distance: Tensor;
}

/**
 * The marking loss of "Radioactive data" (docs/method.md, 2) without the image penalty, which `pgdStep` takes care of: with
 * Δ = features − vanilla, loss = −Δ·u + lambdaFeatures·‖Δ‖ for every image. features, vanilla and carriers u are [B, d]; images do
 * not interact, so the images' gradients are those of the sum over the batch.
 * The gradient of the loss goes to the features; vanilla and carriers count as constants. Where Δ = 0 that of the norm is 0, as
 * `torch.linalg.vector_norm` has it. Throws ShapeError where shapes differ.
 */
export function markingLoss(
  features: Tensor,
  vanilla: Tensor,
  carriers: Tensor,
  { lambdaFeatures }: { readonly lambdaFeatures: number },
): MarkingLoss {
  const fail = (problem: string): never => shapeError('marking_loss', problem, { features, vanilla, carriers });
  if (features.shape.length !== 2) fail('features must be [B, d]');
  for (const [name, tensor] of Object.entries({ vanilla, carriers }))
    if (tensor.shape.join() !== features.shape.join()) fail(`${name} must have the shape of features`);
  const [B, d] = features.shape as [number, number];
  const [loss, gain, distance] = features.tape.record({
    op: 'marking_loss',
    inputs: [features, vanilla, carriers],
    outputs: [[B], [B], [B]],
    launches: (_, [loss, gain, distance]) => [
      {
        kernel,
        params: { B, d, lambda: lambdaFeatures },
        bind: { features, vanilla, carriers, loss, gain, distance },
        workgroups: B,
        flops: 5 * features.size,
      },
    ],
    backward: (dloss) => {
      const [dfeatures] = features.tape.record({
        op: 'marking_loss_dfeatures',
        inputs: [dloss, features, vanilla, carriers, distance],
        outputs: [features.shape],
        launches: (_, [dfeatures]) => [
          {
            kernel: dfeaturesKernel,
            params: { size: features.size, d, lambda: lambdaFeatures },
            bind: { dloss, features, vanilla, carriers, distance, dfeatures },
            workgroups: Math.ceil(features.size / 64),
            flops: 5 * features.size,
          },
        ],
      });
      return [dfeatures];
    },
  });
  return { loss: loss, gain: gain, distance: distance };
}
