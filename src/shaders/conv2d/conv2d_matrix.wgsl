// Gather convolution on the matrix units of a GPU: float16 factors, float32 sums (`--precision f16`). What it computes
// stands in gather.wgsl; the same way as in conv2d_tiled.wgsl to what it multiplies.
//
// A workgroup of four subgroups computes 128 pixels × 64 output channels, a subgroup 64 × 32 of them as 4 × 2 matrices of 16 × 16.
// A turn's factors are rounded to float16 on their way into workgroup memory, whose rows are longer by two quads, so that what a
// subgroup loads at once lies on different banks. The next turn's are under way meanwhile. One tile each is enough: two in turn
// leave room for fewer workgroups, which costs more than the barrier saves.
//
// float16 has 11 bits and ends at 6·10⁻⁸: gradients, which are smaller, are multiplied by the power of two in `scale` before, and
// the sums divided by it after. Rounding the factors is all that is lost; their products are exact in float32.
// Needs: matrices.wgsl, gather.wgsl, gather_quads.wgsl, epilogue.wgsl

const TURN = 16u;  // the inner extent of a turn, 16 or 32

@group(0) @binding(7) var<storage, read> scale: array<f32>;

const PIXELS = 128u;
const SLICE = TURN / 4u;  // quads of the inner extent a turn
const X_ROW = SLICE + PAD;
const W_ROW = TILE_QUADS + PAD;
/** Invocations that load the weights of one quad of a turn; and how many pixels and weights an invocation loads. */
const W_LANES = INVOCATIONS / SLICE;
const X_LOADS = PIXELS * SLICE / INVOCATIONS;
const W_LOADS = 4u * TILE_QUADS / W_LANES;

var<workgroup> xs: array<vec4h, PIXELS * X_ROW>;  // [pixel][quad]
var<workgroup> ws: array<vec4h, TURN * W_ROW>;  // [inner][quad of output channels]

/** What becomes of four sums of a pixel. */
fn put(pixel: u32, batch: u32, split: u32, quad: u32, sum: vec4f) {
  if (pixel >= p.pixels || quad >= p.O / 4u) { return; }
  let at = targetOf(pixel, batch, split) * (p.O / 4u) + quad;
  y[at] = finish(p.epilogue, addBias(p.epilogue, sum, quad), at);
}

/** Where a subgroup's lane takes its part of a matrix of results, and where it belongs. */
struct Part { at: u32, pixel: u32, batch: u32, split: u32, quad: u32, factor: f32 }

/** Lanes take a matrix of results, left in workgroup memory, half by half. */
fn putMatrix(part: Part, row: u32, column: u32) {
  workgroupBarrier();
  put(part.pixel + row, part.batch, part.split, part.quad + column, results[part.at] * part.factor);
  put(part.pixel + row + 8u, part.batch, part.split, part.quad + column, results[part.at + 32u] * part.factor);
  workgroupBarrier();
}

