// dlogits = dloss[n]·scale·(Σ t·softmax(logits) − t). logits, dlogits [N, K], dloss [N], targets t as in softmax_cross_entropy,
// saved [N, 3] from there: a row's maximum, Σ exp(logits − maximum) and Σ t. One invocation an element.

const SOFT = false;

struct Params { size: u32, K: u32, scale: f32 }
@group(0) @binding(0) var<storage, read> dloss: array<f32>;
@group(0) @binding(1) var<storage, read> logits: array<f32>;
@group(0) @binding(2) var<storage, read> targets: array<u32>;
@group(0) @binding(3) var<storage, read> saved: array<f32>;
@group(0) @binding(4) var<storage, read_write> dlogits: array<f32>;
@group(0) @binding(5) var<uniform> p: Params;

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) wg: vec3u, @builtin(num_workgroups) num: vec3u, @builtin(local_invocation_index) local: u32) {
  let index = (wg.y * num.x + wg.x) * 64u + local;
  if (index >= p.size) { return; }
  let n = index / p.K;
  let probability = exp(logits[index] - saved[n * 3u]) / saved[n * 3u + 1u];
  var t = 0.0;
  if (SOFT) { t = bitcast<f32>(targets[index]); } else if (targets[n] == index % p.K) { t = 1.0; }
  dlogits[index] = dloss[n] * p.scale * (saved[n * 3u + 2u] * probability - t);
}
