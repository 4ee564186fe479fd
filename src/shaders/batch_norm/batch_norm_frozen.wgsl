// The affine map y = x·scale + shift of a batch norm that uses its running statistics, and saved = (mean, 1/sqrt(var + eps)).
// One invocation a channel; saved [2, C].

struct Params { C: u32, eps: f32 }
@group(0) @binding(0) var<storage, read> gamma: array<f32>;
@group(0) @binding(1) var<storage, read> beta: array<f32>;
@group(0) @binding(2) var<storage, read> runningMean: array<f32>;
@group(0) @binding(3) var<storage, read> runningVar: array<f32>;
@group(0) @binding(4) var<storage, read_write> saved: array<f32>;
@group(0) @binding(5) var<storage, read_write> scale: array<f32>;
@group(0) @binding(6) var<storage, read_write> shift: array<f32>;
@group(0) @binding(7) var<uniform> p: Params;

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) wg: vec3u, @builtin(num_workgroups) num: vec3u, @builtin(local_invocation_index) local: u32) {
  let c = (wg.y * num.x + wg.x) * 64u + local;
  if (c >= p.C) { return; }
  let inverse = 1.0 / sqrt(runningVar[c] + p.eps);
  saved[c] = runningMean[c];
  saved[p.C + c] = inverse;
  scale[c] = gamma[c] * inverse;
  shift[c] = beta[c] - runningMean[c] * gamma[c] * inverse;
}
