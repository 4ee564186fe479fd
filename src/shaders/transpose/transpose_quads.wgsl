// Swaps the last two dimensions where both come in fours: y[m, j, i] = x[m, i, j], x [M, I, J], y [M, J, I]. One invocation a
// block of 4×4; neighbours write neighbouring blocks.

struct Params { blocks: u32, I: u32, J: u32 }  // I and J in fours
@group(0) @binding(0) var<storage, read> x: array<vec4f>;
@group(0) @binding(1) var<storage, read_write> y: array<vec4f>;
@group(0) @binding(2) var<uniform> p: Params;

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) wg: vec3u, @builtin(num_workgroups) num: vec3u, @builtin(local_invocation_index) local: u32) {
  let index = (wg.y * num.x + wg.x) * 64u + local;
  if (index >= p.blocks) { return; }
  let i = index % p.I;
  let j = (index / p.I) % p.J;
  let m = index / (p.I * p.J);
  let source = (m * p.I + i) * 4u * p.J + j;
  let destination = (m * p.J + j) * 4u * p.I + i;
  let block = transpose(mat4x4f(x[source], x[source + p.J], x[source + 2u * p.J], x[source + 3u * p.J]));
  y[destination] = block[0];
  y[destination + p.I] = block[1];
  y[destination + 2u * p.I] = block[2];
  y[destination + 3u * p.I] = block[3];
}
