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

/** Edge of the square tiles that are transposed at a time: rows of both sides stay in the cache meanwhile. */
const TILE = 32;

/** Reorders dimensions: result dimension i is dimension order[i] of `data`. */
export function permute(data: Float32Array, shape: readonly number[], order: readonly number[]): Float32Array {
  const stridesOf = (extents: readonly number[]): number[] =>
    extents.map((_, axis) => extents.slice(axis + 1).reduce((product, extent) => product * extent, 1));
  const extents = order.map((axis) => shape[axis]);
  const from = stridesOf(shape);
  const steps = order.map((axis) => from[axis]);
  const strides = stridesOf(extents);
  const result = new Float32Array(data.length);
  const last = extents.length - 1;
  const fastest = order.indexOf(last);
  if (last < 0 || data.length === 0) return data.slice();
  if (fastest === last) {
    for (let to = 0; to < result.length; to += extents[last]) {
      const at = offsetOf(to);
      result.set(data.subarray(at, at + extents[last]), to);
    }
    return result;
  }
  // The fastest dimensions of both sides are transposed in tiles, for every index of the others.
  const others = result.length / (extents[last] * extents[fastest]);
  const otherStrides = strides.map((_, axis) => axis).filter((axis) => axis !== last && axis !== fastest);
  for (let other = 0; other < others; other++) {
    let [to, at, rest] = [0, 0, other];
    for (const axis of otherStrides.toReversed()) {
      const index = rest % extents[axis];
      rest = (rest - index) / extents[axis];
      to += index * strides[axis];
      at += index * steps[axis];
    }
    transpose(to, at);
  }
  return result;

  /** Where in `data` the element of the result at `position` is. */
  function offsetOf(position: number): number {
    return strides.reduce(
      (sum, stride, axis) => sum + (Math.floor(position / stride) % extents[axis]) * steps[axis],
      0,
    );
  }

  function transpose(to: number, at: number): void {
    const [rows, columns, rowStride, columnStep] = [extents[fastest], extents[last], strides[fastest], steps[last]];
    for (let row0 = 0; row0 < rows; row0 += TILE) {
      const rowEnd = Math.min(row0 + TILE, rows);
      for (let column0 = 0; column0 < columns; column0 += TILE) {
        const columnEnd = Math.min(column0 + TILE, columns);
        for (let row = row0; row < rowEnd; row++)
          for (let column = column0; column < columnEnd; column++)
            result[to + row * rowStride + column] = data[at + row + column * columnStep];
      }
    }
  }
}
