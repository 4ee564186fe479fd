type Shape4 = readonly number[];

/** Row-major `data` of four dimensions with them reordered: result dimension i is dimension order[i] of `data`. */
function permute4(
  data: ArrayLike<number>,
  shape: Shape4,
  order: readonly [number, number, number, number],
): Float32Array {
  if (shape.length !== 4 || data.length !== shape.reduce((product, extent) => product * extent, 1))
    throw new Error(`${data.length} values for [${shape.join(',')}], four dimensions expected`);
  const strides = shape.map((_, axis) => shape.slice(axis + 1).reduce((product, extent) => product * extent, 1));
  const [s0, s1, s2, s3] = order.map((axis) => strides[axis]) as [number, number, number, number];
  const [e0, e1, e2, e3] = order.map((axis) => shape[axis]) as [number, number, number, number];
  const result = new Float32Array(data.length);
  let to = 0;
  for (let a = 0; a < e0; a++)
    for (let b = 0; b < e1; b++)
      for (let c = 0; c < e2; c++) for (let d = 0; d < e3; d++) result[to++] = data[a * s0 + b * s1 + c * s2 + d * s3];
  return result;
}

/** Activations as PyTorch has them → channels last. `shape` is [N, C, H, W]. */
export const nchwToNhwc = (data: ArrayLike<number>, shape: Shape4): Float32Array => permute4(data, shape, [0, 2, 3, 1]);

/** Channels-last activations → PyTorch's order. `shape` is [N, H, W, C]. */
export const nhwcToNchw = (data: ArrayLike<number>, shape: Shape4): Float32Array => permute4(data, shape, [0, 3, 1, 2]);

/** A convolution's weight as PyTorch has it → output channels fastest. `shape` is [O, I, KH, KW]. */
export const oihwToHwio = (data: ArrayLike<number>, shape: Shape4): Float32Array => permute4(data, shape, [2, 3, 1, 0]);

/** A convolution's weight with output channels fastest → PyTorch's order. `shape` is [KH, KW, I, O]. */
export const hwioToOihw = (data: ArrayLike<number>, shape: Shape4): Float32Array => permute4(data, shape, [3, 2, 0, 1]);
