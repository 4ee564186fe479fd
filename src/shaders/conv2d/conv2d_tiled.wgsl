// Gather convolution as an implicit matrix product with tiles in workgroup memory, for GPUs, where input and output channels come
// in fours. What it computes stands in gather.wgsl.
//
// The inner extent of the product is all input channels of all taps, taken in quads (four channels of one tap), four quads a
// turn, so that few channels leave no turn half empty. A workgroup computes PIXELS pixels × TILE_QUADS quads of output channels, an
// invocation 4·TALL × WIDE of them. While a turn multiplies out of one half of the workgroup memory, the next one's quads are under
// way from global memory into registers; they go to the other half, and one barrier a turn is enough. Neighbouring invocations
// load neighbouring quads; the eight that workgroup memory serves at once read either one value of x or a row of weights, so that
// no two meet on a bank. Sums are addressed by literals, so that they stay in registers whether or not a compiler unrolls.
//
// Where there are too few tiles to fill the GPU, the inner extent is cut into splits that run beside each other: each writes its sum
// to y [splits, batches·pixels, O], and conv2d_splits.wgsl adds them.
// Needs: gather.wgsl, gather_quads.wgsl, epilogue.wgsl

const LANES_M = 16u;  // invocations along pixels
const LANES_N = 8u;  // and channels
const TALL = 2u;  // fours of results along pixels of an invocation, 1 or 2
const WIDE = 2u;  // and along channels

const INVOCATIONS = LANES_M * LANES_N;
const PIXELS = LANES_M * 4u * TALL;
const TILE_QUADS = LANES_N * WIDE;  // of output channels
const X_SIZE = PIXELS * SLICE;
const W_SIZE = SLICE * 4u * TILE_QUADS;
/** Invocations that load the weights of one quad of a turn; and how often an invocation loads from x and from weight. */
const W_LANES = INVOCATIONS / SLICE;
const X_LOADS = X_SIZE / INVOCATIONS;
const W_LOADS = (W_SIZE + INVOCATIONS - 1u) / INVOCATIONS;
const ROW_STEP = LANES_M * SLICE;  // between two pixels of an invocation

var<workgroup> xs: array<vec4f, 2u * X_SIZE>;  // [half][pixel][quad]
var<workgroup> ws: array<vec4f, 2u * W_SIZE>;  // [half][quad][channel of the quad][quad of output channels]

/** Weights of four output channels from four input channels, by input channel. */
struct Weights { w0: vec4f, w1: vec4f, w2: vec4f, w3: vec4f }

fn weightsAt(at: u32) -> Weights {
  return Weights(ws[at], ws[at + TILE_QUADS], ws[at + 2u * TILE_QUADS], ws[at + 3u * TILE_QUADS]);
}

fn addProducts(sum: vec4f, v: vec4f, w: Weights) -> vec4f {
  return fma(vec4f(v.w), w.w3, fma(vec4f(v.z), w.w2, fma(vec4f(v.y), w.w1, fma(vec4f(v.x), w.w0, sum))));
}

/** Adds the products of one quad of the inner extent. */
fn addSlice(sums: ptr<function, array<vec4f, 16>>, xAt: u32, wAt: u32) {
  let v0 = xs[xAt];
  let v1 = xs[xAt + ROW_STEP];
  let v2 = xs[xAt + 2u * ROW_STEP];
  let v3 = xs[xAt + 3u * ROW_STEP];
  var v4: vec4f; var v5: vec4f; var v6: vec4f; var v7: vec4f;
  if (TALL > 1u) {
    v4 = xs[xAt + 4u * ROW_STEP];
    v5 = xs[xAt + 5u * ROW_STEP];
    v6 = xs[xAt + 6u * ROW_STEP];
    v7 = xs[xAt + 7u * ROW_STEP];
  }
  let w = weightsAt(wAt);
  sums[0] = addProducts(sums[0], v0, w);
  sums[1] = addProducts(sums[1], v1, w);
  sums[2] = addProducts(sums[2], v2, w);
  sums[3] = addProducts(sums[3], v3, w);
  if (TALL > 1u) {
    sums[4] = addProducts(sums[4], v4, w);
    sums[5] = addProducts(sums[5], v5, w);
    sums[6] = addProducts(sums[6], v6, w);
    sums[7] = addProducts(sums[7], v7, w);
  }
  if (WIDE > 1u) {
    let u = weightsAt(wAt + LANES_N);
    sums[8] = addProducts(sums[8], v0, u);
    sums[9] = addProducts(sums[9], v1, u);
    sums[10] = addProducts(sums[10], v2, u);
    sums[11] = addProducts(sums[11], v3, u);
    if (TALL > 1u) {
      sums[12] = addProducts(sums[12], v4, u);
      sums[13] = addProducts(sums[13], v5, u);
      sums[14] = addProducts(sums[14], v6, u);
      sums[15] = addProducts(sums[15], v7, u);
    }
  }
}

/** An output quad of this invocation, and what is added to it. */
struct Out { quad: u32, bias: vec4f }

fn outOf(quad: u32) -> Out {
  let added = (p.epilogue & BIAS) != 0u && quad < p.O / 4u;
  return Out(quad, select(vec4f(), bias[select(0u, quad, added)], added));
}

