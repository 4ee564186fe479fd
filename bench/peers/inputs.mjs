/**
 * Numbers that every process makes for itself, the same bits everywhere: nothing large travels between processes, and an
 * implementation in another language (implementations/pytorch.py) repeats these few lines. A value depends on the label and its
 * index alone.
 */

/** `count` float32 values uniform in [low, high): mulberry32, whose state is a counter, seeded by FNV-1a of the label. */
export function uniform(label, count, low = -1, high = 1) {
  let state = 0x811c9dc5;
  for (const byte of new TextEncoder().encode(label)) state = Math.imul(state ^ byte, 0x01000193);
  const values = new Float32Array(count);
  for (let i = 0; i < count; i++) {
    state = (state + 0x6d2b79f5) | 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    values[i] = low + (high - low) * ((t ^ (t >>> 14)) >>> 0) * 2 ** -32;
  }
  return values;
}

/** Uniform integers in [0, below), as float32. */
export const integers = (label, count, below) => uniform(label, count, 0, below).map(Math.floor);

export const sizeOf = (shape) => shape.reduce((product, extent) => product * extent, 1);

/** Reorders dimensions: result dimension i is dimension order[i] of `data`. */
export function permute(data, shape, order) {
  const strides = shape.map((_, axis) => sizeOf(shape.slice(axis + 1)));
  const extents = order.map((axis) => shape[axis]);
  const steps = order.map((axis) => strides[axis]);
  const result = new Float32Array(data.length);
  const index = extents.map(() => 0);
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

/** PyTorch's layouts and those of libraries that keep channels last. `shape` is always that of the argument. */
export const nchwToNhwc = (data, shape) => permute(data, shape, [0, 2, 3, 1]);
export const nhwcToNchw = (data, shape) => permute(data, shape, [0, 3, 1, 2]);
export const oihwToHwio = (data, shape) => permute(data, shape, [2, 3, 1, 0]);
export const hwioToOihw = (data, shape) => permute(data, shape, [3, 2, 0, 1]);
export const swap = (data, shape) => permute(data, shape, [1, 0]);
