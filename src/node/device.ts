import os from 'node:os';
import { AdapterError, UsageError } from '../errors.ts';
import type { Device, DeviceOptions } from '../gpu/device.ts';
import { openCheckedDevice } from '../shaders/selftest.ts';
import { optionalModule } from './optional.ts';

/** Which adapter {@link openDevice} opens, and how. */
export interface NodeDeviceOptions extends DeviceOptions {
  /** Part of the adapter's name, as `doctor` lists them; default: the first real GPU, else a software adapter. */
  readonly adapter?: string | undefined;
}

const INSTALL_HINT =
  'install a GPU driver with Vulkan, or the software one: Debian 12 `apt-get install -t bookworm-backports mesa-vulkan-drivers libvulkan1`, elsewhere mesa-vulkan-drivers >= 24';

/** Dawn's switches: timestamps in nanoseconds instead of steps of 65 536. */
const DAWN_SWITCHES = ['disable-dawn-features=timestamp_quantization'];

/** And what precision f16 needs: matrix units are experimental in WebGPU, float16 on NVIDIA's drivers is to Dawn. */
export const HALF_SWITCHES = [...DAWN_SWITCHES, 'enable-dawn-features=allow_unsafe_apis,vulkan_enable_f16_on_nvidia'];

/**
 * Opens Dawn for Node. Dawn's constants (`GPUBufferUsage`, …), which browsers have as globals, are made globals too.
 * It is kept for the life of the process.
 *
 * @throws MissingModuleError with what to install where the optional dependency `webgpu` is missing.
 */
export async function openGpu(switches: readonly string[] = DAWN_SWITCHES): Promise<GPU> {
  const webgpu = await optionalModule('webgpu', () => import('webgpu'));
  Object.assign(globalThis, webgpu.globals);
  const gpu = webgpu.create([...switches]);
  instances.add(gpu);
  return gpu;
}

/**
 * Every instance of Dawn, for the life of the process: it ends when its object is collected, and takes the process with it where an adapter
 * or a device of it is still there, which the collector does not know.
 */
const instances = new Set<GPU>();

/** All adapters Dawn accepts, real GPUs first. */
export async function listAdapters(gpu: GPU): Promise<GPUAdapter[]> {
  const found = new Map<string, GPUAdapter>();
  for (const options of [
    { powerPreference: 'high-performance' },
    { powerPreference: 'low-power' },
    { forceFallbackAdapter: true },
  ] as const) {
    const adapter = await gpu.requestAdapter(options);
    const key = adapter && `${adapter.info.vendor}/${adapter.info.device}/${adapter.info.description}`;
    if (adapter && key && !found.has(key)) found.set(key, adapter);
  }
  return [...found.values()].sort(
    (a, b) => Number(a.info.isFallbackAdapter ?? false) - Number(b.info.isFallbackAdapter ?? false),
  );
}

/**
 * Opens the device the user asked for, or the best there is.
 *
 * @throws MissingModuleError if the optional dependency `webgpu` is missing; AdapterError if there is no adapter, or none for the
 * precision asked for, or if it fails its self-test; UsageError if none has the name asked for.
 */
export async function openDevice(options: NodeDeviceOptions = {}): Promise<Device> {
  const half = options.precision === 'f16';
  const gpu = await openGpu(half ? HALF_SWITCHES : DAWN_SWITCHES);
  const adapters = await listAdapters(gpu);
  if (adapters.length === 0) throw new AdapterError(`no WebGPU adapter: ${INSTALL_HINT}`);
  const wanted = options.adapter?.toLowerCase();
  const adapter = wanted
    ? adapters.find(({ info }) => `${info.vendor} ${info.device} ${info.description}`.toLowerCase().includes(wanted))
    : adapters[0];
  if (!adapter)
    throw new UsageError(
      `no adapter is called ${options.adapter}; there are: ${adapters.map(({ info }) => info.description).join('; ')}`,
    );
  const memory = adapter.info.isFallbackAdapter ? Math.floor(os.freemem() * 0.8) : Number.POSITIVE_INFINITY;
  const device = await openCheckedDevice(adapter, { memoryLimitBytes: memory, ...options });
  // While a promise of Dawn's is pending its binding polls, and the polling thread takes cores from a software adapter's
  // workers. They exist by now and keep their priority; only this thread steps back.
  if (device.capabilities.software) os.setPriority(19);
  return device;
}
