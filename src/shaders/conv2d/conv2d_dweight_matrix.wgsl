// Gradient of a convolution with respect to its weight on the matrix units of a GPU: float16 factors, float32 sums. What it
// computes stands in dweight.wgsl; the same plan as conv2d_matrix.wgsl with pixels as the inner extent: a workgroup computes 128 rows (tap and input channel) × 64 output channels, a subgroup 64 × 32. dy is multiplied by the power of
// two in `scale` before it is rounded, the sums are divided by it.
// Needs: matrices.wgsl, dweight.wgsl

const TURN = 16u;  // pixels a turn, 16 or 32

@group(0) @binding(3) var<storage, read> x: array<vec4f>;
@group(0) @binding(4) var<storage, read> scale: array<f32>;

const ROW_QUADS = 32u;
const X_ROW = ROW_QUADS + PAD;
const D_ROW = TILE_QUADS + PAD;
/** Pixels between those that an invocation loads from x and from dy, and how many. */
const X_STEP = INVOCATIONS / ROW_QUADS;
const D_STEP = INVOCATIONS / TILE_QUADS;
const X_LOADS = TURN / X_STEP;
const D_LOADS = TURN / D_STEP;

var<workgroup> xs: array<vec4h, TURN * X_ROW>;  // [pixel][quad of rows]
var<workgroup> ds: array<vec4h, TURN * D_ROW>;  // [pixel][quad of channels]

/** Four pixels by their places in the grid of results. */
struct Pixels { index: vec4u, gx: vec4u, gy: vec4u, n: vec4u }

fn pixelsAt(index: vec4u) -> Pixels {
  return Pixels(index, index % p.GW, (index / p.GW) % p.GH, index / (p.GW * p.GH));
}

/** Those a turn later. */
fn advance(pixels: Pixels) -> Pixels {
  var next = pixels;
  next.index += TURN;
  next.gx += TURN % p.GW;
  let wrapX = next.gx >= vec4u(p.GW);
  next.gx -= select(vec4u(), vec4u(p.GW), wrapX);
  next.gy += (TURN / p.GW) % p.GH + select(vec4u(), vec4u(1u), wrapX);
  let wrapY = next.gy >= vec4u(p.GH);
  next.gy -= select(vec4u(), vec4u(p.GH), wrapY);
  next.n += TURN / (p.GW * p.GH) + select(vec4u(), vec4u(1u), wrapY);
  return next;
}

/** A row quad of four pixels in x, with 1 where it is inside the image. */
struct Places { at: vec4u, inside: vec4<bool> }

fn placesOf(pixels: Pixels, ky: i32, kx: i32, c: u32, end: u32) -> Places {
  let iy = vec4u(vec4i(pixels.gy * p.stride) + ky);
  let ix = vec4u(vec4i(pixels.gx * p.stride) + kx);
  // What is negative is a large number here.
  let inside = (iy < vec4u(p.H)) & (ix < vec4u(p.W)) & (pixels.index < vec4u(end));
  return Places(select(vec4u(), ((pixels.n * p.H + iy) * p.W + ix) * (p.C / 4u) + c, inside), inside);
}

fn load(at: u32, inside: bool) -> vec4f { return select(vec4f(), x[at], inside); }

fn put(first: u32, row: u32, quad: u32, sum: vec4f) {
  if (row >= p.rows || quad >= p.O / 4u) { return; }
  dweight[(first + row) * (p.O / 4u) + quad] = sum;
}

/** Where a subgroup's lane takes its part of a matrix of results, and where it belongs. */
struct Part { at: u32, first: u32, row: u32, quad: u32, factor: f32 }

