// Gather convolution as an implicit matrix product with tiles in workgroup memory, for GPUs; works at the default limits.
// The same mathematics and parameters as conv2d_subgroup.wgsl.
//
// A workgroup of 16×16 computes a tile of 64 pixels × 64 channels, 4×4 results an invocation, over slices of 16 input channels
// of one tap.

struct Params {
  pixels: u32, batches: u32, weightStride: u32, H: u32, W: u32, C: u32,
  GH: u32, GW: u32, O: u32,
  YH: u32, YW: u32, outStride: u32, phaseY: u32, phaseX: u32,
  inStride: u32, originY: i32, originX: i32, tapStep: i32,
  tapsY: u32, tapsX: u32, KW: u32, firstKy: u32, firstKx: u32, kernelStep: u32,
}
@group(0) @binding(0) var<storage, read> x: array<f32>;
@group(0) @binding(1) var<storage, read> weight: array<f32>;
@group(0) @binding(2) var<storage, read> bias: array<f32>;
@group(0) @binding(3) var<storage, read> residual: array<f32>;
@group(0) @binding(4) var<storage, read_write> y: array<f32>;
@group(0) @binding(5) var<uniform> p: Params;

const TILE = 64u;
const SLICE = 16u;
const STRIDE = TILE + 4u;  // padding keeps the columns on different memory banks
var<workgroup> xs: array<f32, SLICE * STRIDE>;
var<workgroup> ws: array<f32, SLICE * STRIDE>;

@compute @workgroup_size(256)
fn main(@builtin(workgroup_id) wg: vec3u, @builtin(num_workgroups) num: vec3u, @builtin(local_invocation_index) local: u32) {
  let group = wg.y * num.x + wg.x;
  let channelTiles = (p.O + TILE - 1u) / TILE;
  let pixelTiles = (p.pixels + TILE - 1u) / TILE;
  let batch = group / (channelTiles * pixelTiles);
  let firstPixel = ((group / channelTiles) % pixelTiles) * TILE;
  let firstChannel = (group % channelTiles) * TILE;

  // This invocation loads, of each slice, 4 input channels of one pixel and 4 weights of one input channel.
  let loadPixel = firstPixel + local / 4u;
  let loadC = (local % 4u) * 4u;
  let pixel = batch * p.pixels + min(loadPixel, p.pixels - 1u);
  let n = pixel / (p.GH * p.GW);
  let iy0 = i32(((pixel / p.GW) % p.GH) * p.inStride) + p.originY;
  let ix0 = i32((pixel % p.GW) * p.inStride) + p.originX;
  let loadRow = local / 16u;
  let loadO = firstChannel + (local % 16u) * 4u;
  let tm = (local / 16u) * 4u;
  let tn = (local % 16u) * 4u;

  var acc: array<vec4f, 4>;
  for (var jy = 0u; jy < p.tapsY; jy++) {
    for (var jx = 0u; jx < p.tapsX; jx++) {
      let tap = (p.firstKy + jy * p.kernelStep) * p.KW + p.firstKx + jx * p.kernelStep;
      let iy = iy0 + i32(jy) * p.tapStep;
      let ix = ix0 + i32(jx) * p.tapStep;
      let inside = loadPixel < p.pixels && iy >= 0 && iy < i32(p.H) && ix >= 0 && ix < i32(p.W);
      let base = select(0u, ((n * p.H + u32(iy)) * p.W + u32(ix)) * p.C, inside);
      for (var c0 = 0u; c0 < p.C; c0 += SLICE) {
        for (var e = 0u; e < 4u; e++) {
          let c = c0 + loadC + e;
          var value = 0.0;
          if (inside && c < p.C) { value = x[base + c]; }
          xs[(loadC + e) * STRIDE + local / 4u] = value;
          let row = c0 + loadRow;
          let o = loadO + e;
          value = 0.0;
          if (row < p.C && o < p.O) { value = weight[batch * p.weightStride + (tap * p.C + row) * p.O + o]; }
          ws[loadRow * STRIDE + (local % 16u) * 4u + e] = value;
        }
        workgroupBarrier();
        for (var k = 0u; k < SLICE; k++) {
          let w = vec4f(ws[k * STRIDE + tn], ws[k * STRIDE + tn + 1u], ws[k * STRIDE + tn + 2u], ws[k * STRIDE + tn + 3u]);
          for (var i = 0u; i < 4u; i++) {
            acc[i] = fma(vec4f(xs[k * STRIDE + tm + i]), w, acc[i]);
          }
        }
        workgroupBarrier();
      }
    }
  }

  for (var i = 0u; i < 4u; i++) {
    if (batch >= p.batches || firstPixel + tm + i >= p.pixels) { break; }
    let q = batch * p.pixels + firstPixel + tm + i;
    let gx = q % p.GW;
    let gy = (q / p.GW) % p.GH;
    let row = (q / (p.GH * p.GW)) * p.YH + gy * p.outStride + p.phaseY;
    let out = (row * p.YW + gx * p.outStride + p.phaseX) * p.O;
    for (var j = 0u; j < 4u; j++) {
      let o = firstChannel + tn + j;
      if (o < p.O) {
        var value = acc[i][j];
        if (HAS_BIAS) { value += bias[o]; }
        if (HAS_RESIDUAL) { value += residual[out + o]; }
        if (RELU) { value = select(value, 0.0, value <= 0.0); }
        y[out + o] = value;
      }
    }
  }
}
