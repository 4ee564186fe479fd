// y = (x − offset[c])·scale[c], or its gradient dx = dy·scale[c] without the offset. x, y [R, C]. Sixteen elements an invocation.

const HAS_OFFSET = true;

struct Params { quads: u32, C: u32 }
@group(0) @binding(0) var<storage, read> x: array<vec4f>;
@group(0) @binding(1) var<storage, read> offset: array<f32>;
@group(0) @binding(2) var<storage, read> scale: array<f32>;
@group(0) @binding(3) var<storage, read_write> y: array<vec4f>;
@group(0) @binding(4) var<uniform> p: Params;

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) wg: vec3u, @builtin(num_workgroups) num: vec3u, @builtin(local_invocation_index) local: u32) {
  // Four quads an invocation, a workgroup's width apart.
  let first = (wg.y * num.x + wg.x) * 256u + local;
  for (var index = first; index < min(first + 256u, p.quads); index += 64u) {
    let c = (vec4u(index * 4u) + vec4u(0u, 1u, 2u, 3u)) % p.C;
    var v = x[index];
    if (HAS_OFFSET) { v -= vec4f(offset[c.x], offset[c.y], offset[c.z], offset[c.w]); }
    y[index] = v * vec4f(scale[c.x], scale[c.y], scale[c.z], scale[c.w]);
  }
}
