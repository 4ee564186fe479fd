// Gradient of a convolution with respect to its weight with tiles in workgroup memory, for GPUs, where input and output channels
// come in fours. What it computes stands in dweight.wgsl.
//
// The plan of conv2d_tiled.wgsl, with pixels as the inner extent, 16 of them a turn: x and dy both lie in memory as the product
// takes them, quads of rows (tap and input channel) and quads of output channels. A workgroup computes ROW_QUADS × TILE_QUADS of
// them, an invocation TALL × WIDE.
// Needs: dweight.wgsl

const LANES_M = 16u;  // invocations along rows
const LANES_N = 8u;  // and channels
const TALL = 2u;  // quads of rows of an invocation, 1 or 2
const WIDE = 2u;  // and of channels

@group(0) @binding(3) var<storage, read> x: array<vec4f>;

const TURN = 16u;  // pixels
const INVOCATIONS = LANES_M * LANES_N;
const ROW_QUADS = LANES_M * TALL;
const TILE_QUADS = LANES_N * WIDE;
const X_SIZE = TURN * ROW_QUADS;
const D_SIZE = TURN * TILE_QUADS;
const X_LOADS = X_SIZE / INVOCATIONS;
const D_LOADS = (D_SIZE + INVOCATIONS - 1u) / INVOCATIONS;

var<workgroup> xs: array<vec4f, 2u * X_SIZE>;  // [half][pixel][quad of rows]
var<workgroup> ds: array<vec4f, 2u * D_SIZE>;  // [half][pixel][quad of channels]

/** The sums of four rows. */
struct Sums { s0: vec4f, s1: vec4f, s2: vec4f, s3: vec4f }

fn addProducts(sums: Sums, v: vec4f, d: vec4f) -> Sums {
  return Sums(fma(vec4f(v.x), d, sums.s0), fma(vec4f(v.y), d, sums.s1), fma(vec4f(v.z), d, sums.s2), fma(vec4f(v.w), d, sums.s3));
}

fn put(first: u32, rowQuad: u32, quad: u32, sums: Sums) {
  let outQuads = p.O / 4u;
  if (rowQuad >= p.rows / 4u || quad >= outQuads) { return; }
  let at = (first + rowQuad * 4u) * outQuads + quad;
  dweight[at] = sums.s0;
  dweight[at + outQuads] = sums.s1;
  dweight[at + 2u * outQuads] = sums.s2;
  dweight[at + 3u * outQuads] = sums.s3;
}

