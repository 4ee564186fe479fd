import type { Runtime } from './program.ts';

/** An adapter whose devices are not as they should be: `change` gets each before it is used. */
export function changedDevices(adapter: Runtime['adapter'], change: (gpu: GPUDevice) => void): Runtime['adapter'] {
  return async () => {
    const changed = await adapter();
    const request = changed.requestDevice.bind(changed);
    changed.requestDevice = async (descriptor) => {
      const gpu = await request(descriptor);
      change(gpu);
      return gpu;
    };
    return changed;
  };
}
