// A step of stochastic gradient descent, in place; all [R], learningRate [1]. With g = gradient + weightDecay·parameter (SCALED: the
// gradient times gradientScale [1]):
// momentum ← mass·momentum + g, parameter ← parameter − learningRate·(NESTEROV: g + mass·momentum, else momentum).
// Sixteen elements an invocation.

const NESTEROV = false;
const SCALED = false;

struct Params { quads: u32, mass: f32, weightDecay: f32 }
@group(0) @binding(0) var<storage, read_write> parameter: array<vec4f>;
@group(0) @binding(1) var<storage, read_write> momentum: array<vec4f>;
@group(0) @binding(2) var<storage, read> gradient: array<vec4f>;
@group(0) @binding(3) var<storage, read> learningRate: array<f32>;
@group(0) @binding(4) var<storage, read> gradientScale: array<f32>;
@group(0) @binding(5) var<uniform> p: Params;

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) wg: vec3u, @builtin(num_workgroups) num: vec3u, @builtin(local_invocation_index) local: u32) {
  // Four quads an invocation, a workgroup's width apart.
  let first = (wg.y * num.x + wg.x) * 256u + local;
  for (var index = first; index < min(first + 256u, p.quads); index += 64u) {
    let before = parameter[index];
    var g = gradient[index];
    if (SCALED) { g *= gradientScale[0]; }
    g += p.weightDecay * before;
    let velocity = p.mass * momentum[index] + g;
    momentum[index] = velocity;
    var step = velocity;
    if (NESTEROV) { step = g + p.mass * velocity; }
    parameter[index] = before - learningRate[0] * step;
  }
}
