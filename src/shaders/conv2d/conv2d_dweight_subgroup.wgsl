// Gradient of a convolution with respect to its weight, for adapters that run on a CPU with subgroups of 8, where input channels
// come in fours. What it computes stands in dweight.wgsl.
//
// The same plan as conv2d_subgroup.wgsl: a workgroup is one subgroup and computes 32 rows (tap and input channel) × one `Channels`
// a lane; a turn loads, for each of four pixels, four rows and one `Channels` of dy a lane, and then adds all products.
// Needs: dweight.wgsl
enable subgroups;

alias Channels = vec4f;  // output channels of a lane, and how many these are
const CHANNELS = 4u;

@group(0) @binding(3) var<storage, read> x: array<vec4f>;

const LANES = 8u;
const TURN = 4u;  // pixels a turn

/** The products of four rows, `s` by pixel, added to their sums. */
fn addProducts(acc: ptr<function, array<Channels, 32>>, first: u32, s0: vec4f, s1: vec4f, s2: vec4f, s3: vec4f,
               d: ptr<function, array<Channels, TURN>>) {
  for (var j = 0u; j < 4u; j++) {
    (*acc)[first + j] = fma(Channels(s3[j]), (*d)[3], fma(Channels(s2[j]), (*d)[2],
                        fma(Channels(s1[j]), (*d)[1], fma(Channels(s0[j]), (*d)[0], (*acc)[first + j]))));
  }
}

@compute @workgroup_size(8)
fn main(@builtin(workgroup_id) wg: vec3u, @builtin(num_workgroups) num: vec3u, @builtin(subgroup_invocation_id) lane: u32) {
  let group = wg.y * num.x + wg.x;
  let quads = p.C / 4u;
  let rowQuads = p.rows / 4u;
  let channels = p.O / CHANNELS;
  let channelTiles = (channels + LANES - 1u) / LANES;
  let rowTiles = (rowQuads + LANES - 1u) / LANES;
  let channel = (group % channelTiles) * LANES + lane;
  let firstRow = ((group / channelTiles) % rowTiles) * LANES;
  let batch = (group / (channelTiles * rowTiles)) % p.batches;
  let split = group / (channelTiles * rowTiles * p.batches);

  let row = min(firstRow + lane, rowQuads - 1u);
  let c = row % quads;
  let ky = i32(row / quads / p.KW) - i32(p.pad);
  let kx = i32((row / quads) % p.KW) - i32(p.pad);
  let inChannel = min(channel, channels - 1u);

  var acc: array<Channels, 32>;
  let begin = batch * p.pixels + split * p.pixelsPerSplit;
  let end = batch * p.pixels + min((split + 1u) * p.pixelsPerSplit, p.pixels);
  var gx = begin % p.GW;
  var gy = (begin / p.GW) % p.GH;
  var n = begin / (p.GW * p.GH);
  for (var pixel = begin; pixel < end; pixel += TURN) {
    var v: array<vec4f, TURN>;
    var d: array<Channels, TURN>;
    for (var t = 0u; t < TURN; t++) {
      // Taps outside, and what is beyond the split's last pixel, read something near and count for nothing; cf. conv2d_subgroup.
      let iy = i32(gy * p.stride) + ky;
      let ix = i32(gx * p.stride) + kx;
      let iyIn = clamp(iy, 0, i32(p.H) - 1);
      let ixIn = clamp(ix, 0, i32(p.W) - 1);
      let counts = pixel + t < end && iy == iyIn && ix == ixIn;
      v[t] = x[((n * p.H + u32(iyIn)) * p.W + u32(ixIn)) * quads + c] * select(0.0, 1.0, counts);
      d[t] = dy[min(pixel + t, end - 1u) * channels + inChannel];
      let more = pixel + t + 1u < end;
      let wrapX = more && gx + 1u == p.GW;
      let wrapY = wrapX && gy + 1u == p.GH;
      gx = select(gx + u32(more), 0u, wrapX);
      gy = select(gy + u32(wrapX), 0u, wrapY);
      n += u32(wrapY);
    }
    addProducts(&acc, 0u, subgroupBroadcast(v[0], 0u), subgroupBroadcast(v[1], 0u), subgroupBroadcast(v[2], 0u), subgroupBroadcast(v[3], 0u), &d);
    addProducts(&acc, 4u, subgroupBroadcast(v[0], 1u), subgroupBroadcast(v[1], 1u), subgroupBroadcast(v[2], 1u), subgroupBroadcast(v[3], 1u), &d);
    addProducts(&acc, 8u, subgroupBroadcast(v[0], 2u), subgroupBroadcast(v[1], 2u), subgroupBroadcast(v[2], 2u), subgroupBroadcast(v[3], 2u), &d);
    addProducts(&acc, 12u, subgroupBroadcast(v[0], 3u), subgroupBroadcast(v[1], 3u), subgroupBroadcast(v[2], 3u), subgroupBroadcast(v[3], 3u), &d);
    addProducts(&acc, 16u, subgroupBroadcast(v[0], 4u), subgroupBroadcast(v[1], 4u), subgroupBroadcast(v[2], 4u), subgroupBroadcast(v[3], 4u), &d);
    addProducts(&acc, 20u, subgroupBroadcast(v[0], 5u), subgroupBroadcast(v[1], 5u), subgroupBroadcast(v[2], 5u), subgroupBroadcast(v[3], 5u), &d);
    addProducts(&acc, 24u, subgroupBroadcast(v[0], 6u), subgroupBroadcast(v[1], 6u), subgroupBroadcast(v[2], 6u), subgroupBroadcast(v[3], 6u), &d);
    addProducts(&acc, 28u, subgroupBroadcast(v[0], 7u), subgroupBroadcast(v[1], 7u), subgroupBroadcast(v[2], 7u), subgroupBroadcast(v[3], 7u), &d);
  }

  // One loop, as in conv2d_subgroup.wgsl.
  if (split >= p.splits || channel >= channels) { return; }
  var sums = acc;
  let firstOut = (split * p.batches + batch) * p.rows + firstRow * 4u;
  let lastOut = (split * p.batches + batch) * p.rows + p.rows;
  for (var out = firstOut; out < min(firstOut + 32u, lastOut); out++) {
    dweight[out * channels + channel] = sums[out - firstOut];
  }
}
