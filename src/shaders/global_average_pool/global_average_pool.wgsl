// y[n, c] = the mean of x[n, :, c] over the image's pixels. x [N, pixels, C], y [N, C].
// One invocation a mean; neighbours read neighbouring channels.

struct Params { size: u32, pixels: u32, C: u32 }
@group(0) @binding(0) var<storage, read> x: array<f32>;
@group(0) @binding(1) var<storage, read_write> y: array<f32>;
@group(0) @binding(2) var<uniform> p: Params;

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) wg: vec3u, @builtin(num_workgroups) num: vec3u, @builtin(local_invocation_index) local: u32) {
  let index = (wg.y * num.x + wg.x) * 64u + local;
  if (index >= p.size) { return; }
  let base = (index / p.C) * p.pixels * p.C + index % p.C;
  // Four sums side by side: they do not wait for one another, and they round less than one.
  var sum = vec4f();
  var i = 0u;
  for (; i + 4u <= p.pixels; i += 4u) {
    let at = base + i * p.C;
    sum += vec4f(x[at], x[at + p.C], x[at + 2u * p.C], x[at + 3u * p.C]);
  }
  for (; i < p.pixels; i++) { sum.x += x[base + i * p.C]; }
  y[index] = ((sum.x + sum.y) + (sum.z + sum.w)) / f32(p.pixels);
}
