// Gather convolution as an implicit matrix product, for adapters that run on a CPU with subgroups of 8, where input channels come
// in fours. What it computes stands in gather.wgsl.
//
// A workgroup is one subgroup and computes 8·SLOTS pixels × one `Channels` (one, two or four output channels) a lane. What a CPU
// adapter spends its time on is loading, one lane and one value at a time, each with a check of its own, and reloading results
// that do not fit into registers. Hence: four input channels of a pixel in one load; all loads of a turn first, then, without a
// branch, each result's four products in one go; values of x travel by broadcast; no workgroup memory. Everything a lane keeps is
// addressed by literals: whatever a loop's variable addresses may end up in memory. A lane looks after four pixels, 8 apart, as
// the components of vectors. A turn has to fit into the instruction cache, which bounds the tile.
// Needs: gather.wgsl, epilogue.wgsl
enable subgroups;

alias Channels = vec4f;  // output channels of a lane, and how many these are
const CHANNELS = 4u;
const SLOTS = 4u;  // pixels a lane, 2 or 4; 8·SLOTS pixels a subgroup
const MANY_TAPS = true;
const PADDED = true;  // taps may lie outside the image

@group(0) @binding(5) var<storage, read> x: array<vec4f>;
@group(0) @binding(6) var<storage, read> weight: array<Channels>;

const PIXELS = 8u * SLOTS;

fn addProducts(sum: Channels, s: vec4f, w: ptr<function, array<Channels, 4>>) -> Channels {
  return fma(Channels(s.w), (*w)[3], fma(Channels(s.z), (*w)[2], fma(Channels(s.y), (*w)[1], fma(Channels(s.x), (*w)[0], sum))));
}

/** Adds the products of eight pixels, whose four input channels the eight lanes hold. */
fn addPixels(acc: ptr<function, array<Channels, PIXELS>>, first: u32, v: vec4f, w: ptr<function, array<Channels, 4>>) {
  (*acc)[first + 0u] = addProducts((*acc)[first + 0u], subgroupBroadcast(v, 0u), w);
  (*acc)[first + 1u] = addProducts((*acc)[first + 1u], subgroupBroadcast(v, 1u), w);
  (*acc)[first + 2u] = addProducts((*acc)[first + 2u], subgroupBroadcast(v, 2u), w);
  (*acc)[first + 3u] = addProducts((*acc)[first + 3u], subgroupBroadcast(v, 3u), w);
  (*acc)[first + 4u] = addProducts((*acc)[first + 4u], subgroupBroadcast(v, 4u), w);
  (*acc)[first + 5u] = addProducts((*acc)[first + 5u], subgroupBroadcast(v, 5u), w);
  (*acc)[first + 6u] = addProducts((*acc)[first + 6u], subgroupBroadcast(v, 6u), w);
  (*acc)[first + 7u] = addProducts((*acc)[first + 7u], subgroupBroadcast(v, 7u), w);
}

/** `inside` is 1, or 0 where a tap lies outside: a product, as the compiler would move a choice behind every broadcast. */
fn load(at: u32, inside: f32) -> vec4f {
  let v = x[at];
  if (PADDED) { return v * inside; }
  return v;
}

