// z[b] = Σ factor[c]·(x − y)² over image b. x, y [B, size], the channel being the index modulo C; factor [C].
// A workgroup an image: strided sums, then a tree, always in the same order.

struct Params { B: u32, size: u32, C: u32 }
@group(0) @binding(0) var<storage, read> x: array<f32>;
@group(0) @binding(1) var<storage, read> y: array<f32>;
@group(0) @binding(2) var<storage, read> factor: array<f32>;
@group(0) @binding(3) var<storage, read_write> z: array<f32>;
@group(0) @binding(4) var<uniform> p: Params;

const LANES = 256u;
var<workgroup> sums: array<f32, LANES>;

@compute @workgroup_size(LANES)
fn main(@builtin(workgroup_id) wg: vec3u, @builtin(num_workgroups) num: vec3u, @builtin(local_invocation_index) local: u32) {
  let b = wg.y * num.x + wg.x;
  if (b >= p.B) { return; }
  var sum = 0.0;
  for (var i = local; i < p.size; i += LANES) {
    let delta = x[b * p.size + i] - y[b * p.size + i];
    sum = fma(factor[i % p.C] * delta, delta, sum);
  }
  sums[local] = sum;
  for (var half = LANES / 2u; half > 0u; half /= 2u) {
    workgroupBarrier();
    if (local < half) { sums[local] += sums[local + half]; }
  }
  if (local == 0u) { z[b] = sums[0]; }
}
