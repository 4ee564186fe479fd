// An exponential moving average, in place: average ← decay·average + (1 − decay)·value. average, value [R], decay [1].
// Sixteen elements an invocation.

struct Params { quads: u32 }
@group(0) @binding(0) var<storage, read_write> average: array<vec4f>;
@group(0) @binding(1) var<storage, read> value: array<vec4f>;
@group(0) @binding(2) var<storage, read> decay: array<f32>;
@group(0) @binding(3) var<uniform> p: Params;

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) wg: vec3u, @builtin(num_workgroups) num: vec3u, @builtin(local_invocation_index) local: u32) {
  // Four quads an invocation, a workgroup's width apart.
  let first = (wg.y * num.x + wg.x) * 256u + local;
  for (var index = first; index < min(first + 256u, p.quads); index += 64u) {
    average[index] = decay[0] * average[index] + (1.0 - decay[0]) * value[index];
  }
}
