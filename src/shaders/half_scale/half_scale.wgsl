// From magnitudes (see half_scale_max.wgsl) to the power of two that brings the largest between 32 and 64; 1 where all are zero or
// one is not finite.

struct Params { quads: u32 }
@group(0) @binding(0) var<storage, read> magnitudes: array<vec4u>;
@group(0) @binding(1) var<storage, read_write> scale: array<f32>;
@group(0) @binding(2) var<uniform> p: Params;

const LANES = 256u;
var<workgroup> most: array<u32, LANES>;

@compute @workgroup_size(LANES)
fn main(@builtin(local_invocation_index) local: u32) {
  var own = vec4u();
  for (var i = local; i < p.quads; i += LANES) { own = max(own, magnitudes[i]); }
  most[local] = max(max(own.x, own.y), max(own.z, own.w));
  workgroupBarrier();
  if (local > 0u) { return; }
  var all = 0u;
  for (var i = 0u; i < LANES; i++) { all = max(all, most[i]); }
  let exponent = all >> 23u;
  // 2^(132 − exponent): what has the exponent 127 lies between 1 and 2. Its inverse must be a normal number too.
  let power = clamp(i32(127u + 132u) - i32(exponent), 2, 252);
  scale[0] = select(bitcast<f32>(u32(power) << 23u), 1.0, all == 0u || exponent == 255u);
}
