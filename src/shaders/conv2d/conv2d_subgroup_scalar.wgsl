// Gather convolution as an implicit matrix product, for adapters that run on a CPU with subgroups of 8 and any number of input
// channels. What it computes stands in gather.wgsl.
//
// A subgroup computes TM pixels × 8·TN channels: a lane loads one pixel's value and TN weights, values travel by broadcast, so
// that no workgroup memory is used (slow on a CPU). Lane l owns channels first + l + 8j. The loops have constant bounds and are
// unrolled by the driver; broadcast lanes must be literals, hence the eight lines.
// Needs: gather.wgsl, epilogue.wgsl
enable subgroups;

alias Channels = f32;
const TM = 16u;
const TN = 4u;

@group(0) @binding(5) var<storage, read> x: array<f32>;
@group(0) @binding(6) var<storage, read> weight: array<f32>;

const LANES = 8u;
const SUBGROUPS = 4u;
const TA = TM / LANES;  // pixels a lane loads

@compute @workgroup_size(32)
fn main(@builtin(workgroup_id) wg: vec3u, @builtin(num_workgroups) num: vec3u,
        @builtin(local_invocation_index) local: u32, @builtin(subgroup_invocation_id) lane: u32) {
  let group = wg.y * num.x + wg.x;
  let channelTiles = (p.O + LANES * TN - 1u) / (LANES * TN);
  let pixelTiles = (p.pixels + TM * SUBGROUPS - 1u) / (TM * SUBGROUPS);
  let batch = group / (channelTiles * pixelTiles);
  let firstPixel = ((group / channelTiles) % pixelTiles) * (TM * SUBGROUPS) + (local / LANES) * TM;
  let firstChannel = (group % channelTiles) * (LANES * TN) + lane;

  var channel: array<u32, TN>;
  for (var j = 0u; j < TN; j++) { channel[j] = min(firstChannel + j * LANES, p.O - 1u); }

  var n: array<u32, TA>;
  var iy0: array<i32, TA>;
  var ix0: array<i32, TA>;
  for (var a = 0u; a < TA; a++) {
    let pixel = batch * p.pixels + min(firstPixel + a * LANES + lane, p.pixels - 1u);
    n[a] = pixel / (p.GH * p.GW);
    iy0[a] = i32(((pixel / p.GW) % p.GH) * p.inStride) + p.originY;
    ix0[a] = i32((pixel % p.GW) * p.inStride) + p.originX;
  }

  var acc: array<array<f32, TN>, TM>;
  for (var jy = 0u; jy < p.tapsY; jy++) {
    for (var jx = 0u; jx < p.tapsX; jx++) {
      let tap = (p.firstKy + jy * p.kernelStep) * p.KW + p.firstKx + jx * p.kernelStep;
      var base: array<u32, TA>;
      var inside: array<bool, TA>;
      for (var a = 0u; a < TA; a++) {
        let iy = iy0[a] + i32(jy) * p.tapStep;
        let ix = ix0[a] + i32(jx) * p.tapStep;
        inside[a] = iy >= 0 && iy < i32(p.H) && ix >= 0 && ix < i32(p.W);
        base[a] = select(0u, ((n[a] * p.H + u32(iy)) * p.W + u32(ix)) * p.C, inside[a]);
      }
      for (var c = 0u; c < p.C; c++) {
        let row = batch * p.weightStride + (tap * p.C + c) * p.O;
        var w: array<f32, TN>;
        for (var j = 0u; j < TN; j++) { w[j] = weight[row + channel[j]]; }
        for (var a = 0u; a < TA; a++) {
          let v = select(0.0, x[base[a] + c], inside[a]);
          let v0 = subgroupBroadcast(v, 0u);
          let v1 = subgroupBroadcast(v, 1u);
          let v2 = subgroupBroadcast(v, 2u);
          let v3 = subgroupBroadcast(v, 3u);
          let v4 = subgroupBroadcast(v, 4u);
          let v5 = subgroupBroadcast(v, 5u);
          let v6 = subgroupBroadcast(v, 6u);
          let v7 = subgroupBroadcast(v, 7u);
          for (var j = 0u; j < TN; j++) {
            acc[a * LANES + 0u][j] = fma(v0, w[j], acc[a * LANES + 0u][j]);
            acc[a * LANES + 1u][j] = fma(v1, w[j], acc[a * LANES + 1u][j]);
            acc[a * LANES + 2u][j] = fma(v2, w[j], acc[a * LANES + 2u][j]);
            acc[a * LANES + 3u][j] = fma(v3, w[j], acc[a * LANES + 3u][j]);
            acc[a * LANES + 4u][j] = fma(v4, w[j], acc[a * LANES + 4u][j]);
            acc[a * LANES + 5u][j] = fma(v5, w[j], acc[a * LANES + 5u][j]);
            acc[a * LANES + 6u][j] = fma(v6, w[j], acc[a * LANES + 6u][j]);
            acc[a * LANES + 7u][j] = fma(v7, w[j], acc[a * LANES + 7u][j]);
          }
        }
      }
    }
  }

  if (batch >= p.batches) { return; }
  var sums = acc;  // see conv2d_subgroup.wgsl
  for (var i = firstPixel; i < min(firstPixel + TM, p.pixels); i++) {
    let pixel = batch * p.pixels + i;
    let out = placeOf(pixel) * p.O;
    for (var o = firstChannel; o < min(firstChannel + LANES * TN, p.O); o += LANES) {
      let value = addBias(p.epilogue, sums[i - firstPixel][(o - firstChannel) / LANES], o);
      y[out + o] = finish(p.epilogue, value, out + o);
    }
  }
}
