// dx = dy where x was inside [low, high], bounds included, else 0, also where x is NaN, as PyTorch has it. Sixteen elements an
// invocation.

struct Params { quads: u32, low: f32, high: f32 }
@group(0) @binding(0) var<storage, read> dy: array<vec4f>;
@group(0) @binding(1) var<storage, read> x: array<vec4f>;
@group(0) @binding(2) var<storage, read_write> dx: array<vec4f>;
@group(0) @binding(3) var<uniform> p: Params;

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) wg: vec3u, @builtin(num_workgroups) num: vec3u, @builtin(local_invocation_index) local: u32) {
  // Four quads an invocation, a workgroup's width apart.
  let first = (wg.y * num.x + wg.x) * 256u + local;
  for (var index = first; index < min(first + 256u, p.quads); index += 64u) {
    let v = x[index];
    dx[index] = select(vec4f(), dy[index], (v >= vec4f(p.low)) & (v <= vec4f(p.high)));
  }
}
