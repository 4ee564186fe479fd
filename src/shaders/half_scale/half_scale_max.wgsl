// The largest magnitudes of x: y[i] = max |x[j]| over every quad j ≡ i modulo the number of invocations. NaN becomes infinity.

struct Params { quads: u32, size: u32 }
@group(0) @binding(0) var<storage, read> x: array<vec4u>;
@group(0) @binding(1) var<storage, read_write> y: array<u32>;
@group(0) @binding(2) var<uniform> p: Params;

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) wg: vec3u, @builtin(num_workgroups) num: vec3u, @builtin(local_invocation_index) local: u32) {
  let index = (wg.y * num.x + wg.x) * 64u + local;
  if (index >= p.size) { return; }
  // Magnitudes of floats are in the order of their bits.
  var most = vec4u();
  for (var i = index; i < p.quads; i += p.size) { most = max(most, x[i] & vec4u(0x7fffffffu)); }
  y[index] = min(max(max(most.x, most.y), max(most.z, most.w)), 0x7f800000u);
}
