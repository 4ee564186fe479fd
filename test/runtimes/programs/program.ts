import { type Device, openCheckedDevice } from 'radioactive/engine';
import type { ImageCodec } from 'radioactive/images';

/** What a runtime gives to a program. */
export interface Runtime {
  /** The adapter that an embedder would get here. */
  adapter(): Promise<GPUAdapter>;
  /** Decodes and encodes image files. */
  codec(): Promise<ImageCodec>;
  /** The bytes of one of the test's input files. */
  load(name: string): Promise<Uint8Array>;
}

/**
 * A small use of the package that runs in every runtime: it imports the package's entries and portable code, and nothing else.
 * What it returns is what `runtimes.test.ts` compares; `wire.ts` says what may be in it.
 */
export type Program = (runtime: Runtime) => Promise<unknown>;

/** Uses a device and gives it back. Throws where memory of it was not given back before. */
export async function withDevice<T>(adapter: Runtime['adapter'], use: (device: Device) => Promise<T>): Promise<T> {
  const device = await openCheckedDevice(await adapter());
  try {
    const result = await use(device);
    if (device.liveBytes !== 0) throw new Error(`${device.liveBytes} bytes are left on the device`);
    return result;
  } finally {
    device.destroy();
  }
}
