// A step of Adam, in place; all [R], step and learningRate [1]. With g = gradient (+ weightDecay·parameter unless DECOUPLED):
// firstMoment ← beta1·firstMoment + (1 − beta1)·g, secondMoment ← beta2·secondMoment + (1 − beta2)·g², and the parameter moves by
// learningRate · (firstMoment/c1) / (sqrt(secondMoment/c2) + eps), c = 1 − beta^step. DECOUPLED (AdamW), it first shrinks by
// learningRate·weightDecay. 1 − beta and −ln beta come from the host: here they would have lost half their digits.
// Sixteen elements an invocation.

const DECOUPLED = false;

struct Params {
  quads: u32, beta1: f32, share1: f32, rate1: f32, beta2: f32, share2: f32, rate2: f32, eps: f32, weightDecay: f32,
}
@group(0) @binding(0) var<storage, read_write> parameter: array<vec4f>;
@group(0) @binding(1) var<storage, read_write> firstMoment: array<vec4f>;
@group(0) @binding(2) var<storage, read_write> secondMoment: array<vec4f>;
@group(0) @binding(3) var<storage, read> gradient: array<vec4f>;
@group(0) @binding(4) var<storage, read> step: array<f32>;
@group(0) @binding(5) var<storage, read> learningRate: array<f32>;
@group(0) @binding(6) var<uniform> p: Params;

// 1 − exp(−u), u ≥ 0: where u is small the difference would cancel, the series does not.
fn oneMinusExp(u: f32) -> f32 {
  if (u > 0.5) { return 1.0 - exp(-u); }
  return u * (1.0 - u / 2.0 * (1.0 - u / 3.0 * (1.0 - u / 4.0 * (1.0 - u / 5.0 * (1.0 - u / 6.0 * (1.0 - u / 7.0))))));
}

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) wg: vec3u, @builtin(num_workgroups) num: vec3u, @builtin(local_invocation_index) local: u32) {
  // Four quads an invocation, a workgroup's width apart.
  let first = (wg.y * num.x + wg.x) * 256u + local;
  for (var index = first; index < min(first + 256u, p.quads); index += 64u) {
    var v = parameter[index];
    var g = gradient[index];
    if (DECOUPLED) { v -= learningRate[0] * p.weightDecay * v; } else { g += p.weightDecay * v; }
    let first = p.beta1 * firstMoment[index] + p.share1 * g;
    let second = p.beta2 * secondMoment[index] + p.share2 * g * g;
    firstMoment[index] = first;
    secondMoment[index] = second;
    let size = learningRate[0] / oneMinusExp(step[0] * p.rate1);
    parameter[index] = v - size * first / (sqrt(second / oneMinusExp(step[0] * p.rate2)) + p.eps);
  }
}