fn put(pixel: u32, batch: u32, split: u32, out0: Out, sum0: vec4f, out1: Out, sum1: vec4f) {
  if (pixel >= p.pixels) { return; }
  let place = targetOf(pixel, batch, split);
  putQuad(place * (p.O / 4u), out0, sum0);
  if (WIDE > 1u) { putQuad(place * (p.O / 4u), out1, sum1); }
}

fn putQuad(first: u32, out: Out, sum: vec4f) {
  if (out.quad >= p.O / 4u) { return; }
  let at = first + out.quad;
  let added = (p.epilogue & RESIDUAL) != 0u;
  let value = sum + out.bias + select(vec4f(), residual[select(0u, at, added)], added);
  y[at] = activate(p.epilogue, value, at);
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

  // What this invocation loads of every turn: one quad of up to four pixels ...
  let own = firstPixel + local / SLICE + (INVOCATIONS / SLICE) * vec4u(0u, 1u, 2u, 3u);
  let pixels = pixelsAt(own, batch);
  var xQuad = quadAt(begin * SLICE + local % SLICE, quads);
  // ... and up to four weights of one quad, each its place in a row of four input channels by TILE_QUADS.
  let wPlace = local % W_LANES + W_LANES * vec4u(0u, 1u, 2u, 3u);
  let wOut = min(firstQuad + wPlace % TILE_QUADS, vec4u(outQuads - 1u));
  let wOffset = (wPlace / TILE_QUADS) * outQuads + wOut + batch * p.weightStride;
  let wTo = (local / W_LANES) * 4u * TILE_QUADS + wPlace;
  let wUsed = wPlace < vec4u(4u * TILE_QUADS);
  var wQuad = quadAt(begin * SLICE + local / W_LANES, quads);

  // Where it multiplies.
  let lane = local % LANES_N;
  let xRow = (local / LANES_N) * SLICE;

  var sums: array<vec4f, 16>;
  var x0: vec4f; var x1: vec4f; var x2: vec4f; var x3: vec4f;
  var w0: vec4f; var w1: vec4f; var w2: vec4f; var w3: vec4f;
  var half = 0u;
  // A turn before the first loads only.
  for (var turn = begin; turn <= turns; turn++) {
    if (turn < turns) {
      let places = placesOf(pixels, xQuad, allQuads, quads);
      x0 = load(places.at.x, places.inside.x);
      if (X_LOADS > 1u) { x1 = load(places.at.y, places.inside.y); }
      if (X_LOADS > 2u) {
        x2 = load(places.at.z, places.inside.z);
        x3 = load(places.at.w, places.inside.w);
      }
      // Quads past the last meet zeros of x; they read some weight all the same.
      let tap = (p.firstKy + wQuad.jy * p.kernelStep) * p.KW + p.firstKx + wQuad.jx * p.kernelStep;
      let at = select(0u, (tap * p.C + wQuad.c * 4u) * outQuads, wQuad.index < allQuads) + select(vec4u(), wOffset, wUsed);
      w0 = weight[at.x];
      if (W_LOADS > 1u) { w1 = weight[at.y]; }
      if (W_LOADS > 2u) {
        w2 = weight[at.z];
        w3 = weight[at.w];
      }
      xQuad = advance(xQuad, quads);
      wQuad = advance(wQuad, quads);
    }
    if (turn > begin) {
      let xFrom = (1u - half) * X_SIZE + xRow;
      let wFrom = (1u - half) * W_SIZE + lane;
      // Written out: the compilers of GPUs leave a loop of this size as it is, which costs a tenth.
      addSlice(&sums, xFrom, wFrom);
      addSlice(&sums, xFrom + 1u, wFrom + 4u * TILE_QUADS);
      addSlice(&sums, xFrom + 2u, wFrom + 8u * TILE_QUADS);
      addSlice(&sums, xFrom + 3u, wFrom + 12u * TILE_QUADS);
    }
    if (turn < turns) {
      let xTo = half * X_SIZE + local;
      xs[xTo] = x0;
      if (X_LOADS > 1u) { xs[xTo + INVOCATIONS] = x1; }
      if (X_LOADS > 2u) {
        xs[xTo + 2u * INVOCATIONS] = x2;
        xs[xTo + 3u * INVOCATIONS] = x3;
      }
      let to = half * W_SIZE + wTo;
      if (wUsed.x) { ws[to.x] = w0; }
      if (W_LOADS > 1u) { ws[to.y] = w1; }
      if (W_LOADS > 2u) {
        ws[to.z] = w2;
        ws[to.w] = w3;
      }
      half = 1u - half;
    }
    workgroupBarrier();
  }

  let row = firstPixel + local / LANES_N;
  let out0 = outOf(firstQuad + lane);
  let out1 = outOf(firstQuad + lane + LANES_N);
  put(row, batch, split, out0, sums[0], out1, sums[8]);
  put(row + LANES_M, batch, split, out0, sums[1], out1, sums[9]);
  put(row + 2u * LANES_M, batch, split, out0, sums[2], out1, sums[10]);
  put(row + 3u * LANES_M, batch, split, out0, sums[3], out1, sums[11]);
  if (TALL > 1u) {
    put(row + 4u * LANES_M, batch, split, out0, sums[4], out1, sums[12]);
    put(row + 5u * LANES_M, batch, split, out0, sums[5], out1, sums[13]);
    put(row + 6u * LANES_M, batch, split, out0, sums[6], out1, sums[14]);
    put(row + 7u * LANES_M, batch, split, out0, sums[7], out1, sums[15]);
  }
}