@compute @workgroup_size(INVOCATIONS)
fn main(@builtin(workgroup_id) wg: vec3u, @builtin(num_workgroups) num: vec3u, @builtin(local_invocation_index) local: u32) {
  let group = wg.y * num.x + wg.x;
  let quads = p.C / 4u;
  let rowQuads = p.rows / 4u;
  let outQuads = p.O / 4u;
  let channelTiles = (outQuads + TILE_QUADS - 1u) / TILE_QUADS;
  let rowTiles = (rowQuads + ROW_QUADS - 1u) / ROW_QUADS;
  let firstQuad = (group % channelTiles) * TILE_QUADS;
  let firstRowQuad = ((group / channelTiles) % rowTiles) * ROW_QUADS;
  let batch = (group / (channelTiles * rowTiles)) % p.batches;
  let split = group / (channelTiles * rowTiles * p.batches);
  if (split >= p.splits) { return; }
  let begin = batch * p.pixels + split * p.pixelsPerSplit;
  let end = batch * p.pixels + min((split + 1u) * p.pixelsPerSplit, p.pixels);

  // What this invocation loads of every turn: one quad of rows for up to four pixels ...
  let rowQuad = min(firstRowQuad + local % ROW_QUADS, rowQuads - 1u);
  let c = rowQuad % quads;
  let ky = i32(rowQuad / quads / p.KW) - i32(p.pad);
  let kx = i32((rowQuad / quads) % p.KW) - i32(p.pad);
  var pixel = begin + local / ROW_QUADS + (INVOCATIONS / ROW_QUADS) * vec4u(0u, 1u, 2u, 3u);
  var gx = pixel % p.GW;
  var gy = (pixel / p.GW) % p.GH;
  var n = pixel / (p.GW * p.GH);
  // How far a turn moves them.
  let stepX = TURN % p.GW;
  let stepY = (TURN / p.GW) % p.GH;
  let stepN = TURN / (p.GW * p.GH);
  // ... and one quad of channels for up to four pixels.
  let dQuad = min(firstQuad + local % TILE_QUADS, outQuads - 1u);
  var dPixel = begin + local / TILE_QUADS + (INVOCATIONS / TILE_QUADS) * vec4u(0u, 1u, 2u, 3u);

  var a: Sums; var b: Sums;  // the first quad of rows, by quad of channels
  var e: Sums; var f: Sums;  // the second
  var x0: vec4f; var x1: vec4f; var x2: vec4f; var x3: vec4f;
  var d0: vec4f; var d1: vec4f; var d2: vec4f; var d3: vec4f;
  var half = 0u;
  // A turn before the first loads only.
  for (var slice = begin; slice < end + TURN; slice += TURN) {
    if (slice < end) {
      let iy = vec4u(vec4i(gy * p.stride) + ky);
      let ix = vec4u(vec4i(gx * p.stride) + kx);
      // What is negative is a large number here.
      let inside = (iy < vec4u(p.H)) & (ix < vec4u(p.W)) & (pixel < vec4u(end));
      let at = select(vec4u(), ((n * p.H + iy) * p.W + ix) * quads + c, inside);
      x0 = select(vec4f(), x[at.x], inside.x);
      if (X_LOADS > 1u) { x1 = select(vec4f(), x[at.y], inside.y); }
      if (X_LOADS > 2u) {
        x2 = select(vec4f(), x[at.z], inside.z);
        x3 = select(vec4f(), x[at.w], inside.w);
      }
      let used = dPixel < vec4u(end);
      let dAt = select(vec4u(), dPixel * outQuads + dQuad, used);
      d0 = select(vec4f(), dy[dAt.x], used.x);
      if (D_LOADS > 1u) { d1 = select(vec4f(), dy[dAt.y], used.y); }
      if (D_LOADS > 2u) {
        d2 = select(vec4f(), dy[dAt.z], used.z);
        d3 = select(vec4f(), dy[dAt.w], used.w);
      }
      pixel += TURN;
      dPixel += TURN;
      gx += stepX;
      let wrapX = gx >= vec4u(p.GW);
      gx -= select(vec4u(), vec4u(p.GW), wrapX);
      gy += stepY + select(vec4u(), vec4u(1u), wrapX);
      let wrapY = gy >= vec4u(p.GH);
      gy -= select(vec4u(), vec4u(p.GH), wrapY);
      n += stepN + select(vec4u(), vec4u(1u), wrapY);
    }
    if (slice > begin) {
      let xFrom = (1u - half) * X_SIZE + local / LANES_N;
      let dFrom = (1u - half) * D_SIZE + local % LANES_N;
      for (var k = 0u; k < TURN; k++) {
        let v = xs[xFrom + k * ROW_QUADS];
        let d = ds[dFrom + k * TILE_QUADS];
        a = addProducts(a, v, d);
        var u: vec4f;
        if (TALL > 1u) {
          u = xs[xFrom + k * ROW_QUADS + LANES_M];
          e = addProducts(e, u, d);
        }
        if (WIDE > 1u) {
          let g = ds[dFrom + k * TILE_QUADS + LANES_N];
          b = addProducts(b, v, g);
          if (TALL > 1u) { f = addProducts(f, u, g); }
        }
      }
    }
    if (slice < end) {
      let xTo = half * X_SIZE + local;
      xs[xTo] = x0;
      if (X_LOADS > 1u) { xs[xTo + INVOCATIONS] = x1; }
      if (X_LOADS > 2u) {
        xs[xTo + 2u * INVOCATIONS] = x2;
        xs[xTo + 3u * INVOCATIONS] = x3;
      }
      let dTo = half * D_SIZE + local;
      if (local < D_SIZE) { ds[dTo] = d0; }
      if (D_LOADS > 1u) { ds[dTo + INVOCATIONS] = d1; }
      if (D_LOADS > 2u) {
        ds[dTo + 2u * INVOCATIONS] = d2;
        ds[dTo + 3u * INVOCATIONS] = d3;
      }
      half = 1u - half;
    }
    workgroupBarrier();
  }

  let first = (split * p.batches + batch) * p.rows;
  let ownRow = firstRowQuad + local / LANES_N;
  let ownQuad = firstQuad + local % LANES_N;
  put(first, ownRow, ownQuad, a);
  if (WIDE > 1u) { put(first, ownRow, ownQuad + LANES_N, b); }
  if (TALL > 1u) {
    put(first, ownRow + LANES_M, ownQuad, e);
    if (WIDE > 1u) { put(first, ownRow + LANES_M, ownQuad + LANES_N, f); }
  }
}