fn putMatrix(part: Part, row: u32, column: u32) {
  workgroupBarrier();
  put(part.first, part.row + row, part.quad + column, results[part.at] * part.factor);
  put(part.first, part.row + row + 8u, part.quad + column, results[part.at + 32u] * part.factor);
  workgroupBarrier();
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
  let factor = select(1.0, scale[0], p.scaled != 0u);

  // What this invocation loads of every turn: one quad of rows for four or eight pixels ...
  let rowQuad = min(firstRowQuad + local % ROW_QUADS, rowQuads - 1u);
  let c = rowQuad % quads;
  let ky = i32(rowQuad / quads / p.KW) - i32(p.pad);
  let kx = i32((rowQuad / quads) % p.KW) - i32(p.pad);
  let own = begin + local / ROW_QUADS + X_STEP * vec4u(0u, 1u, 2u, 3u);
  var pixelsA = pixelsAt(own);
  var pixelsB = pixelsAt(own + 4u * X_STEP);
  let xTo = (local / ROW_QUADS) * X_ROW + local % ROW_QUADS;
  // ... and one quad of channels for two or four.
  let dQuad = min(firstQuad + local % TILE_QUADS, outQuads - 1u);
  var dPixel = begin + local / TILE_QUADS + D_STEP * vec4u(0u, 1u, 2u, 3u);
  let dTo = (local / TILE_QUADS) * D_ROW + local % TILE_QUADS;

  // What its subgroup computes, in quads.
  let subgroup = local / 32u;
  let row = (subgroup / 2u) * 16u;
  let column = (subgroup % 2u) * 8u;

  var r00: Sums; var r10: Sums; var r20: Sums; var r30: Sums;
  var r01: Sums; var r11: Sums; var r21: Sums; var r31: Sums;
  var x0: vec4f; var x1: vec4f; var x2: vec4f; var x3: vec4f; var x4: vec4f; var x5: vec4f; var x6: vec4f; var x7: vec4f;
  var d0: vec4f; var d1: vec4f; var d2: vec4f; var d3: vec4f;
  // A turn before the first loads only.
  for (var slice = begin; slice < end + TURN; slice += TURN) {
    if (slice > begin) {
      workgroupBarrier();
      xs[xTo] = vec4h(x0);
      xs[xTo + X_STEP * X_ROW] = vec4h(x1);
      xs[xTo + 2u * X_STEP * X_ROW] = vec4h(x2);
      xs[xTo + 3u * X_STEP * X_ROW] = vec4h(x3);
      if (X_LOADS > 4u) {
        xs[xTo + 4u * X_STEP * X_ROW] = vec4h(x4);
        xs[xTo + 5u * X_STEP * X_ROW] = vec4h(x5);
        xs[xTo + 6u * X_STEP * X_ROW] = vec4h(x6);
        xs[xTo + 7u * X_STEP * X_ROW] = vec4h(x7);
      }
      ds[dTo] = vec4h(d0 * factor);
      ds[dTo + D_STEP * D_ROW] = vec4h(d1 * factor);
      if (D_LOADS > 2u) {
        ds[dTo + 2u * D_STEP * D_ROW] = vec4h(d2 * factor);
        ds[dTo + 3u * D_STEP * D_ROW] = vec4h(d3 * factor);
      }
    }
    workgroupBarrier();
    if (slice < end) {
      let placesA = placesOf(pixelsA, ky, kx, c, end);
      x0 = load(placesA.at.x, placesA.inside.x);
      x1 = load(placesA.at.y, placesA.inside.y);
      x2 = load(placesA.at.z, placesA.inside.z);
      x3 = load(placesA.at.w, placesA.inside.w);
      if (X_LOADS > 4u) {
        let placesB = placesOf(pixelsB, ky, kx, c, end);
        x4 = load(placesB.at.x, placesB.inside.x);
        x5 = load(placesB.at.y, placesB.inside.y);
        x6 = load(placesB.at.z, placesB.inside.z);
        x7 = load(placesB.at.w, placesB.inside.w);
      }
      let used = dPixel < vec4u(end);
      let dAt = select(vec4u(), dPixel * outQuads + dQuad, used);
      d0 = select(vec4f(), dy[dAt.x], used.x);
      d1 = select(vec4f(), dy[dAt.y], used.y);
      if (D_LOADS > 2u) {
        d2 = select(vec4f(), dy[dAt.z], used.z);
        d3 = select(vec4f(), dy[dAt.w], used.w);
      }
      pixelsA = advance(pixelsA);
      pixelsB = advance(pixelsB);
      dPixel += TURN;
    }
    if (slice > begin) {
      for (var k = 0u; k < TURN; k += 16u) {
        let left = k * X_ROW + row;
        let a0 = subgroupMatrixLoad<Left, col_major>(&xs, left, X_ROW);
        let a1 = subgroupMatrixLoad<Left, col_major>(&xs, left + 4u, X_ROW);
        let a2 = subgroupMatrixLoad<Left, col_major>(&xs, left + 8u, X_ROW);
        let a3 = subgroupMatrixLoad<Left, col_major>(&xs, left + 12u, X_ROW);
        let b0 = subgroupMatrixLoad<Right, row_major>(&ds, k * D_ROW + column, D_ROW);
        r00 = subgroupMatrixMultiplyAccumulate(a0, b0, r00);
        r10 = subgroupMatrixMultiplyAccumulate(a1, b0, r10);
        r20 = subgroupMatrixMultiplyAccumulate(a2, b0, r20);
        r30 = subgroupMatrixMultiplyAccumulate(a3, b0, r30);
        let b1 = subgroupMatrixLoad<Right, row_major>(&ds, k * D_ROW + column + 4u, D_ROW);
        r01 = subgroupMatrixMultiplyAccumulate(a0, b1, r01);
        r11 = subgroupMatrixMultiplyAccumulate(a1, b1, r11);
        r21 = subgroupMatrixMultiplyAccumulate(a2, b1, r21);
        r31 = subgroupMatrixMultiplyAccumulate(a3, b1, r31);
      }
    }
  }

  let lane = local % 32u;
  let matrix = subgroup * 64u;
  let first = (split * p.batches + batch) * p.rows;
  let part = Part(matrix + lane, first, (firstRowQuad + row) * 4u + lane / 4u, firstQuad + column + lane % 4u, 1.0 / factor);
  subgroupMatrixStore<row_major>(&results, matrix, r00, 4u);
  putMatrix(part, 0u, 0u);
  subgroupMatrixStore<row_major>(&results, matrix, r10, 4u);
  putMatrix(part, 16u, 0u);
  subgroupMatrixStore<row_major>(&results, matrix, r20, 4u);
  putMatrix(part, 32u, 0u);
  subgroupMatrixStore<row_major>(&results, matrix, r30, 4u);
  putMatrix(part, 48u, 0u);
  subgroupMatrixStore<row_major>(&results, matrix, r01, 4u);
  putMatrix(part, 0u, 4u);
  subgroupMatrixStore<row_major>(&results, matrix, r11, 4u);
  putMatrix(part, 16u, 4u);
  subgroupMatrixStore<row_major>(&results, matrix, r21, 4u);
  putMatrix(part, 32u, 4u);
  subgroupMatrixStore<row_major>(&results, matrix, r31, 4u);
  putMatrix(part, 48u, 4u);
}
