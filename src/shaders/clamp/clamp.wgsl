// y = x where it is inside [low, high], else the nearer bound; NaN stays NaN. Four elements an invocation.

struct Params { quads: u32, low: f32, high: f32 }
@group(0) @binding(0) var<storage, read> x: array<vec4f>;
@group(0) @binding(1) var<storage, read_write> y: array<vec4f>;
@group(0) @binding(2) var<uniform> p: Params;

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) wg: vec3u, @builtin(num_workgroups) num: vec3u, @builtin(local_invocation_index) local: u32) {
  let index = (wg.y * num.x + wg.x) * 64u + local;
  if (index >= p.quads) { return; }
  let v = x[index];
  let raised = select(v, vec4f(p.low), v < vec4f(p.low));
  y[index] = select(raised, vec4f(p.high), v > vec4f(p.high));
}
