// Parameters and tensors of the gradient of a convolution with respect to its weight. A piece of conv2d_dweight_*.wgsl.
//
//   dweight[split, ky, kx, c, o] = Σ_{pixels of the split} x[n, gy*stride - pad + ky, gx*stride - pad + kx, c] · dy[n, gy, gx, o]
//
// x [N, H, W, C], dy [N, GH, GW, O], dweight [splits, batches, KH·KW·C, O]: the sum over pixels is cut into splits that run
// beside each other and are added afterwards, in a fixed order. A launch may be several products of equal shape (batches).

alias Channels = vec4f;  // output channels of one value

struct Params {
  scaled: u32, pixels: u32, batches: u32, H: u32, W: u32, C: u32, GH: u32, GW: u32, O: u32,
  rows: u32, KW: u32, stride: u32, pad: u32, pixelsPerSplit: u32, splits: u32,
}
@group(0) @binding(0) var<storage, read> dy: array<Channels>;
@group(0) @binding(1) var<storage, read_write> dweight: array<Channels>;
@group(0) @binding(2) var<uniform> p: Params;
