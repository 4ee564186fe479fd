import { InputError } from '../errors.ts';
import type { SafetensorsTensor } from '../formats/safetensors.ts';
import { initialStateDict } from '../nn/model.ts';
import type { NetworkConfig } from '../nn/networks.ts';

/**
 * The network `frequencies` for images of a size: nothing in it is random or learned. Pixels are taken as levels/255.
 *
 * @throws InputError where images of that size have not so many patterns.
 */
export function frequencyModel(options: {
  readonly inputSize: number;
  readonly channels: number;
  readonly numClasses: number;
  readonly patterns: number;
}): { readonly config: NetworkConfig; readonly tensors: ReadonlyMap<string, SafetensorsTensor> } {
  const { channels } = options;
  const config: NetworkConfig = {
    ...options,
    architecture: 'frequencies',
    mean: new Array<number>(channels).fill(0),
    std: new Array<number>(channels).fill(1),
  };
  try {
    return { config, tensors: initialStateDict(config, 0) };
  } catch (error) {
    if (error instanceof RangeError)
      throw new InputError(`frequencies: ${error.message}; ask for fewer`, { cause: error });
    throw error;
  }
}
