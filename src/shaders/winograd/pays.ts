import type { Tape } from '../../tensor/tape.ts';
import type { Tensor } from '../../tensor/tensor.ts';
import { CHOICE_IMAGES, variantFor } from '../conv2d/variants.ts';
import { tilingOf } from './winograd.ts';

/**
 * Whether a convolution of N images to GH × GW results, or its gradient, should go through Winograd's algorithm: where
 * the products it saves are worth clearly more than loading and storing the transformed tensors, and these can be bound. The
 * transformed weight of a frozen network is computed once and costs nothing. Without a weight: the gradient with respect to it.
 * But for what can be bound, results do not depend on how many images are computed together (see `CHOICE_IMAGES`).
 */
export function winogradPays(
  tape: Tape,
  shape: Record<'N' | 'GH' | 'GW' | 'C' | 'O' | 'KH' | 'KW' | 'stride' | 'padding', number>,
  weight?: Tensor,
): boolean {
  const { N, GH, GW, C, O, KH, KW, stride, padding } = shape;
  const { capabilities, precision } = tape;
  if (!capabilities) return false;
  const { accessCost } = variantFor({ capabilities, precision });
  if (KH !== 3 || KW !== 3 || stride !== 1 || padding > 2 || C % 4 !== 0 || O % 4 !== 0) return false;
  if (36 * tilingOf(N, GH, GW).tiles * Math.max(C, O) * 4 > capabilities.tensorBytes) return false;
  const images = weight ? CHOICE_IMAGES : N;
  const { tiles } = tilingOf(images, GH, GW);
  const transforms = tiles * (C * (36 + 36) + O * (36 + 16));
  let winograd: number;
  let direct: number;
  if (weight) {
    winograd =
      36 * Math.ceil(tiles / 32) * 32 * C * O +
      accessCost * (transforms + (tape.variables.has(weight) ? (9 + 36) * C * O : 0));
    direct = 9 * images * GH * GW * C * O;
  } else {
    winograd = 36 * tiles * C * O + accessCost * (transforms + (36 + 36 + 9) * C * O);
    direct = 9 * N * GH * GW * C * O + accessCost * 9 * C * O;
  }
  return winograd < 0.85 * direct;
}
