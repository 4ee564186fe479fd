import { afterAll, beforeAll } from 'vitest';
import type { Device } from '../src/gpu/device.ts';
import { type NodeDeviceOptions, openDevice } from '../src/node.ts';

/** Opens a device for the tests of a file and closes it afterwards. */
export function useDevice(options: NodeDeviceOptions = {}): () => Device {
  let device: Device | undefined;
  beforeAll(async () => {
    device = await openDevice(options);
  });
  afterAll(() => device?.destroy());
  return () => device!;
}
