import type { Launch } from '../../tensor/tape.ts';
import type { Tensor } from '../../tensor/tensor.ts';
import { products, productsOverRows } from '../linear/products.ts';
import { swapLastTwo } from '../transpose/transpose.ts';
import { winogradPays } from '../winograd/pays.ts';
import {
  tilingOf,
  winogradDweight,
  winogradDy,
  winogradInput,
  winogradOutput,
  winogradWeight,
} from '../winograd/winograd.ts';
import { dweightLaunches } from './dweight.ts';
import { filledChannels, foldColumns, resizeRows } from './few_channels.ts';
import { gather } from './gather.ts';
import { variantOf } from './variants.ts';

/** The gradient with respect to x [N, H, W, C] of a convolution, from dy [N, OH, OW, O] and weight [KH, KW, C, O]. */
export function conv2dDx(
  dy: Tensor,
  weight: Tensor,
  { H, W, stride, padding, scale }: Record<'H' | 'W' | 'stride' | 'padding', number> & { scale: Tensor | undefined },
): Tensor {
  const [N, OH, OW, O] = dy.shape as [number, number, number, number];
  const [KH, KW, C] = weight.shape as [number, number, number, number];
  if (winogradPays(dy.tape, { N, GH: H, GW: W, C: O, O: C, KH, KW, stride, padding }, weight)) {
    const tiling = tilingOf(N, H, W);
    const transposed = winogradWeight(swapLastTwo(weight), { turned: true });
    const m = products(winogradInput(dy, tiling, 2 - padding), transposed, { images: N, scale });
    return winogradOutput(m, N, tiling, { finishes: true });
  }
  if (variantOf(dy.tape)?.fours && C <= 4 && O % 4 === 0) {
    // Few channels would leave most lanes idle: a matrix product to all taps of every result, gathered afterwards.
    const J = Math.ceil((KH * KW * C) / 4) * 4;
    const toTaps = swapLastTwo(resizeRows(weight, weight.size, J * O, [J, O]));
    const columns = products(dy, toTaps, { images: N, extents: [1, N * OH * OW, O, J], scale });
    return foldColumns(columns, [N, H, W, C], { GH: OH, GW: OW, KH, KW, stride, pad: padding });
  }
  const transposed = swapLastTwo(weight);
  const [dx] = dy.tape.record({
    op: 'conv2d_dx',
    inputs: [dy, transposed, scale],
    outputs: [[N, H, W, C]],
    finishes: true,
    launches: (context, [dx]) => {
      // Output pixels of one phase (their coordinates modulo the stride) meet the same taps: each phase is a dense gather.
      const launches: Launch[] = [];
      for (let phaseY = 0; phaseY < Math.min(stride, H); phaseY++) {
        for (let phaseX = 0; phaseX < Math.min(stride, W); phaseX++) {
          const firstKy = (phaseY + padding) % stride;
          const firstKx = (phaseX + padding) % stride;
          launches.push(
            ...gather(context, {
              bind: { x: dy, weight: transposed, y: dx },
              scale,
              epilogue: context.finish,
              input: { N, H: OH, W: OW, C: O },
              grid: { GH: Math.ceil((H - phaseY) / stride), GW: Math.ceil((W - phaseX) / stride), O: C },
              output: { YH: H, YW: W, outStride: stride, phaseY, phaseX },
              taps: {
                inStride: 1,
                originY: (phaseY + padding - firstKy) / stride,
                originX: (phaseX + padding - firstKx) / stride,
                tapStep: -1,
                tapsY: Math.max(0, Math.ceil((KH - firstKy) / stride)),
                tapsX: Math.max(0, Math.ceil((KW - firstKx) / stride)),
                KW,
                firstKy,
                firstKx,
                kernelStep: stride,
              },
            }),
          );
        }
      }
      return launches;
    },
  });
  return dx;
}

/** The gradient with respect to the weight [KH, KW, C, O] of a convolution, from x [N, H, W, C] and dy [N, OH, OW, O]. */
export function conv2dDweight(
  x: Tensor,
  dy: Tensor,
  {
    KH,
    KW,
    stride,
    padding,
    scale,
  }: Record<'KH' | 'KW' | 'stride' | 'padding', number> & { scale: Tensor | undefined },
): Tensor {
  const [N, H, W, C] = x.shape as [number, number, number, number];
  const [, GH, GW, O] = dy.shape as [number, number, number, number];
  if (winogradPays(x.tape, { N, GH, GW, C, O, KH, KW, stride, padding })) {
    const tiling = tilingOf(N, GH, GW);
    return winogradDweight(productsOverRows(winogradInput(x, tiling, padding), winogradDy(dy, tiling), scale));
  }
  const filled = filledChannels(x.tape, C);
  if (filled !== C) {
    const image = resizeRows(x, C, filled, [N, H, W, filled]);
    const dweight = conv2dDweight(image, dy, { KH, KW, stride, padding, scale });
    return resizeRows(dweight, filled * O, C * O, [KH, KW, C, O]);
  }
  const [dweight] = x.tape.record({
    op: 'conv2d_dweight',
    inputs: [x, dy, scale],
    outputs: [[KH, KW, C, O]],
    launches: (context, [dweight]) =>
      dweightLaunches(
        context,
        { x, dy, scale, dweight },
        { pixels: N * GH * GW, H, W, C, GH, GW, O, rows: KH * KW * C, KW, stride, pad: padding },
      ),
  });
  return dweight;
}
