import type { Device } from '../gpu/device.ts';
import { bytesOf, type DType, type Shape, show, sizeOf } from './tensor.ts';

/**
 * State that lives across replays and may be shared by several programs: a parameter, a running statistic, a momentum, the
 * image being marked. Owns its buffer; `destroy` gives it back.
 */
export class Variable {
  /** Where it is. */
  readonly device: Device;
  /** Shown in messages. */
  readonly name: string;
  /** Extents of the axes, the last one contiguous. */
  readonly shape: Shape;
  /** Type of the elements. */
  readonly dtype: DType;
  /** Its memory on the device. */
  readonly buffer: GPUBuffer;
  /** Moves with every change, so that programs know when values derived from it are stale. */
  version = 0;

  private constructor(device: Device, name: string, shape: Shape, dtype: DType, buffer: GPUBuffer) {
    this.device = device;
    this.name = name;
    this.shape = shape;
    this.dtype = dtype;
    this.buffer = buffer;
  }

  /** Allocates a variable, zero where no data is given. Throws DeviceError when the memory cannot be had. */
  static async create(
    device: Device,
    name: string,
    shape: Shape,
    data?: Float32Array | Uint32Array,
    dtype: DType = 'f32',
  ): Promise<Variable> {
    if (data) checkSize(name, shape, data);
    const usage = GPUBufferUsage.STORAGE | GPUBufferUsage.COPY_DST | GPUBufferUsage.COPY_SRC;
    const variable = new Variable(device, name, shape, dtype, await device.allocate(bytesOf(shape), name, usage));
    if (data) variable.write(data);
    return variable;
  }

  /**
   * Sets the values, in the order of the shape. Programs that depend on them run their prologue again.
   *
   * @throws Error if there are not as many values as the shape has elements.
   */
  write(data: Float32Array | Uint32Array): void {
    checkSize(this.name, this.shape, data);
    this.device.gpu.queue.writeBuffer(this.buffer, 0, data as Float32Array<ArrayBuffer>);
    this.version++;
  }

  /** The values, as the last replay left them. */
  async read(): Promise<Float32Array> {
    return new Float32Array(await this.device.read(this.buffer, sizeOf(this.shape) * 4));
  }

  /** Gives the memory on the device back. */
  destroy(): void {
    this.device.free(this.buffer);
  }
}

function checkSize(name: string, shape: Shape, data: ArrayLike<number>): void {
  if (data.length !== sizeOf(shape)) throw new Error(`${name}: ${data.length} values for shape ${show(shape)}`);
}
