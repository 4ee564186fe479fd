/** How a parameter lies in a state dict (PyTorch's way) and on the device (channels last, output channels fastest). */
export type Layout = 'convolution' | 'linear' | 'vector';

/** The device's shape of a parameter: OIHW → HWIO, [out, in] → [in, out], vectors as they are. */
export function deviceShape(shape: readonly number[], layout: Layout): readonly number[] {
  return axes(layout, shape.length).map((axis) => shape[axis]);
}

/** A parameter as PyTorch stores it → as the device does. `shape` is PyTorch's. */
export function toDevice(data: Float32Array, shape: readonly number[], layout: Layout): Float32Array {
  return permute(data, shape, axes(layout, shape.length));
}

/** A parameter as the device stores it → as PyTorch does. `shape` is PyTorch's. */
export function fromDevice(data: Float32Array, shape: readonly number[], layout: Layout): Float32Array {
  const order = axes(layout, shape.length);
  const inverse = order.map((_, axis) => order.indexOf(axis));
  return permute(data, deviceShape(shape, layout), inverse);
}

function axes(layout: Layout, rank: number): readonly number[] {
  if (layout === 'convolution') return [2, 3, 1, 0];
  if (layout === 'linear') return [1, 0];
  return Array.from({ length: rank }, (_, axis) => axis);
}

/** Reorders dimensions: result dimension i is dimension order[i] of `data`. */
export function permute(data: Float32Array, shape: readonly number[], order: readonly number[]): Float32Array {
  const strides = new Array<number>(shape.length).fill(1);
  for (let axis = shape.length - 2; axis >= 0; axis--) strides[axis] = strides[axis + 1] * shape[axis + 1];
  const extents = order.map((axis) => shape[axis]);
  const steps = order.map((axis) => strides[axis]);
  const result = new Float32Array(data.length);
  const index = new Array<number>(extents.length).fill(0);
  for (let to = 0, from = 0; to < result.length; to++) {
    result[to] = data[from];
    for (let axis = extents.length - 1; axis >= 0; axis--) {
      from += steps[axis];
      if (++index[axis] < extents[axis]) break;
      from -= steps[axis] * extents[axis];
      index[axis] = 0;
    }
  }
  return result;
}
