import { openCheckedDevice } from 'radioactive/engine';
import { changedDevices } from './faults.ts';
import type { Runtime } from './program.ts';

export interface Refused {
  readonly name: string;
  readonly message: string;
}

/** What opening a device ends with whose multiply-add is off by one in a thousand, as those of drivers and compilers have been. */
export default async function program({ adapter }: Runtime): Promise<Refused> {
  const faulty = changedDevices(adapter, (gpu) => {
    const create = gpu.createShaderModule.bind(gpu);
    gpu.createShaderModule = (descriptor) =>
      create({ ...descriptor, code: descriptor.code.replaceAll(/\bfma\(/g, '0.999 * fma(') });
  });
  const device = await openCheckedDevice(await faulty()).catch((error: unknown) => error);
  if (!(device instanceof Error)) throw new Error('a device that computes wrongly was opened');
  return { name: device.name, message: device.message };
}
