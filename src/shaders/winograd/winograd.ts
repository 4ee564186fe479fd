import { type Constants, defineKernel } from '../../gpu/kernel.ts';
import type { LaunchContext } from '../../tensor/tape.ts';
import type { Tensor } from '../../tensor/tensor.ts';
import { type Epilogue, epilogueBindings, epilogueBits } from '../conv2d/epilogue.ts';
import epilogueCode from '../conv2d/epilogue.wgsl?raw';
import sharedCode from './winograd.wgsl?raw';
import dweightCode from './winograd_dweight.wgsl?raw';
import dyCode from './winograd_dy.wgsl?raw';
import inputCode from './winograd_input.wgsl?raw';
import outputCode from './winograd_output.wgsl?raw';
import weightCode from './winograd_weight.wgsl?raw';

/*
 * Winograd's F(4×4, 3×3) (Lavin & Gray 2015): 36 multiplications instead of 144 for sixteen results of a 3×3 convolution with
 * stride 1. Each step is a node of its own, so that the memory plan sees the transformed tensors, transformed weights of a frozen
 * network are computed once, and the profiler shows where the time goes.
 */

const inputKernel = defineKernel('winograd_input', inputCode, sharedCode);
const outputKernel = defineKernel('winograd_output', outputCode, sharedCode, epilogueCode);
const weightKernel = defineKernel('winograd_weight', weightCode, sharedCode);
const dyKernel = defineKernel('winograd_dy', dyCode, sharedCode);
const dweightKernel = defineKernel('winograd_dweight', dweightCode, sharedCode);

const POINTS = 36;

/**
 * Channels an invocation: a CPU adapter does not compute less for fewer; on a GPU a tile of one channel leaves registers for enough
 * invocations to hide what memory takes.
 */
const channelsFor = ({ capabilities }: LaunchContext): { width: number; constants: Constants } =>
  capabilities.software
    ? { width: 4, constants: { Channels: 'vec4f', UNROLLED: false } }
    : { width: 1, constants: { Channels: 'f32', UNROLLED: true } };

/** How results [N, GH, GW, …] fall into tiles of 4×4. */
export interface Tiling {
  readonly GH: number;
  readonly GW: number;
  readonly TH: number;
  readonly TW: number;
  readonly tiles: number;
}

export function tilingOf(N: number, GH: number, GW: number): Tiling {
  const TH = Math.ceil(GH / 4);
  const TW = Math.ceil(GW / 4);
  return { GH, GW, TH, TW, tiles: N * TH * TW };
}

/** x [N, H, W, C] → [36, tiles, C]. */
export function winogradInput(x: Tensor, { TH, TW, tiles }: Tiling, pad: number): Tensor {
  const [, H, W, C] = x.shape as [number, number, number, number];
  const [v] = x.tape.record({
    op: 'winograd_input',
    inputs: [x],
    outputs: [[POINTS, tiles, C]],
    launches: (context, [v]) => {
      const { width, constants } = channelsFor(context);
      return [
        {
          kernel: inputKernel,
          constants,
          params: { H, W, C: C / width, TH, TW, tiles, pad },
          bind: { x, v },
          workgroups: Math.ceil((tiles * C) / width / 64),
          flops: tiles * C * 12 * 13,
        },
      ];
    },
  });
  return v;
}

/** weight [3, 3, C, O] → [36, C, O], of the weights as they are or turned by 180°. */
export function winogradWeight(weight: Tensor, { turned = false } = {}): Tensor {
  const [, , C, O] = weight.shape as [number, number, number, number];
  const [u] = weight.tape.record({
    op: 'winograd_weight',
    inputs: [weight],
    outputs: [[POINTS, C, O]],
    launches: (context, [u]) => {
      const { width, constants } = channelsFor(context);
      return [
        {
          kernel: weightKernel,
          constants,
          params: { size: (C * O) / width, turned: Number(turned) },
          bind: { weight, u },
          workgroups: Math.ceil((C * O) / width / 64),
          flops: C * O * 9 * 12,
        },
      ];
    },
  });
  return u;
}

/** m [36, tiles, O] → y [N, GH, GW, O], with the epilogue and the gradient of the whole convolution. */
export function winogradOutput(
  m: Tensor,
  N: number,
  { GH, GW, TH, TW, tiles }: Tiling,
  whole: Epilogue & {
    readonly finishes?: boolean;
    readonly differentiates?: readonly (Tensor | undefined)[];
    readonly backward?: (y: Tensor, dy: Tensor, wanted: (input: number) => boolean) => readonly (Tensor | undefined)[];
  },
): Tensor {
  const O = m.shape[2];
  const { finishes = false, differentiates, backward, ...epilogue } = whole;
  const [y] = m.tape.record({
    op: 'winograd_output',
    inputs: [m, epilogue.bias, epilogue.residual],
    outputs: [[N, GH, GW, O]],
    finishes,
    launches: (context, [y]) => {
      const { width, constants } = channelsFor(context);
      return [
        {
          kernel: outputKernel,
          constants,
          params: { epilogue: epilogueBits({ ...epilogue, ...context.finish }), GH, GW, O: O / width, TH, TW, tiles },
          bind: { m, ...epilogueBindings({ ...epilogue, ...context.finish }), y },
          workgroups: Math.ceil((tiles * O) / width / 64),
          flops: tiles * O * 10 * 12,
        },
      ];
    },
    ...(differentiates && backward && { differentiates, backward: (dy, wanted) => backward(y, dy, wanted) }),
  });
  return y;
}

/** dy [N, GH, GW, O] → [36, tiles, O]. */
export function winogradDy(dy: Tensor, { GH, GW, TH, TW, tiles }: Tiling): Tensor {
  const O = dy.shape[3];
  const [m] = dy.tape.record({
    op: 'winograd_dy',
    inputs: [dy],
    outputs: [[POINTS, tiles, O]],
    launches: (context, [m]) => {
      const { width, constants } = channelsFor(context);
      return [
        {
          kernel: dyKernel,
          constants,
          params: { GH, GW, O: O / width, TH, TW, tiles },
          bind: { dy, m },
          workgroups: Math.ceil((tiles * O) / width / 64),
          flops: tiles * O * 10 * 12,
        },
      ];
    },
  });
  return m;
}

/** du [36, C, O] → dweight [3, 3, C, O]. */
export function winogradDweight(du: Tensor): Tensor {
  const [, C, O] = du.shape as [number, number, number];
  const quads = (C * O) / 4;
  const [dweight] = du.tape.record({
    op: 'winograd_dweight',
    inputs: [du],
    outputs: [[3, 3, C, O]],
    launches: (_, [dweight]) => [
      {
        kernel: dweightKernel,
        params: { quads },
        bind: { du, dweight },
        workgroups: Math.ceil(quads / 64),
        flops: C * O * 9 * 12,
      },
    ],
  });
  return dweight;
}
