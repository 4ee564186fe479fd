import { DeviceError, InputError } from '../errors.ts';
import type { SafetensorsTensor, TensorData } from '../formats/safetensors.ts';
import { toFloat32, toNumbers } from '../formats/safetensors.ts';
import type { Device } from '../gpu/device.ts';
import { derive } from '../random.ts';
import { normalise } from '../shaders/normalise/normalise.ts';
import { Tape } from '../tensor/tape.ts';
import { bytesOf, ShapeError, sizeOf, type Tensor } from '../tensor/tensor.ts';
import type { Initial, Network } from './network.ts';
import { type NetworkConfig, type NetworkOptionValues, networkOf, optionsOf } from './networks.ts';
import { Parameter, wholeShape } from './parameter.ts';
import { isNorm, isTrainable, type ParameterSpec, Recorder } from './recorder.ts';

/** A network with its weights on a device. `destroy` gives them back. */
export class Model {
  /** What network it is, and for what images. */
  readonly config: NetworkConfig;
  /** Where its weights are. */
  readonly device: Device;
  readonly #network: Network;
  readonly #options: NetworkOptionValues;
  readonly #parameters: ReadonlyMap<string, Parameter>;
  /** Training steps its batch norms have seen (`num_batches_tracked`). */
  batchesTracked = 0;

