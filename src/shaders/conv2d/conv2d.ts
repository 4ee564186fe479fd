import { shapeError, type Tensor } from '../../tensor/tensor.ts';
import { halfScaleOf } from '../half_scale/half_scale.ts';
import { products } from '../linear/products.ts';
import { reluBackward } from '../relu/relu.ts';
import { sumRows } from '../sum_rows/sum_rows.ts';
import { winogradPays } from '../winograd/pays.ts';
import { tilingOf, winogradInput, winogradOutput, winogradWeight } from '../winograd/winograd.ts';
import { filledChannels, resizeRows } from './few_channels.ts';
import { gather } from './gather.ts';
import { conv2dDweight, conv2dDx } from './gradients.ts';

/** Options of {@link conv2d}. */
export interface Conv2dOptions {
  readonly stride?: number;
  readonly padding?: number;
  /** [O], added to every pixel. */
  readonly bias?: Tensor;
  /** Same shape as the result, added before the ReLU. */
  readonly residual?: Tensor;
  readonly relu?: boolean;
}

/**
 * 2-D convolution (cross-correlation, as `torch.nn.functional.conv2d`) of x [N, H, W, C] with weight [KH, KW, C, O], zero
 * padding, with bias, residual and ReLU in the same pass. Returns [N, floor((H + 2·padding − KH)/stride) + 1, …, O].
 * Throws ShapeError where shapes do not go together.
 */
export function conv2d(x: Tensor, weight: Tensor, options: Conv2dOptions = {}): Tensor {
  const { stride = 1, padding = 0, bias, residual, relu = false } = options;
  const fail = (problem: string): never => shapeError('conv2d', problem, { x, weight, bias, residual });
  if (x.shape.length !== 4) fail('x must be [N, H, W, C]');
  if (weight.shape.length !== 4) fail('weight must be [KH, KW, C, O]');
  const [N, H, W, C] = x.shape as [number, number, number, number];
  const [KH, KW, WC, O] = weight.shape as [number, number, number, number];
  if (WC !== C) fail(`weight has ${WC} input channels, x has ${C}`);
  if (!(Number.isInteger(stride) && stride >= 1)) fail(`stride ${stride} is not a positive integer`);
  if (!(Number.isInteger(padding) && padding >= 0)) fail(`padding ${padding} is not a non-negative integer`);
  const OH = Math.floor((H + 2 * padding - KH) / stride) + 1;
  const OW = Math.floor((W + 2 * padding - KW) / stride) + 1;
  if (OH < 1 || OW < 1) fail(`the ${KH}x${KW} kernel does not fit into ${H}x${W} with padding ${padding}`);
  if (bias && (bias.shape.length !== 1 || bias.shape[0] !== O)) fail(`bias must be [${O}]`);
  if (residual && residual.shape.join() !== [N, OH, OW, O].join()) fail(`residual must be [${N},${OH},${OW},${O}]`);

  const differentiates = [x, weight, bias, residual];
  const backward = (y: Tensor, dy: Tensor, wanted: (input: number) => boolean): (Tensor | undefined)[] => {
    const g = relu ? reluBackward(dy, y) : dy;
    const scale = halfScaleOf(g);
    return [
      wanted(0) ? conv2dDx(g, weight, { H, W, stride, padding, scale }) : undefined,
      wanted(1) ? conv2dDweight(x, g, { KH, KW, stride, padding, scale }) : undefined,
      wanted(2) ? sumRows(g) : undefined,
      wanted(3) ? g : undefined,
    ];
  };
  if (winogradPays(x.tape, { N, GH: OH, GW: OW, C, O, KH, KW, stride, padding }, weight)) {
    const tiling = tilingOf(N, OH, OW);
    const m = products(winogradInput(x, tiling, padding), winogradWeight(weight), { images: N });
    return winogradOutput(m, N, tiling, { bias, residual, relu, differentiates, backward });
  }
  const filled = filledChannels(x.tape, C);
  const image = filled === C ? x : resizeRows(x, C, filled, [N, H, W, filled]);
  const kernel = filled === C ? weight : resizeRows(weight, C * O, filled * O, [KH, KW, filled, O]);
  const [y] = x.tape.record({
    op: 'conv2d',
    inputs: [image, kernel, bias, residual],
    outputs: [[N, OH, OW, O]],
    launches: (context, [y]) =>
      gather(context, {
        bind: { x: image, weight: kernel, y },
        epilogue: { bias, residual, relu },
        input: { N, H, W, C: filled },
        grid: { GH: OH, GW: OW, O },
        output: { YH: OH, YW: OW, outStride: 1, phaseY: 0, phaseX: 0 },
        taps: {
          inStride: stride,
          originY: -padding,
          originX: -padding,
          tapStep: 1,
          tapsY: KH,
          tapsX: KW,
          KW,
          firstKy: 0,
          firstKx: 0,
          kernelStep: 1,
        },
      }),
    differentiates,
    backward: (dy, wanted) => backward(y, dy, wanted),
  });
  return y;
}
