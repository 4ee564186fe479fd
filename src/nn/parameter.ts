import { DeviceError } from '../errors.ts';
import type { Device } from '../gpu/device.ts';
import { bytesOf, sizeOf } from '../tensor/tensor.ts';
import { Variable } from '../tensor/variable.ts';
import { deviceShape, fromDevice, type Layout, toDevice } from './layout.ts';
import { layoutOf, type ParameterSpec } from './recorder.ts';

/**
 * A tensor of a state dict on a device: one variable, or for a linear layer's weight that is larger than the device binds several,
 * each with the weights of some outputs. Host values are always the whole tensor as PyTorch has it.
 */
export class Parameter {
  /** Name, shape and kind, in PyTorch's layout. */
  readonly spec: ParameterSpec;
  /** [I, outputs of the part] for linear layers, otherwise a single one. */
  readonly parts: readonly Variable[];

  private constructor(spec: ParameterSpec, parts: readonly Variable[]) {
    this.spec = spec;
    this.parts = parts;
  }

  /** Allocates a parameter, zero where no values are given. Throws DeviceError when the memory cannot be had, or not be bound. */
  static async create(
    device: Device,
    spec: ParameterSpec,
    values?: Float32Array,
    name: string = spec.name,
  ): Promise<Parameter> {
    const parts: Variable[] = [];
    try {
      const splits = partRows(spec, device.capabilities.tensorBytes);
      for (const [index, rows] of splits.entries()) {
        const { shape, layout, on } = view(spec, rows);
        if (bytesOf(on) > device.capabilities.tensorBytes) {
          throw new DeviceError(
            `${name} [${shape.join(',')}] needs ${bytesOf(on)} bytes, ${device.name} binds at most ${device.capabilities.tensorBytes}: use another device, or a smaller network`,
          );
        }
        const label = splits.length === 1 ? name : `${name} part ${index}`;
        const data = values && toDevice(rowsOf(values, spec, splits, index), shape, layout);
        parts.push(await Variable.create(device, label, on, data));
      }
      return new Parameter(spec, parts);
    } catch (error) {
      for (const part of parts) part.destroy();
      throw error;
    }
  }

  /** The values as PyTorch has them, row-major, as the last replay left them. */
  async read(): Promise<Float32Array> {
    const all = new Float32Array(sizeOf(this.spec.shape));
    const splits = this.#splits;
    for (const [index, part] of this.parts.entries()) {
      const { shape, layout } = view(this.spec, splits[index]);
      rowsOf(all, this.spec, splits, index).set(fromDevice(await part.read(), shape, layout));
    }
    return all;
  }

  /** Sets all values, as PyTorch has them. */
  write(values: Float32Array): void {
    const splits = this.#splits;
    for (const [index, part] of this.parts.entries()) {
      const { shape, layout } = view(this.spec, splits[index]);
      part.write(toDevice(rowsOf(values, this.spec, splits, index), shape, layout));
    }
  }

  /** Gives the memory on the device back. */
  destroy(): void {
    for (const part of this.parts) part.destroy();
  }

  get #splits(): number[] {
    return this.spec.kind === 'linear' ? this.parts.map(({ shape }) => shape[1]) : [this.spec.shape[0]];
  }
}

/** The device's shape of a whole parameter. */
export const wholeShape = (spec: ParameterSpec): readonly number[] => view(spec, spec.shape[0]).on;

/** Some of a tensor's rows as `toDevice` takes them, and the shape they have on the device. */
function view(
  { shape, kind, flattens }: ParameterSpec,
  rows: number,
): { shape: readonly number[]; layout: Layout; on: readonly number[] } {
  const part = [rows, ...shape.slice(1)];
  // Inputs that are the pixels of an image come in the order C, H, W, and lie on the device in the order H, W, C.
  if (flattens) return { shape: [rows, ...flattens], layout: 'convolution', on: [shape[1], rows] };
  return { shape: part, layout: layoutOf(kind), on: deviceShape(part, layoutOf(kind)) };
}

/** Rows of each part: as few parts as the device allows, about equal, of a multiple of 32 outputs where there are so many. */
function partRows({ shape, kind }: ParameterSpec, maxBytes: number): number[] {
  const rows = shape[0];
  if (kind !== 'linear' || bytesOf(shape) <= maxBytes) return [rows];
  const most = Math.max(1, Math.floor(maxBytes / (4 * shape[1])));
  const even = Math.ceil(rows / Math.ceil(rows / most));
  const each = Math.ceil(even / 32) * 32 <= most ? Math.ceil(even / 32) * 32 : even;
  return Array.from({ length: Math.ceil(rows / each) }, (_, part) => Math.min(each, rows - part * each));
}

/** The values of one part, a view. */
function rowsOf(
  values: Float32Array,
  { shape }: ParameterSpec,
  splits: readonly number[],
  index: number,
): Float32Array {
  const rowSize = values.length / shape[0];
  const first = splits.slice(0, index).reduce((sum, rows) => sum + rows, 0);
  return values.subarray(first * rowSize, (first + splits[index]) * rowSize);
}