@compute @workgroup_size(8)
fn main(@builtin(workgroup_id) wg: vec3u, @builtin(num_workgroups) num: vec3u, @builtin(subgroup_invocation_id) lane: u32) {
  let group = wg.y * num.x + wg.x;
  let quads = p.C / 4u;
  let channels = p.O / CHANNELS;
  let channelTiles = (channels + 7u) / 8u;
  let pixelTiles = (p.pixels + PIXELS - 1u) / PIXELS;
  let batch = group / (channelTiles * pixelTiles);
  let channel = (group % channelTiles) * 8u + lane;
  let inChannel = min(channel, channels - 1u) + batch * p.weightStride;

  let own = ((group / channelTiles) % pixelTiles) * PIXELS + lane + vec4u(0u, 8u, 16u, 24u);
  let pixel = batch * p.pixels + min(own, vec4u(p.pixels - 1u));
  let gx = pixel % p.GW;
  let gy = (pixel / p.GW) % p.GH;
  let n = pixel / (p.GW * p.GH);
  let iy0 = vec4i(gy * p.inStride) + p.originY;
  let ix0 = vec4i(gx * p.inStride) + p.originX;
  let source0 = ((n * p.H + vec4u(iy0)) * p.W + vec4u(ix0)) * quads;

  var acc: array<Channels, PIXELS>;
  var first: Channels;
  if ((p.epilogue & BIAS) != 0u) { first = bias[min(channel, channels - 1u)]; }
  for (var i = 0u; i < PIXELS; i++) { acc[i] = first; }
  // One loop over taps and channels: every loop around it would move all sums once more.
  var c = 0u;
  var jx = 0u;
  var jy = 0u;
  for (var turn = 0u; turn < p.tapsY * p.tapsX * quads; turn++) {
    var inside = vec4f(1.0);
    var source = source0 + c;
    if (MANY_TAPS) { source += u32(i32(jy * p.W + jx) * p.tapStep) * quads; }
    if (PADDED) {
      // Taps outside read some pixel of their own image, so that an infinite value stays in its image.
      let iy = iy0 + i32(jy) * p.tapStep;
      let ix = ix0 + i32(jx) * p.tapStep;
      let iyIn = clamp(iy, vec4i(), vec4i(i32(p.H) - 1));
      let ixIn = clamp(ix, vec4i(), vec4i(i32(p.W) - 1));
      inside = select(vec4f(), vec4f(1.0), (iy == iyIn) & (ix == ixIn));
      source = ((n * p.H + vec4u(iyIn)) * p.W + vec4u(ixIn)) * quads + c;
    }
    let tap = (p.firstKy + jy * p.kernelStep) * p.KW + p.firstKx + jx * p.kernelStep;
    let at = (tap * p.C + c * 4u) * channels + inChannel;
    var w = array<Channels, 4>(weight[at], weight[at + channels], weight[at + 2u * channels], weight[at + 3u * channels]);
    let v0 = load(source.x, inside.x);
    let v1 = load(source.y, inside.y);
    var v2: vec4f;
    var v3: vec4f;
    if (SLOTS > 2u) {
      v2 = load(source.z, inside.z);
      v3 = load(source.w, inside.w);
    }
    addPixels(&acc, 0u, v0, &w);
    addPixels(&acc, 8u, v1, &w);
    if (SLOTS > 2u) {
      addPixels(&acc, 16u, v2, &w);
      addPixels(&acc, 24u, v3, &w);
    }
    c++;
    if (MANY_TAPS) {
      let wrapC = c == quads;
      let wrapX = wrapC && jx + 1u == p.tapsX;
      c = select(c, 0u, wrapC);
      jx = select(jx + u32(wrapC), 0u, wrapX);
      jy += u32(wrapX);
    }
  }

  // One loop over pixels: every load or store in the source is some hundred instructions. What it addresses by its variable lies in
  // memory, hence the copy.
  if (channel >= channels || batch >= p.batches) { return; }
  var sums = acc;
  let begin = batch * p.pixels + own.x - lane;
  var outX = begin % p.GW;
  var outY = (begin / p.GW) % p.GH;
  var image = begin / (p.GW * p.GH);
  for (var i = begin; i < min(begin + PIXELS, (batch + 1u) * p.pixels); i++) {
    let outRow = image * p.YH + outY * p.outStride + p.phaseY;
    let at = (outRow * p.YW + outX * p.outStride + p.phaseX) * channels + channel;
    y[at] = finish(p.epilogue, sums[i - begin], at);
    let wrapX = outX + 1u == p.GW;
    let wrapY = wrapX && outY + 1u == p.GH;
    outX = select(outX + 1u, 0u, wrapX);
    outY = select(outY + u32(wrapX), 0u, wrapY);
    image += u32(wrapY);
  }
}