  private constructor(device: Device, config: NetworkConfig, parameters: ReadonlyMap<string, Parameter>) {
    this.device = device;
    this.#network = networkOf(config.architecture);
    this.#options = optionsOf(this.#network, config);
    this.config = { ...config, ...this.#options };
    this.#parameters = parameters;
  }

  /** A network with fresh weights, see `initialStateDict`. */
  static async create(device: Device, config: NetworkConfig, seed: number): Promise<Model> {
    return await Model.load(device, config, initialStateDict(config, seed), 'fresh weights');
  }

  /**
   * Loads a state dict with torchvision's names, strictly: missing, unknown and misshapen tensors are an InputError that lists
   * them, and so is a value that is not finite.
   */
  static async load(
    device: Device,
    config: NetworkConfig,
    tensors: ReadonlyMap<string, SafetensorsTensor>,
    file: string,
  ): Promise<Model> {
    const specs = parameterSpecs(config);
    checkStateDict(config, tensors, file);
    const bytes = specs.reduce((sum, { shape }) => sum + bytesOf(shape), 0);
    if (device.liveBytes + bytes > device.memoryLimitBytes) {
      throw new DeviceError(
        `${file}: needs ${bytes} bytes for its weights beside ${device.liveBytes} in use; the limit is ${device.memoryLimitBytes}: allow more`,
      );
    }
    const parameters = new Map<string, Parameter>();
    try {
      for (const spec of specs) {
        const values = valuesOf(spec, tensors.get(spec.name)!, file);
        parameters.set(spec.name, await Parameter.create(device, spec, values));
      }
    } catch (error) {
      for (const parameter of parameters.values()) parameter.destroy();
      throw error;
    }
    const model = new Model(device, config, parameters);
    const tracked = [...tensors].find(([name]) => name.endsWith('.num_batches_tracked'));
    // Inference does not need it: whatever it was cast to, averaged with others or not, is taken.
    const batches = Math.round(tracked ? (toNumbers(tracked[1])[0] ?? 0) : 0);
    model.batchesTracked = Number.isSafeInteger(batches) && batches > 0 ? batches : 0;
    return model;
  }

  /** Length of a feature vector. */
  get featureDimension(): number {
    return this.#parameters.get(`${this.#network.head}.weight`)!.spec.shape[1];
  }

  /** All weights and running statistics, in PyTorch's order. */
  parameters(): Parameter[] {
    return [...this.#parameters.values()];
  }

  /** What an optimiser changes; only the last layer where the features are frozen. */
  trainable(freezeFeatures = false): Parameter[] {
    const all = this.parameters().filter(({ spec }) => isTrainable(spec.kind));
    return freezeFeatures ? all.filter(({ spec }) => spec.name.startsWith(`${this.#network.head}.`)) : all;
  }

  /** Images in 8-bit levels [N, H, W, C] → what the network expects. */
  normalise(levels: Tensor): Tensor {
    return normalise(levels, { mean: this.config.mean, std: this.config.std });
  }

  /**
   * Records the features of normalised images: [N, H, W, C] → [N, d]. `seed` [2] of u32 decides what the dropouts of a network
   * drop that has any, in training: write another for every step.
   */
  features(x: Tensor, { training = false, seed }: { training?: boolean; seed?: Tensor } = {}): Tensor {
    if (x.shape[3] !== this.config.channels) {
      throw new InputError(
        `${this.config.architecture}: the images have ${x.shape[3]} channels, the model takes ${this.config.channels}`,
      );
    }
    return this.#network.features(this.#recorder(x.tape, training, seed), x, this.#options);
  }

  /** Records the last linear layer: features [N, d] → logits [N, K]. */
  logits(features: Tensor): Tensor {
    return this.#recorder(features.tape, false).linear(this.#network.head, features, this.config.numClasses);
  }

  /** torchvision's name of the last linear layer. */
  get head(): string {
    return this.#network.head;
  }

  /** The last layer's weight as PyTorch has it: [K, d], row-major. */
  async headWeight(): Promise<Float32Array> {
    return await this.#parameters.get(`${this.#network.head}.weight`)!.read();
  }

  /** The weights with PyTorch's names, shapes and order, to be saved. */
  async stateDict(): Promise<[string, TensorData][]> {
    const tensors: [string, TensorData][] = [];
    for (const parameter of this.#parameters.values()) {
      const { spec } = parameter;
      tensors.push([spec.name, { dtype: 'F32', shape: spec.shape, data: await parameter.read() }]);
      if (spec.kind === 'runningVar') {
        const name = spec.name.replace(/running_var$/, 'num_batches_tracked');
        tensors.push([name, { dtype: 'I64', shape: [], data: BigInt64Array.of(BigInt(this.batchesTracked)) }]);
      }
    }
    return tensors;
  }

  /** Gives the weights' memory on the device back. */
  destroy(): void {
    for (const parameter of this.#parameters.values()) parameter.destroy();
  }

  #recorder(tape: Tape, training: boolean, seed?: Tensor): Recorder {
    const parts = ({ name }: ParameterSpec): Tensor[] =>
      this.#parameters.get(name)!.parts.map((part) => tape.variable(part));
    return new Recorder(tape, training, parts, seed);
  }
}

/** The tensors of a network's state dict in PyTorch's order, without `num_batches_tracked`. Throws InputError for an unknown network. */
export function parameterSpecs(config: NetworkConfig): readonly ParameterSpec[] {
  const specs = new Map<string, ParameterSpec>();
  const tape = new Tape(undefined, { precision: 'f32' });
  const parts = (spec: ParameterSpec): Tensor[] => {
    specs.set(spec.name, spec);
    return [tape.input(spec.name, wholeShape(spec))];
  };
  const recorder = new Recorder(tape, true, parts, tape.input('seed', [2], 'u32'));
  const network = networkOf(config.architecture);
  const { inputSize, channels, numClasses } = config;
  const options = optionsOf(network, config);
  try {
    const features = network.features(recorder, tape.input('x', [2, inputSize, inputSize, channels]), options);
    recorder.linear(network.head, features, numClasses);
  } catch (error) {
    if (!(error instanceof ShapeError)) throw error;
    throw new InputError(`${network.name} cannot take images of ${inputSize}x${inputSize}: ${error.message}`);
  }
  return [...specs.values()];
}

/** The first element that is not finite or, of a variance, negative; −1 where there is none. (A loop: `findIndex` takes four times as long.) */
function firstBad(values: Float32Array, variance: boolean): number {
  for (let i = 0; i < values.length; i++) if (!Number.isFinite(values[i]) || (variance && values[i] < 0)) return i;
  return -1;
}

/** A parameter's values. Throws InputError for one that is not finite, a negative variance, and tensors of integers. */
function valuesOf({ name, kind }: ParameterSpec, tensor: SafetensorsTensor, file: string): Float32Array {
  const values = toFloat32(tensor);
  const bad = firstBad(values, kind === 'runningVar');
  if (bad >= 0)
    throw new InputError(
      `${file}: ${name} has ${values[bad]} at element ${bad}: the weights are damaged or training diverged; use another file`,
    );
  return values;
}

/** Throws InputError where a network cannot have these values in its state dict, which has its names and shapes. */
export function checkValues(
  config: NetworkConfig,
  tensors: ReadonlyMap<string, SafetensorsTensor>,
  file: string,
): void {
  for (const spec of parameterSpecs(config)) valuesOf(spec, tensors.get(spec.name)!, file);
}

/** What keeps a state dict from being one of these tensors: missing, misshapen and unknown ones, a phrase each. */
export function stateDictProblems(
  specs: readonly ParameterSpec[],
  tensors: ReadonlyMap<string, { readonly shape: readonly number[] }>,
): string[] {
  const problems: string[] = [];
  const known = new Set<string>();
  for (const { name, shape } of specs) {
    known.add(name);
    const tensor = tensors.get(name);
    if (!tensor) problems.push(`${name} is missing`);
    else if (tensor.shape.join() !== shape.join())
      problems.push(`${name} is [${tensor.shape.join(',')}] instead of [${shape.join(',')}]`);
  }
  for (const name of tensors.keys())
    if (!known.has(name) && !name.endsWith('.num_batches_tracked')) problems.push(`${name} is unknown`);
  return problems;
}

/** Throws InputError, with all that is wrong, unless a state dict is one of this network. */
export function checkStateDict(
  config: NetworkConfig,
  tensors: ReadonlyMap<string, SafetensorsTensor>,
  file: string,
): void {
  const problems = stateDictProblems(parameterSpecs(config), tensors);
  if (problems.length > 0) throw new MisfitError(file, config.architecture, problems);
}

/** What to do with a network that is none of those known here. */
export const OTHER_NETWORKS = 'of another network give features: --suspect-features with --suspect-classifier';
/** Problems that are named in a message. */
const SHOWN_PROBLEMS = 8;

/** Weights that are not those of a network. */
export class MisfitError extends InputError {
  override readonly name = 'MisfitError';
  /** Without what is wrong. */
  readonly headline: string;
  /** All that is wrong, a phrase each. */
  readonly problems: readonly string[];
  constructor(file: string, what: string, problems: readonly string[]) {
    const headline = `${file}: the weights do not fit ${what}`;
    const rest = problems.length - SHOWN_PROBLEMS;
    const more = rest > 0 ? `; and ${rest} more, listed by: radioactive weights` : '';
    super(`${headline}: ${problems.slice(0, SHOWN_PROBLEMS).join('; ')}${more}; ${OTHER_NETWORKS}`);
    this.headline = headline;
    this.problems = problems;
  }
}

/** Fresh weights from a seed, from the distributions that torchvision draws them from; batch norms begin as the identity. */
export function initialStateDict(config: NetworkConfig, seed: number): Map<string, SafetensorsTensor> {
  const network = networkOf(config.architecture);
  return new Map(
    parameterSpecs(config).map((spec) => {
      const { name, shape, kind } = spec;
      const random = derive(seed, 'initialise', name);
      const values = new Float32Array(sizeOf(shape));
      const initial: Initial = isNorm(kind)
        ? { constant: kind === 'gamma' || kind === 'runningVar' ? 1 : 0 }
        : network.initial(spec);
      if ('values' in initial) values.set(initial.values);
      else if ('constant' in initial) values.fill(initial.constant);
      else if ('gaussian' in initial)
        for (let i = 0; i < values.length; i++) values[i] = random.gaussian() * initial.gaussian;
      else for (let i = 0; i < values.length; i++) values[i] = (2 * random.uniform() - 1) * initial.uniform;
      return [name, { file: 'fresh weights', name, dtype: 'F32', shape, data: new Uint8Array(values.buffer) }];
    }),
  );
}
