import { InputError } from '../errors.ts';
import type { Tensor } from '../tensor/tensor.ts';
import type { ParameterSpec, Recorder } from './recorder.ts';

/** PyTorch's shape of a tensor of a state dict, by name. */
export type ShapeOf = (name: string) => readonly number[] | undefined;

interface Described<T> {
  readonly description: string;
  /** What a network gets whose maker does not say: torchvision's value, at least for images of 224 pixels. */
  readonly default: T | ((inputSize: number) => T);
  /**
   * The value that a state dict shows by its shapes; undefined where they do not decide it, and then it must be given. An option
   * without `infer` leaves no trace in a state dict: it takes its default.
   */
  readonly infer?: (shapeOf: ShapeOf) => T | undefined;
}

/** A whole number of at least 1. */
export interface CountOption extends Described<number> {
  readonly type: 'count';
}

/** A number from 0 to below 1. */
export interface ShareOption extends Described<number> {
  readonly type: 'share';
}

/** One of a few names. */
export interface ChoiceOption<T extends string = string> extends Described<T> {
  readonly type: 'choice';
  readonly choices: readonly T[];
}

/** Something that networks of one architecture may differ in. */
export type NetworkOption = CountOption | ShareOption | ChoiceOption;
/** A table of options, by the name they have in metadata and as flags. */
export type NetworkOptions = Readonly<Record<string, NetworkOption>>;

type OptionValue<O> = O extends { choices: readonly (infer Choice)[] } ? Choice : number;

/** The values of a table of options. */
export type OptionValues<T extends NetworkOptions> = { readonly [K in keyof T]: OptionValue<T[K]> };

/** The distribution a fresh weight is drawn from: normal with a standard deviation, uniform to either side of 0, or nothing random. */
export type Initial =
  | { readonly gaussian: number }
  | { readonly uniform: number }
  | { readonly constant: number }
  | { readonly values: Float32Array };

/** What a layer is called in files of another project. */
export interface Alias {
  /** Whose names they are, as messages have it. */
  readonly project: string;
  readonly pattern: RegExp;
  /** torchvision's name in place of what the pattern finds. */
  readonly to: string;
}

/** An architecture: one file each, registered in networks.ts. */
export interface Network<T extends NetworkOptions = NetworkOptions> {
  /** torchvision's name. */
  readonly name: string;
  /** torchvision's name of the first layer, a convolution where channels are to be concluded from it. */
  readonly first: string;
  /** torchvision's name of the last linear layer. */
  readonly head: string;
  /** By the name they have in metadata and, as flags, on the command line. An option of several networks means the same in all. */
  readonly options: T;
  /** Names that layers have in files of other projects, tried one after another. */
  readonly aliases?: readonly Alias[];
  /** Records everything before the last linear layer: x [N, H, W, channels], normalised → [N, d]. */
  features(net: Recorder, x: Tensor, options: OptionValues<T>): Tensor;
  /** How torchvision draws the weights and biases of convolutions and linear layers. (Batch norms begin as the identity.) */
  initial(spec: ParameterSpec): Initial;
}

/** Declares a network; the types of its options follow from its table. */
export const defineNetwork = <const T extends NetworkOptions>(network: Network<T>): Network<T> => network;

/** The default of an option for images of this size. */
export function defaultOf(option: NetworkOption, inputSize: number): number | string {
  return typeof option.default === 'function' ? option.default(inputSize) : option.default;
}

/** Reads the value of an option, as metadata and flags have it. Throws InputError that begins with `where` for one it cannot have. */
export function parseOption(option: NetworkOption, value: string | number, where: string): number | string {
  const fail = (wanted: string): never => {
    throw new InputError(`${where} is ${JSON.stringify(value)}; it must be ${wanted}`);
  };
  if (option.type === 'choice')
    return option.choices.find((choice) => choice === value) ?? fail(`one of ${option.choices.join(', ')}`);
  const number = Number(value);
  if (option.type === 'share') return number >= 0 && number < 1 ? number : fail('a number from 0 to below 1');
  return Number.isSafeInteger(number) && number >= 1 && number <= MAX_COUNT
    ? number
    : fail(`a whole number from 1 to ${MAX_COUNT}`);
}

/** Far beyond any network's width. */
const MAX_COUNT = 1e6;
