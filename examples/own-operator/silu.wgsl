// y = x / (1 + exp(−x)). A quad of elements an invocation: tensors are padded to whole quads.

struct Params { quads: u32 }
@group(0) @binding(0) var<storage, read> x: array<vec4f>;
@group(0) @binding(1) var<storage, read_write> y: array<vec4f>;
@group(0) @binding(2) var<uniform> p: Params;

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) wg: vec3u, @builtin(num_workgroups) num: vec3u, @builtin(local_invocation_index) local: u32) {
  // A grid of more than 65 535 workgroups is folded over y.
  let index = (wg.y * num.x + wg.x) * 64u + local;
  if (index < p.quads) { y[index] = x[index] / (1.0 + exp(-x[index])); }
}
