// Gather convolution as an implicit matrix product with tiles in workgroup memory, for GPUs, for any number of channels; works at
// the default limits. What it computes stands in gather.wgsl; splits as in conv2d_tiled.wgsl.
//
// A workgroup of 16×16 computes a tile of 64 pixels × 64 channels, 4×4 results an invocation, over slices of 16 input channels
// of all taps, so that few channels leave no slice half empty.
// Needs: gather.wgsl, epilogue.wgsl

alias Channels = f32;

@group(0) @binding(5) var<storage, read> x: array<f32>;
@group(0) @binding(6) var<storage, read> weight: array<f32>;

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
  let firstPixel = ((group / channelTiles) % pixelTiles) * TILE;
  let firstChannel = (group % channelTiles) * TILE;
  let batch = (group / (channelTiles * pixelTiles)) % p.batches;
  let split = group / (channelTiles * pixelTiles * p.batches);
  if (split >= p.splits) { return; }
  let inner = p.tapsY * p.tapsX * p.C;
  let begin = split * p.turnsPerSplit * SLICE;
  let end = min(inner, begin + p.turnsPerSplit * SLICE);

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
  for (var slice = begin; slice < end; slice += SLICE) {
    for (var e = 0u; e < 4u; e++) {
      let at = slice + loadC + e;
      let tap = at / p.C;
      let iy = iy0 + i32(tap / p.tapsX) * p.tapStep;
      let ix = ix0 + i32(tap % p.tapsX) * p.tapStep;
      var value = 0.0;
      if (at < end && loadPixel < p.pixels && iy >= 0 && iy < i32(p.H) && ix >= 0 && ix < i32(p.W)) {
        value = x[((n * p.H + u32(iy)) * p.W + u32(ix)) * p.C + at % p.C];
      }
      xs[(loadC + e) * STRIDE + local / 4u] = value;
    }
    let at = slice + loadRow;
    let tap = at / p.C;
    let ky = p.firstKy + (tap / p.tapsX) * p.kernelStep;
    let kx = p.firstKx + (tap % p.tapsX) * p.kernelStep;
    let row = batch * p.weightStride + ((ky * p.KW + kx) * p.C + at % p.C) * p.O;
    for (var e = 0u; e < 4u; e++) {
      var value = 0.0;
      if (at < end && loadO + e < p.O) { value = weight[row + loadO + e]; }
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

  for (var i = 0u; i < 4u; i++) {
    if (firstPixel + tm + i >= p.pixels) { break; }
    let q = batch * p.pixels + firstPixel + tm + i;
    var out = (split * p.batches * p.pixels + q) * p.O;
    if (p.splits == 1u) { out = placeOf(q) * p.O; }
    for (var j = 0u; j < 4u; j++) {
      let o = firstChannel + tn + j;
      if (o < p.O) {
        y[out + o] = finish(p.epilogue, addBias(p.epilogue, acc[i][j], o), out + o);
      }
    }
  }
}
