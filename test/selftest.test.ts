import { beforeAll, describe, expect, it, vi } from 'vitest';
import { AdapterError } from '../src/errors.ts';
import { Device } from '../src/gpu/device.ts';
import { listAdapters, openDevice, openGpu } from '../src/node/device.ts';
import { openCheckedDevice, selfTest } from '../src/shaders/selftest.ts';

// Dawn ends with this object.
let gpu: GPU;
beforeAll(async () => {
  gpu = await openGpu();
});

/** The adapter the tests run on, whose devices `change` alters as they are opened. */
async function alteredAdapter(change: (gpu: GPUDevice) => void): Promise<GPUAdapter> {
  const [adapter] = await listAdapters(gpu);
  const { requestDevice } = adapter;
  adapter.requestDevice = async (descriptor) => {
    const gpu = await requestDevice.call(adapter, descriptor);
    change(gpu);
    return gpu;
  };
  return adapter;
}

/** Whatever `from` matches in a kernel becomes `to`. */
const misread = (from: RegExp, to: string) => (gpu: GPUDevice) => {
  const { createShaderModule } = gpu;
  gpu.createShaderModule = ({ code, ...rest }) => {
    const changed = code.replaceAll(from, to);
    return createShaderModule.call(gpu, { code: changed, ...rest });
  };
};

describe('a device that computes wrongly', () => {
  it('is refused when it is opened', async () => {
    // As a driver does that loses a product of four in every sum.
    const adapter = await alteredAdapter(misread(/fma\(/g, '0.999 * fma('));
    const opened = vi.spyOn(Device, 'open');
    try {
      const refused = openCheckedDevice(adapter);
      await expect(refused).rejects.toBeInstanceOf(AdapterError);
      await expect(refused).rejects.toThrow(
        /^.* computes wrongly with precision f32 \(matrix product .*: relative error .*, allowed 0.00002\); update its driver, or choose another adapter$/,
      );
      // And closed: nothing can be computed on it by mistake.
      const device: Device = await opened.mock.results[0].value;
      expect((await device.gpu.lost).reason).toBe('destroyed');
    } finally {
      opened.mockRestore();
    }
  });

  it('is refused where it computes NaN', async () => {
    const adapter = await alteredAdapter(misread(/fma\(/g, 'bitcast<f32>(p.C | 0x7fc00000u) * fma('));
    await expect(openCheckedDevice(adapter)).rejects.toThrow('relative error NaN');
  });

  it('is what `openDevice` asks for too', async () => {
    const device = await openDevice();
    try {
      // It has compiled the kernels of the test, and kept nothing.
      expect(device.pipelines.compiled).toBeGreaterThan(0);
      expect(device.liveBytes).toBe(0);
    } finally {
      device.destroy();
    }
  });
});

describe('a device whose asynchronous pipelines do not work', () => {
  it.each([
    [
      'throws',
      () => {
        throw new TypeError('not implemented');
      },
    ],
    ['rejects', () => Promise.reject(new Error('not implemented'))],
  ])('gets synchronous ones: %s', async (_, createComputePipelineAsync) => {
    const adapter = await alteredAdapter((gpu) => {
      gpu.createComputePipelineAsync = createComputePipelineAsync;
    });
    const device = await openCheckedDevice(adapter);
    try {
      for (const { passed, name } of await selfTest(device)) expect(passed, name).toBe(true);
    } finally {
      device.destroy();
    }
  });

  it('still names a kernel that the device cannot run', async () => {
    const adapter = await alteredAdapter(() => {});
    const device = await Device.open(adapter);
    try {
      const code = '@compute @workgroup_size(64) fn other() {}';
      await expect(device.pipelines.get('headless', code, [])).rejects.toThrow(/^headless: .*main/s);
      device.check();
    } finally {
      device.destroy();
    }
  });
});
