import type { Tensor } from '../tensor/tensor.ts';
import type { Recorder } from './recorder.ts';
import { resnet18 } from './resnet.ts';

export type Stem = 'imagenet' | 'cifar' | 'small';

/** Everything that decides a network's shapes and what its input means; travels as metadata of a model file. */
export interface NetworkConfig {
  readonly architecture: string;
  /** Channels of the first stage; torchvision's ResNets have 64. */
  readonly width: number;
  readonly stem: Stem;
  readonly numClasses: number;
  /** Height and width of the images it is made for. */
  readonly inputSize: number;
  /** 1 for grey images, 3 for colour. */
  readonly channels: number;
  /** By channel, for pixels scaled to 0–1. */
  readonly mean: readonly number[];
  readonly std: readonly number[];
}

/** An architecture: one file each, registered below. */
export interface Network {
  readonly name: string;
  /** torchvision's name of the last linear layer. */
  readonly head: string;
  readonly stems: readonly Stem[];
  /** Records everything before the last linear layer: x [N, H, W, channels], normalised → [N, d]. */
  features(net: Recorder, x: Tensor, config: NetworkConfig): Tensor;
}

export const networks: Readonly<Record<string, Network>> = Object.fromEntries(
  [resnet18].map((network) => [network.name, network]),
);
