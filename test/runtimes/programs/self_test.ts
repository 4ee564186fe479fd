import { type SelfTest, selfTest } from 'radioactive/engine';
import { changedDevices } from './faults.ts';
import { type Runtime, withDevice } from './program.ts';

export interface SelfTested {
  /** The adapter's name. */
  readonly adapter: string;
  readonly tests: readonly SelfTest[];
  /** The same where `createComputePipelineAsync` throws, and how often it did. */
  readonly synchronous: { readonly tests: readonly SelfTest[]; readonly thrown: number };
}

export default async function program({ adapter }: Runtime): Promise<SelfTested> {
  const tested = await withDevice(adapter, async (device) => ({ adapter: device.name, tests: await selfTest(device) }));
  let thrown = 0;
  const unable = changedDevices(adapter, (gpu) => {
    gpu.createComputePipelineAsync = () => {
      thrown++;
      throw new TypeError('not implemented');
    };
  });
  const tests = await withDevice(unable, selfTest);
  return { ...tested, synchronous: { tests, thrown } };
}
