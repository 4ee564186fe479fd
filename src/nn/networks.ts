import { InputError } from '../errors.ts';
import { densenet121 } from './densenet.ts';
import { frequencies } from './frequencies.ts';
import { defaultOf, type Network, type OptionValues, parseOption } from './network.ts';
import { resnet18, resnet34, resnet50 } from './resnet.ts';
import { vgg16, vgg16Bn } from './vgg.ts';

/** Every architecture there is. */
const all = [resnet18, resnet34, resnet50, vgg16, vgg16Bn, densenet121, frequencies] as const;

/** Every architecture there is, by its name. */
export const networks: Readonly<Record<string, Network>> = Object.fromEntries(
  all.map((network) => [network.name, network as unknown as Network]),
);

type Intersection<T> = (T extends unknown ? (value: T) => void : never) extends (value: infer U) => void ? U : never;

/** Options of the networks above; each has some of them. One that is left out has its default. */
export type NetworkOptionValues = Partial<Intersection<OptionValues<(typeof all)[number]['options']>>>;

/** Everything that decides a network's shapes and what its input means; travels as metadata of a model file. */
export interface NetworkConfig extends NetworkOptionValues {
  /** A name in `networks`. */
  readonly architecture: string;
  /** Outputs of the last layer. */
  readonly numClasses: number;
  /** Height and width of the images it is made for. */
  readonly inputSize: number;
  /** 1 for grey images, 3 for colour. */
  readonly channels: number;
  /** By channel, for pixels scaled to 0–1. */
  readonly mean: readonly number[];
  /** By channel, as `mean`. */
  readonly std: readonly number[];
}

/** The network of that name. Throws InputError, beginning with `where`, for one there is not. */
export function networkOf(architecture: string, where = ''): Network {
  const network = Object.hasOwn(networks, architecture) ? networks[architecture] : undefined;
  if (network) return network;
  throw new InputError(
    `${where}architecture ${architecture} is not known; there are: ${Object.keys(networks).join(', ')}`,
  );
}

/** The names of the options that `values` has, whatever network they belong to. */
export function optionNames(values: NetworkOptionValues): string[] {
  const names = new Set(Object.values(networks).flatMap(({ options }) => Object.keys(options)));
  return Object.keys(values).filter(
    (name) => names.has(name) && values[name as keyof NetworkOptionValues] !== undefined,
  );
}

/** Throws InputError where `values` has an option that this network has not. */
export function checkOptionNames(network: Network, values: NetworkOptionValues): void {
  for (const name of optionNames(values))
    if (!Object.hasOwn(network.options, name))
      throw new InputError(`${network.name} has no option ${name}; it has: ${Object.keys(network.options).join(', ')}`);
}

/**
 * The value of each option of a network: the configuration's, else its default. Throws InputError for a value the option cannot
 * have, and for an option that only other networks have.
 */
export function optionsOf(
  network: Network,
  config: NetworkOptionValues & { readonly inputSize: number },
): NetworkOptionValues {
  checkOptionNames(network, config);
  return Object.fromEntries(
    Object.entries(network.options).map(([name, option]) => {
      const value = config[name as keyof NetworkOptionValues] ?? defaultOf(option, config.inputSize);
      return [name, parseOption(option, value, `${network.name}: ${name}`)];
    }),
  );
}
