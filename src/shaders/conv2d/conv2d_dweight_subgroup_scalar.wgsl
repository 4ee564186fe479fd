// Gradient of a convolution with respect to its weight, for adapters that run on a CPU with subgroups of 8 and any
// number of input channels. What it computes stands in dweight.wgsl.
//
// A subgroup computes TM rows (tap and input channel) × 8·TN output channels; per pixel a lane loads TM/8 values of x and TN of
// dy, and the values of x travel by broadcast.
// Needs: dweight.wgsl
enable subgroups;

alias Channels = f32;
const TN = 4u;

@group(0) @binding(3) var<storage, read> x: array<f32>;

const LANES = 8u;
const SUBGROUPS = 4u;
const TM = 16u;
const TA = TM / LANES;

@compute @workgroup_size(32)
fn main(@builtin(workgroup_id) wg: vec3u, @builtin(num_workgroups) num: vec3u,
        @builtin(local_invocation_index) local: u32, @builtin(subgroup_invocation_id) lane: u32) {
  let group = wg.y * num.x + wg.x;
  let channelTiles = (p.O + LANES * TN - 1u) / (LANES * TN);
  let rowTiles = (p.rows + TM * SUBGROUPS - 1u) / (TM * SUBGROUPS);
  let firstChannel = (group % channelTiles) * (LANES * TN) + lane;
  let firstRow = ((group / channelTiles) % rowTiles) * (TM * SUBGROUPS) + (local / LANES) * TM;
  let batch = (group / (channelTiles * rowTiles)) % p.batches;
  let split = group / (channelTiles * rowTiles * p.batches);
  if (split >= p.splits) { return; }

  var channel: array<u32, TN>;
  for (var j = 0u; j < TN; j++) { channel[j] = min(firstChannel + j * LANES, p.O - 1u); }
  var c: array<u32, TA>;
  var ky: array<i32, TA>;
  var kx: array<i32, TA>;
  for (var a = 0u; a < TA; a++) {
    let row = min(firstRow + a * LANES + lane, p.rows - 1u);
    c[a] = row % p.C;
    ky[a] = i32(row / p.C / p.KW) - i32(p.pad);
    kx[a] = i32((row / p.C) % p.KW) - i32(p.pad);
  }

  var acc: array<array<f32, TN>, TM>;
  let begin = batch * p.pixels + split * p.pixelsPerSplit;
  let end = batch * p.pixels + min((split + 1u) * p.pixelsPerSplit, p.pixels);
  var gx = begin % p.GW;
  var gy = (begin / p.GW) % p.GH;
  var n = begin / (p.GW * p.GH);
  for (var pixel = begin; pixel < end; pixel++) {
    var d: array<f32, TN>;
    for (var j = 0u; j < TN; j++) { d[j] = dy[pixel * p.O + channel[j]]; }
    for (var a = 0u; a < TA; a++) {
      let iy = i32(gy * p.stride) + ky[a];
      let ix = i32(gx * p.stride) + kx[a];
      let inside = iy >= 0 && iy < i32(p.H) && ix >= 0 && ix < i32(p.W);
      let at = select(0u, ((n * p.H + u32(iy)) * p.W + u32(ix)) * p.C + c[a], inside);
      let v = select(0.0, x[at], inside);
      let v0 = subgroupBroadcast(v, 0u);
      let v1 = subgroupBroadcast(v, 1u);
      let v2 = subgroupBroadcast(v, 2u);
      let v3 = subgroupBroadcast(v, 3u);
      let v4 = subgroupBroadcast(v, 4u);
      let v5 = subgroupBroadcast(v, 5u);
      let v6 = subgroupBroadcast(v, 6u);
      let v7 = subgroupBroadcast(v, 7u);
      for (var j = 0u; j < TN; j++) {
        acc[a * LANES + 0u][j] = fma(v0, d[j], acc[a * LANES + 0u][j]);
        acc[a * LANES + 1u][j] = fma(v1, d[j], acc[a * LANES + 1u][j]);
        acc[a * LANES + 2u][j] = fma(v2, d[j], acc[a * LANES + 2u][j]);
        acc[a * LANES + 3u][j] = fma(v3, d[j], acc[a * LANES + 3u][j]);
        acc[a * LANES + 4u][j] = fma(v4, d[j], acc[a * LANES + 4u][j]);
        acc[a * LANES + 5u][j] = fma(v5, d[j], acc[a * LANES + 5u][j]);
        acc[a * LANES + 6u][j] = fma(v6, d[j], acc[a * LANES + 6u][j]);
        acc[a * LANES + 7u][j] = fma(v7, d[j], acc[a * LANES + 7u][j]);
      }
    }
    gx++;
    if (gx == p.GW) {
      gx = 0u;
      gy++;
      if (gy == p.GH) { gy = 0u; n++; }
    }
  }

  for (var i = 0u; i < TM; i++) {
    let row = firstRow + i;
    if (row >= p.rows) { break; }
    for (var j = 0u; j < TN; j++) {
      let o = firstChannel + j * LANES;
      if (o < p.O) { dweight[((split * p.batches + batch) * p.rows + row) * p.O + o] = acc[i][j]; }
    }
  }
}
