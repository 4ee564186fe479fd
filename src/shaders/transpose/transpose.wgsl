// Swaps the last two dimensions: y[m, j, i] = x[m, i, j], x [M, I, J], y [M, J, I]. One invocation an element of y.

struct Params { size: u32, I: u32, J: u32 }
@group(0) @binding(0) var<storage, read> x: array<f32>;
@group(0) @binding(1) var<storage, read_write> y: array<f32>;
@group(0) @binding(2) var<uniform> p: Params;

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) wg: vec3u, @builtin(num_workgroups) num: vec3u, @builtin(local_invocation_index) local: u32) {
  let index = (wg.y * num.x + wg.x) * 64u + local;
  if (index >= p.size) { return; }
  let i = index % p.I;
  let j = (index / p.I) % p.J;
  let m = index / (p.I * p.J);
  y[index] = x[(m * p.I + i) * p.J + j];
}
