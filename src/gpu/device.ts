import { AdapterError, DeviceError } from '../errors.ts';
import { PipelineCache } from './pipelines.ts';

/**
 * What the factors of matrix products and convolutions are rounded to. Sums, and everything else, are float32 in either case. `f16` is
 * for devices whose `capabilities.halfMatrices` says so.
 */
export type Precision = 'f32' | 'f16';

/** What kernels may choose a variant by. Never the vendor's name. */
export interface Capabilities {
  /** The adapter runs on the CPU (lavapipe, SwiftShader): workgroup memory costs, registers and broadcasts pay. */
  readonly software: boolean;
  /** Lanes of a subgroup when all subgroups have the same number and broadcasts are available, else 0. */
  readonly subgroupSize: number;
  /** GPU timestamps can be taken. */
  readonly timestamps: boolean;
  /** Has matrix units that multiply 16×16 matrices of float16 into float32, by subgroups of 32 lanes, and was opened to use them. */
  readonly halfMatrices: boolean;
  /** Memory that the invocations of a workgroup may share. */
  readonly workgroupBytes: number;
  /** Most bytes that one tensor may have: kernels bind a tensor whole. */
  readonly tensorBytes: number;
  /** About how many workgroups keep the adapter busy. WebGPU does not tell; too many are better than too few. */
  readonly workgroupsAtOnce: number;
}

/** How {@link Device.open} opens an adapter. */
export interface DeviceOptions {
  /**
   * What training, marking and measuring compute with (see `Precision`); `f16` also opens the adapter's matrix units. Default `f32`.
   * Features and scores for statistics are float32 in any case.
   */
  readonly precision?: Precision;
  /** Most bytes this project may have allocated on the device at once. Default: no limit but the device's own. */
  readonly memoryLimitBytes?: number;
  /** Overrides what kernels choose their variant by, to measure or test one that this adapter would not get. */
  readonly capabilities?: Partial<Capabilities>;
}

/** Some per core; three on each of the compute units of the largest GPUs. */
const WORKGROUPS_AT_ONCE = { software: 16, hardware: 384 };

/** Limits kernels profit from; asked for as far as the adapter has them, everything works at the specification's defaults. */
const WANTED_LIMITS = {
  maxStorageBufferBindingSize: 2 ** 32 - 4,
  maxBufferSize: 2 ** 32 - 4,
  maxStorageBuffersPerShaderStage: 10,
  maxComputeWorkgroupStorageSize: 32768,
  maxComputeInvocationsPerWorkgroup: 256,
  maxComputeWorkgroupSizeX: 256,
} as const;

const WANTED_FEATURES = ['subgroups', 'timestamp-query'] as const;

/** What kernels for matrix units are written in. Dawn has the last behind its switch `allow_unsafe_apis`. */
const HALF_FEATURES = ['shader-f16', 'subgroups', 'chromium-experimental-subgroup-matrix'] as const;

interface MatrixConfig {
  readonly componentType: string;
  readonly resultComponentType: string;
  readonly M: number;
  readonly N: number;
  readonly K: number;
}

/** Whether the adapter multiplies 16×16 matrices of float16 into float32, by subgroups of 32. */
function hasHalfMatrices({ features, info }: GPUAdapter): boolean {
  const { subgroupMatrixConfigs = [] } = info as GPUAdapterInfo & { subgroupMatrixConfigs?: Iterable<MatrixConfig> };
  const fits = ({ componentType, resultComponentType, M, N, K }: MatrixConfig): boolean =>
    componentType === 'f16' && resultComponentType === 'f32' && M === 16 && N === 16 && K === 16;
  return (
    HALF_FEATURES.every((feature) => features.has(feature)) &&
    info.subgroupMinSize === 32 &&
    info.subgroupMaxSize === 32 &&
    [...subgroupMatrixConfigs].some(fits)
  );
}

