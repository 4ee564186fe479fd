// Adds what the splits of a convolution summed, partial [splits, batches·pixels, O], in order, and finishes it: bias, residual, ReLU,
// gate, and the result's place in y, as conv2d_tiled.wgsl does where there is one split. One invocation one `Channels`.
// Given: Channels.

struct Params {
  epilogue: u32, size: u32, splits: u32, O: u32,  // size, of a split, and O in `Channels`
  GH: u32, GW: u32, YH: u32, YW: u32, outStride: u32, phaseY: u32, phaseX: u32,
}
@group(0) @binding(0) var<storage, read> partial_: array<Channels>;
@group(0) @binding(1) var<storage, read> bias: array<Channels>;
@group(0) @binding(2) var<storage, read> residual: array<Channels>;
@group(0) @binding(3) var<storage, read> gate: array<Channels>;
@group(0) @binding(4) var<storage, read_write> y: array<Channels>;
@group(0) @binding(5) var<uniform> p: Params;

// Bits of `epilogue`.
const BIAS = 1u;
const RESIDUAL = 2u;
const RELU = 4u;
const GATE = 8u;

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) wg: vec3u, @builtin(num_workgroups) num: vec3u, @builtin(local_invocation_index) local: u32) {
  let index = (wg.y * num.x + wg.x) * 64u + local;
  if (index >= p.size) { return; }
  var value: Channels;
  for (var split = 0u; split < p.splits; split++) { value += partial_[split * p.size + index]; }
  let o = index % p.O;
  let q = index / p.O;
  let gx = q % p.GW;
  let gy = (q / p.GW) % p.GH;
  let row = (q / (p.GH * p.GW)) * p.YH + gy * p.outStride + p.phaseY;
  let at = (row * p.YW + gx * p.outStride + p.phaseX) * p.O + o;
  if ((p.epilogue & BIAS) != 0u) { value += bias[o]; }
  if ((p.epilogue & RESIDUAL) != 0u) { value += residual[at]; }
  if ((p.epilogue & RELU) != 0u) { value = select(value, Channels(), value <= Channels()); }
  if ((p.epilogue & GATE) != 0u) { value = select(Channels(), value, gate[at] > Channels()); }
  y[at] = value;
}
