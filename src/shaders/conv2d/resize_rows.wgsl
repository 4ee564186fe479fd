// Rows of another length, cut or filled with zeros: y[m, j] = x[m, j] for j < I, else 0. x [M, I], y [M, J]. One invocation four
// elements of y, seen as one long row.

struct Params { size: u32, I: u32, J: u32 }  // elements of y
@group(0) @binding(0) var<storage, read> x: array<f32>;
@group(0) @binding(1) var<storage, read_write> y: array<vec4f>;
@group(0) @binding(2) var<uniform> p: Params;

fn element(index: u32) -> f32 {
  let j = index % p.J;
  if (index >= p.size || j >= p.I) { return 0.0; }
  return x[(index / p.J) * p.I + j];
}

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) wg: vec3u, @builtin(num_workgroups) num: vec3u, @builtin(local_invocation_index) local: u32) {
  let quad = (wg.y * num.x + wg.x) * 64u + local;
  if (quad * 4u >= p.size) { return; }
  y[quad] = vec4f(element(quad * 4u), element(quad * 4u + 1u), element(quad * 4u + 2u), element(quad * 4u + 3u));
}
