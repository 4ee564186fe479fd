// Sums of squares: y[s] = Σ x[i]² over i ≡ s modulo the number of sums, in order. x [size], y [sums]. One invocation a sum.

struct Params { size: u32, sums: u32 }
@group(0) @binding(0) var<storage, read> x: array<f32>;
@group(0) @binding(1) var<storage, read_write> y: array<f32>;
@group(0) @binding(2) var<uniform> p: Params;

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) wg: vec3u, @builtin(num_workgroups) num: vec3u, @builtin(local_invocation_index) local: u32) {
  let index = (wg.y * num.x + wg.x) * 64u + local;
  if (index >= p.sums) { return; }
  var sum = 0.0;
  for (var i = index; i < p.size; i += p.sums) { sum = fma(x[i], x[i], sum); }
  y[index] = sum;
}
