// A frozen batch norm inside the convolution before it: folded[..., o] = weight[..., o]·scale[o], plus shift[o] where asked for.
// One invocation an element.

const ADD_SHIFT = false;

struct Params { size: u32, O: u32 }
@group(0) @binding(0) var<storage, read> weight: array<f32>;
@group(0) @binding(1) var<storage, read> scale: array<f32>;
@group(0) @binding(2) var<storage, read> shift: array<f32>;
@group(0) @binding(3) var<storage, read_write> folded: array<f32>;
@group(0) @binding(4) var<uniform> p: Params;

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) wg: vec3u, @builtin(num_workgroups) num: vec3u, @builtin(local_invocation_index) local: u32) {
  let index = (wg.y * num.x + wg.x) * 64u + local;
  if (index >= p.size) { return; }
  var value = weight[index] * scale[index % p.O];
  if (ADD_SHIFT) { value += shift[index % p.O]; }
  folded[index] = value;
}
