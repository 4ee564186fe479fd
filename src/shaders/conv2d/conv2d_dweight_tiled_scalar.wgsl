// Gradient of a convolution with respect to its weight with tiles in workgroup memory, for GPUs, for any number of channels; works at
// the default limits. What it computes stands in dweight.wgsl.
//
// A workgroup of 16×16 computes a tile of 64 rows (tap and input channel) × 64 output channels, 4×4 results an invocation, over
// slices of 16 pixels.
// Needs: dweight.wgsl

alias Channels = f32;

@group(0) @binding(3) var<storage, read> x: array<f32>;

const TILE = 64u;
const SLICE = 16u;
const STRIDE = TILE + 4u;
var<workgroup> xs: array<f32, SLICE * STRIDE>;
var<workgroup> ds: array<f32, SLICE * STRIDE>;

@compute @workgroup_size(256)
fn main(@builtin(workgroup_id) wg: vec3u, @builtin(num_workgroups) num: vec3u, @builtin(local_invocation_index) local: u32) {
  let group = wg.y * num.x + wg.x;
  let channelTiles = (p.O + TILE - 1u) / TILE;
  let rowTiles = (p.rows + TILE - 1u) / TILE;
  let firstChannel = (group % channelTiles) * TILE;
  let firstRow = ((group / channelTiles) % rowTiles) * TILE;
  let batch = (group / (channelTiles * rowTiles)) % p.batches;
  let split = group / (channelTiles * rowTiles * p.batches);

  // This invocation loads, of each slice, 4 rows of x and 4 channels of dy for one pixel.
  let loadPixel = local / 16u;
  let loadAt = (local % 16u) * 4u;
  var c: array<u32, 4>;
  var ky: array<i32, 4>;
  var kx: array<i32, 4>;
  for (var e = 0u; e < 4u; e++) {
    let row = min(firstRow + loadAt + e, p.rows - 1u);
    c[e] = row % p.C;
    ky[e] = i32(row / p.C / p.KW) - i32(p.pad);
    kx[e] = i32((row / p.C) % p.KW) - i32(p.pad);
  }
  let tm = (local / 16u) * 4u;
  let tn = (local % 16u) * 4u;

  var acc: array<vec4f, 4>;
  let begin = batch * p.pixels + split * p.pixelsPerSplit;
  let end = batch * p.pixels + min((split + 1u) * p.pixelsPerSplit, p.pixels);
  for (var slice = begin; slice < end; slice += SLICE) {
    let pixel = slice + loadPixel;
    let used = pixel < end;
    let gx = pixel % p.GW;
    let gy = (pixel / p.GW) % p.GH;
    let n = pixel / (p.GW * p.GH);
    for (var e = 0u; e < 4u; e++) {
      let iy = i32(gy * p.stride) + ky[e];
      let ix = i32(gx * p.stride) + kx[e];
      var value = 0.0;
      if (used && iy >= 0 && iy < i32(p.H) && ix >= 0 && ix < i32(p.W)) {
        value = x[((n * p.H + u32(iy)) * p.W + u32(ix)) * p.C + c[e]];
      }
      xs[loadPixel * STRIDE + loadAt + e] = value;
      let o = firstChannel + loadAt + e;
      value = 0.0;
      if (used && o < p.O) { value = dy[pixel * p.O + o]; }
      ds[loadPixel * STRIDE + loadAt + e] = value;
    }
    workgroupBarrier();
    for (var k = 0u; k < SLICE; k++) {
      let d = vec4f(ds[k * STRIDE + tn], ds[k * STRIDE + tn + 1u], ds[k * STRIDE + tn + 2u], ds[k * STRIDE + tn + 3u]);
      for (var i = 0u; i < 4u; i++) {
        acc[i] = fma(vec4f(xs[k * STRIDE + tm + i]), d, acc[i]);
      }
    }
    workgroupBarrier();
  }

  if (split >= p.splits) { return; }
  for (var i = 0u; i < 4u; i++) {
    let row = firstRow + tm + i;
    if (row >= p.rows) { break; }
    for (var j = 0u; j < 4u; j++) {
      let o = firstChannel + tn + j;
      if (o < p.O) { dweight[((split * p.batches + batch) * p.rows + row) * p.O + o] = acc[i][j]; }
    }
  }
}
