// What all gradients are multiplied by: scale = min(1, most / (norm + 10⁻⁶)), the norm being the root of the sum of squares [count].
// NaN stays NaN. One workgroup: strided, then a tree, always in the same order.

struct Params { count: u32, most: f32 }
@group(0) @binding(0) var<storage, read> squares: array<f32>;
@group(0) @binding(1) var<storage, read_write> scale: array<f32>;
@group(0) @binding(2) var<uniform> p: Params;

const LANES = 64u;
var<workgroup> sums: array<f32, LANES>;

@compute @workgroup_size(LANES)
fn main(@builtin(workgroup_id) wg: vec3u, @builtin(num_workgroups) num: vec3u, @builtin(local_invocation_index) local: u32) {
  var sum = 0.0;
  for (var i = local; i < p.count; i += LANES) { sum += squares[i]; }
  sums[local] = sum;
  for (var half = LANES / 2u; half > 0u; half /= 2u) {
    workgroupBarrier();
    if (local < half) { sums[local] += sums[local + half]; }
  }
  if (local == 0u && wg.x + wg.y == 0u) {
    let factor = p.most / (sqrt(sums[0]) + 1e-6);
    scale[0] = select(factor, 1.0, factor >= 1.0);
  }
}
