import type { Tensor } from '../../tensor/tensor.ts';

/** What follows a convolution's sums, in this order. Comes with each launch, as a CPU adapter takes long to compile a variant. */
export interface Epilogue {
  /** [O], added to every pixel. */
  readonly bias?: Tensor | undefined;
  /** Added; of the result's shape. */
  readonly residual?: Tensor | undefined;
  readonly relu?: boolean;
  /** Leaves 0 where it is not positive: the gradient of a ReLU with this result. */
  readonly gate?: Tensor | undefined;
}

/** As kernels take it: BIAS 1, RESIDUAL 2, RELU 4, GATE 8. */
export const epilogueBits = ({ bias, residual, relu = false, gate }: Epilogue): number =>
  Number(bias !== undefined) + 2 * Number(residual !== undefined) + 4 * Number(relu) + 8 * Number(gate !== undefined);

/** Their bindings. */
export const epilogueBindings = ({
  bias,
  residual,
  gate,
}: Epilogue): Record<'bias' | 'residual' | 'gate', Tensor | undefined> => ({
  bias,
  residual,
  gate,
});
