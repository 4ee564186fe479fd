// dx = dy · σ(x) · (1 + x · (1 − σ(x))) with σ(x) = 1 / (1 + exp(−x)). A quad of elements an invocation.

struct Params { quads: u32 }
@group(0) @binding(0) var<storage, read> dy: array<vec4f>;
@group(0) @binding(1) var<storage, read> x: array<vec4f>;
@group(0) @binding(2) var<storage, read_write> dx: array<vec4f>;
@group(0) @binding(3) var<uniform> p: Params;

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) wg: vec3u, @builtin(num_workgroups) num: vec3u, @builtin(local_invocation_index) local: u32) {
  let index = (wg.y * num.x + wg.x) * 64u + local;
  if (index >= p.quads) { return; }
  let sigma = 1.0 / (1.0 + exp(-x[index]));
  dx[index] = dy[index] * sigma * (1.0 + x[index] * (1.0 - sigma));
}
