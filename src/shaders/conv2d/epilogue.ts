/** What follows a convolution's sums. Some kernels are compiled for it, some take it with each launch: those that compile slowly. */
export interface Epilogue {
  readonly HAS_BIAS: boolean;
  readonly HAS_RESIDUAL: boolean;
  readonly RELU: boolean;
}

/** As kernels take it with a launch: BIAS 1, RESIDUAL 2, RELU 4. */
export const epilogueBits = ({ HAS_BIAS, HAS_RESIDUAL, RELU }: Epilogue): number =>
  Number(HAS_BIAS) + 2 * Number(HAS_RESIDUAL) + 4 * Number(RELU);