@compute @workgroup_size(INVOCATIONS)
fn main(@builtin(workgroup_id) wg: vec3u, @builtin(num_workgroups) num: vec3u, @builtin(local_invocation_index) local: u32) {
  let group = wg.y * num.x + wg.x;
  let quads = p.C / 4u;
  let outQuads = p.O / 4u;
  let channelTiles = (outQuads + TILE_QUADS - 1u) / TILE_QUADS;
  let pixelTiles = (p.pixels + PIXELS - 1u) / PIXELS;
  let firstQuad = (group % channelTiles) * TILE_QUADS;
  let firstPixel = ((group / channelTiles) % pixelTiles) * PIXELS;
  let batch = (group / (channelTiles * pixelTiles)) % p.batches;
  let split = group / (channelTiles * pixelTiles * p.batches);
  if (split >= p.splits) { return; }
  let begin = split * p.turnsPerSplit;
  let allQuads = p.tapsY * p.tapsX * quads;
  let turns = min((allQuads + SLICE - 1u) / SLICE, begin + p.turnsPerSplit);
  let factor = select(1.0, scale[0], p.scaled != 0u);

  // What this invocation loads of every turn: one quad of four or eight pixels ...
  const STEP = INVOCATIONS / SLICE;
  let own = local / SLICE + STEP * vec4u(0u, 1u, 2u, 3u);
  let pixelsA = pixelsAt(firstPixel + own, batch);
  let pixelsB = pixelsAt(firstPixel + own + 4u * STEP, batch);
  let xTo = (local / SLICE) * X_ROW + local % SLICE;
  var xQuad = quadAt(begin * SLICE + local % SLICE, quads);
  // ... and two or four weights of one quad, each its place in a row of four input channels by TILE_QUADS.
  let wPlace = local % W_LANES + W_LANES * vec4u(0u, 1u, 2u, 3u);
  let wOut = min(firstQuad + wPlace % TILE_QUADS, vec4u(outQuads - 1u));
  let wOffset = ((wPlace / TILE_QUADS) % 4u) * outQuads + wOut + batch * p.weightStride;
  let wTo = ((local / W_LANES) * 4u + wPlace / TILE_QUADS) * W_ROW + wPlace % TILE_QUADS;
  var wQuad = quadAt(begin * SLICE + local / W_LANES, quads);

  // What its subgroup computes.
  let subgroup = local / 32u;
  let row = (subgroup / 2u) * 64u;
  let column = (subgroup % 2u) * 8u;  // in quads

  var r00: Sums; var r10: Sums; var r20: Sums; var r30: Sums;
  var r01: Sums; var r11: Sums; var r21: Sums; var r31: Sums;
  var x0: vec4f; var x1: vec4f; var x2: vec4f; var x3: vec4f; var x4: vec4f; var x5: vec4f; var x6: vec4f; var x7: vec4f;
  var w0: vec4f; var w1: vec4f; var w2: vec4f; var w3: vec4f;
  // A turn before the first loads only.
  for (var turn = begin; turn <= turns; turn++) {
    if (turn > begin) {
      workgroupBarrier();
      xs[xTo] = vec4h(x0 * factor);
      xs[xTo + STEP * X_ROW] = vec4h(x1 * factor);
      xs[xTo + 2u * STEP * X_ROW] = vec4h(x2 * factor);
      xs[xTo + 3u * STEP * X_ROW] = vec4h(x3 * factor);
      if (X_LOADS > 4u) {
        xs[xTo + 4u * STEP * X_ROW] = vec4h(x4 * factor);
        xs[xTo + 5u * STEP * X_ROW] = vec4h(x5 * factor);
        xs[xTo + 6u * STEP * X_ROW] = vec4h(x6 * factor);
        xs[xTo + 7u * STEP * X_ROW] = vec4h(x7 * factor);
      }
      ws[wTo.x] = vec4h(w0);
      ws[wTo.y] = vec4h(w1);
      if (W_LOADS > 2u) {
        ws[wTo.z] = vec4h(w2);
        ws[wTo.w] = vec4h(w3);
      }
    }
    workgroupBarrier();
    if (turn < turns) {
      let placesA = placesOf(pixelsA, xQuad, allQuads, quads);
      x0 = load(placesA.at.x, placesA.inside.x);
      x1 = load(placesA.at.y, placesA.inside.y);
      x2 = load(placesA.at.z, placesA.inside.z);
      x3 = load(placesA.at.w, placesA.inside.w);
      if (X_LOADS > 4u) {
        let placesB = placesOf(pixelsB, xQuad, allQuads, quads);
        x4 = load(placesB.at.x, placesB.inside.x);
        x5 = load(placesB.at.y, placesB.inside.y);
        x6 = load(placesB.at.z, placesB.inside.z);
        x7 = load(placesB.at.w, placesB.inside.w);
      }
      // Quads past the last meet zeros of x; they read some weight all the same.
      let tap = (p.firstKy + wQuad.jy * p.kernelStep) * p.KW + p.firstKx + wQuad.jx * p.kernelStep;
      let at = select(0u, (tap * p.C + wQuad.c * 4u) * outQuads, wQuad.index < allQuads) + wOffset;
      w0 = weight[at.x];
      w1 = weight[at.y];
      if (W_LOADS > 2u) {
        w2 = weight[at.z];
        w3 = weight[at.w];
      }
      xQuad = advance(xQuad, quads);
      wQuad = advance(wQuad, quads);
    }
    if (turn > begin) {
      for (var k = 0u; k < TURN; k += 16u) {
        let left = row * X_ROW + k / 4u;
        let a0 = subgroupMatrixLoad<Left, row_major>(&xs, left, X_ROW);
        let a1 = subgroupMatrixLoad<Left, row_major>(&xs, left + 16u * X_ROW, X_ROW);
        let a2 = subgroupMatrixLoad<Left, row_major>(&xs, left + 32u * X_ROW, X_ROW);
        let a3 = subgroupMatrixLoad<Left, row_major>(&xs, left + 48u * X_ROW, X_ROW);
        let b0 = subgroupMatrixLoad<Right, row_major>(&ws, k * W_ROW + column, W_ROW);
        r00 = subgroupMatrixMultiplyAccumulate(a0, b0, r00);
        r10 = subgroupMatrixMultiplyAccumulate(a1, b0, r10);
        r20 = subgroupMatrixMultiplyAccumulate(a2, b0, r20);
        r30 = subgroupMatrixMultiplyAccumulate(a3, b0, r30);
        let b1 = subgroupMatrixLoad<Right, row_major>(&ws, k * W_ROW + column + 4u, W_ROW);
        r01 = subgroupMatrixMultiplyAccumulate(a0, b1, r01);
        r11 = subgroupMatrixMultiplyAccumulate(a1, b1, r11);
        r21 = subgroupMatrixMultiplyAccumulate(a2, b1, r21);
        r31 = subgroupMatrixMultiplyAccumulate(a3, b1, r31);
      }
    }
  }

  let lane = local % 32u;
  let matrix = subgroup * 64u;
  let part = Part(matrix + lane, firstPixel + row + lane / 4u, batch, split, firstQuad + column + lane % 4u, 1.0 / factor);
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
