import { afterAll, beforeAll, expect } from 'vitest';
import type { Device } from '../src/gpu/device.ts';
import { type NodeDeviceOptions, openDevice } from '../src/node/device.ts';

/** Opens a device for the tests of a file; afterwards nothing may be left on it. */
export function useDevice(options: NodeDeviceOptions = {}): () => Device {
  let device: Device | undefined;
  beforeAll(async () => {
    device = await openDevice(options);
  });
  afterAll(() => {
    expect(device?.liveBytes, 'bytes left on the device').toBe(0);
    device?.destroy();
  });
  return () => device!;
}
