/**
 * Gives libraries made for browsers what they look for in Node: `navigator.gpu` by Dawn, the same build the project itself
 * uses. Import the library after `provideGpu`.
 */
export async function provideGpu() {
  const { create, globals } = await import('webgpu').catch((error) => {
    throw new Error(`the package webgpu cannot be loaded (${error.message}); run npm install in the project's root`);
  });
  Object.assign(globalThis, globals);
  // As browsers have it with all that is experimental allowed: none of the libraries is held back.
  const gpu = create(['enable-dawn-features=allow_unsafe_apis']);
  globalThis.self ??= globalThis;
  if (typeof navigator === 'undefined')
    Object.defineProperty(globalThis, 'navigator', { value: { userAgent: 'node' } });
  Object.defineProperty(navigator, 'gpu', { value: gpu });
  allowSharedMemory();

  const state = { adapter: undefined, failure: undefined };
  const requestAdapter = gpu.requestAdapter.bind(gpu);
  // One adapter for all, whatever each would ask for: the one that the project takes.
  gpu.requestAdapter = async () => {
    const adapter = await requestAdapter({ powerPreference: 'high-performance' });
    if (!adapter) return null;
    state.adapter = describeAdapter(adapter.info);
    const requestDevice = adapter.requestDevice.bind(adapter);
    adapter.requestDevice = async (descriptor) => {
      const gpuDevice = await requestDevice(descriptor);
      gpuDevice.addEventListener('uncapturederror', ({ error }) => {
        state.failure ??= oneLine(error.message);
      });
      return gpuDevice;
    };
    return adapter;
  };
  return {
    state,
    /** Throws what went wrong on the device, if anything did: results after an error are not to be timed. */
    check() {
      if (state.failure) throw new Error(`GPU error: ${state.failure}`);
    },
  };
}

/** What reports say of an adapter, and whether it computes on the CPU. */
export function describeAdapter({ vendor, architecture, device, description, isFallbackAdapter }) {
  return { vendor, architecture, device, description, software: isFallbackAdapter ?? false };
}

/** Browsers take data in shared memory, which multi-threaded WebAssembly has; Dawn's binding does not. */
function allowSharedMemory() {
  const { writeBuffer } = GPUQueue.prototype;
  GPUQueue.prototype.writeBuffer = function (buffer, offset, data, dataOffset = 0, size = undefined) {
    const view = ArrayBuffer.isView(data);
    const element = view ? (data.BYTES_PER_ELEMENT ?? 1) : 1;
    const bytes = new Uint8Array(view ? data.buffer : data, view ? data.byteOffset : 0, data.byteLength);
    const from = dataOffset * element;
    const part = bytes.subarray(from, size === undefined ? bytes.length : from + size * element);
    return writeBuffer.call(this, buffer, offset, part.buffer instanceof SharedArrayBuffer ? part.slice() : part);
  };
}

const oneLine = (message) => message.replaceAll(/\s+/g, ' ').trim().slice(0, 300);