/**
 * One WebGPU device with what this project keeps about it: capabilities, compiled pipelines, the count of live bytes and the
 * one place where errors arrive. Nothing is stored on globals, so that several devices and pages can live side by side.
 */
export class Device {
  /** WebGPU's own device. */
  readonly gpu: GPUDevice;
  /** The adapter's description of itself. */
  readonly info: GPUAdapterInfo;
  /** What kernels choose their variant by. */
  readonly capabilities: Capabilities;
  /** What training, marking and measuring compute with. */
  readonly precision: Precision;
  /** @internal */
  readonly pipelines: PipelineCache;
  /** Most bytes that may be allocated at once; infinity: what the device allows. */
  readonly memoryLimitBytes: number;
  /** Bytes of all buffers that are allocated and not destroyed. */
  liveBytes = 0;
  /** Counts of what was created since the device was opened: a replayed program must not move them. */
  readonly created = { buffers: 0, bindGroups: 0 };
  #failure: DeviceError | undefined;

  private constructor(gpu: GPUDevice, info: GPUAdapterInfo, options: DeviceOptions) {
    this.gpu = gpu;
    this.info = info;
    const fixedSubgroup = info.subgroupMinSize === info.subgroupMaxSize ? (info.subgroupMinSize ?? 0) : 0;
    const software = options.capabilities?.software ?? info.isFallbackAdapter ?? false;
    this.capabilities = {
      software,
      subgroupSize: gpu.features.has('subgroups') ? fixedSubgroup : 0,
      timestamps: gpu.features.has('timestamp-query'),
      halfMatrices: options.precision === 'f16', // `open` has made sure
      workgroupBytes: gpu.limits.maxComputeWorkgroupStorageSize,
      tensorBytes: Math.min(gpu.limits.maxStorageBufferBindingSize, gpu.limits.maxBufferSize),
      workgroupsAtOnce: software ? WORKGROUPS_AT_ONCE.software : WORKGROUPS_AT_ONCE.hardware,
      ...options.capabilities,
    };
    this.memoryLimitBytes = options.memoryLimitBytes ?? Number.POSITIVE_INFINITY;
    this.precision = options.precision ?? 'f32';
    this.pipelines = new PipelineCache(gpu);
    // Both ways a device can fail end in one place: after a loss buffers still "work" and hold zeros, so every wait asks.
    void gpu.lost.then((lost) => {
      if (lost.reason !== 'destroyed')
        this.#failure ??= new DeviceError(`GPU device lost: ${oneLine(lost.message)}; run the same command again`);
    });
    gpu.addEventListener('uncapturederror', (event) => {
      this.#failure ??= new DeviceError(`GPU error: ${oneLine((event as GPUUncapturedErrorEvent).error.message)}`);
    });
  }

  /** Opens a device on `adapter`. Throws AdapterError if it refuses or lacks what the options ask for. */
  static async open(adapter: GPUAdapter, options: DeviceOptions = {}): Promise<Device> {
    const half = options.precision === 'f16';
    if (half && !options.capabilities?.halfMatrices && !hasHalfMatrices(adapter)) {
      throw new AdapterError(
        `${adapter.info.description} cannot compute with precision f16: it has no matrix units of 16×16 float16 for subgroups of 32 (${HALF_FEATURES.at(-1)}); use f32`,
      );
    }
    const requiredLimits: Record<string, number> = {};
    for (const [name, wanted] of Object.entries(WANTED_LIMITS)) {
      const available = adapter.limits[name as keyof typeof WANTED_LIMITS];
      requiredLimits[name] = name.endsWith('Size')
        ? floorTo(Math.min(wanted, available), 256, available)
        : Math.min(wanted, available);
    }
    const requiredFeatures = [
      ...new Set(
        [...WANTED_FEATURES, ...(half ? HALF_FEATURES : [])].filter((feature) => adapter.features.has(feature)),
      ),
    ] as GPUFeatureName[];
    try {
      return new Device(await adapter.requestDevice({ requiredFeatures, requiredLimits }), adapter.info, options);
    } catch (error) {
      throw new AdapterError(`the adapter ${adapter.info.description} refused a device: ${oneLine(String(error))}`, {
        cause: error,
      });
    }
  }

  /** The adapter in words, for reports. */
  get name(): string {
    return this.info.description || this.info.device || this.info.vendor || 'unnamed adapter';
  }

  /** Throws what went wrong on the device since it was opened, if anything did. */
  check(): void {
    if (this.#failure) throw this.#failure;
  }

  /** Allocates `bytes` (rounded up to 4), zeroed. Throws DeviceError when it cannot be had. */
  async allocate(bytes: number, label: string, usage: GPUBufferUsageFlags): Promise<GPUBuffer> {
    const size = Math.max(4, Math.ceil(bytes / 4) * 4);
    if (this.liveBytes + size > this.memoryLimitBytes) {
      throw new DeviceError(
        `${label} needs ${size} bytes beside ${this.liveBytes} in use; the limit is ${this.memoryLimitBytes}: use a smaller batch`,
      );
    }
    this.gpu.pushErrorScope('out-of-memory');
    this.gpu.pushErrorScope('validation');
    const buffer = this.gpu.createBuffer({ size, usage, label });
    const [invalid, outOfMemory] = [await this.gpu.popErrorScope(), await this.gpu.popErrorScope()];
    const failed = outOfMemory ?? invalid;
    if (failed) {
      buffer.destroy();
      throw new DeviceError(
        `${label}: ${size} bytes cannot be allocated on ${this.name}: ${oneLine(failed.message)}; use a smaller batch`,
      );
    }
    this.liveBytes += size;
    this.created.buffers++;
    return buffer;
  }

  /** Gives a buffer from `allocate` back. V8's garbage collector never would. */
  free(buffer: GPUBuffer): void {
    this.liveBytes -= buffer.size;
    buffer.destroy();
  }

  /** A bind group, counted in `created`. */
  createBindGroup(descriptor: GPUBindGroupDescriptor): GPUBindGroup {
    this.created.bindGroups++;
    return this.gpu.createBindGroup(descriptor);
  }

  /** Waits until everything submitted is done. Throws DeviceError if the device failed. */
  async idle(): Promise<void> {
    await this.gpu.queue.onSubmittedWorkDone();
    this.check();
  }

  /** Copies a buffer's first `bytes` back. */
  async read(buffer: GPUBuffer, bytes: number = buffer.size): Promise<ArrayBuffer> {
    this.check();
    const size = Math.ceil(bytes / 4) * 4;
    const staging = await this.allocate(size, 'readback', GPUBufferUsage.MAP_READ | GPUBufferUsage.COPY_DST);
    try {
      const encoder = this.gpu.createCommandEncoder();
      encoder.copyBufferToBuffer(buffer, 0, staging, 0, size);
      this.gpu.queue.submit([encoder.finish()]);
      await staging.mapAsync(GPUMapMode.READ).catch((error: unknown) => {
        this.check();
        throw new DeviceError(`reading back failed: ${oneLine(String(error))}`, { cause: error });
      });
      const copy = staging.getMappedRange().slice(0, bytes);
      staging.unmap();
      this.check();
      return copy;
    } finally {
      this.free(staging);
    }
  }

  /** Gives the device up, with all that is allocated on it. */
  destroy(): void {
    this.gpu.destroy();
  }
}

/** Limits that count bytes are rounded down to a multiple (lavapipe reports 4 GiB − 1), but never below what the adapter must have. */
function floorTo(value: number, multiple: number, available: number): number {
  const floored = Math.floor(value / multiple) * multiple;
  return floored > 0 ? floored : available;
}

function oneLine(message: string): string {
  return message.replaceAll(/\s+/g, ' ').trim();
}
